"""Symbolic extents and the guards they leave: the one door to sympy.

In come non-negative integers and sympy expressions; out go shapes, equations that hold, cannot
hold, or must be checked at call time (guards), and cost polynomials. Integer extents never import
sympy, so programs without symbols never pay for it.
"""

from einloom_compiler.extents.extent import (
    Extent,
    evaluate,
    free_names,
    is_equal,
    is_known,
    parse_extent,
    product,
    symbol,
    text,
)

__all__ = [
    "Extent",
    "evaluate",
    "free_names",
    "is_equal",
    "is_known",
    "parse_extent",
    "product",
    "symbol",
    "text",
]
