"""The families of kernels: the ways in which a contraction can be computed.

In comes a problem (a contraction's iteration space, its arithmetics, a machine); out come schedules
that are legal for it, what each is predicted to cost, and a kernel bound to memory. Each family is
one module with the functions of :class:`~.base.Family`.
"""

from __future__ import annotations

from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import direct, packed, tiled
from einloom_compiler.families.base import Bound, Dump, Family, Problem, Schedule
from einloom_compiler.schedule import steps
from einloom_compiler.schedule.text import parse_schedule, shown_name

FAMILIES: tuple[Family, ...] = (packed.FAMILY, tiled.FAMILY, direct.FAMILY)


def choose(problem: Problem, schedule: Schedule | None = None) -> tuple[Family, Schedule]:
    """Return the family and schedule that are predicted to take the least time.

    Args:
        problem: what is computed.
        schedule: taken as it is, where given.

    Raises:
        ScheduleError: the given schedule is not legal for the problem.
    """
    if schedule is not None:
        family = family_of(schedule)
        family.check(problem, schedule)
        return family, schedule
    proposed = [(f, schedule) for f in FAMILIES for schedule in f.propose(problem)]
    return min(proposed, key=lambda pair: pair[0].seconds(problem, pair[1]))


def family_of(schedule: Schedule) -> Family:
    """Return the family whose schedule this is.

    Raises:
        ScheduleError: it is none of any family.
    """
    for family in FAMILIES:
        if isinstance(schedule, family.schedule_type):
            return family
    known = ", ".join(shown_name(family.schedule_type) for family in FAMILIES)
    raise ScheduleError(
        f"{schedule!r} is no schedule; known are {known}, and None for the policy's"
    )


def parse(text: str) -> Schedule | None:
    """Return the schedule that ``text`` writes, as ``str`` of a schedule does; None for ``None``.

    Raises:
        ScheduleError: the text is malformed, or names no schedule.
    """
    types = [family.schedule_type for family in FAMILIES]
    found = parse_schedule(text, (*types, *steps.STEPS))
    if found is not None:
        family_of(found)
    return found


__all__ = [
    "FAMILIES",
    "Bound",
    "Dump",
    "Family",
    "Problem",
    "Schedule",
    "choose",
    "family_of",
    "parse",
]
