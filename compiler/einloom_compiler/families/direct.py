"""The direct family: one fused loop nest over strided operands, for any contraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einloom_compiler.codegen import jit
from einloom_compiler.families.base import Bound, Dump, Problem
from einloom_compiler.families.direct_seconds import predict
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.printer import print_nest
from einloom_compiler.ir.verify import verify_nest
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import NamedNest, lower
from einloom_compiler.schedule import policy, steps


@dataclass(frozen=True, slots=True)
class DirectSchedule:
    """Loop order and rewriting steps.

    Attributes:
        order: numbers of the space's indices, outermost loop first.
        steps: rewrites of the plain nest, see :mod:`einloom_compiler.schedule.steps`.
    """

    order: tuple[int, ...]
    steps: steps.Schedule

    def __str__(self) -> str:
        """Print the steps as Python writes them."""
        return steps.print_schedule(self.steps)


@dataclass(frozen=True, slots=True)
class Direct:
    """The family; it takes every problem."""

    name: str = "direct"

    def propose(self, problem: Problem) -> tuple[DirectSchedule, ...]:
        """Return the policy's schedule."""
        order = policy.loop_order(problem.space)
        named = lower(problem.space, order, problem.arithmetics)
        return (DirectSchedule(order, policy.choose(named, problem.space, problem.machine)),)

    def seconds(self, problem: Problem, schedule: DirectSchedule) -> float:
        """Return what the scheduled nest is predicted to take."""
        named, nest = _scheduled(problem, schedule)
        return predict(problem, named, nest)

    def bind(self, problem: Problem, schedule: DirectSchedule, dump: Dump) -> Bound:
        """Return the scheduled nest's kernel with extents and strides in its order."""
        # IterationSpace -> LoopNest
        named, nest = _scheduled(problem, schedule)
        dump("loop nest", print_nest(named.nest))
        # LoopNest -> LoopNest
        verify_nest(nest, "schedule")
        dump("schedule", str(schedule))
        dump("scheduled loop nest", print_nest(nest))
        # LoopNest -> Kernel
        kernel = jit.build(nest)
        position = dict(zip(named.nest.indices, named.order, strict=True))
        extents = [problem.space.extents[position[index]] for index in nest.indices]
        return Bound(
            kernel=kernel,
            schedule=schedule,
            operands=named.operands,
            numbers=(*extents, *_strides(problem.space, named, nest, position)),
            total=nest.parallel_extent(extents),
            points=problem.points,
            seconds=predict(problem, named, nest),
        )


def _scheduled(problem: Problem, schedule: DirectSchedule) -> tuple[NamedNest, LoopNest]:
    """Return the plain nest in the schedule's order, and what its steps make of it."""
    named = lower(problem.space, schedule.order, problem.arithmetics)
    return named, steps.generalize(steps.apply(named.nest, schedule.steps))


def _strides(
    space: IterationSpace, named: NamedNest, nest: LoopNest, position: Mapping[str, int]
) -> list[int]:
    """Return the strides and starts that the kernel takes, in the order of its ABI."""
    numbers = (*named.operands, len(space.strides) - 1)
    columns = [space.strides[number] for number in numbers]
    strides = [
        column[position[index]] or 0
        for access, column in zip((*nest.inputs, nest.output), columns, strict=True)
        for index in access.strided
    ]
    return strides + [space.starts[number] for number in numbers if space.starts]


FAMILY = Direct()
