"""Elementwise functions, reductions and activations of the classic ``keras.backend``.

Source: ``keras/backend/tensorflow_backend.py`` of Keras 2.2.4; where it differs from NumPy or from
Keras 3, the docstring says how. Python numbers take the tensors' dtype.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from einloom import functions as F  # noqa: N812
from einloom.frontends.dispatch import frontend
from einloom.frontends.keras_functions import (
    backend_function,
    dtype_kept,
    elementwise,
    reduction,
)
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import SpecError

_EPSILON = {"value": 1e-7}


def epsilon() -> float:
    """Return the small number that denominators are kept above; 1e-7 at first."""
    return _EPSILON["value"]


def set_epsilon(value: float) -> None:
    """Set what :func:`epsilon` returns."""
    _EPSILON["value"] = float(value)


exp = elementwise("exp", F.exp, "Return the exponential.")
log = elementwise("log", F.log, "Return the natural logarithm.")
square = elementwise("square", F.square, "Return ``x * x``.")
abs = elementwise("abs", F.absolute, "Return the absolute value.")
tanh = elementwise("tanh", F.tanh, "Return the hyperbolic tangent.")
sigmoid = elementwise("sigmoid", F.sigmoid, "Return ``1 / (1 + exp(-x))``.")
softplus = elementwise("softplus", F.softplus, "Return ``log(1 + exp(x))``.")
softsign = elementwise("softsign", F.softsign, "Return ``x / (1 + abs(x))``.")
sqrt = elementwise(
    "sqrt", lambda x: F.sqrt(F.maximum(x, 0.0)), "Return the square root, 0 of negative numbers."
)
hard_sigmoid = elementwise(
    "hard_sigmoid",
    lambda x: F.clip(0.2 * x + 0.5, 0.0, 1.0),
    "Return ``0.2 x + 0.5`` between 0 and 1, as Keras 2 does; Keras 3's is another function.",
)

pow = elementwise("pow", F.power, "Return x to the power of a.", "x", "a")
_PAIR = ("x", "y")
maximum = elementwise("maximum", F.maximum, "Return the larger of each pair.", *_PAIR)
minimum = elementwise("minimum", F.minimum, "Return the smaller of each pair.", *_PAIR)
equal = elementwise("equal", F.equal, "Return whether ``x == y``, as bools.", *_PAIR)
not_equal = elementwise("not_equal", F.not_equal, "Return whether ``x != y``, as bools.", *_PAIR)
greater = elementwise("greater", F.greater, "Return whether ``x > y``, as bools.", *_PAIR)
greater_equal = elementwise(
    "greater_equal", F.greater_equal, "Return whether ``x >= y``, as bools.", *_PAIR
)
less = elementwise("less", F.less, "Return whether ``x < y``, as bools.", *_PAIR)
less_equal = elementwise("less_equal", F.less_equal, "Return whether ``x <= y``, as bools.", *_PAIR)


@backend_function("softmax")
def softmax(x: Any, axis: int = -1) -> Any:
    """Return exponentials divided by their sum along an axis."""
    return F.softmax(x, axis)


@backend_function("relu")
def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """Return x above the threshold, at most the top, and ``alpha * (x - threshold)`` elsewhere."""
    return F.relu(x, alpha, max_value, threshold)


@backend_function("elu")
def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where it is positive, else ``alpha * (exp(x) - 1)``."""
    return F.elu(x, alpha)


@backend_function("clip")
def clip(x: Any, min_value: float, max_value: float) -> Any:
    """Return x between two numbers."""
    return F.clip(x, min_value, max_value)


@backend_function("switch", "condition", "then_expression", "else_expression")
def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """Return the one where the condition holds, else the other.

    A condition of lower rank is repeated along trailing axes.
    """
    rank = builtins.max(getattr(each, "ndim", 0) for each in (then_expression, else_expression))
    missing = rank - condition.ndim
    if missing > 0 and condition.ndim:
        condition = F.expand_dims(condition, tuple(range(condition.ndim, rank)))
    return F.where(condition, then_expression, else_expression)


sum = reduction("sum", dtype_kept(F.sum))
mean = reduction("mean", F.mean, casts=True)
max = reduction("max", F.max)
min = reduction("min", F.min)
var = reduction("var", F.var, casts=True)
logsumexp = reduction("logsumexp", F.logsumexp)


@backend_function("cumsum")
def cumsum(x: Any, axis: int = 0) -> Any:
    """Return the sum of the elements up to each place along an axis, in x's dtype."""
    return F.cumsum(x, axis, dtype=x.dtype)


@backend_function("cumprod")
def cumprod(x: Any, axis: int = 0) -> Any:
    """Return the product of the elements up to each place along an axis, in x's dtype."""
    return F.cumprod(x, axis, dtype=x.dtype)


@backend_function("l2_normalize")
def l2_normalize(x: Any, axis: Any = None) -> Any:
    """Return x divided by the root of its squares' sum along axes, kept above ``1e-12``."""
    total = F.sum(F.square(x), axis=axis, keepdims=True)
    return F.multiply(x, F.rsqrt(F.maximum(total, 1e-12)))


@backend_function("batch_flatten")
def batch_flatten(x: Any) -> Any:
    """Return x under two axes, the first of which stays."""
    return F.reshape(x, (x.shape[0], -1))


@frontend("keras.backend.concatenate", operands=("*tensors",), finish=as_tensor)
def _concatenate(*tensors: Any, axis: int = -1) -> Any:
    return F.concatenate(tensors, axis=axis)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """Return tensors one behind another along an axis.

    Raises:
        SpecError: there are none.
    """
    if not tensors:
        raise SpecError("concatenate needs at least one tensor")
    return _concatenate(*tensors, axis=axis)


@frontend("keras.backend.stack", operands=("*x",), finish=as_tensor)
def _stack(*x: Any, axis: int = 0) -> Any:
    return F.stack(x, axis=axis)


def stack(x: Sequence[Any], axis: int = 0) -> Any:
    """Return tensors of one shape along a new axis.

    Raises:
        SpecError: there are none.
    """
    if not x:
        raise SpecError("stack needs at least one tensor")
    return _stack(*x, axis=axis)


@backend_function("batch_normalization", "x", "mean", "var", "beta", "gamma")
def batch_normalization(
    x: Any, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1, epsilon: float = 1e-3
) -> Any:
    """Return ``(x - mean) / sqrt(var + epsilon) * gamma + beta``, broadcast against x.

    Args:
        x: any shape.
        mean: numbers along ``axis``, or of a shape that broadcasts.
        var: the same.
        beta: the same, or None for no shift.
        gamma: the same, or None for no scale.
        axis: of x that operands of rank 1 lie along.
        epsilon: added to the variance.
    """

    def along(operand: Any) -> Any:
        if operand is None or getattr(operand, "ndim", 0) != 1 or axis % x.ndim == x.ndim - 1:
            return operand
        return F.expand_dims(operand, tuple(range(1, x.ndim - axis % x.ndim)))

    scale = F.rsqrt(F.add(along(var), epsilon))
    if gamma is not None:
        scale = F.multiply(scale, along(gamma))
    centered = F.multiply(F.subtract(x, along(mean)), scale)
    return centered if beta is None else F.add(centered, along(beta))
