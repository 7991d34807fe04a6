"""What a user may settle about compiled functions besides the order: ranges, schedules, tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from einloom_compiler import families
from einloom_compiler.errors import ScheduleError, SpecError
from einloom_compiler.families import Schedule
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.printer import print_einsum
from einloom_compiler.order.polynomial import Bounds
from einloom_compiler.order.select import Ranges


@dataclass(frozen=True, slots=True)
class Choices:
    """How kernels are chosen for one compiled function.

    Attributes:
        ranges: least and largest value of symbols by name.
        schedules: one a kernel call in order of execution, None where the policy chooses; empty
            where it chooses all.
        is_tuned: whether schedules are chosen by measuring.
    """

    ranges: Ranges = field(default_factory=dict)
    schedules: tuple[Schedule | None, ...] = ()
    is_tuned: bool = False


def read_ranges(given: Mapping[str, Any] | None, names: frozenset[str]) -> Ranges:
    """Return ranges as ``{name: (least, most)}``; ``most`` may be given as None for no bound.

    Args:
        given: by the name of a symbol.
        names: the symbols of the expression.

    Raises:
        SpecError: a name is no symbol, or a range is none.
    """
    found: dict[str, Bounds] = {}
    for name, bounds in (given or {}).items():
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise SpecError(f"ranges: {name!r} is no symbol of the operands; they have {known}")
        match bounds:
            case [int() as least, (int() | None) as most]:
                limit = math.inf if most is None else most
                if 0 <= least <= limit:
                    found[name] = least, limit
                    continue
        raise SpecError(
            f"ranges: {name!r} must have (least, most) with 0 <= least <= most or most=None, "
            f"not {bounds!r}"
        )
    return found


def read_schedules(given: Any) -> tuple[Schedule | None, ...]:
    """Return schedules from one or a sequence of them, as objects or text.

    Text may have one schedule a line, as ``f.schedule`` prints them.

    Raises:
        ScheduleError: one is malformed.
    """
    if given is None:
        return ()
    if isinstance(given, str):
        lines = [line for line in given.splitlines() if line.strip()]
        if not lines:
            raise ScheduleError(
                "schedule is an empty text; give schedules as f.schedule prints them"
            )
        return tuple(map(families.parse, lines))
    if isinstance(given, Sequence):
        return tuple(_read(entry) for entry in given)
    return (_read(given),)


def _read(given: Any) -> Schedule | None:
    if isinstance(given, str):
        return families.parse(given)
    if given is not None:
        families.family_of(given)
    return given


def split_schedules(
    schedules: Sequence[Schedule | None], steps: Sequence[Sequence[str]]
) -> list[tuple[Schedule | None, ...]]:
    """Return each node's share of the schedules, one a step.

    Args:
        schedules: all of them; none where the policy chooses.
        steps: what messages call each node's steps.

    Raises:
        ScheduleError: there are more or fewer schedules than steps.
    """
    if not schedules:
        return [(None,) * len(own) for own in steps]
    names = [name for own in steps for name in own]
    if len(names) != len(schedules):
        raise ScheduleError(
            f"{len(schedules)} schedules given for {len(names)} steps ({', '.join(names)}); give "
            "one a step in this order, None where the policy may choose"
        )
    rest = iter(schedules)
    return [tuple(next(rest) for _ in own) for own in steps]


def step_names(tree: ContractionTree) -> list[str]:
    """Return what messages call the steps of a contraction."""
    return [print_einsum(step.expr) for step in tree.steps]
