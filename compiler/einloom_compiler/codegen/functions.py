"""Functions of several values as expressions of generated source, on scalars and SIMD vectors.

Meanings are those of :data:`einloom_compiler.ir.scalar.FUNCTIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from einloom_compiler.errors import InternalCompilerError

_SIGNS = {"equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<="}
_OPERATORS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def number(value: float, compute: str) -> str:
    """Return a number as a constant of the dtype."""
    if np.dtype(compute).kind in "iu":
        return f"np.{compute}({int(value)})"
    if math.isnan(value):
        return f"np.{compute}(np.nan)"
    text = repr(float(value)) if math.isfinite(value) else f"{'-' if value < 0 else ''}np.inf"
    return f"np.{compute}({text})"


def apply_function(function: str, arguments: Sequence[str], compute: str) -> str:
    """Return a function of arguments that are names or constants, in the dtype called ``compute``.

    The function must have passed :func:`einloom_compiler.ir.scalar.check_scalar` for the dtype.
    """
    kind = np.dtype(compute).kind
    a, *others = arguments
    b = others[0] if others else ""
    if kind in "iu":
        wrapping = {
            "add": f"vplus({a}, {b})",
            "subtract": f"vminus({a}, {b})",
            "multiply": f"vwrap({a} * {b}, {number(0, compute)})",
            "maximum": f"vmax({a}, {b})",
            "minimum": f"vmin({a}, {b})",
        }
        if function in wrapping:
            return wrapping[function]
    if function in _OPERATORS:
        return f"{a} {_OPERATORS[function]} {b}"
    if function in _SIGNS:
        return _chosen(f"{a} {_SIGNS[function]} {b}", number(1, compute), number(0, compute), kind)
    match function:
        case "maximum" | "minimum":
            # vmax keeps a NaN of its first argument only.
            return f"vselect({b} != {b}, {b}, v{function[:3]}({a}, {b}))"
        case "where":
            return _chosen(f"{a} != {number(0, compute)}", b, others[1], kind)
    raise InternalCompilerError("codegen", f"no source is known for {function} in {compute}")


def _chosen(condition: str, a: str, b: str, kind: str) -> str:
    return f"({a} if {condition} else {b})" if kind == "c" else f"vselect({condition}, {a}, {b})"
