"""Extents from what users write: integers, names, None, arithmetic text, sympy expressions."""

from __future__ import annotations

import ast
import operator
from typing import Any

from einloom_compiler.errors import SpecError
from einloom_compiler.extents.extent import Extent, as_int, is_known, replaced, symbol
from einloom_compiler.extents.printing import text

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def parse_extent(source: object) -> Extent:
    """Return the extent written as an integer, a name, None (a fresh unknown) or arithmetic text.

    Text is read through :mod:`ast` and never evaluated; it knows names, integers, ``+ - * //``. A
    sympy expression is taken too: its symbols count by their names alone.

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
        return _checked(_from_sympy(source), str(source))
    raise SpecError(
        f"an extent must be an integer, a name or None, not {source!r} ({type(source).__name__})"
    )


def _from_sympy(source: Any) -> Extent:
    """Return the expression over our symbols, which are integers and not negative."""
    import sympy

    if not isinstance(source, sympy.Expr):
        raise SpecError(f"a sympy {type(source).__name__} is no extent: {source}")
    if source.is_integer is False or source.is_extended_real is False:
        raise SpecError(f"an extent must be an integer, not {source}")
    return replaced(source, {str(part): symbol(str(part)) for part in source.free_symbols})


def _checked(extent: Extent, source: str) -> Extent:
    """Return what the text means, as an integer where it is one."""
    if not isinstance(extent, int):
        import sympy

        if extent.has(sympy.zoo, sympy.nan):  # sympy divides a symbol by zero without complaint
            raise SpecError(f"{source!r} divides by zero")
        if not is_known(as_int(extent)):
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
