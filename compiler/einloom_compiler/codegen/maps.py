"""Elementwise maps as expressions of generated source, and the functions these call.

``apply_map`` gives text that works on scalars and on SIMD vectors, un-jitted on NumPy arrays. A map
that is more than a few instructions is a function for each dtype, made of those of :mod:`.vmath`;
the map's parameters are arguments, constant wherever it is inlined. Meanings are
those of :mod:`einloom_compiler.ir.maps`.
"""

from __future__ import annotations

import math
import re
from functools import cache

import numpy as np

from einloom_compiler.codegen import vmath
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.maps import SELU_ALPHA, SELU_SCALE, Map


def apply_map(step: Map, value: str, compute: str) -> str:
    """Return ``value``, of the dtype called ``compute``, after one map; as source.

    The map must have passed :func:`einloom_compiler.ir.maps.check_map` for its dtype; ``compute``
    is the dtype that arithmetic is done in (float32 for the 16-bit floats).
    """
    numbers = [_number(parameter, compute) for parameter in step.parameters]
    written = _simple(step, value, compute, numbers)
    kind = np.dtype(compute).kind
    if written is None and kind == "f":
        written = _floating(step, value, compute, numbers)
    elif written is None and kind in "iu":
        written = _integer(step, f"vwrap({value}, np.{compute}(0))", compute, numbers)
    if written is None:
        raise InternalCompilerError("codegen", f"no source is known for map {step} in {compute}")
    return written


def helpers_in(source: str) -> list[str]:
    """Return the text of the functions that ``source`` calls, those they call before them."""
    known = _helpers()
    found: dict[str, str] = {}

    def visit(text: str) -> None:
        for name in dict.fromkeys(re.findall(r"\b(\w+)\(", text)):
            if name in known and name not in found and f"def {name}(" not in text:
                visit(known[name].replace(f"def {name}(", "def "))
                found[name] = known[name]

    visit(source)
    return list(found.values())


def _simple(step: Map, value: str, compute: str, numbers: list[str]) -> str | None:
    """Return the maps that are one operator; those of integers keep their dtype elsewhere."""
    if step.function == "linear":
        return value
    kind = np.dtype(compute).kind
    if kind in "iu":
        return None
    match step.function:
        case "negative":
            return f"-{_term(value)}"
        case "reciprocal":
            if kind == "c":
                return f"divide_{compute}(np.{compute}(1), {value})"
            return f"np.{compute}(1) / {_term(value)}"
        case "add":
            return f"{_term(value)} + {numbers[0]}"
        case "multiply":
            return f"{_term(value)} * {numbers[0]}"
        case "sqrt":
            return f"sqrt_{compute}({value})" if kind == "c" else f"vsqrt({value})"
        case "square" if kind == "c":
            return f"np.square({value})"
    return None


def _floating(step: Map, value: str, compute: str, numbers: list[str]) -> str:
    match step.function:
        case "abs" | "round" | "sin" | "cos":
            return f"v{step.function}({value})"
        case "maximum" | "minimum":
            return f"v{step.function[:3]}({value}, {numbers[0]})"
        case "relu":
            return _relu(step, value, compute, numbers)
    arguments = ", ".join([value, *numbers])
    return f"{step.function}_{compute}({arguments})"


def _relu(step: Map, value: str, compute: str, numbers: list[str]) -> str:
    """Return relu in as few instructions as its parameters allow."""
    slope, top, threshold = step.parameters
    if slope == threshold == 0:
        raised = f"vmax({value}, {_number(0.0, compute)})"
        return raised if top == math.inf else f"vmin({raised}, {numbers[1]})"
    if top == math.inf and threshold == 0:
        return f"leaky_relu_{compute}({value}, {numbers[0]})"
    low = _number(0.0 if top < math.inf else -math.inf, compute)
    if slope:
        return f"relu_{compute}({value}, {numbers[0]}, {low}, {numbers[1]}, {numbers[2]})"
    return f"flat_relu_{compute}({value}, {low}, {numbers[1]}, {numbers[2]})"


