"""The family of rows: reductions along indices, such as softmax and norms, in passes along a row.

How a row is walked through is chosen by predicted time. Vectors run along the row where its
elements are neighbours and many; else across rows, where those are neighbours, or where rows are so
short that gathering one element of each is less work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, prod

import numpy as np

from einloom_compiler.codegen import jit
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families.base import Bound, Dump, Facts, Family
from einloom_compiler.ir.rows import RowsNest, is_shifted_sum, print_rows, verify_rows
from einloom_compiler.ir.scalar import Combined, Mapped, Scalar, Value, parts_of, positions_of
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.rows import RowsExpr, RowsSchedule, lower_rows, rows_numbers
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.text import require_integer

#: Cycles of a vector's parts: instructions, functions made of them, a division.
_SIMPLE, _FUNCTION, _DIVISION = 0.5, 10.0, 16.0
#: Cycles for one lane that is gathered or scattered.
_GATHERED = 1.0
#: Cycles for a pass along one row besides its vectors: the masked rest, the lanes joined.
_PASS = 25.0
#: Cycles of a scalar point's access and of a function of scalars, whose latency shows.
_SCALAR = 3.0
#: Vectors at once, at most.
_MOST_COPIES = 16
#: Maps that are a few instructions.
_MAPS = frozenset(("linear", "negative", "abs", "square", "add", "multiply", "maximum", "minimum"))


@dataclass(frozen=True)
class RowsProblem:
    """Reductions along rows in memory, and the machine that computes them.

    Attributes:
        expr: what is computed.
        space: its indices, with extents and strides.
        machine: the target.
    """

    expr: RowsExpr
    space: IterationSpace
    machine: Machine

    @property
    def points(self) -> int:
        """Number of points of all rows."""
        return prod(self.space.extents)

    @property
    def facts(self) -> Facts:
        """What tuning needs to know."""
        space = self.space
        return Facts(
            tuple(str(number) for number in range(len(space.extents))),
            space.extents,
            space.n_output,
            space.strides,
            (*self.expr.inputs, self.expr.result),
            str(self.expr),
        )


@dataclass(frozen=True, slots=True)
class Rows(Family):
    """The family; see the module."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "rows"

    @property
    def schedule_type(self) -> type[RowsSchedule]:
        """The dataclass of its schedules."""
        return RowsSchedule

    def check(self, problem: RowsProblem, schedule: RowsSchedule) -> None:
        """Raise unless the schedule is legal."""
        space, order, vector = problem.space, schedule.order, schedule.vector
        numbers = range(len(space.extents))
        kept = tuple(n < space.n_output for n in order) if sorted(order) == [*numbers] else ()
        if len(order) != len(numbers) or kept != tuple(sorted(kept, reverse=True)):
            raise ScheduleError(
                f"{schedule}: order must hold each of the indices 0 to {len(numbers) - 1} once, "
                f"those below {space.n_output}, which number the rows, before the others"
            )
        vectors = {each.vector: each for each in _shapes(problem.expr, space, problem.machine)}
        if vector not in vectors:
            known = ", ".join(map(str, vectors))
            raise ScheduleError(
                f"{schedule}: vectors do not run along index {vector} of these operands; vector "
                f"may be {known}"
            )
        if schedule.lanes != vectors[vector].lanes:
            raise ScheduleError(
                f"{schedule}: vectors of this machine have lanes={vectors[vector].lanes} here"
            )
        group = [
            n
            for n in order
            if vector is not None and (n < space.n_output) == (vector < space.n_output)
        ]
        if group and group[-1] != vector:
            raise ScheduleError(
                f"{schedule}: the index that vectors run along, {vector}, must be the innermost of "
                "the rows', or of those along them"
            )
        require_integer("Rows", "copies", schedule.copies, 1, _MOST_COPIES if group else 1)

    def neighbours(self, problem: RowsProblem, schedule: RowsSchedule) -> tuple[RowsSchedule, ...]:
        """Return schedules with more or fewer vectors at once."""
        if schedule.vector is None:
            return ()
        copies = (schedule.copies * 2, schedule.copies // 2)
        return tuple(replace(schedule, copies=n) for n in copies if n)

    def propose(self, problem: RowsProblem, below: float = inf) -> tuple[RowsSchedule, ...]:
        """Return a schedule for each index that vectors may run along."""
        del below
        return tuple(_shapes(problem.expr, problem.space, problem.machine))

    def seconds(self, problem: RowsProblem, schedule: RowsSchedule) -> float:
        """Return the predicted time on one thread."""
        nest = lower_rows(problem.expr, problem.space, schedule)
        return _predict(nest, problem.space, schedule, problem.machine)

    def bind(self, problem: RowsProblem, schedule: RowsSchedule, dump: Dump) -> Bound:
        """Return the kernel, bound to the space's memory."""
        expr, space = problem.expr, problem.space
        nest = lower_rows(expr, space, schedule)
        verify_rows(nest, "rows")
        if dump is not None:
            dump("rows", print_rows(nest))
        return Bound(
            kernel=jit.build(nest),
            schedule=schedule,
            operands=tuple(range(len(expr.terms))),
            numbers=rows_numbers(nest, space, schedule),
            total=nest.parallel_extent([space.extents[n] for n in schedule.order]),
            points=prod(space.extents),
            seconds=self.seconds(problem, schedule),
        )


FAMILY = Rows()


def _shapes(expr: RowsExpr, space: IterationSpace, machine: Machine) -> list[RowsSchedule]:
    """Return the ways through a space that may be the fastest: one for each vector's index."""
    order = _order(space, None)
    found = [RowsSchedule(order)]
    compute = np.dtype(arithmetic(expr.compute).compute)
    lanes = min(16, machine.simd_bits // (8 * compute.itemsize))
    if expr.compute == "bool" or compute.kind == "c" or lanes < 2:
        return found
    dtypes = (*expr.inputs, expr.result)
    is_scan = any(reduction.is_running for reduction in expr.reductions)
    for number in range(space.n_output if is_scan else len(space.extents)):
        touched = {
            dtype
            for dtype, column in zip(dtypes, space.strides, strict=True)
            if column[number] is not None
        }
        if all(_has_vectors(dtype, expr.compute) for dtype in touched):
            copies = _copies(expr, space, number, lanes, machine)
            found.append(RowsSchedule(_order(space, number), number, lanes, copies))
    return found


def _copies(
    expr: RowsExpr, space: IterationSpace, number: int, lanes: int, machine: Machine
) -> int:
    """Return how many vectors along an index are in work at once.

    Along a row, accumulators hide the latency of additions; functions have enough to do of their
    own. Across rows, long runs of neighbours feed the caches: softmax of 12 x 512 x 512 along its
    middle axis took 7.1, 5.6, 3.2 and 2.8 ms with 1, 2, 4 and 8 vectors (AVX-512, 2026-11).
    """
    has_function = any(_is_function(p) for r in expr.reductions for p in parts_of(r.body))
    most = machine.n_registers // 8
    if number >= space.n_output:
        return most // 2 if has_function else most
    copies = 2 * most if machine.n_registers >= 32 or not has_function else most
    extent = space.extents[number]
    if is_open(extent):
        return most
    others = prod(space.extents[: space.n_output]) // max(1, extent)
    while copies > 1 and (
        copies * lanes > extent or others * extent < 2 * machine.cores * copies * lanes
    ):
        copies //= 2
    return copies


def _has_vectors(dtype: str, compute: str) -> bool:
    """Say whether vectors of a dtype are read and written as vectors of the compute dtype."""
    return dtype == compute or (arithmetic(dtype).is_half and compute == "float32")


def _order(space: IterationSpace, vector: int | None) -> tuple[int, ...]:
    """Return the index numbers: rows in the output's order, then along them in memory's."""
    numbers = range(len(space.extents))
    reduced = [n for n in numbers if n >= space.n_output]
    main = max(
        space.strides[:-1],
        key=lambda column: prod(
            n for n, step in zip(space.extents, column, strict=True) if step is not None
        ),
    )
    reduced.sort(key=lambda n: (n == vector, -abs(main[n] or 0)))
    kept = [n for n in numbers if n < space.n_output]
    kept.sort(key=lambda n: n == vector)
    return (*kept, *reduced)


def _predict(nest: RowsNest, space: IterationSpace, shape: RowsSchedule, machine: Machine) -> float:
    """Return the predicted seconds of a nest on one thread."""
    extents = dict(zip(nest.indices, (space.extents[n] for n in shape.order), strict=True))
    rows = prod(extents[index] for index in nest.kept)
    points = prod(extents[index] for index in nest.reduced)
    if not rows * points:
        return 0.0
    passes = [tuple(nest.reductions[n].body for n in numbers) for numbers in nest.passes]
    each = sum(_cycles(nest, bodies) for bodies in passes)
    if nest.stores_points and nest.reduced:
        last = (nest.last_body, *(nest.reductions[n].body for n in nest.running))
        each += _cycles(nest, last, is_last=True)
    n_passes = len(passes) + (nest.stores_points and bool(nest.reduced))
    steps = points
    if nest.vector is not None and nest.is_across:
        rows = rows // extents[nest.vector] * ceil(extents[nest.vector] / nest.lanes)
    elif nest.vector is not None:
        steps = points // extents[nest.vector] * ceil(extents[nest.vector] / nest.lanes)
    cycles = rows * (steps * each + n_passes * _PASS)
    moved = sum(
        prod(n for n, step in zip(space.extents, column, strict=True) if step is not None)
        * np.dtype(arithmetic(access.dtype).storage).itemsize
        for access, column in zip((*nest.inputs, nest.output), space.strides, strict=True)
    )
    return max(cycles / machine.hertz, moved / machine.bandwidth(moved))


def _cycles(nest: RowsNest, bodies: tuple[Scalar, ...], is_last: bool = False) -> float:
    """Return the cycles of one vector, or one scalar, in a pass that computes these bodies."""
    parts = {part for body in bodies for part in parts_of(body)}
    total = 0.0
    for part in parts:
        if positions_of(part) <= nest.row_values:
            continue  # computed once a row
        match part:
            case Combined("divide", (_, divisor)) if not is_shifted_sum(nest, divisor):
                total += _DIVISION
            case Mapped() | Combined():
                total += _FUNCTION if _is_function(part) else _SIMPLE
            case _:
                pass
    accesses = [nest.output] if is_last else []
    accesses += [nest.inputs[n] for n in range(len(nest.inputs)) if _uses(parts, n)]
    for access in accesses:
        if nest.vector is None:
            total += _SCALAR
        elif nest.vector in access.indices:
            is_unit = access.unit == nest.vector
            total += 2 * _SIMPLE if is_unit else nest.lanes * _GATHERED
    return total


def _uses(parts: set[Scalar], position: int) -> bool:
    return any(part is Value(position) for part in parts)


def _is_function(part: Scalar) -> bool:
    if isinstance(part, Mapped):
        return part.map.function not in _MAPS
    return isinstance(part, Combined) and part.function == "power"
