"""Blocks whose vectors lie along rows and short lanes as along one index."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from einloom_compiler.codegen import jit
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import Problem, choose, parse
from einloom_compiler.families.tiled import FAMILY
from einloom_compiler.ir.scalar import Value, combined
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import named_machine
from einloom_compiler.schedule.tiled_schedule import TiledSchedule

Array = npt.NDArray[Any]
AVX2 = named_machine("x86-64-v3")


def _problem(terms: str, extents: dict[str, int], dtype: str, *, step: int = 1) -> Problem:
    """Return the product of operands with these indices of ``aif``, in C order.

    Where ``step`` is given, the operands without f have elements so far apart.
    """

    def column(term: str) -> tuple[int | None, ...]:
        found: dict[str, int] = {}
        size = 1 if "f" in term else step
        for index in reversed(term):
            found[index] = size
            size *= extents[index]
        return tuple(found.get(index) for index in extents)

    inputs = terms.split(",")
    output = "".join(extents)
    columns = (*map(column, inputs), column(output))
    space = IterationSpace(tuple(extents.values()), len(extents), columns, tuple(output))
    n = len(inputs)
    return Problem(space, Arithmetics((dtype,) * n, dtype, dtype, (False,) * n), AVX2)


def _proposed(problem: Problem) -> TiledSchedule:
    (schedule,) = FAMILY.propose(problem)
    return schedule


#: Terms and a schedule for rows of so many points, of which the last ones do not fill a block.
CASES: dict[str, tuple[str, int, str, int]] = {
    "one element a row": ("aif,ai", 3, "float32", 1),
    "elements apart, and one for all": ("ai,aif,a", 5, "float64", 2),
    "rows that recur, of whole vectors": ("f,aif", 4, "float64", 1),
    "rows that recur": ("ai,f", 3, "int32", 1),
    "more than a vector": ("ai,aif", 11, "float32", 1),
}


def _check(case: tuple[str, int, str, int], n: int, *, is_compiled: bool, extra: str = "") -> None:
    terms, width, dtype, step = case
    extents = {"a": 2, "i": n, "f": width}
    problem = _problem(f"{terms},{extra}" if extra else terms, extents, dtype, step=step)
    if extra:
        *columns, added, target = problem.space.strides
        space = replace(problem.space, strides=(*columns, target), extras=(added,))
        body = combined("maximum", Value(0), Value(1))
        kept = replace(problem.arithmetics, inputs=(dtype,) * len(columns), epilogue=body)
        kept = replace(kept, conjugated=(False,) * len(columns), extras=(dtype,))
        problem = Problem(space, kept, AVX2)
    lanes = 32 // np.dtype(dtype).itemsize
    schedule = TiledSchedule("f", lanes, width, "i", (lanes,), "f", joins_rows=True)
    FAMILY.check(problem, schedule)
    bound = FAMILY.bind(problem, schedule, None)
    rng = np.random.default_rng(n)
    operands: list[Array] = []
    values: list[Array] = []
    for term in (*terms.split(","), *([extra] if extra else [])):
        shape = [extents[index] for index in term]
        apart = 1 if "f" in term else step
        memory = rng.integers(-9, 9, [*shape, apart]).astype(dtype)
        operands.append(memory)
        values.append(memory[..., 0])
    *factors, last = values
    product = np.einsum(f"{terms}->aif", *(factors if extra else values))
    expected = np.maximum(product, last) if extra else product
    memory = np.full(product.size + 80, 7, dtype)
    out = memory[40 : 40 + product.size]
    given = [operands[number] for number in bound.operands]
    if is_compiled:
        block = np.array([*(x.ctypes.data for x in (*given, out)), *bound.numbers, 0])
        for lo, hi in pairwise(sorted({0, bound.total // 3, bound.total})):
            jit.serial(bound.kernel.entry)(block.ctypes.data, 0, lo, hi)
    else:
        flat = [x.reshape(-1) for x in given]
        bound.kernel.run_python([*flat, out], bound.numbers, total=bound.total)
    np.testing.assert_array_equal(out.reshape(product.shape), expected)
    assert (memory[:40] == 7).all()
    assert (memory[40 + product.size :] == 7).all()


@pytest.mark.thinned(2)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_joined_rows_are_computed_whole_and_alone(case: tuple[str, int, str, int]) -> None:
    for n in (1, 7, 8, 9, 31):
        _check(case, n, is_compiled=False)
    for n in (1, 2, 4, 5, 7, 8, 9, 24, 31):
        _check(case, n, is_compiled=True)


def test_an_epilogue_is_computed_from_what_is_spread() -> None:
    for is_compiled in (False, True):
        _check(CASES["one element a row"], 13, is_compiled=is_compiled, extra="f")


@pytest.mark.parametrize("terms", ["aif,ai", "ai,f", "aif,f"])
def test_maps_of_short_rows_join_them(terms: str) -> None:
    problem = _problem(terms, {"a": 1, "i": 5000, "f": 3}, "float32")
    schedule = _proposed(problem)
    assert (schedule.joins_rows, schedule.rows, schedule.counts) == (True, "i", (8,))
    assert (schedule.width, schedule.vectors, schedule.static) == (8, 3, "f")
    assert choose(problem)[1] == schedule
    assert parse(str(schedule)) == schedule


def test_rows_are_joined_where_it_helps_only() -> None:
    def joins(terms: str, extents: dict[str, int], dtype: str = "float32") -> bool:
        return _proposed(_problem(terms, extents, dtype)).joins_rows

    assert not joins("aif,ai", {"a": 9, "i": 5000, "f": 8})  # whole vectors
    assert not joins("aif,ai", {"a": 9, "i": 5000, "f": 17})  # long
    assert not joins("aif,ai", {"a": 9, "i": 5, "f": 3})  # less than a block
    assert not joins("aif,f", {"a": 9, "i": 5000, "f": 11})  # recurs, longer than a vector
    assert not joins("aif,ai", {"a": 9, "i": 5000, "f": 3}, "complex64")
    problem = _problem("aif,ai", {"a": 9, "i": 5000, "f": 3}, "float32")
    changing = replace(problem.space, open=frozenset({2}))
    assert not _proposed(Problem(changing, problem.arithmetics, AVX2)).joins_rows


def test_what_does_not_lie_along_one_run_is_not_joined() -> None:
    schedule = TiledSchedule("f", 8, 3, "i", (8,), "f", joins_rows=True)
    problem = _problem("aif,ai", {"a": 2, "i": 50, "f": 3}, "float32")
    (first, second, out) = problem.space.strides
    apart = (200, 4, 1)
    for columns in ((apart, second, out), (first, second, apart)):
        space = replace(problem.space, strides=columns)
        other = Problem(space, problem.arithmetics, AVX2)
        with pytest.raises(ScheduleError, match="follow each other in memory"):
            FAMILY.check(other, schedule)
        assert not _proposed(other).joins_rows
    with pytest.raises(ScheduleError, match="not a vector of rows"):
        FAMILY.check(problem, replace(schedule, counts=(4,)))
    with pytest.raises(ScheduleError, match="joins_rows=1 is not allowed"):
        FAMILY.check(problem, replace(schedule, joins_rows=1))  # type: ignore[arg-type]