def _integer(step: Map, value: str, compute: str, numbers: list[str]) -> str | None:
    zero = f"np.{compute}(0)"
    match step.function:
        case "negative":
            return f"vminus({zero}, {value})"
        case "abs":
            return f"vabs({value})"
        case "square" | "sign":
            return f"{step.function}_{compute}({value})"
        case "floor" | "ceil" | "round":
            return value
        case "add":
            return f"vplus({value}, {numbers[0]})"
        case "multiply":
            return f"vwrap({value} * {numbers[0]}, {zero})"
        case "maximum" | "minimum":
            return f"v{step.function[:3]}({value}, {numbers[0]})"
        case "relu6":
            return f"vmin(vmax({value}, {zero}), np.{compute}(6))"
        case "relu":
            _, top, threshold = step.parameters
            if threshold:
                value = f"above_{compute}({value}, {numbers[2]})"
            raised = value if threshold and top == math.inf else f"vmax({value}, {zero})"
            return raised if top == math.inf else f"vmin({raised}, {numbers[1]})"
    return None


def _term(value: str) -> str:
    """Return ``value`` in parentheses where an operator outside of all brackets is in it."""
    depth = 0
    for position, letter in enumerate(value):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and (letter == " " or (letter == "-" and position == 0)):
            return f"({value})"
    return value


def _number(value: float, compute: str) -> str:
    """Return a parameter as a constant of the dtype."""
    if np.dtype(compute).kind in "iu":
        return f"np.{compute}({int(value) if math.isfinite(value) else 0})"
    text = repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}np.inf"
    return f"np.{compute}({text})"


@cache
def _helpers() -> dict[str, str]:
    """Return the functions of :mod:`.vmath` and those of the maps, by name."""
    ours = {
        f"{name}_{dtype}": f"@njit({vmath.OPTIONS})\n{_written(name, body, dtype)}"
        for bodies, dtypes in (
            (_BODIES, vmath.DTYPES),
            (_INTEGER_BODIES, _INTEGERS),
            (_COMPLEX_BODIES, ("complex64", "complex128")),
        )
        for name, body in bodies.items()
        for dtype in dtypes
    }
    return vmath.helpers() | ours


def _written(name: str, body: str, dtype: str) -> str:
    """Return a function's text: ``T`` is the dtype, bare numbers are constants of it."""
    signature, _, rest = body.partition("\n")
    numbered = re.sub(r"(?<![\w.])(\d+\.\d+(?:e-?\d+)?)", rf"np.{dtype}(\1)", rest)
    numbered = numbered.replace("np.T(", f"np.{dtype}(")
    return f"def {name}_{dtype}({signature}):\n" + numbered.replace("_T(", f"_{dtype}(")


#: Twice the factor of gelu by tanh (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).
_GELU = 2 * math.sqrt(2 / math.pi)

