"""Maps whose results are written past the caches: when they are, and that they are right."""

import re
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
from einloom_compiler.families import Problem, direct, parse
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
