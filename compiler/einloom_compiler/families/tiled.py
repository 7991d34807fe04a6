"""The tiled family: blocks of the output in registers, summed straight from the operands.

For small products, where extents up to 32 are constants of the kernel, and for streams such as a
matrix times a vector, where each byte is read once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from einloom_compiler.codegen import jit
from einloom_compiler.families.base import Bound, Dump, Family, Problem
from einloom_compiler.ir.tiled import TiledNest, print_tiled, verify_tiled
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.tiled import bind_tiled
from einloom_compiler.schedule import tiled as policy
from einloom_compiler.schedule.tiled_cost import TiledSchedule
from einloom_compiler.schedule.tiled_cost import seconds as predict

#: Kernels with static extents that one structure gets in a process; a kernel takes about 0.2 s to
#: compile, so that many sizes of one contraction must end in kernels that serve them all.
MOST_STATIC = 16


@dataclass(frozen=True, slots=True)
class Tiled(Family):
    """The family; it takes native real and complex dtypes and outputs with at least one index."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "tiled"

    @property
    def schedule_type(self) -> type[TiledSchedule]:
        """The dataclass of its schedules."""
        return TiledSchedule

    def check(self, problem: Problem, schedule: TiledSchedule) -> None:
        """Raise ScheduleError unless the schedule is legal for the problem."""

    def propose(self, problem: Problem) -> tuple[TiledSchedule, ...]:
        """Return the schedule that is predicted to be the fastest."""
        space, arithmetics, machine = problem.space, problem.arithmetics, problem.machine
        schedule = policy.choose(space, arithmetics, machine)
        if schedule and schedule.nest.static and not _may_be_static(problem, schedule.nest):
            schedule = policy.choose(space, arithmetics, machine, is_static=False)
        return (schedule,) if schedule else ()

    def seconds(self, problem: Problem, schedule: TiledSchedule) -> float:
        """Return the time of arithmetic and cache traffic, or of memory's where that is longer."""
        return predict(schedule, problem.space, problem.machine)

    def bind(self, problem: Problem, schedule: TiledSchedule, dump: Dump) -> Bound:
        """Return the nest's kernel with the problem's extents and strides."""
        nest = schedule.nest
        verify_tiled(nest, "schedule")
        dump("schedule", str(schedule))
        dump("tiled nest", print_tiled(nest))
        numbers, total = bind_tiled(problem.space, schedule)
        return Bound(
            kernel=jit.build(nest),
            schedule=schedule,
            operands=schedule.operands,
            numbers=numbers,
            total=total,
            points=problem.points,
            seconds=self.seconds(problem, schedule),
        )


def _may_be_static(problem: Problem, nest: TiledNest) -> bool:
    """Say whether a nest with static extents is, or may become, one of its structure's kernels."""
    columns = tuple(
        tuple(step if step in (None, 1) else 0 for step in column)
        for column in problem.space.strides
    )
    with _LOCK:
        known = _STATIC.setdefault((columns, problem.arithmetics), set())
        if nest not in known and len(known) < MOST_STATIC:
            known.add(nest)
        return nest in known


_LOCK = threading.Lock()
#: The nests with static extents of each structure: which strides are 1, and the arithmetics.
_STATIC: dict[tuple[tuple[tuple[int | None, ...], ...], Arithmetics], set[TiledNest]] = {}

FAMILY = Tiled()
