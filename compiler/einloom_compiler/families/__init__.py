"""The families of kernels: the ways in which a contraction, rows or attention can be computed.

In comes a problem (such as a contraction's iteration space, its arithmetics, a machine); out come
schedules that are legal for it, what each is predicted to cost, and a kernel bound to memory. Each
family is one module with the functions of :class:`~.base.Family`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import attention, direct, packed, rows, tiled
from einloom_compiler.families.attention import AttentionProblem
from einloom_compiler.families.base import Bound, Dump, Facts, Family, Problem, Schedule
from einloom_compiler.families.rows import RowsProblem
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.schedule import steps
from einloom_compiler.schedule.text import parse_schedule, shown_name

#: Those of contractions, those first whose prediction takes the least; and all.
FAMILIES: tuple[Family, ...] = (direct.FAMILY, packed.FAMILY, tiled.FAMILY)
ALL: tuple[Family, ...] = (*FAMILIES, rows.FAMILY, attention.FAMILY)

AnyProblem = Problem | RowsProblem | AttentionProblem


def families_of(problem: AnyProblem) -> tuple[Family, ...]:
    """Return the families that may compute a problem."""
    match problem:
        case RowsProblem():
            return (rows.FAMILY,)
        case AttentionProblem():
            return (attention.FAMILY,)
        case _:
            # Only the direct family's kernels start behind their pointers.
            return (direct.FAMILY,) if problem.space.starts else FAMILIES


def choose(problem: AnyProblem, schedule: Schedule | None = None) -> tuple[Family, Schedule]:
    """Return the family and schedule that are predicted to take the least time.

    Args:
        problem: what is computed.
        schedule: taken as it is, where given.

    Raises:
        ScheduleError: the given schedule is not legal for the problem.
    """
    if schedule is not None:
        check(problem, schedule)
        return family_of(schedule), schedule
    best, least = None, inf
    for family in families_of(problem):
        for schedule in family.propose(problem, least):
            seconds = family.seconds(problem, schedule)
            if best is None or seconds < least:
                best, least = (family, schedule), seconds
    assert best is not None  # there is one that takes every problem
    known = _known.get()
    return (
        best if known is None or not isinstance(problem, Problem) else _reused(known, problem, best)
    )


@contextmanager
def few_kernels() -> Iterator[None]:
    """Let :func:`choose` prefer what it chose for problems of the same structure before.

    That is for code that is shipped: all sizes are planned, and each kernel takes room.
    """
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


#: Chosen schedules by structure, in order of their choice.
_Known = dict[Any, dict[tuple[Family, Schedule], None]]
_known: ContextVar[_Known | None] = ContextVar("known", default=None)
#: How much longer than the best a schedule chosen before may take.
_TOLERANCE = 1.05


def _reused(
    known: _Known, problem: Problem, best: tuple[Family, Schedule]
) -> tuple[Family, Schedule]:
    """Return the best schedule, or one known for its structure that is nearly as good."""
    space = problem.space
    columns = (*space.strides, *space.extras)
    structure = tuple(tuple({None: 0, 1: 1}.get(s, 2) for s in c) for c in columns)
    openness = bool(space.starts), tuple(map(is_open, space.extents))
    facts = problem.arithmetics, problem.machine, problem.constant
    key = space.labels, space.n_output, structure, openness, *facts
    others = known.setdefault(key, {})
    if best not in others:
        limit = _TOLERANCE * best[0].seconds(problem, best[1])
        for family, schedule in others:
            if _reads_again(schedule, best[1]):
                continue
            try:
                family.check(problem, schedule)
            except ScheduleError:
                continue
            if family.seconds(problem, schedule) <= limit:
                return family, schedule
        others[best] = None
    return best


def _reads_again(schedule: Schedule, best: Schedule) -> bool:
    """Say whether a schedule reads packed constants more often, or from farther, than the best.

    Predictions call both as fast where constants come from memory. Measured 2026-11 on a 2-core
    AVX2 machine, float32: 4 rows by 512 x 512 in panels of 2 rows 63 us, of 4 rows 35 us; 32 rows
    by 1024 x 1024 on two threads in the depth that suits one panel of rows 750 us, in one whose
    columns stay in L1 while rows pass 560 us.
    """
    return (
        isinstance(schedule, packed.PackedSchedule)
        and isinstance(best, packed.PackedSchedule)
        and schedule.prepacked == best.prepacked == "columns"
        and (schedule.mr < best.mr or schedule.kc > best.kc)
    )


def check(problem: AnyProblem, schedule: Schedule) -> None:
    """Raise unless a schedule is one for this kind of problem, and legal for it.

    Raises:
        ScheduleError: it is not.
    """
    family = family_of(schedule)
    kind = FAMILIES if isinstance(problem, Problem) else families_of(problem)
    if family not in kind:
        allowed = ", ".join(shown_name(each.schedule_type) for each in kind)
        raise ScheduleError(
            f"{schedule} is a schedule of {family.name} kernels; this step takes {allowed}, or "
            "None for the policy's"
        )
    family.check(problem, schedule)


def family_of(schedule: Schedule) -> Family:
    """Return the family whose schedule this is.

    Raises:
        ScheduleError: it is none of any family.
    """
    for family in ALL:
        if isinstance(schedule, family.schedule_type):
            return family
    known = ", ".join(shown_name(family.schedule_type) for family in ALL)
    raise ScheduleError(
        f"{schedule!r} is no schedule; known are {known}, and None for the policy's"
    )


def parse(text: str) -> Schedule | None:
    """Return the schedule that ``text`` writes, as ``str`` of a schedule does; None for ``None``.

    Raises:
        ScheduleError: the text is malformed, or names no schedule.
    """
    types = [family.schedule_type for family in ALL]
    found = parse_schedule(text, (*types, *steps.STEPS))
    if found is not None:
        family_of(found)
    return found


__all__ = [
    "ALL",
    "FAMILIES",
    "AnyProblem",
    "AttentionProblem",
    "Bound",
    "Dump",
    "Facts",
    "Family",
    "Problem",
    "RowsProblem",
    "Schedule",
    "check",
    "choose",
    "families_of",
    "family_of",
    "few_kernels",
    "parse",
]
