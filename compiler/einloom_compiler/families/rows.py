"""The family of rows: reductions along indices, such as softmax and norms, in passes along a row.

How a row is walked through is chosen by predicted time. Vectors run along the row where its
elements are neighbours and many; else across rows, where those are neighbours, or where rows are so
short that gathering one element of each is less work. Where rows are neighbours, kilobytes of them
are computed together, their accumulators in scratch: float32 along the first axis took, on one core
(Zen 3, 2026-11), by blocks of 32 rows and so: max of 1024 x 1024 0.16 and 0.06 ms, of 2048 x 2048
7.0 and 0.7 ms; softmax of 1024 x 1024 2.5 and 0.8 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, inf, prod

from einloom_compiler.codegen import jit
from einloom_compiler.dtypes import storage_bytes
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families.base import Bound, Dump, Facts, Family
from einloom_compiler.ir.rows import RowsNest, is_shifted_sum, print_rows, verify_rows
from einloom_compiler.ir.scalar import Combined, Mapped, Scalar, Value, parts_of, positions_of
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.rows import RowsExpr, RowsSchedule, lower_rows, rows_numbers
from einloom_compiler.schedule import streams
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.rows import is_function, is_streamable, shapes
from einloom_compiler.schedule.text import require_integer

#: Cycles of a vector's parts: instructions, functions made of them, a division.
_SIMPLE, _FUNCTION, _DIVISION = 0.5, 10.0, 6.0
#: Cycles for one lane that is gathered or scattered.
_GATHERED = 1.0
#: Cycles for a pass along one row besides its vectors: the masked rest, the lanes joined.
_PASS = 25.0
#: Cycles of a scalar point's access and of a function of scalars, whose latency shows.
_SCALAR = 3.0
#: Cycles for entering the loop over a row of accumulators.
_ENTRY = 8.0
#: Cycles by which a short run of neighbours is slower than the next vectors of a long one.
_RUN = 3.0
#: Lines of memory that it costs besides to begin one where no cache holds the operand: 2048 x 2048
#: float32 in runs of 128 bytes took 53 ns a run (Zen 3, 2026-11).
_RUN_LINES, _LINE = 8.0, 64
#: Bytes of a run that is as good as any.
_LONG_RUN = 4096
#: Lanes that LLVM's vectors are worth where it is left to find some along a row of accumulators.
_FOUND_LANES = 4
#: Vectors at once, at most.
_MOST_COPIES = 16
#: Accumulators of a row in scratch, at most.
_MOST_ROW = 1 << 16


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

    name = "rows"
    schedule_type = RowsSchedule

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
        known_shapes = shapes(problem.expr, space, problem.machine)
        same = [each for each in known_shapes if bool(each.row) == bool(schedule.row)]
        vectors = {each.vector: each for each in same}
        if vector not in vectors:
            known = ", ".join(map(str, vectors))
            where = f" with row={schedule.row}" if schedule.row else ""
            raise ScheduleError(
                f"{schedule}: vectors do not run along index {vector} of these operands{where}; "
                + (f"vector may be {known}" if known else "give row=0")
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
        has_copies = bool(group or schedule.row)
        require_integer("Rows", "copies", schedule.copies, 1, _MOST_COPIES if has_copies else 1)
        _check_row(schedule)
        is_streamable_here = is_streamable(problem.expr, space, vector)
        most = _MOST_COPIES if is_streamable_here and schedule.copies == 1 else 1
        require_integer("Rows", "streams", schedule.streams, 1, most)

    def neighbours(self, problem: RowsProblem, schedule: RowsSchedule) -> tuple[RowsSchedule, ...]:
        """Return schedules with more or fewer vectors at once, rows in scratch or side by side."""
        if schedule.streams > 1:
            counts = (schedule.streams * 2, schedule.streams // 2)
            return tuple(replace(schedule, streams=n) for n in counts if 1 < n <= _MOST_COPIES)
        if schedule.vector is None and not schedule.row:
            return ()
        copies = (schedule.copies * 2, schedule.copies // 2)
        found = tuple(replace(schedule, copies=n) for n in copies if 0 < n <= _MOST_COPIES)
        if not schedule.row:
            return found
        for row in (schedule.row * 2, schedule.row // 2):
            if 0 < row <= _MOST_ROW and not row % schedule.lanes:
                found += (replace(schedule, row=row),)
        return (*found, replace(schedule, apart=not schedule.apart))

    def propose(self, problem: RowsProblem, below: float = inf) -> tuple[RowsSchedule, ...]:
        """Return the schedules of :mod:`einloom_compiler.schedule.rows`."""
        del below
        return tuple(shapes(problem.expr, problem.space, problem.machine))

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


def _check_row(schedule: RowsSchedule) -> None:
    """Raise unless the accumulators in scratch, if any, are some that can be."""
    require_integer("Rows", "row", schedule.row, 0, _MOST_ROW)
    if schedule.row % schedule.lanes:
        raise ScheduleError(f"{schedule}: row must be a multiple of lanes={schedule.lanes}, or 0")
    if not isinstance(schedule.apart, bool) or (schedule.apart and not schedule.row):
        raise ScheduleError(
            f"{schedule}: apart={schedule.apart!r} is not allowed; give False, or True with row"
        )


def _predict(nest: RowsNest, space: IterationSpace, shape: RowsSchedule, machine: Machine) -> float:
    """Return the predicted seconds of a nest on one thread."""
    extents = dict(zip(nest.indices, (space.extents[n] for n in shape.order), strict=True))
    rows = prod(extents[index] for index in nest.kept)
    points = prod(extents[index] for index in nest.reduced)
    if not rows * points:
        return 0.0
    bodies = [tuple(nest.reductions[n].body for n in numbers) for numbers in nest.passes]
    each = sum(_cycles(nest, body) for body in bodies)
    if nest.stores_points and nest.reduced:
        bodies.append((nest.last_body, *(nest.reductions[n].body for n in nest.running)))
        each += _cycles(nest, bodies[-1], is_stored=True)
    if nest.row:
        vectors = ceil(extents[nest.kept[-1]] / (nest.lanes if nest.vector else _FOUND_LANES))
        others = rows // extents[nest.kept[-1]]
        entries = others * ceil(extents[nest.kept[-1]] / nest.row) * len(bodies)
        rows = others * vectors
        totals = len(nest.reductions) * 4 * _SIMPLE + sum(
            _row_cycles(nest, body) for body in bodies
        )
        cycles = rows * (points * (each + totals / nest.copies) + totals)
        cycles += entries * (2 * _PASS + _ENTRY * points / nest.copies)
    elif nest.is_across:
        extent = extents[str(nest.vector)]
        rows = rows // extent * ceil(extent / nest.lanes)
        cycles = rows * (points * (each + _RUN * len(bodies) / nest.copies) + len(bodies) * _PASS)
    elif nest.vector is not None:
        steps = points // extents[nest.vector] * ceil(extents[nest.vector] / nest.lanes)
        cycles = rows * (steps * each + len(bodies) * _PASS)
    else:
        cycles = rows * (points * each + len(bodies) * _PASS)
    return max(cycles / machine.hertz, _memory_seconds(nest, space, extents, len(bodies), machine))


def _memory_seconds(
    nest: RowsNest,
    space: IterationSpace,
    extents: Mapping[str, int],
    n_passes: int,
    machine: Machine,
) -> float:
    """Return the seconds that the memory takes to deliver what the passes read and write."""
    sizes = [
        space.n_elements(column) * storage_bytes(access.dtype)
        for access, column in zip((*nest.inputs, nest.output), space.strides, strict=True)
    ]
    moved = sum(sizes)
    if moved <= machine.l2_bytes:
        return moved / machine.bandwidth(moved)
    main = nest.inputs[max(range(len(nest.inputs)), key=sizes.__getitem__)]
    itemsize = storage_bytes(main.dtype)
    # Rows that are walked through together, and whether they, or a row's points, are neighbours.
    together = min(nest.block, extents[nest.blocked]) if nest.blocked else 1
    innermost = nest.blocked or nest.vector or (nest.reduced or nest.kept)[-1]
    run = together * itemsize if nest.blocked in main.indices else _LONG_RUN
    if nest.streams > 1:
        innermost, run = str(nest.vector), _LONG_RUN
    if innermost in main.indices and main.unit != innermost:
        run = itemsize
    lines = 1 + _RUN_LINES * _LINE / run if run < _LONG_RUN else 1.0
    is_anew = 2 * together * prod(extents[n] for n in nest.reduced) * itemsize > machine.l2_bytes
    lines *= (n_passes if is_anew else 1) * (streams.SHARE if nest.streams > 1 else 1.0)
    return lines * moved / machine.bandwidth(moved)


def _row_cycles(nest: RowsNest, bodies: tuple[Scalar, ...]) -> float:
    """Return the cycles of the parts that are one for a row, where each vector needs them anew."""
    parts = {part for body in bodies for part in parts_of(body)}
    return sum(_part_cycles(nest, part) for part in parts if positions_of(part) <= nest.row_values)


def _part_cycles(nest: RowsNest, part: Scalar) -> float:
    match part:
        case Combined("divide", (_, divisor)) if not is_shifted_sum(nest, divisor):
            return _DIVISION
        case Mapped() | Combined():
            return _FUNCTION if is_function(part) else _SIMPLE
    return 0.0


def _cycles(nest: RowsNest, bodies: tuple[Scalar, ...], is_stored: bool = False) -> float:
    """Return the cycles of one vector, or one scalar, in a pass that computes these bodies."""
    parts = {part for body in bodies for part in parts_of(body)}
    total = sum(
        _part_cycles(nest, part) for part in parts if not positions_of(part) <= nest.row_values
    )
    accesses = [nest.output] if is_stored else []
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