#: Parameters, then the body of each function.
_BODIES = {
    "square": """\
x
    return x * x
""",
    "sign": """\
x
    return vselect(x > 0.0, 1.0, vselect(x < 0.0, -1.0, x + 0.0))
""",
    "floor": """\
x
    y = vround(x)
    return vselect(y > x, y - 1.0, y)
""",
    "ceil": """\
x
    y = vround(x)
    return vselect(y < x, y + 1.0, y)
""",
    "leaky_relu": """\
x, slope
    return vselect(x > 0.0, x, x * slope)
""",
    "relu": """\
x, slope, low, high, threshold
    return vselect(x > threshold, vmin(vmax(x, low), high), (x - threshold) * slope)
""",
    "flat_relu": """\
x, low, high, threshold
    return vselect(x > threshold, vmin(vmax(x, low), high), 0.0)
""",
    "relu6": """\
x
    return vmin(vmax(x, 0.0), 6.0)
""",
    "elu": """\
x, alpha
    return vselect(x > 0.0, x, expm1_T(x) * alpha)
""",
    "selu": f"""\
x
    return vselect(x > 0.0, x, expm1_T(x) * {SELU_ALPHA!r}) * {SELU_SCALE!r}
""",
    "celu": """\
x, alpha
    return vselect(x > 0.0, x, expm1_T(x / alpha) * alpha)
""",
    "gelu": """\
x
    return x * normal_cdf_T(x)
""",
    # (1 + tanh(u / 2)) / 2 is the sigmoid of u.
    "gelu_tanh": f"""\
x
    u = vmuladd(x * x, {0.044715 * _GELU!r}, {_GELU!r}) * x
    e = exp_falling_T(u)
    return x * vselect(u < 0.0, e, 1.0) / (e + 1.0)
""",
    "silu": """\
x
    e = exp_falling_T(x)
    return x * vselect(x < 0.0, e, 1.0) / (e + 1.0)
""",
    # tanh(log(1 + exp(x))) is n / (n + 2) where n = w * (w + 2) and w = exp(x); for x > 0 both are
    # multiplied by exp(-2 * x).
    "mish": """\
x
    e = exp_falling_T(x)
    n = vselect(x < 0.0, e * (e + 2.0), e + e + 1.0)
    return x * n / (n + vselect(x < 0.0, 2.0, (e + e) * e))
""",
    "softplus": """\
x
    return vmax(x, 0.0) + log1p_unit_T(exp_falling_T(x))
""",
    "log_sigmoid": """\
x
    return vmin(x, 0.0) - log1p_unit_T(exp_falling_T(x))
""",
    "softsign": """\
x
    return x / (vabs(x) + 1.0)
""",
    # For x < 0, where x + sqrt(x * x + b) would cancel, the product with its conjugate is used.
    "squareplus": """\
x, b
    root = vsqrt(vmuladd(x, x, b)) + vabs(x)
    return vselect(x < 0.0, b, root) * 0.5 / vselect(x < 0.0, root, 1.0)
""",
    "hard_sigmoid": f"""\
x
    return vmin(vmax(x + 3.0, 0.0), 6.0) * {1 / 6!r}
""",
    "hard_silu": """\
x
    return x * hard_sigmoid_T(x)
""",
    "hard_tanh": """\
x, low, high
    return vmin(vmax(x, low), high)
""",
    "hard_shrink": """\
x, threshold
    return vselect(vabs(x) > threshold, x, 0.0)
""",
    "soft_shrink": """\
x, threshold
    return vselect(vabs(x) > threshold, x - vcopysign(threshold, x), 0.0)
""",
    "tanh_shrink": """\
x
    return x - tanh_T(x)
""",
    "sparse_plus": """\
x
    y = x + 1.0
    return vselect(x < 1.0, vselect(x <= -1.0, 0.0, y * y * 0.25), x)
""",
    "sparse_sigmoid": """\
x
    return vmin(vmax(vmuladd(x, 0.5, 0.5), 0.0), 1.0)
""",
    "threshold": """\
x, threshold, default_value
    return vselect(x > threshold, x, default_value)
""",
}

#: Those of complex numbers. Quotients are Smith's (CACM 5(8), 1962, algorithm 116), as NumPy's;
#: square roots square no part, which could overflow, but the quotient of both.
_COMPLEX_BODIES = {
    "sqrt": """\
x
    a, b = abs(x.real), abs(x.imag)
    if a == 0 and b == 0:
        return np.T(complex(a, x.imag))
    if b == np.inf:
        return np.T(complex(b, x.imag))
    big, small = (a, b) if a >= b else (b, a)
    r = small / big
    t = vsqrt(a / 2 + big / 2 * vsqrt(1 + r * r))
    rest = b / (2 * t)
    re, im = (rest, t) if x.real < 0 else (t, rest)
    is_below = x.imag < 0 or (x.imag == 0 and 1 / x.imag < 0)
    return np.T(complex(re, -im if is_below else im))
""",
    "divide": """\
x, y
    c, d = y.real, y.imag
    if abs(c) >= abs(d):
        if c == 0:
            return np.T(complex(x.real / abs(c), x.imag / abs(c)))
        r = d / c
        t = 1 / (c + d * r)
        return np.T(complex((x.real + x.imag * r) * t, (x.imag - x.real * r) * t))
    r = c / d
    t = 1 / (d + c * r)
    return np.T(complex((x.real * r + x.imag) * t, (x.imag * r - x.real) * t))
""",
}

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))

#: Those of integers, which must not grow wider.
_INTEGER_BODIES = {
    "square": """\
x
    return vwrap(x * x, x)
""",
    "sign": """\
x
    zero = vwrap(0, x)
    return vselect(x > zero, vwrap(1, x), vselect(x < zero, vwrap(-1, x), zero))
""",
    "above": """\
x, threshold
    return vselect(x > threshold, x, vwrap(0, x))
""",
}
