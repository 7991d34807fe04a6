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
from einloom_compiler.codegen.packed_store import POINTS, points_of_turn
from einloom_compiler.families.base import Problem
from einloom_compiler.families.packed import FAMILY, nest_of
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.ir.scalar import SUM, chain
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.contracted import Run, contracted
from einloom_compiler.lowering.groups import Groups, group
from einloom_compiler.lowering.iteration import iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.packed import bind_packed
from einloom_compiler.schedule.machine import Machine, host
from einloom_compiler.schedule.tasks import split

pytestmark = pytest.mark.thinned(2)

Array = npt.NDArray[Any]
Close = Callable[..., None]
Golden = Callable[[str, str], None]

AVX512 = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
NEON = Machine(cores=2, simd_bits=128, n_registers=32, l1_bytes=64 << 10, l2_bytes=512 << 10)
TARGETS = {"avx512": AVX512, "avx2": AVX2, "neon": NEON}


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def _problem(
    subscripts: str,
    operands: list[Array],
    out: Array,
    machine: Machine = AVX512,
    **change: Any,
) -> Problem:
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    shapes = [operand.shape for operand in operands]
    strides = [_strides(operand) for operand in operands]
    space = iteration_space(expr, shapes, strides, _strides(out), letters_of(expr))
    names = tuple(operand.dtype.name for operand in operands)
    arithmetics = Arithmetics(names, out.dtype.name, out.dtype.name, (False, False))
    return Problem(space, replace(arithmetics, **change), machine)


def _groups(subscripts: str, operands: list[Array], out: Array) -> Groups | None:
    return group(_problem(subscripts, operands, out).space)


def _proposed(problem: Problem) -> list[PackedNest]:
    return [nest_of(problem, schedule) for schedule in FAMILY.propose(problem)]


def _best(problem: Problem) -> PackedNest:
    best = min(FAMILY.propose(problem), key=lambda found: FAMILY.seconds(problem, found))
    return nest_of(problem, best)


def _square(dtype: str, machine: Machine, extent: int = 480, **change: Any) -> PackedNest:
    x = np.empty((extent, extent), dtype)
    return _best(_problem("ij,jk->ik", [x, x], x, machine, **change))


def _run(nest: PackedNest, problem: Problem, operands: list[Array], out: Array, rung: str) -> None:
    groups = group(problem.space)
    assert groups is not None
    call = bind_packed(groups, nest, AVX512)
    kernel = jit.build(nest)
    given = [operands[n] for n in groups.operands]
    tables = [table.array() for table in call.tables]
    if rung == "python":
        kernel.run_python([*given, out, *tables], call.numbers, total=call.total)
        return
    arrays = (*given, out, *tables)
    guard = 64
    scratch = np.full(nest.scratch_elements + guard, 7, nest.element)
    addresses = [array.__array_interface__["data"][0] for array in (*arrays, scratch)]
    block = np.array([*addresses[:-1], *call.numbers, addresses[-1]], np.int64)
    jit.serial(kernel.entry)(block.ctypes.data, 0, 0, call.total)
    assert (scratch[-guard:] == 7).all(), "the kernel wrote beyond its scratch"


def _values(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return rng.uniform(-1, 1, shape).astype(dtype)
    if dtype.startswith("complex"):
        return (rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)).astype(dtype)
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
    for along_k in ((True, True), (True, False), (False, True), (False, False)):
        order = contracted(groups, along_k, 384)
        table = order.table((1, 1)).array().tolist()
        assert {tuple(row) for row in table} == expected
        for side, run in enumerate(order.runs):
            at = [row[side] for row in table]
            for start in range(0, len(at), run.extent * run.hop):
                for first in range(start, start + run.hop):
                    positions = range(first, first + run.extent * run.hop, run.hop)
                    assert [at[p] - at[first] for p in positions] == list(range(run.extent))


def test_points_are_tiled_where_the_operands_are_contiguous_along_different_indices() -> None:
    x, y = np.empty((8, 96, 100)), np.empty((9, 100, 96))
    groups = _groups("ijk,lkj->il", [x, y], np.empty((8, 9)))
    assert groups is not None
    order = contracted(groups, (True, True), 384)
    assert order.unit == order.runs[0].extent * order.runs[1].extent
    assert order.unit <= 384
    assert min(run.extent for run in order.runs) >= 16
    assert {run.hop for run in order.runs} == {1, order.runs[1].extent}
    assert order.block(384) % order.unit == 0


