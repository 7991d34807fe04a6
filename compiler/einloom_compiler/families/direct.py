"""The direct family: one fused loop nest over strided operands, for any contraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

from einloom_compiler.codegen import jit
from einloom_compiler.errors import InternalCompilerError, ScheduleError
from einloom_compiler.families.base import Bound, Dump, Family, Problem
from einloom_compiler.families.direct_seconds import predict
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.printer import print_nest
from einloom_compiler.ir.verify import verify_nest
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import NamedNest, loop_name, lower
from einloom_compiler.schedule import policy, steps
from einloom_compiler.schedule.text import require_integer, schedule_text

#: Largest values by hand: a tile of accumulators is scratch memory, an unrolled loop is code.
_MOST_TILE, _MOST_UNROLL, _MOST_SUMS = 1 << 20, 16, 8


@dataclass(frozen=True, slots=True)
class DirectSchedule:
    """Loop order and rewriting steps, in the letters of the step's einsum notation.

    Indices that are fused at run time go where their innermost letter stands; those of extent 1
    have no loop, and steps on them do nothing.

    Attributes:
        order: letters, outermost loop first, the output's before the contracted ones.
        steps: rewrites of the plain nest, see :mod:`einloom_compiler.schedule.steps`.
    """

    order: str
    steps: steps.Schedule

    def __str__(self) -> str:
        """Print as the call that reads it back."""
        return schedule_text(self)


@dataclass(frozen=True, slots=True)
class Direct(Family):
    """The family; it takes every problem."""

    name = "direct"
    schedule_type = DirectSchedule

    def propose(self, problem: Problem, below: float = inf) -> tuple[DirectSchedule, ...]:
        """Return the policy's schedule."""
        del below
        return (_in_order(problem, policy.loop_order(problem.space)),)

    def check(self, problem: Problem, schedule: DirectSchedule) -> None:
        """Raise ScheduleError unless the schedule is legal for the problem."""
        if not isinstance(schedule.order, str) or len(set(schedule.order)) != len(schedule.order):
            raise ScheduleError(
                f"Direct: order={schedule.order!r} must name each index once, as text"
            )
        if not isinstance(schedule.steps, tuple):
            raise ScheduleError(f"Direct: steps={schedule.steps!r} must be a tuple of steps")
        for step in schedule.steps:
            _check_step(step, schedule.order)
        _, nest = _scheduled(problem, schedule)
        proposed = self.propose(problem)
        if schedule not in proposed and any(map(_is_copying, schedule.steps)):
            raise ScheduleError(
                f"{schedule}: copies that are transposed in registers or streamed are taken as the "
                f"policy makes them; give {proposed[0]}, or no Transpose, slack or fused"
            )
        if nest.vectors is not None:
            lanes = policy.vector_lanes(nest, nest.levels[-1].index, problem.machine)
            if nest.vectors.lanes != lanes:
                raise ScheduleError(
                    f"Direct: Vectorize(lanes={nest.vectors.lanes}) is not allowed here; "
                    + (f"give lanes={lanes}" if lanes else "the innermost loop takes no vectors")
                )

    def neighbours(self, problem: Problem, schedule: DirectSchedule) -> tuple[DirectSchedule, ...]:
        """Return other tile sizes and unrolling, and other loops innermost or unrolled."""
        found = []
        for number, step in enumerate(schedule.steps):
            others: tuple[steps.Step, ...] = ()
            if isinstance(step, steps.Tile):
                others = tuple(replace(step, size=n) for n in (step.size // 2, 2 * step.size) if n)
            elif isinstance(step, steps.Unroll):
                others = tuple(replace(step, factor=n) for n in (2, 4, 6, 8) if n != step.factor)
                others += (replace(step, apart=not step.apart),)
            for other in others:
                changed = (*schedule.steps[:number], other, *schedule.steps[number + 1 :])
                same_index = tuple(
                    replace(s, size=other.size)
                    if isinstance(other, steps.Tile)
                    and isinstance(s, steps.Tile)
                    and s.index == other.index
                    else s
                    for s in changed
                )
                found.append(replace(schedule, steps=same_index))
        order = policy.loop_order(problem.space)
        outputs = [n for n in order if n < problem.space.n_output]
        summed = [n for n in order if n >= problem.space.n_output]
        for group in (outputs, summed):
            for number in group[:-1]:
                moved = [n for n in group if n != number] + [number]
                changed_order = (*moved, *summed) if group is outputs else (*outputs, *moved)
                found.append(_in_order(problem, changed_order))
        return tuple(found)

    def seconds(self, problem: Problem, schedule: DirectSchedule) -> float:
        """Return what the scheduled nest is predicted to take."""
        return _seconds(problem, schedule)

    def bind(self, problem: Problem, schedule: DirectSchedule, dump: Dump) -> Bound:
        """Return the scheduled nest's kernel with extents and strides in its order."""
        # IterationSpace -> LoopNest
        named, nest = _scheduled(problem, schedule)
        if dump is not None:
            dump("loop nest", print_nest(named.nest))
        # LoopNest -> LoopNest
        if dump is not None:
            dump("schedule", str(schedule))
            dump("scheduled loop nest", print_nest(nest))
        # LoopNest -> Kernel
        kernel = jit.build(nest)
        position = named.numbers
        extents = [problem.space.extents[position[index]] for index in nest.indices]
        return Bound(
            kernel=kernel,
            schedule=schedule,
            operands=(*named.operands, *range(len(named.operands), len(nest.accesses) - 1)),
            numbers=(*extents, *_strides(problem.space, named, nest, position)),
            total=nest.parallel_extent(extents),
            points=problem.points,
            seconds=_seconds(problem, schedule),
        )


def _seconds(problem: Problem, schedule: DirectSchedule) -> float:
    return problem.once(
        ("seconds", schedule), lambda: predict(problem, *_scheduled(problem, schedule))
    )


def _in_order(problem: Problem, order: tuple[int, ...]) -> DirectSchedule:
    """Return the policy's schedule for loops in this order."""
    named = lower(problem.space, order, problem.arithmetics)
    labels = problem.space.labels
    letters = {loop_name(p): labels[number][-1:] for p, number in enumerate(order)}
    chosen = policy.choose(named, problem.space, problem.machine)
    return DirectSchedule("".join(labels[n] for n in order), _renamed(chosen, letters))


def _renamed(chosen: steps.Schedule, names: Mapping[str, str]) -> steps.Schedule:
    """Return steps on indices of other names; those on indices without one are left out."""
    found: list[steps.Step] = []
    for step in chosen:
        match step:
            case steps.Tile(index=index, fused=fused):
                if index in names:
                    others = tuple(names[other] for other in fused if other in names)
                    found.append(replace(step, index=names[index], fused=others))
            case steps.Sink(index=index) | steps.Unroll(index=index):
                if index in names:
                    found.append(replace(step, index=names[index]))
            case _:
                found.append(step)
    return tuple(found)


def _scheduled(problem: Problem, schedule: DirectSchedule) -> tuple[NamedNest, LoopNest]:
    """Return the plain nest in the schedule's order, and the nest that its steps make of it.

    Raises:
        ScheduleError: the order does not name all indices, or a step is not legal.
    """
    return problem.once(schedule, lambda: _schedule(problem, schedule))


def _schedule(problem: Problem, schedule: DirectSchedule) -> tuple[NamedNest, LoopNest]:
    space = problem.space
    missing = [letter for label in space.labels for letter in label if letter not in schedule.order]
    if missing:
        raise ScheduleError(
            f"Direct: order={schedule.order!r} misses {', '.join(missing)}; name every index once"
        )
    order = _numbers(problem, schedule.order)
    if any(number < space.n_output for number in order[space.n_output :]):
        outputs = "".join(space.labels[: space.n_output])
        raise ScheduleError(
            f"Direct: order={schedule.order!r} has a contracted index before an output's; name "
            f"those of {outputs!r} first (Tile and Sink move an output index inside)"
        )
    named = lower(space, order, problem.arithmetics)
    names = {
        letter: loop_name(position)
        for position, number in enumerate(order)
        for letter in space.labels[number]
    }
    try:
        nest = _applied(named.nest, _renamed(schedule.steps, names))
    except InternalCompilerError as error:
        raise ScheduleError(f"{schedule} is not legal here: {error.reason}") from None
    return named, nest


@lru_cache(maxsize=1024)
def _applied(nest: LoopNest, chosen: steps.Schedule) -> LoopNest:
    """Return the nest that steps make of a plain one; most layouts of a contraction share it."""
    scheduled = steps.generalize(steps.apply(nest, chosen))
    verify_nest(scheduled, "schedule")
    return scheduled


def _numbers(problem: Problem, order: str) -> tuple[int, ...]:
    """Return the numbers of the space's indices in the order of their letters."""
    labels = problem.space.labels
    return tuple(sorted(range(len(labels)), key=lambda number: order.index(labels[number][-1])))


def _is_copying(step: steps.Step) -> bool:
    """Say whether a step belongs to copies that the policy alone makes."""
    is_streamed = isinstance(step, steps.Tile) and bool(step.slack or step.fused)
    return is_streamed or isinstance(step, steps.Transpose)


def _check_step(step: object, order: str) -> None:
    """Raise ScheduleError unless a step's fields have legal values."""
    match step:
        case steps.Tile(size=size):
            require_integer("Tile", "size", size, 1, _MOST_TILE)
        case steps.Unroll(factor=factor, apart=apart):
            require_integer("Unroll", "factor", factor, 1, _MOST_UNROLL)
            if not isinstance(apart, bool):
                raise ScheduleError(f"Unroll: apart={apart!r} is not allowed; give True or False")
        case steps.Parallelize(n_levels=n_levels):
            require_integer("Parallelize", "n_levels", n_levels, 0, 2 * len(order))
        case steps.Vectorize(lanes=lanes, n_sums=n_sums):
            require_integer("Vectorize", "lanes", lanes, 1, 64)
            require_integer("Vectorize", "n_sums", n_sums, 1, _MOST_SUMS)
        case steps.Sink(kind=kind):
            if kind not in ("within", "tile"):
                raise ScheduleError(f"Sink: kind={kind!r} is not allowed; give 'within' or 'tile'")
        case steps.Transpose():
            pass
        case _:
            known = ", ".join(kind.__name__ for kind in steps.STEPS)
            raise ScheduleError(f"Direct: {step!r} is no step; known are {known}")
    index = getattr(step, "index", None)
    if index is not None and (not isinstance(index, str) or len(index) != 1 or index not in order):
        raise ScheduleError(f"{step}: index={index!r} must be one letter of order={order!r}")


def _strides(
    space: IterationSpace, named: NamedNest, nest: LoopNest, position: Mapping[str, int]
) -> list[int]:
    """Return the strides and starts that the kernel takes, in the order of its ABI."""
    numbers = (*named.operands, len(space.strides) - 1)
    columns = [space.strides[number] for number in named.operands]
    columns += [*space.extras, space.strides[-1]]
    strides = [
        column[position[index]] or 0
        for access, column in zip(nest.accesses, columns, strict=True)
        for index in access.strided
    ]
    return strides + [space.starts[number] for number in numbers if space.starts]


FAMILY = Direct()
