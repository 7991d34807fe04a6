"""Results that are written past the caches: which ones are, and that they are right."""

import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einloom_compiler.codegen import jit, objects
from einloom_compiler.codegen.target import named_target
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import Problem, direct, parse, tiled
from einloom_compiler.families.base import Bound
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine, named_machine

Array = npt.NDArray[Any]

#: 512 kB of L2: results of more than 4 MB are streamed.
AVX2 = named_machine("x86-64-v3")


def _problem(rows: int, columns: int, pitch: int, dtype: str, machine: Machine = AVX2) -> Problem:
    """Return ``ij,i->ij`` whose output's rows are ``pitch`` elements apart."""
    space = IterationSpace((rows, columns), 2, ((columns, 1), (1, None), (pitch, 1)), ("i", "j"))
    return Problem(space, Arithmetics((dtype,) * 2, dtype, dtype, (False,) * 2), machine)


def _streams(problem: Problem) -> bool:
    (schedule,) = direct.FAMILY.propose(problem)
    return "is_streamed=True" in str(schedule)


def test_large_results_in_long_runs_are_streamed() -> None:
    many = 1 << 24
    assert _streams(_problem(many // 4096, 4096, 4096, "float32"))
    assert _streams(_problem(many // 512, 512, 512, "float32"))
    assert not _streams(_problem(many // 64, 64, 64, "float32"))  # short runs
    assert not _streams(_problem(64, 4096, 4096, "float32"))  # stays in the cache
    assert not _streams(_problem(many // 4096, 4096, 4096, "complex64"))  # may lie across lines


@cache
def _schedule(lanes: int) -> Any:
    return parse(
        f"Direct('ij', (Tile('j', 40), Parallelize(2), Vectorize(lanes={lanes}, is_streamed=True)))"
    )


def _bound(problem: Problem) -> Bound:
    itemsize = np.dtype(problem.arithmetics.compute).itemsize
    schedule = _schedule(problem.machine.simd_bits // (8 * itemsize))
    direct.FAMILY.check(problem, schedule)
    return direct.FAMILY.bind(problem, schedule, None)


@given(
    st.sampled_from(["float32", "float64", "int64"]),
    st.tuples(st.integers(1, 3), st.integers(2, 90)),
    st.integers(0, 17),
    st.integers(0, 16),
    st.booleans(),
)
def test_lines_are_whole_wherever_rows_begin(
    dtype: str, shape: tuple[int, int], gap: int, start: int, is_compiled: bool
) -> None:
    """Elements around the output stay as they are, at every phase of its rows in cache lines."""
    rows, columns = shape
    host = Machine(2, 256, 16, 32 << 10, 512 << 10)
    pitch = columns + gap
    bound = _bound(_problem(rows, columns, pitch, dtype, host))
    x = np.arange(rows * columns, dtype=dtype).reshape(shape)
    y = np.arange(1, rows + 1, dtype=dtype)
    memory = np.full(start + rows * pitch + 40, 7, dtype)
    out = np.lib.stride_tricks.as_strided(
        memory[start:], shape, (pitch * memory.itemsize, memory.itemsize)
    )
    expected = memory.copy()
    for row in range(rows):
        at = start + row * pitch
        expected[at : at + columns] = x[row] * y[row]
    operands = [(x, y)[n] for n in bound.operands]
    if is_compiled:
        addresses = [array.__array_interface__["data"][0] for array in (*operands, out)]
        block = np.array([*addresses, *bound.numbers, 0], np.int64)
        for lo, hi in pairwise(sorted({0, bound.total // 2, bound.total})):
            jit.serial(bound.kernel.entry)(block.ctypes.data, 0, lo, hi)
    else:
        bound.kernel.run_python([*operands, out], bound.numbers, total=bound.total)
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_the_stores_pass_by_the_caches(level: str) -> None:
    machine = named_machine(level)
    problem = _problem(4096, 4096, 4096, "float32", machine)
    (schedule,) = direct.FAMILY.propose(problem)
    bound = direct.FAMILY.bind(problem, schedule, None)
    asm = objects.print_assembly(bound.kernel.text, "kernel", named_target(level))
    assert "vmovntps" in asm
    assert re.search(r"\b(sfence|mfence|lock)\b", asm)  # each waits for streamed stores


def test_only_runs_of_maps_are_streamed() -> None:
    space = IterationSpace((64, 64), 1, ((64, 1), (1, None)), ("i", "j"))
    problem = Problem(space, Arithmetics(("float32",), "float32", "float32", (False,)), AVX2)
    text = "Direct('ij', (Tile('j', 32), Parallelize(1), Vectorize(8, 1, True)))"
    schedule: Any = parse(text)
    with pytest.raises(ScheduleError, match="only runs of a map's output are streamed"):
        direct.FAMILY.check(problem, schedule)


# --- blocks that are gathered before ---------------------------------------------------------

#: Small products, ``bij,bjk->bik`` and, without j, ``bi,bk->bik``: dtype, i, j and k, the schedule.
GATHERED: dict[str, tuple[str, int, int, int, str]] = {
    "lanes within a task": (
        *("float64", 5, 7, 11),
        "Tiled('k', 4, 1, 'i', (5,), 'ijk', True)",
    ),
    "lanes along tasks": ("float32", 33, 0, 75, "Tiled('k', 8, 8, is_streamed=True)"),
    "complex": ("complex64", 4, 3, 5, "Tiled('k', 4, 2, 'i', (2,), 'ijk', True)"),
    "prefetched": ("float64", 5, 7, 11, "Tiled('k', 4, 1, 'i', (3,), 'ijk', True, ahead=2)"),
}


def _product(
    n: int, case: tuple[str, int, int, int, str], pitch: int = 0, machine: Machine = AVX2
) -> Problem:
    """Return the product of ``n`` pairs, whose results are ``pitch`` elements apart."""
    dtype, i, j, k, _ = case
    pitch = pitch or i * k
    extents: tuple[int, ...] = (n, i, k, j)
    labels: tuple[str, ...] = ("b", "i", "k", "j")
    columns: tuple[tuple[int | None, ...], ...]
    columns = ((i * j, j, None, 1), (j * k, None, 1, k), (pitch, k, 1, None))
    if not j:
        extents, labels = extents[:3], labels[:3]
        columns = ((i, 1, None), (k, None, 1), (pitch, k, 1))
    space = IterationSpace(extents, 3, columns, labels)
    return Problem(space, Arithmetics((dtype,) * 2, dtype, dtype, (False,) * 2), machine)


@pytest.mark.parametrize("case", GATHERED.values(), ids=GATHERED)
def test_large_batches_of_products_are_streamed(case: tuple[str, int, int, int, str]) -> None:
    def streams(problem: Problem) -> bool:
        (schedule,) = tiled.FAMILY.propose(problem)
        return schedule.is_streamed

    _, i, _, k, _ = case
    n = (1 << 24) // (i * k)
    assert streams(_product(n, case))
    assert not streams(_product(100, case))
    assert not streams(_product(n, case, pitch=i * k + 1))  # is no run
    assert not streams(_product(1 << 22, ("float32", 1, 0, 3, "")))  # are runs of 12 bytes


def test_batches_that_a_third_level_cache_holds_are_not_streamed() -> None:
    machine = replace(AVX2, l3_bytes=16 << 20)

    def streams(n: int, name: str) -> bool:
        (schedule,) = tiled.FAMILY.propose(_product(n, GATHERED[name], machine=machine))
        return bool(schedule.is_streamed)

    assert not streams(20_000, "lanes within a task")
    assert streams(40_000, "lanes within a task")
    assert streams(2_000, "lanes along tasks")  # hardly read


def test_a_copy_of_runs_is_walked_through_in_the_order_of_its_result() -> None:
    """No row of one point stands in a task's place, whether the copy is streamed or not."""
    columns = ((98304, 64, 768, 1), (98304, 8192, 64, 1))
    space = IterationSpace((32, 12, 128, 64), 4, columns, ("a", "c", "b", "d"))
    for l3_bytes in (0, 16 << 20):
        machine = replace(AVX2, l3_bytes=l3_bytes)
        problem = Problem(space, Arithmetics(("float32",), "float32", "float32", (False,)), machine)
        (schedule,) = tiled.FAMILY.propose(problem)
        assert (schedule.lanes, schedule.rows, schedule.is_streamed) == ("d", "", not l3_bytes)


@pytest.mark.parametrize("case", GATHERED.values(), ids=GATHERED)
def test_gathered_blocks_are_written_whole_and_alone(case: tuple[str, int, int, int, str]) -> None:
    dtype, i, j, k, text = case
    schedule: Any = parse(text)
    rng = np.random.default_rng(5)
    for n, start, is_compiled in ((1, 0, True), (2, 3, False), (61, 5, True), (160, 16, True)):
        problem = _product(n, case)
        tiled.FAMILY.check(problem, schedule)
        bound = tiled.FAMILY.bind(problem, schedule, None)
        shapes = ((n, i, j), (n, j, k)) if j else ((n, i), (n, k))
        operands = [rng.integers(-9, 9, shape).astype(dtype) for shape in shapes]
        memory = np.full(start + n * i * k + 40, 7, dtype)
        out = memory[start : start + n * i * k].reshape(n, i, k)
        expected = memory.copy()
        product = operands[0] @ operands[1] if j else operands[0][:, :, None] * operands[1][:, None]
        expected[start : start + n * i * k] = product.reshape(-1)
        given = [operands[number] for number in bound.operands]
        if is_compiled:
            scratch = np.empty(bound.kernel.scratch_bytes + 64, np.uint8)
            at = -(-scratch.ctypes.data // 64) * 64
            block = np.array([*(x.ctypes.data for x in (*given, out)), *bound.numbers, at])
            for lo, hi in pairwise(sorted({0, bound.total // 3, bound.total})):
                jit.serial(bound.kernel.entry)(block.ctypes.data, 0, lo, hi)
        else:
            bound.kernel.run_python([*given, out], bound.numbers, total=bound.total)
        np.testing.assert_array_equal(memory, expected)


def test_operands_of_large_batches_are_prefetched() -> None:
    def proposed(n: int, *case: Any, machine: Machine = AVX2) -> Any:
        (schedule,) = tiled.FAMILY.propose(_product(n, (*case, ""), machine=machine))
        return schedule.ahead

    assert proposed(20_000, "float64", 23, 23, 23) == 1
    assert proposed(20_000, "float64", 5, 7, 11) == 7
    assert proposed(20_000, "complex64", 16, 16, 16) == 2
    assert proposed(200, "float64", 23, 23, 23) == 0  # stay in the second-level cache
    shared = replace(AVX2, l3_bytes=16 << 20)
    assert proposed(20_000, "float64", 5, 7, 11, machine=shared) == 0  # in the third-level one
    assert proposed(90_000, "float32", 9, 9, 9) == 0  # short
    assert proposed(90_000, "float32", 8, 24, 8) == 0  # many lines at once
    assert proposed(1 << 20, "float32", 33, 0, 75) == 0  # sums nothing


def test_operands_that_do_not_follow_each_other_are_not_prefetched() -> None:
    problem = _product(20_000, ("float64", 23, 23, 23, ""))
    first, (_, *others), out = problem.space.strides
    space = replace(problem.space, strides=(first, (600, *others), out))
    (schedule,) = tiled.FAMILY.propose(Problem(space, problem.arithmetics, AVX2))
    assert schedule.ahead == 0
    by_hand: Any = parse("Tiled('k', 4, 1, 'i', (4,), ahead=1)")
    with pytest.raises(ScheduleError, match="part of a task is known"):
        tiled.FAMILY.check(problem, by_hand)


def test_a_task_prefetches_all_lines_of_a_later_one() -> None:
    case = GATHERED["prefetched"]
    schedule: Any = parse(case[-1])
    source = tiled.FAMILY.bind(_product(9, case), schedule, None).kernel.source
    # Six blocks a task; 35 and 77 elements of 8 bytes are 5 and 10 lines.
    assert "bprefetch4(1, 1, x0, x0_ahead, 8)" in source
    assert "bprefetch4(2, 1, x1, x1_ahead, 8)" in source
    assert "x0_ahead = i * x0_i + 70\n" in source
    assert "x1_ahead += 16\n" in source


def test_only_blocks_that_follow_each_other_are_gathered() -> None:
    case = GATHERED["lanes within a task"]
    schedule: Any = parse(case[-1])
    with pytest.raises(ScheduleError, match="follow each other"):
        tiled.FAMILY.check(_product(9, case, pitch=56), schedule)