def test_points_along_one_chain_are_one_run() -> None:
    x, y = np.empty((8, 3, 50)), np.empty((3, 50, 9))
    groups = _groups("ijk,jkl->il", [x, y], np.empty((8, 9)))
    assert groups is not None
    assert contracted(groups, (True, False), 384).runs == (Run(150, 1), Run(1, 1))


@pytest.mark.parametrize(
    ("machine", "block"), [(AVX512, (8, 3, 16)), (AVX2, (4, 3, 8)), (NEON, (8, 3, 4))]
)
def test_the_register_block_follows_the_target(
    machine: Machine, block: tuple[int, int, int]
) -> None:
    chosen = _square("float32", machine).block
    assert (chosen.mr, chosen.vectors, chosen.width) == block
    assert chosen.mr * chosen.vectors + chosen.vectors < machine.n_registers


@pytest.mark.parametrize("machine", TARGETS.values(), ids=TARGETS)
def test_complex_blocks_leave_registers_for_both_parts(machine: Machine) -> None:
    x = np.empty((480, 480), np.complex64)
    for nest in _proposed(_problem("ij,jk->ik", [x, x], x, machine)):
        block = nest.block
        assert 2 * block.mr * block.vectors + 2 * block.vectors + 2 <= machine.n_registers


def test_a_short_run_of_columns_takes_fewer_vectors() -> None:
    x, y, out = (np.empty(s, np.float32) for s in ((480, 480), (480, 32), (480, 32)))
    nest = _best(_problem("ij,jk->ik", [x, y], out))
    assert nest.block.vectors == 2


def test_packed_blocks_fit_the_caches() -> None:
    for machine in TARGETS.values():
        nest = _square("float32", machine)
        panel = nest.block.mr * nest.depth * 4
        assert panel <= machine.l1_bytes / 2
        assert nest.column_elements * 4 <= machine.l2_bytes / 2


def test_tasks_keep_the_cores_busy_and_pack_little() -> None:
    nest = _square("float32", AVX512)
    tall = split(nest, AVX512, 1000, 10, 384, 1)
    assert (tall.rows > 1, tall.columns) == (True, 1)
    wide = split(nest, AVX512, 10, 1000, 384, 1)
    assert (wide.rows, wide.columns > 1) == (1, True)
    batch = split(nest, AVX512, 100, 100, 384, 64)
    assert batch.rows * batch.columns == 1
    many = split(nest, replace(AVX512, cores=64), 128, 22, 384, 1)
    assert many.rows * many.columns >= 64


#: Equations, with operand shapes whose extents are no multiples of the blocks.
PRODUCTS: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("ij,jk->ik", (37, 50), (50, 53)),
    ("ij,kj->ik", (37, 50), (53, 50)),
    ("ji,jk->ik", (50, 37), (50, 53)),
    ("ij,jk->ki", (37, 50), (50, 53)),
    ("bij,bjk->bik", (2, 33, 40), (2, 40, 49)),
    ("ijb,jkb->ikb", (33, 20, 3), (20, 29, 3)),
    ("aibj,kjab->kib", (3, 19, 2, 17), (35, 17, 3, 2)),
    ("dabfe,fc->edcba", (3, 17, 2, 12, 5), (12, 14)),
    ("dac,bcd->ba", (6, 21, 20), (23, 20, 6)),
    ("ce,deba->dcba", (5, 20), (3, 20, 2, 41)),  # several panels of each of several runs
    ("ec,deba->dcba", (20, 95), (3, 20, 2, 41)),
    ("cged,bafg->fedcba", (2, 20, 3, 7), (9, 7, 2, 20)),  # the same, packed along k
]


@pytest.mark.thinned(6)
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
    problem = _problem(subscripts, operands, out)
    # A depth below the contracted extent: later blocks add to what the first one stored.
    for number, nest in enumerate(_proposed(problem)):
        if rung == "python" and number:
            break
        small = replace(nest, depth=16, row_elements=3 * 16 * 8, column_elements=48 * 32)
        out[...] = np.nan
        _run(small, problem, operands, out, rung)
        assert_close(out, expected, 50)


def test_all_ways_of_packing_are_among_the_products() -> None:
    found: set[tuple[str, str]] = set()
    for subscripts, left, right in PRODUCTS:
        operands = [np.empty(left), np.empty(right)]
        out = np.empty(np.einsum(subscripts, *operands).shape)
        nest = _best(_problem(subscripts, operands, out))
        found |= {("rows", nest.rows.order), ("columns", nest.columns.order)}
        found.add(("out", str(nest.is_output_contiguous)))
    assert found == {
        *(("rows", order) for order in ("panel", "k", "gather")),
        *(("columns", order) for order in ("panel", "k", "digit", "gather")),
        *(("out", "True"), ("out", "False")),
    }


