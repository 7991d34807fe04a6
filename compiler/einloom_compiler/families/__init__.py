"""The families of kernels: the ways in which a contraction, rows or attention can be computed.

In comes a problem (such as a contraction's iteration space, its arithmetics, a machine); out come
schedules that are legal for it, what each is predicted to cost, and a kernel bound to memory. Each
family is one module with the functions of :class:`~.base.Family`.
"""

from __future__ import annotations

from math import inf

from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import attention, direct, few, packed, rows, tiled
from einloom_compiler.families.attention import AttentionProblem
from einloom_compiler.families.base import Bound, Dump, Facts, Family, Problem, Schedule
from einloom_compiler.families.rows import RowsProblem
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
    kernels = few.collected()
    if kernels is None or not isinstance(problem, Problem):
        return _fastest(problem)
    return kernels.choose(problem, _fastest)


def _fastest(problem: AnyProblem) -> tuple[Family, Schedule]:
    """Return what is predicted to take the least time for this problem alone."""
    best, least = None, inf
    for family in families_of(problem):
        for schedule in family.propose(problem, least):
            seconds = family.seconds(problem, schedule)
            if best is None or seconds < least:
                best, least = (family, schedule), seconds
    assert best is not None  # there is one that takes every problem
    return best


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
    "parse",
]
