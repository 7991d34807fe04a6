"""Extents: non-negative integers, or sympy expressions over named non-negative integers.

Grammar::

    Extent = int | sympy.Expr over symbols(integer=True, nonnegative=True)
"""

from __future__ import annotations

import ast
import itertools
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from einloom_compiler.errors import ShapeError, SpecError

if TYPE_CHECKING:
    import sympy

    Extent: TypeAlias = int | sympy.Expr
else:
    Extent: TypeAlias = Any

_fresh_numbers = itertools.count(1)


def symbol(name: str | None = None) -> Extent:
    """Return the extent called ``name``, or a fresh one when ``name`` is None.

    Two symbols are equal exactly when their names are.
    """
    import sympy

    if name is None:
        name = f"_{next(_fresh_numbers)}"
    return sympy.Symbol(name, integer=True, nonnegative=True)


def is_known(extent: Extent) -> bool:
    """Say whether ``extent`` is a plain integer."""
    return isinstance(extent, int)


def is_equal(left: Extent, right: Extent) -> bool | None:
    """Say whether two extents are equal: True always, False never, None at some sizes.

    >>> is_equal(3, 3), is_equal(3, 4), is_equal(symbol("B"), 4), is_equal(symbol("B") + 1, 0)
    (True, False, None, False)
    """
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    import sympy

    if left == right:
        return True
    difference = sympy.expand(left - right)
    if difference.is_zero:
        return True
    if difference.is_zero is False or difference.is_positive or difference.is_negative:
        return False
    return None


def product(extents: Iterable[Extent]) -> Extent:
    """Return the product of ``extents``; 1 for none."""
    result: Extent = 1
    for extent in extents:
        result = result * extent
    return result


def free_names(extent: Extent) -> frozenset[str]:
    """Return the names of the symbols in ``extent``."""
    if isinstance(extent, int):
        return frozenset()
    return frozenset(str(part) for part in extent.free_symbols)


def evaluate(extent: Extent, sizes: Mapping[str, int]) -> int:
    """Return ``extent`` at the given symbol values.

    Raises:
        ShapeError: a symbol has no value, or the result is not a non-negative integer.
    """
    if isinstance(extent, int):
        return extent
    missing = sorted(free_names(extent) - set(sizes))
    if missing:
        raise ShapeError(
            f"extent {text(extent)} needs values for {', '.join(missing)}; known: {dict(sizes)}"
        )
    value = extent.subs({part: sizes[str(part)] for part in extent.free_symbols})
    if not value.is_integer or value < 0:
        raise ShapeError(
            f"extent {text(extent)} is {value} at {dict(sizes)}; "
            "an extent must be a non-negative integer"
        )
    return int(value)


def text(extent: Extent) -> str:
    """Return ``extent`` as :func:`parse_extent` reads it back; a fresh unknown prints as ``?n``."""
    if isinstance(extent, int):
        return str(extent)
    return str(extent).replace("_", "?") if str(extent).startswith("_") else str(extent)


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def parse_extent(source: object) -> Extent:
    """Return the extent written as an integer, a name, None (a fresh unknown) or arithmetic text.

    Text is read through :mod:`ast` and never evaluated; it knows names, integers, ``+ - * //``.

    Raises:
        SpecError: the text is not such an expression, or the extent is negative.
    """
    if source is None:
        return symbol()
    if isinstance(source, bool):
        raise SpecError(f"an extent must be an integer, a name or None, not {source!r}")
    if hasattr(source, "__index__"):
        number = operator.index(source)
        if number < 0:
            raise SpecError(f"an extent must be non-negative, not {number}")
        return number
    if isinstance(source, str):
        try:
            tree = ast.parse(source.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise SpecError(f"{source!r} is not an extent: {error}") from None
        return _checked(_extent_from_ast(tree, source), source)
    if hasattr(source, "free_symbols"):
        return source
    raise SpecError(
        f"an extent must be an integer, a name or None, not {source!r} ({type(source).__name__})"
    )


def _checked(extent: Extent, source: str) -> Extent:
    """Return what the text means, as an integer where it is one."""
    if not isinstance(extent, int):
        import sympy

        if extent.has(sympy.zoo, sympy.nan):  # sympy divides a symbol by zero without complaint
            raise SpecError(f"{source!r} divides by zero")
        if not extent.is_Integer:
            if extent.is_negative:
                raise SpecError(f"an extent must be non-negative, not {text(extent)}")
            return extent
        extent = int(extent)
    if extent < 0:
        raise SpecError(f"an extent must be non-negative, not {extent}")
    return extent


def _extent_from_ast(tree: ast.expr, source: str) -> Extent:
    match tree:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id="None"):
            return symbol()
        case ast.Constant(value=None):
            return symbol()
        case ast.Name(id=name):
            return symbol(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            operate = _OPERATORS[type(op)]
            try:
                return operate(_extent_from_ast(left, source), _extent_from_ast(right, source))
            except ZeroDivisionError:
                raise SpecError(f"{source!r} divides by zero") from None
    raise SpecError(
        f"{source!r} is not an extent: write an integer, a name, or their + - * // combinations"
    )