@pytest.mark.thinned(4)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int16", "complex64"])
def test_every_target_gives_the_same(target: str, dtype: str, assert_close: Close) -> None:
    operands = [_values((37, 50), dtype, 1), _values((50, 53), dtype, 2)]
    expected = operands[0] @ operands[1]
    for rung in ("python", "native"):
        out = np.zeros_like(expected)
        problem = _problem("ij,jk->ik", operands, out, TARGETS[target])
        _run(_best(problem), problem, operands, out, rung)
        assert_close(out, expected, 50)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_products_of_64_bits_by_halves_wrap_as_numpys(dtype: str) -> None:
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(3)
    x, y = (
        generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        for shape in ((37, 50), (50, 53))
    )
    problem = _problem("ij,jk->ik", [x, y], np.empty((37, 53), dtype), AVX2)
    nest = replace(_best(problem), depth=16)
    assert nest.has_halves
    assert not _best(replace(problem, machine=AVX512)).has_halves
    for rung in ("python", "native"):
        out = np.empty((37, 53), dtype)
        _run(nest, problem, [x, y], out, rung)
        np.testing.assert_array_equal(out, x @ y)


@pytest.mark.thinned(10)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float16", "int8", "uint16", "int32", "uint64"])
@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ji,kj->ki"])
def test_narrow_and_unsigned_dtypes_round_and_wrap_as_numpys(
    subscripts: str, dtype: str, target: str, assert_close: Close
) -> None:
    sizes = {"i": 40, "j": 50, "k": 61}
    terms = subscripts.split("->")[0].split(",")
    operands = [
        _values(tuple(sizes[letter] for letter in term), dtype, number)
        for number, term in enumerate(terms)
    ]
    expected = np.einsum(subscripts, *operands)
    out = np.zeros_like(expected)
    problem = _problem(subscripts, operands, out, TARGETS[target])
    nest = _best(problem)
    if dtype != "float16":
        nest = replace(nest, depth=16)
    _run(nest, problem, operands, out, "native")
    assert_close(out, expected, 50)


def test_halves_round_once_whatever_the_depth() -> None:
    operands = [_values((40, 1000), "float16", 1), _values((1000, 60), "float16", 2)]
    exact = operands[0].astype(np.float64) @ operands[1].astype(np.float64)
    for rung in ("python", "native"):
        out = np.zeros(exact.shape, np.float16)
        problem = _problem("ij,jk->ik", operands, out)
        nest = _best(problem)
        assert nest.sum_elements
        # Sums of a few blocks only: several tasks.
        nest = replace(nest, sum_elements=4 * nest.tile_elements)
        _run(nest, problem, operands, out, rung)
        # At powers of two, numbers are further apart on the far side.
        units = np.spacing(np.nextafter(np.abs(out), np.float16(np.inf))).astype(np.float64)
        assert (np.abs(out - exact) <= 0.51 * units + 1e-4).all()


