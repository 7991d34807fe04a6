"""Schedules as text: printed as calls, read back through :mod:`ast`, never evaluated.

Grammar::

    schedule = NAME(field=value, ...)          the dataclass's name without "Schedule"
    value    = integer | text | True | False | None | (value, ...) | schedule
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from einloom_compiler.errors import ScheduleError


def shown_name(kind: type[Any]) -> str:
    """Return what a schedule's dataclass is called in text."""
    return kind.__name__.removesuffix("Schedule")


def schedule_text(schedule: Any) -> str:
    """Return a schedule, or a part of one, as the call that :func:`parse_schedule` reads.

    Fields equal to their dataclass's defaults are left out.

    >>> from einloom_compiler.schedule.steps import Tile
    >>> schedule_text(Tile("j", 256))
    "Tile(index='j', size=256)"
    """
    if is_dataclass(schedule) and not isinstance(schedule, type):
        given = ", ".join(
            f"{field.name}={schedule_text(getattr(schedule, field.name))}"
            for field in fields(schedule)
            if field.default is MISSING or getattr(schedule, field.name) != field.default
        )
        return f"{shown_name(type(schedule))}({given})"
    if isinstance(schedule, tuple):
        inner = ", ".join(map(schedule_text, schedule))
        return f"({inner},)" if len(schedule) == 1 else f"({inner})"
    return repr(schedule)


def parse_schedule(text: str, types: Sequence[type[Any]]) -> Any:
    """Return the schedule that ``text`` writes; None for ``None``.

    Args:
        text: see the module's grammar; fields may be given by position too.
        types: the dataclasses it may name.

    Raises:
        ScheduleError: it is malformed, or a name or field is unknown or missing.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ScheduleError(f"{text!r} is not a schedule: {error}") from None
    return _value(tree, {shown_name(kind): kind for kind in types}, text)


def _value(tree: ast.expr, types: dict[str, type[Any]], text: str) -> Any:
    match tree:
        case ast.Constant(value=int() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, types, text) for item in items)
        case ast.Call(func=ast.Name(id=name)):
            return _call(tree, name, types, text)
    raise ScheduleError(
        f"{text!r} is not a schedule: {ast.unparse(tree)!r} is neither a call nor an integer, text "
        "or a tuple of them"
    )


def _call(tree: ast.Call, name: str, types: dict[str, type[Any]], text: str) -> Any:
    kind = types.get(name)
    if kind is None:
        raise ScheduleError(f"{text!r}: {name} is no schedule; known are {', '.join(types)}")
    names = [field.name for field in fields(kind)]
    if len(tree.args) > len(names):
        raise ScheduleError(f"{text!r}: {name} takes at most {len(names)} fields: {names}")
    given = {n: _value(item, types, text) for n, item in zip(names, tree.args, strict=False)}
    for keyword in tree.keywords:
        if keyword.arg not in names or keyword.arg in given:
            problem = "twice" if keyword.arg in given else f"unknown; it has {', '.join(names)}"
            raise ScheduleError(f"{text!r}: the field {keyword.arg!r} of {name} is {problem}")
        given[keyword.arg] = _value(keyword.value, types, text)
    try:
        return kind(**given)
    except TypeError as error:
        raise ScheduleError(
            f"{text!r}: {error}; {name} has the fields {', '.join(names)}"
        ) from None


def require_integer(kind: str, field: str, value: object, least: int, most: int) -> None:
    """Raise unless a schedule's field is an integer within bounds.

    Raises:
        ScheduleError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ScheduleError(
            f"{kind}: {field}={value!r} is not allowed; give an integer from {least} to {most}"
        )
