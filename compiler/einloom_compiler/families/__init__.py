"""The families of kernels: the ways in which a contraction can be computed.

In comes a problem (a contraction's iteration space, its arithmetics, a machine); out come schedules
that are legal for it, what each is predicted to cost, and a kernel bound to memory. Each family is
one module with the functions of :class:`~.base.Family`; :data:`FAMILIES` lists them, those tried
first in front.
"""

from __future__ import annotations

from einloom_compiler.families import direct, packed
from einloom_compiler.families.base import Bound, Dump, Family, Problem, Schedule

FAMILIES: tuple[Family, ...] = (packed.FAMILY, direct.FAMILY)


def choose(problem: Problem) -> tuple[Family, Schedule]:
    """Return the family and schedule for ``problem``: the first that any family proposes."""
    for family in FAMILIES:
        for schedule in family.propose(problem):
            return family, schedule
    raise AssertionError("the direct family takes every problem")


__all__ = ["FAMILIES", "Bound", "Dump", "Family", "Problem", "Schedule", "choose"]