@pytest.mark.thinned(6)
@pytest.mark.parametrize("rung", ["python", "native"])
@pytest.mark.parametrize("conjugated", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ji,kj->ik", "ijb,jkb->ikb"])
def test_conjugated_operands(
    subscripts: str, conjugated: tuple[bool, bool], rung: str, assert_close: Close
) -> None:
    sizes = {"i": 19, "j": 26, "k": 37, "b": 2}
    terms = subscripts.split("->")[0].split(",")
    operands = [
        _values(tuple(sizes[letter] for letter in term), "complex128", number)
        for number, term in enumerate(terms)
    ]
    given = [x.conj() if flag else x for x, flag in zip(operands, conjugated, strict=True)]
    expected = np.einsum(subscripts, *given)
    out = np.full_like(expected, np.nan)
    problem = _problem(subscripts, operands, out, conjugated=conjugated)
    _run(replace(_best(problem), depth=8), problem, operands, out, rung)
    assert_close(out, expected, 50)


@pytest.mark.parametrize("rung", ["python", "native"])
@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ijb,jkb->ikb"])
def test_maps_apply_to_finished_sums(subscripts: str, rung: str, assert_close: Close) -> None:
    sizes = {"i": 19, "j": 41, "k": 37, "b": 2}
    terms = subscripts.split("->")[0].split(",")
    operands = [
        _values(tuple(sizes[letter] for letter in term), "float32", number)
        for number, term in enumerate(terms)
    ]
    maps = (Map("maximum", (0.25,)), Map("sqrt"), Map("reciprocal"))
    expected = 1 / np.sqrt(np.maximum(np.einsum(subscripts, *operands), 0.25))
    out = np.full_like(expected, np.nan)
    problem = _problem(subscripts, operands, out, epilogue=chain(maps))
    _run(replace(_best(problem), depth=16), problem, operands, out, rung)
    assert_close(out, expected, 50)


def test_maps_of_narrow_integers_and_complex_numbers_are_left_to_others() -> None:
    for dtype in ("int8", "complex64"):
        x = np.empty((480, 480), dtype)
        assert FAMILY.propose(_problem("ij,jk->ik", [x, x], x))
        assert not FAMILY.propose(
            _problem("ij,jk->ik", [x, x], x, epilogue=chain((Map("negative"),)))
        )


@pytest.mark.parametrize(
    ("left", "right", "compute"),
    [("int8", "int32", "float64"), ("float16", "float32", "float32"), ("uint8", "int8", "int8")],
)
def test_operands_are_cast_to_the_compute_dtype(
    left: str, right: str, compute: str, assert_close: Close
) -> None:
    operands = [_values((40, 50), left, 1), _values((50, 61), right, 2)]
    expected = operands[0].astype(compute) @ operands[1].astype(compute)
    for rung in ("python", "native"):
        out = np.zeros_like(expected)
        problem = _problem("ij,jk->ik", operands, out)
        _run(_best(problem), problem, operands, out, rung)
        assert_close(out, expected, 50)


@settings(max_examples=settings().max_examples // 4)
@given(
    m=st.sampled_from([12, 15, 16, 17, 23, 24, 25, 97]),
    n=st.sampled_from([12, 31, 33, 47, 48, 49, 101]),
    k=st.sampled_from([4, 5, 31, 383, 384, 385, 769]),
    layout=st.sampled_from(["ij,jk->ik", "ij,kj->ik", "ji,jk->ik", "ij,jk->ki"]),
    sign=st.sampled_from([1, -1, 2, -3]),
    dtype=st.sampled_from(["float32", "complex64"]),
)
def test_any_extents_and_strides_at_block_edges(
    m: int, n: int, k: int, layout: str, sign: int, dtype: str, assert_close: Close
) -> None:
    sizes = {"i": m, "j": k, "k": n}
    left, right = layout.split("->")[0].split(",")
    step = abs(sign)
    made = [
        _values(tuple(sizes[letter] * step for letter in term), dtype, number)
        for number, term in enumerate((left, right))
    ]
    operands = [x[::sign, ::sign] for x in made]
    wide = np.complex128 if dtype == "complex64" else np.float64
    expected = np.einsum(layout, *(x.astype(wide) for x in operands))
    out = np.full(expected.shape, np.nan, dtype)
    problem = _problem(layout, operands, out, host())
    assume(FAMILY.propose(problem))
    _run(_best(problem), problem, operands, out, "native")
    assert_close(out, expected, k)


def test_operands_are_read_within_their_memory() -> None:
    # The last row ends at the last byte of a page; reading on would end the process.
    import ctypes
    import mmap

    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 9 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + 8 * page), ctypes.c_size_t(page), 0) != 0:
        pytest.skip("this system lets no page be protected")
    for layout in ("ij,jk->ik", "ij,kj->ik", "ji,jk->ik"):
        terms = layout.split("->")[0].split(",")
        for protected in (0, 1):
            operands = [_values((37, 37), "float32", n) for n in range(len(terms))]
            flat = np.frombuffer(memory, np.float32, 37 * 37, 8 * page - 4 * 37 * 37)
            flat[:] = operands[protected].reshape(-1)
            operands[protected] = flat.reshape(37, 37)
            out = np.zeros((37, 37), np.float32)
            problem = _problem(layout, operands, out, host())
            _run(_best(problem), problem, operands, out, "native")
            assert np.isfinite(out).all()


def _microkernel_loop(kernel: Kernel, product: str = "vfmadd") -> str:
    """Return the assembly of the loop with the most multiply-adds."""
    loops = re.split(r"\n\.LBB\S+:", kernel.asm)
    return max(loops, key=lambda text: text.count(product))


