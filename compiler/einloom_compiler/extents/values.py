"""Extents at given values of their symbols."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping

from einloom_compiler.errors import InternalCompilerError, ShapeError
from einloom_compiler.extents.extent import Extent, free_names
from einloom_compiler.extents.printing import exact_text, text

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def evaluate(extent: Extent, sizes: Mapping[str, int]) -> int:
    """Return ``extent`` at the given symbol values.

    Values of a type of their own, such as formulas, are computed with as they are; whether the
    result is a whole number is then left to whoever runs the formula.

    Raises:
        ShapeError: a symbol has no value, or the result is not a non-negative integer.
    """
    if isinstance(extent, int):
        return extent
    if extent.is_Symbol and (known := sizes.get(extent.name)) is not None and known >= 0:
        return known  # most extents; sympy takes 0.1 ms to substitute
    missing = sorted(free_names(extent) - set(sizes))
    if missing:
        raise ShapeError(
            f"extent {text(extent)} needs values for {', '.join(missing)}; known: {dict(sizes)}"
        )
    if any(type(sizes[name]) is not int for name in free_names(extent)):
        return _computed(ast.parse(exact_text(extent), mode="eval").body, sizes)
    value = extent.subs({part: sizes[str(part)] for part in extent.free_symbols})
    if not value.is_integer or value < 0:
        raise ShapeError(
            f"extent {text(extent)} is {value} at {dict(sizes)}; "
            "an extent must be a non-negative integer"
        )
    return int(value)


def _computed(tree: ast.expr, sizes: Mapping[str, int]) -> int:
    match tree:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return sizes[name]
        case ast.BinOp(left=left, op=op, right=right):
            found: int = _OPERATORS[type(op)](_computed(left, sizes), _computed(right, sizes))
            return found
    raise InternalCompilerError("extents", f"{ast.unparse(tree)} is no extent")
