"""The packed family: groups, blocking, and results on every rung for several targets."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from einloom_compiler.codegen import jit
from einloom_compiler.codegen.jit import Kernel
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.groups import Groups, group, k_table
from einloom_compiler.lowering.iteration import iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.packed import bind_packed
from einloom_compiler.schedule import packed as policy
from einloom_compiler.schedule.machine import Machine, host

Array = npt.NDArray[Any]
Close = Callable[..., None]
Golden = Callable[[str, str], None]

AVX512 = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
NEON = Machine(cores=2, simd_bits=128, n_registers=32, l1_bytes=64 << 10, l2_bytes=512 << 10)


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def _groups(subscripts: str, operands: list[Array], out: Array) -> Groups | None:
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    shapes = [operand.shape for operand in operands]
    strides = [_strides(operand) for operand in operands]
    return group(iteration_space(expr, shapes, strides, _strides(out), letters_of(expr)))


def _choose(groups: Groups, dtype: str, machine: Machine, **change: Any) -> PackedNest:
    arithmetics = Arithmetics((dtype, dtype), dtype, dtype, (False, False))
    nest = policy.choose(groups, arithmetics, machine)
    assert nest is not None
    return replace(nest, **change)


def _run(nest: PackedNest, groups: Groups, operands: list[Array], out: Array, rung: str) -> None:
    call = bind_packed(groups, nest, AVX512)
    kernel = jit.build(nest)
    given = [operands[n] for n in groups.operands]
    tables = [table.array() for table in call.tables]
    if rung == "python":
        kernel.run_python([*given, out, *tables], call.numbers, total=call.total)
        return
    arrays = (*given, out, *tables)
    scratch = np.empty(nest.scratch_elements, nest.element)
    addresses = [array.__array_interface__["data"][0] for array in (*arrays, scratch)]
    block = np.array([*addresses[:-1], *call.numbers, addresses[-1]], np.int64)
    jit.serial(kernel.entry)(block.ctypes.data, 0, 0, call.total)


def _values(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return rng.uniform(-1, 1, shape).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


def test_indices_fall_into_rows_columns_batch_and_contracted() -> None:
    x, y, out = np.empty((6, 5, 7, 4)), np.empty((6, 4, 8, 3)), np.empty((6, 7, 5, 8, 3))
    groups = _groups("bijk,bklm->bjilm", [x, y], out)
    assert groups is not None
    assert groups.columns.run.label == "lm"
    assert groups.columns.run.extent == 24
    assert [axis.label for axis in groups.k] == ["k"]
    assert [axis.label for axis in groups.batch] == ["b"]
    assert {groups.rows.run.label, *(axis.label for axis in groups.rows.digits)} == {"i", "j"}


def test_the_operand_with_the_outputs_contiguous_index_gives_the_columns() -> None:
    x, y = np.empty((6, 4)), np.empty((4, 5))
    groups = _groups("ik,kj->ji", [x, y], np.empty((5, 6)))
    assert groups is not None
    assert groups.operands == (1, 0)
    assert groups.columns.run.label == "i"


@pytest.mark.parametrize("subscripts", ["ij,ij->i", "ij,j->i", "i,j->ij", "ij,kj->i"])
def test_what_is_no_matrix_product_has_no_groups(subscripts: str) -> None:
    terms = subscripts.split("->")[0].split(",")
    operands = [np.empty((5,) * len(term)) for term in terms]
    out = np.empty((5,) * len(subscripts.split("->")[1]))
    assert _groups(subscripts, operands, out) is None


def test_offsets_of_contracted_points_follow_both_operands() -> None:
    x, y = np.empty((7, 2, 3)), np.empty((3, 9, 2))
    groups = _groups("ijk,klj->il", [x, y], np.empty((7, 9)))
    assert groups is not None
    expected = {(3 * j + k, 18 * k + j) for j in range(2) for k in range(3)}
    assert {tuple(row) for row in k_table(groups).array().tolist()} == expected


@pytest.mark.parametrize(
    ("machine", "block"), [(AVX512, (8, 3, 16)), (AVX2, (4, 3, 8)), (NEON, (8, 3, 4))]
)
def test_the_register_block_follows_the_target(
    machine: Machine, block: tuple[int, int, int]
) -> None:
    x = np.empty((480, 480), np.float32)
    groups = _groups("ij,jk->ik", [x, x], x)
    assert groups is not None
    chosen = _choose(groups, "float32", machine).block
    assert (chosen.mr, chosen.vectors, chosen.width) == block
    assert chosen.mr * chosen.vectors + chosen.vectors < machine.n_registers


def test_a_short_run_of_columns_takes_fewer_vectors() -> None:
    x, y, out = (np.empty(s, np.float32) for s in ((480, 480), (480, 32), (480, 32)))
    groups = _groups("ij,jk->ik", [x, y], out)
    assert groups is not None
    assert _choose(groups, "float32", AVX512).block.vectors == 2


@pytest.mark.parametrize("change", [{"epilogue": (object(),)}, {"conjugated": (True, False)}])
def test_what_the_packed_family_lacks_is_left_to_the_direct_one(change: dict[str, Any]) -> None:
    x = np.empty((480, 480))
    groups = _groups("ij,jk->ik", [x, x], x)
    assert groups is not None
    arithmetics = Arithmetics(("float64",) * 2, "float64", "float64", (False, False))
    assert policy.choose(groups, arithmetics, AVX512) is not None
    assert policy.choose(groups, replace(arithmetics, **change), AVX512) is None


#: Equations, with operand shapes whose extents are no multiples of the blocks.
PRODUCTS: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("ij,jk->ik", (37, 50), (50, 53)),
    ("ij,kj->ik", (37, 50), (53, 50)),
    ("ji,jk->ik", (50, 37), (50, 53)),
    ("ij,jk->ki", (37, 50), (50, 53)),
    ("bij,bjk->bik", (2, 33, 40), (2, 40, 49)),
    ("aibj,kjab->kib", (3, 19, 2, 17), (35, 17, 3, 2)),
    ("dabfe,fc->edcba", (3, 17, 2, 12, 5), (12, 14)),
]


@pytest.mark.parametrize("rung", ["python", "native"])
@pytest.mark.parametrize(("subscripts", "left", "right"), PRODUCTS)
def test_products_agree_with_numpy_on_both_rungs(
    subscripts: str,
    left: tuple[int, ...],
    right: tuple[int, ...],
    rung: str,
    assert_close: Close,
) -> None:
    operands = [_values(left, "float64", 1), _values(right, "float64", 2)]
    expected = np.einsum(subscripts, *operands)
    out = np.full(expected.shape, np.nan)
    groups = _groups(subscripts, operands, out)
    assert groups is not None
    # A depth below the contracted extent: later blocks add to what the first one stored.
    nest = _choose(groups, "float64", AVX512, depth=16, row_panels=2, column_elements=48 * 32)
    _run(nest, groups, operands, out, rung)
    assert_close(out, expected, 50)


@pytest.mark.parametrize(
    ("machine", "dtype"),
    [(AVX512, "float32"), (AVX512, "int64"), (AVX2, "float64"), (NEON, "float32")],
)
def test_every_target_gives_the_same(machine: Machine, dtype: str, assert_close: Close) -> None:
    operands = [_values((37, 50), dtype, 1), _values((50, 53), dtype, 2)]
    expected = operands[0] @ operands[1]
    for rung in ("python", "native"):
        out = np.zeros_like(expected)
        groups = _groups("ij,jk->ik", operands, out)
        assert groups is not None
        _run(_choose(groups, dtype, machine), groups, operands, out, rung)
        assert_close(out, expected, 50)


DTYPES = ["float16", "int8", "uint16", "int32", "uint64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_narrow_and_unsigned_dtypes_round_and_wrap_as_numpys(
    dtype: str, assert_close: Close
) -> None:
    operands = [_values((40, 50), dtype, 1), _values((50, 60), dtype, 2)]
    expected = np.einsum("ij,jk->ik", *operands)
    out = np.zeros_like(expected)
    groups = _groups("ij,jk->ik", operands, out)
    assert groups is not None
    _run(_choose(groups, dtype, host()), groups, operands, out, "native")
    assert_close(out, expected, 50)


@settings(max_examples=40)
@given(
    m=st.sampled_from([12, 15, 16, 17, 23, 24, 25, 97]),
    n=st.sampled_from([12, 31, 33, 47, 48, 49, 101]),
    k=st.sampled_from([4, 5, 31, 383, 384, 385, 769]),
    layout=st.sampled_from(["ij,jk->ik", "ij,kj->ik", "ji,jk->ik"]),
    sign=st.sampled_from([1, -1, 2, -3]),
)
def test_any_extents_and_strides_at_block_edges(
    m: int, n: int, k: int, layout: str, sign: int, assert_close: Close
) -> None:
    sizes = {"i": m, "j": k, "k": n}
    left, right = layout.split("->")[0].split(",")
    step = abs(sign)
    made = [
        _values(tuple(sizes[letter] * step for letter in term), "float32", number)
        for number, term in enumerate((left, right))
    ]
    operands = [x[:: sign or 1, :: sign or 1] for x in made]
    expected = np.einsum(layout, *(x.astype(np.float64) for x in operands))
    out = np.full(expected.shape, np.nan, np.float32)
    groups = _groups(layout, operands, out)
    assert groups is not None
    arithmetics = Arithmetics(("float32",) * 2, "float32", "float32", (False, False))
    nest = policy.choose(groups, arithmetics, host())
    assume(nest is not None)
    assert nest is not None
    _run(nest, groups, operands, out, "native")
    assert_close(out, expected, k)


def _microkernel_loop(kernel: Kernel) -> str:
    """Return the assembly of the loop with the most multiply-adds."""
    loops = re.split(r"\n\.LBB\S+:", kernel.asm)
    return max(loops, key=lambda text: text.count("vfmadd"))


@pytest.mark.skipif(host().simd_bits < 256, reason="needs AVX2 or AVX-512")
def test_the_microkernel_keeps_all_sums_in_registers() -> None:
    x = np.empty((480, 480), np.float32)
    groups = _groups("ij,jk->ik", [x, x], x)
    assert groups is not None
    nest = _choose(groups, "float32", host())
    loop = _microkernel_loop(jit.build(nest))
    register = "zmm" if host().simd_bits == 512 else "ymm"
    multiply_adds = [line for line in loop.splitlines() if "vfmadd" in line]
    assert len(multiply_adds) >= nest.block.mr * nest.block.vectors
    assert all(register in line for line in multiply_adds)
    spills = [line for line in loop.splitlines() if "rsp" in line and register in line]
    assert spills == []


def test_printed_packed_kernel_is_the_golden_one(golden: Golden) -> None:
    x = np.empty((480, 480), np.float32)
    groups = _groups("ij,jk->ik", [x, x], x)
    assert groups is not None
    nest = _choose(groups, "float32", AVX2)
    golden("source/packed.py.txt", jit.build(nest).source)
