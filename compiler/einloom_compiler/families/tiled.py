"""The tiled family: blocks of the output in registers, summed straight from the operands.

For small products, where known extents up to 32 are constants of the kernel, and for streams such
as a matrix times a vector, where each byte is read once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from einloom_compiler.codegen import jit
from einloom_compiler.families.base import Bound, Dump, Family, Problem
from einloom_compiler.ir.tiled import TiledNest, print_tiled
from einloom_compiler.ir.verify_tiled import verify_tiled
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.tiled import bind_tiled
from einloom_compiler.schedule import tiled as policy
from einloom_compiler.schedule.machine import is_assumed
from einloom_compiler.schedule.tiled_blocks import Block, numbered
from einloom_compiler.schedule.tiled_cost import seconds
from einloom_compiler.schedule.tiled_cycles import ROWS
from einloom_compiler.schedule.tiled_schedule import TiledSchedule, block_of, check, schedule_of

#: Kernels with static extents that one structure gets in a process; a kernel takes about 0.2 s to
#: compile, so that many sizes of one contraction must end in kernels that serve them all.
MOST_STATIC = 16


@dataclass(frozen=True, slots=True)
class Tiled(Family):
    """The family; it takes native real and complex dtypes and outputs with at least one index."""

    name = "tiled"
    schedule_type = TiledSchedule

    def check(self, problem: Problem, schedule: TiledSchedule) -> None:
        """Raise ScheduleError unless the block is legal for the problem."""
        check(schedule, problem.space, problem.arithmetics, problem.machine)

    def neighbours(self, problem: Problem, schedule: TiledSchedule) -> tuple[TiledSchedule, ...]:
        """Return other numbers of vectors and rows."""
        del problem
        found = [replace(schedule, vectors=n) for n in policy.VECTORS if n != schedule.vectors]
        for position, count in enumerate(schedule.counts):
            for other in ROWS:
                if other != count:
                    before, after = schedule.counts[:position], schedule.counts[position + 1 :]
                    found.append(replace(schedule, counts=(*before, other, *after)))
        return tuple(found)

    def propose(self, problem: Problem, below: float = inf) -> tuple[TiledSchedule, ...]:
        """Return the schedule that is predicted to be the fastest."""
        space, arithmetics, machine = problem.space, problem.arithmetics, problem.machine
        chosen = policy.choose(space, arithmetics, machine, below=below)
        if (
            chosen
            and chosen[0].outline.constants
            and not _may_be_static(problem, numbered(chosen[0]).nest)
        ):
            chosen = policy.choose(space, arithmetics, machine, is_static=False, below=below)
        if chosen is None:
            return ()
        block, seconds = chosen
        schedule = schedule_of(block)
        problem.derived[schedule] = _Chosen(block, seconds)
        return (schedule,)

    def seconds(self, problem: Problem, schedule: TiledSchedule) -> float:
        """Return the time of arithmetic and cache traffic, or of memory's where that is longer."""
        return _chosen(problem, schedule).seconds

    def bind(self, problem: Problem, schedule: TiledSchedule, dump: Dump) -> Bound:
        """Return the nest's kernel with the problem's extents and strides."""
        chosen = _chosen(problem, schedule)
        found = numbered(chosen.block)
        nest = found.nest
        _verify(nest)
        if dump is not None:
            dump("schedule", str(schedule))
            dump("tiled nest", print_tiled(nest))
        numbers, total = bind_tiled(problem.space, found)
        return Bound(
            kernel=jit.build(nest),
            schedule=schedule,
            operands=(*found.operands, *range(len(nest.inputs), len(nest.accesses) - 1)),
            numbers=numbers,
            total=total,
            points=problem.points,
            seconds=chosen.seconds,
        )


@cache
def _verify(nest: TiledNest) -> None:
    """Verify a nest when it is met first."""
    verify_tiled(nest, "schedule")


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A schedule's block, and its predicted time on one thread."""

    block: Block
    seconds: float


def _chosen(problem: Problem, schedule: TiledSchedule) -> _Chosen:
    """Return a schedule's block and its time.

    Raises:
        ScheduleError: the family does not take the problem.
    """

    def derive() -> _Chosen:
        block = block_of(schedule, problem.space, problem.arithmetics, problem.machine)
        return _Chosen(block, seconds(block))

    return problem.once(schedule, derive)


def _may_be_static(problem: Problem, nest: TiledNest) -> bool:
    """Say whether a nest with static extents is, or may become, one of its structure's kernels.

    Structures that differ in the order of operands only are one. What is shipped has as many as it
    needs: they do not depend on what this process did before.
    """
    if is_assumed():
        return True
    columns = tuple(
        sorted(
            tuple({None: 0, 1: 1}.get(step, 2) for step in column)
            for column in (*problem.space.strides, *problem.space.extras)
        )
    )
    with _LOCK:
        known = _STATIC.setdefault((columns, problem.arithmetics), set())
        if nest not in known and len(known) < MOST_STATIC:
            known.add(nest)
        return nest in known


_LOCK = threading.Lock()
#: The nests with static extents of each structure: which strides are 1, and the arithmetics.
_STATIC: dict[tuple[tuple[tuple[int, ...], ...], Arithmetics], set[TiledNest]] = {}

FAMILY = Tiled()