def _moved_sums(loop: str) -> list[str]:
    """Return the instructions that move vectors to other registers or to the stack and back."""
    moves = re.compile(r"rsp.*%[yz]mm|%[yz]mm.*rsp|vmovaps\s+%[yz]mm")
    return [line for line in loop.splitlines() if moves.search(line)]


@pytest.mark.parametrize(
    ("subscripts", "right", "is_along_run"),
    [
        ("cged,bafg->fedcba", (9, 7, 2, 20), True),  # contiguous along k
        ("cged,fgba->fedcba", (2, 20, 9, 7), True),  # along the run
        ("cged,gbaf->fedcba", (20, 9, 7, 2), False),  # along a digit, whose panels are neighbours
    ],
)
def test_panels_that_follow_each_other_are_neighbours_in_memory(
    subscripts: str, right: tuple[int, ...], is_along_run: bool
) -> None:
    operands = [np.empty((2, 20, 3, 7), np.float32), np.empty(right, np.float32)]
    out = np.empty((2, 7, 3, 2, 9, 7), np.float32)
    problem = _problem(subscripts, operands, out, AVX2)
    groups = group(problem.space)
    assert groups is not None
    nest = _proposed(problem)[0]
    columns = [row[2] for row in bind_packed(groups, nest, AVX2).tables[2].array().tolist()]
    starts = range(0, 63, nest.block.nr)
    along_run = [column for _ in range(2) for column in starts]
    assert columns == (along_run if is_along_run else sorted(along_run))


@pytest.mark.skipif(host().simd_bits < 256, reason="needs AVX2 or AVX-512")
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("target", ["host", "avx2"])
def test_the_microkernel_keeps_all_sums_in_registers(dtype: str, target: str) -> None:
    machine = host() if target == "host" else AVX2
    x = np.empty((480, 480), dtype)
    register = "zmm" if machine.simd_bits == 512 else "ymm"
    for nest in _proposed(_problem("ij,jk->ik", [x, x], x, machine)):
        loop = _microkernel_loop(jit.build(nest))
        multiply_adds = [line for line in loop.splitlines() if re.search("vfn?m(add|sub)", line)]
        products = 4 if nest.is_complex else 1
        products *= points_of_turn(nest)
        assert len(multiply_adds) >= products * nest.block.mr * nest.block.vectors
        assert all(register in line for line in multiply_adds)
        spills = [line for line in loop.splitlines() if "rsp" in line and register in line]
        assert spills == []


@pytest.mark.skipif(host().simd_bits < 256, reason="needs AVX2 or AVX-512")
def test_masks_of_packing_take_no_registers_from_the_sums() -> None:
    # Both operands are packed along k, with masks: the lanes' numbers would stay in a register.
    x = np.empty((48, 48, 48, 48), np.float32)
    nest = _best(_problem("dfae,cebf->dcba", [x, x], x, AVX2))
    assert (nest.block.mr, nest.block.vectors) == (4, 3)
    loop = _microkernel_loop(jit.build(nest))
    assert loop.count("vfmadd231ps") == 12 * POINTS
    assert _moved_sums(loop) == []


@pytest.mark.skipif(host().simd_bits < 256, reason="needs AVX2 or AVX-512")
def test_an_epilogue_of_polynomials_takes_no_registers_from_the_sums() -> None:
    loop = _microkernel_loop(jit.build(_square("float32", AVX2, epilogue=chain((Map("tanh"),)))))
    multiply_adds = [line for line in loop.splitlines() if re.search("vfmadd231", line)]
    assert len(multiply_adds) == 12 * POINTS
    assert _moved_sums(loop) == []


@pytest.mark.skipif(host().simd_bits < 256, reason="needs AVX2")
def test_products_by_halves_take_two_multiplications() -> None:
    x = np.empty((480, 480), np.int64)
    nest = _best(_problem("ij,jk->ik", [x, x], x, AVX2))
    loop = _microkernel_loop(jit.build(nest), "vpmulld")
    vectors = nest.block.mr * nest.block.vectors
    assert loop.count("vpmulld") == loop.count("vpmuludq") == vectors
    assert [line for line in loop.splitlines() if "rsp" in line and "ymm" in line] == []


def test_printed_packed_kernel_is_the_golden_one(golden: Golden) -> None:
    golden("source/packed.py.txt", jit.build(_square("float32", AVX2)).source)


def test_the_schedule_prints_in_one_line() -> None:
    nest = _square("complex64", AVX2, epilogue=SUM)
    assert str(nest) == (
        "Packed(mr=6, nr=8, kc=384, mc=678, nc=80, float32 pairs, rows by k, columns by panel)"
    )
