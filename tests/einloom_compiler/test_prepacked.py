"""Constant operands packed once: the packed arrays, and kernels that read them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from einloom_compiler.codegen import jit
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families.base import Bound, Problem
from einloom_compiler.families.packed import FAMILY, PackedSchedule, nest_of
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.iteration import iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.schedule.machine import Machine, host
from einloom_compiler.schedule.tasks import split

pytestmark = pytest.mark.thinned(3)

Array = npt.NDArray[Any]
Close = Callable[..., None]

AVX512 = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
NEON = Machine(cores=2, simd_bits=128, n_registers=32, l1_bytes=64 << 10, l2_bytes=512 << 10)


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def _problem(
    subscripts: str,
    operands: list[Array],
    out: Array,
    constant: tuple[bool, ...],
    machine: Machine = AVX512,
    conjugated: tuple[bool, bool] = (False, False),
) -> Problem:
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    shapes = [operand.shape for operand in operands]
    strides = [_strides(operand) for operand in operands]
    space = iteration_space(expr, shapes, strides, _strides(out), letters_of(expr))
    names = tuple(operand.dtype.name for operand in operands)
    arithmetics = Arithmetics(names, out.dtype.name, out.dtype.name, conjugated)
    return Problem(space, arithmetics, machine, constant)


def _values(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if dtype.startswith("complex"):
        return (rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)).astype(dtype)
    if dtype.startswith("float"):
        return rng.uniform(-1, 1, shape).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


def _run(bound: Bound, operands: list[Array], out: Array, rung: str) -> None:
    inputs = [operands[position] for position in bound.operands]
    for position, packing in bound.packings:
        inputs[position] = packing.pack(inputs[position])
    arrays = [*inputs, out, *bound.tables]
    if rung == "python":
        bound.kernel.run_python(arrays, bound.numbers, total=bound.total)
        return
    guard = 64
    elements = bound.kernel.text.scratch_elements
    scratch = np.full(elements + guard, 7, bound.kernel.text.scratch_dtype)
    addresses = [array.__array_interface__["data"][0] for array in (*arrays, scratch)]
    block = np.array([*addresses[:-1], *bound.numbers, addresses[-1]], np.int64)
    jit.serial(bound.kernel.entry)(block.ctypes.data, 0, 0, bound.total)
    assert (scratch[elements:] == 7).all(), "the kernel wrote beyond its scratch"


def _no_dump(stage: str, text: str) -> None:
    del stage, text


def _prepacked(problem: Problem) -> PackedSchedule:
    (schedule,) = FAMILY.propose(problem)
    assert schedule.prepacked
    return schedule


@pytest.mark.thinned(6)
@pytest.mark.parametrize("which", ["rows", "columns"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "int16", "float16"])
def test_results_are_those_of_packing_at_each_call_bit_for_bit(which: str, dtype: str) -> None:
    operands = [_values((37, 50), dtype, 1), _values((50, 53), dtype, 2)]
    constant = (which == "rows", which == "columns")
    conjugated = (True, True) if dtype == "complex64" else (False, False)
    outs = [np.zeros((37, 53), dtype) for _ in range(2)]
    problem = _problem("ij,jk->ik", operands, outs[0], constant, conjugated=conjugated)
    schedule = replace(_prepacked(problem), kc=50)
    assert schedule.prepacked == which
    for out, chosen in zip(outs, (schedule, replace(schedule, prepacked="")), strict=True):
        _run(FAMILY.bind(problem, chosen, _no_dump), operands, out, "native")
    np.testing.assert_array_equal(outs[0], outs[1])


#: Equations, shapes, and which operand is constant.
PRODUCTS: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[bool, bool]]] = [
    ("ij,jk->ik", (37, 50), (50, 53), (False, True)),
    ("ij,kj->ik", (37, 50), (53, 50), (False, True)),
    ("ij,jk->ik", (37, 50), (50, 53), (True, False)),
    ("ij,jk->ki", (37, 50), (50, 53), (False, True)),
    ("bij,bjk->bik", (2, 33, 40), (2, 40, 49), (False, True)),
    ("ijb,jkb->ikb", (33, 20, 3), (20, 29, 3), (True, False)),
    ("aibj,kjab->kib", (3, 19, 2, 17), (35, 17, 3, 2), (False, True)),
    ("dabfe,fc->edcba", (3, 17, 2, 12, 5), (12, 14), (False, True)),
    ("dac,bcd->ba", (6, 21, 20), (23, 20, 6), (True, False)),
    ("bshd,hde->bse", (2, 7, 3, 8), (3, 8, 40), (False, True)),
]


@pytest.mark.parametrize("rung", ["python", "native"])
@pytest.mark.parametrize(("subscripts", "left", "right", "constant"), PRODUCTS)
def test_products_agree_with_numpy(
    subscripts: str,
    left: tuple[int, ...],
    right: tuple[int, ...],
    constant: tuple[bool, bool],
    rung: str,
    assert_close: Close,
) -> None:
    operands = [_values(left, "float64", 1), _values(right, "float64", 2)]
    expected = np.einsum(subscripts, *operands)
    out = np.full(expected.shape, np.nan)
    problem = _problem(subscripts, operands, out, constant)
    # A depth below the contracted extent: later blocks add to what the first one stored.
    schedule = _prepacked(problem)
    schedule = replace(schedule, kc=16, mc=2 * schedule.mr, nc=3 * schedule.nr)
    _run(FAMILY.bind(problem, schedule, _no_dump), operands, out, rung)
    assert_close(out, expected, 50)


@pytest.mark.parametrize("rung", ["python", "native"])
@pytest.mark.parametrize(("dtype", "machine"), [("float32", AVX512), ("complex64", AVX2)])
def test_few_rows_stream_through_the_columns(
    dtype: str, machine: Machine, rung: str, assert_close: Close
) -> None:
    operands = [_values((2, 50), dtype, 1), _values((50, 61), dtype, 2)]
    expected = np.einsum("ij,jk->ik", *operands)
    out = np.full_like(expected, np.nan)
    problem = _problem("ij,jk->ik", operands, out, (False, True), machine)
    schedule = _prepacked(problem)
    assert nest_of(problem, schedule).is_streamed
    _run(FAMILY.bind(problem, schedule, _no_dump), operands, out, rung)
    assert_close(out, expected, 50)


def test_columns_are_not_read_again_by_tasks_of_few_rows() -> None:
    x, y, out = (np.empty(s, np.float32) for s in ((128, 384), (384, 3072), (128, 3072)))
    problem = _problem("ij,jk->ik", [x, y], out, (False, True))
    nest = nest_of(problem, _prepacked(problem))
    tasks = split(nest, AVX512, -(-128 // nest.block.mr), 3072 // nest.block.nr, 384, 1)
    assert tasks.rows == 1
    assert tasks.columns >= AVX512.cores


@settings(max_examples=settings().max_examples // 4)
@given(
    m=st.sampled_from([2, 3, 7, 12, 13, 25, 97]),
    n=st.sampled_from([12, 31, 33, 48, 49, 101]),
    k=st.sampled_from([4, 31, 385, 769]),
    layout=st.sampled_from(["ij,jk->ik", "ij,kj->ik", "ji,jk->ik", "ij,jk->ki"]),
    sign=st.sampled_from([1, -1, 2, -3]),
    dtype=st.sampled_from(["float32", "complex64", "int64"]),
    which=st.sampled_from([0, 1]),
)
def test_any_extents_and_strides_at_block_edges(
    m: int,
    n: int,
    k: int,
    layout: str,
    sign: int,
    dtype: str,
    which: int,
    assert_close: Close,
) -> None:
    sizes = {"i": m, "j": k, "k": n}
    left, right = layout.split("->")[0].split(",")
    step = abs(sign)
    made = [
        _values(tuple(sizes[letter] * step for letter in term), dtype, number)
        for number, term in enumerate((left, right))
    ]
    operands = [x[::sign, ::sign] for x in made]
    wide = {"complex64": np.complex128, "float32": np.float64}.get(dtype, np.int64)
    expected = np.einsum(layout, *(x.astype(wide) for x in operands))
    out = np.zeros(expected.shape, dtype)
    problem = _problem(layout, operands, out, (which == 0, which == 1), host())
    assume(FAMILY.propose(problem))
    _run(FAMILY.bind(problem, _prepacked(problem), _no_dump), operands, out, "native")
    assert_close(out, expected, k)


@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int32"])
@pytest.mark.parametrize("which", [0, 1])
def test_one_packed_array_serves_all_extents_of_the_other_operand(
    which: int, dtype: str, machine: Machine
) -> None:
    found = set()
    for extent in (2, 3, 8, 16, 31, 32, 100, 1000):
        sizes = (extent, 300) if which else (300, extent)
        x, y = np.empty((sizes[0], 512), dtype), np.empty((512, sizes[1]), dtype)
        out = np.empty(sizes, dtype)
        problem = _problem("ij,jk->ik", [x, y], out, (which == 0, which == 1), machine)
        bound = FAMILY.bind(problem, _prepacked(problem), _no_dump)
        ((position, packing),) = bound.packings
        assert bound.operands[position] == which
        found.add(packing)
    assert len(found) == 1


def test_panels_hold_points_one_after_another_and_zeros_beyond_the_run() -> None:
    x = np.arange(15, dtype=np.float32).reshape(3, 5)  # points, run
    packing = Packing((), (5, 1), (), ((3, 5),), 4, "float32", "float32")
    packed = packing.pack(x)
    assert packed.shape == (1, 2, 1, 3, 1, 4)
    np.testing.assert_array_equal(packed[0, 0, 0, :, 0], x[:, :4])
    np.testing.assert_array_equal(packed[0, 1, 0, :, 0, 0], x[:, 4])
    assert not packed[0, 1, 0, :, 0, 1:].any()
    assert packed.nbytes == packing.n_bytes
    assert packed.ctypes.data % 64 == 0


def test_complex_panels_hold_real_parts_then_imaginary_ones() -> None:
    x = _values((3, 4), "complex64", 1)
    packed = Packing((), (4, 1), (), ((3, 4),), 4, "complex64", "float32", True).pack(x)
    np.testing.assert_array_equal(packed[0, 0, 0, :, 0], x.real)
    np.testing.assert_array_equal(packed[0, 0, 0, :, 1], -x.imag)


def test_constants_that_repeat_their_elements_are_packed_at_each_call() -> None:
    x, y = np.ones((40, 50)), np.broadcast_to(np.ones(60), (50, 60))
    problem = _problem("ij,jk->ik", [x, y], np.empty((40, 60)), (False, True))
    assert all(not schedule.prepacked for schedule in FAMILY.propose(problem))


def test_a_schedule_cannot_have_an_operand_packed_before_that_changes() -> None:
    x, y, out = np.ones((40, 50)), np.ones((50, 60)), np.empty((40, 60))
    schedule = _prepacked(_problem("ij,jk->ik", [x, y], out, (False, True)))
    for constant in ((), (True, False)):
        with pytest.raises(ScheduleError, match="operand 1 has the columns and cannot be packed"):
            FAMILY.check(_problem("ij,jk->ik", [x, y], out, constant), schedule)
    with pytest.raises(ScheduleError, match="prepacked='both' is not allowed"):
        FAMILY.check(
            _problem("ij,jk->ik", [x, y], out, (False, True)), replace(schedule, prepacked="both")
        )
