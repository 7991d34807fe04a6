"""The families of kernels: the ways in which a contraction can be computed.

In comes a problem (a contraction's iteration space, its arithmetics, a machine); out come schedules
that are legal for it, what each is predicted to cost, and a kernel bound to memory. Each family is
one module with the functions of :class:`~.base.Family`.
"""

from __future__ import annotations

from einloom_compiler.families import direct, packed
from einloom_compiler.families.base import Bound, Dump, Family, Problem, Schedule

FAMILIES: tuple[Family, ...] = (packed.FAMILY, direct.FAMILY)


def choose(problem: Problem) -> tuple[Family, Schedule]:
    """Return the family and schedule that are predicted to take the least time.

    Only the direct family's kernels start behind their pointers.
    """
    families = (direct.FAMILY,) if problem.space.starts else FAMILIES
    proposed = [(f, schedule) for f in families for schedule in f.propose(problem)]
    return min(proposed, key=lambda pair: pair[0].seconds(problem, pair[1]))


__all__ = ["FAMILIES", "Bound", "Dump", "Family", "Problem", "Schedule", "choose"]
