"""Symbolic extents and the guards they leave: the one door to sympy.

A front-end translator hands in non-negative integers, names and arithmetic on them; the optimizer,
the Numba code generator and what launches its parallel CPU loops get shapes, equations that hold,
cannot hold, or must be checked at call time (guards), cost polynomials, and their text. No other
package imports sympy or calls its methods. Integer extents never import it, so programs without
symbols never pay for it.
"""

from einloom_compiler.extents.extent import (
    Extent,
    fraction,
    free_names,
    is_equal,
    is_known,
    is_symbol,
    product,
    quotient,
    replaced,
    symbol,
)
from einloom_compiler.extents.parsing import parse_extent
from einloom_compiler.extents.printing import (
    exact_text,
    factored,
    is_unknown,
    is_unknown_name,
    latex,
    parseable,
    text,
)
from einloom_compiler.extents.values import evaluate

__all__ = [
    "Extent",
    "evaluate",
    "exact_text",
    "factored",
    "fraction",
    "free_names",
    "is_equal",
    "is_known",
    "is_symbol",
    "is_unknown",
    "is_unknown_name",
    "latex",
    "parse_extent",
    "parseable",
    "product",
    "quotient",
    "replaced",
    "symbol",
    "text",
]
