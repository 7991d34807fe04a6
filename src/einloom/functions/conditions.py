"""Comparisons, logical functions and choices between corresponding elements, as NumPy's.

Results are bools; a number holds where it is not 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einloom.expression import Expression
from einloom.functions.pointwise import BOOL, cast, elementwise, holds, pointwise
from einloom.functions.promotion import promoted
from einloom_compiler.ir.scalar import Combined, Number, Scalar


def _both(a: Scalar, b: Scalar) -> Scalar:
    return Combined("multiply", (holds(a), holds(b)))


def _either(a: Scalar, b: Scalar) -> Scalar:
    return holds(Combined("add", (holds(a), holds(b))))


def _one(a: Scalar, b: Scalar) -> Scalar:
    return Combined("not_equal", (holds(a), holds(b)))


_FLAGS_NOTES = """\
The result is bool, of the shape that the operands broadcast to.

Raises:
    ShapeError: the shapes do not broadcast.
    DTypeError: the function is not defined for the operands' dtype."""


def _flags(name: str, body: Callable[[Scalar, Scalar], Scalar], doc: str) -> Callable[..., Any]:
    """Return the front-end function whose bools ``body`` makes of two elements."""

    def build(x: Any, y: Any) -> Any:
        return elementwise(body, (x, y), promoted(x, y), BOOL)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{doc}\n\n{_FLAGS_NOTES}"
    return pointwise(f"functions.{name}", operands=("x", "y"))(build)


def _compare(function: str, *, turned: bool = False) -> Callable[[Scalar, Scalar], Scalar]:
    return lambda a, b: Combined(function, (b, a) if turned else (a, b))


equal = _flags("equal", _compare("equal"), "Return whether ``x == y``.")
not_equal = _flags("not_equal", _compare("not_equal"), "Return whether ``x != y``.")
less = _flags("less", _compare("less"), "Return whether ``x < y``.")
less_equal = _flags("less_equal", _compare("less_equal"), "Return whether ``x <= y``.")
greater = _flags("greater", _compare("less", turned=True), "Return whether ``x > y``.")
greater_equal = _flags(
    "greater_equal", _compare("less_equal", turned=True), "Return whether ``x >= y``."
)
logical_and = _flags("logical_and", _both, "Return whether both hold.")
logical_or = _flags("logical_or", _either, "Return whether one holds, or both.")
logical_xor = _flags("logical_xor", _one, "Return whether one holds and the other does not.")


@pointwise("functions.logical_not", operands=("x",))
def logical_not(x: Any) -> Any:
    """Return whether x does not hold: bools of x's shape."""
    body = lambda value: Combined("equal", (value, Number(0.0)))  # noqa: E731
    return elementwise(body, (x,), promoted(x), BOOL)


@pointwise("functions.isnan", operands=("x",))
def isnan(x: Any) -> Any:
    """Return whether x is not a number: bools of x's shape."""
    body = lambda value: Combined("not_equal", (value, value))  # noqa: E731
    return elementwise(body, (x,), promoted(x), BOOL)


@pointwise("functions.where", operands=("condition", "x", "y"))
def where(condition: Any, x: Any, y: Any) -> Any:
    """Return x where the condition holds, y elsewhere.

    All three broadcast; the dtype is that of x and y. A condition that is not bool is compared with
    0 first, in its own dtype.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    if isinstance(condition, Expression) and condition.dtype not in (None, BOOL):
        condition = cast(condition, "bool")
    choose = lambda c, a, b: Combined("where", (c, a, b))  # noqa: E731
    return elementwise(choose, (condition, x, y), promoted(x, y, beside=(condition,)))
