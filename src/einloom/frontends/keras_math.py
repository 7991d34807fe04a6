"""Elementwise functions, reductions and activations of the classic ``keras.backend``.

Source: ``keras/backend/tensorflow_backend.py`` of Keras 2.2.4; where it differs from NumPy or from
Keras 3, the docstring says how. Python numbers take the tensors' dtype.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from einloom import functions as F  # noqa: N812
from einloom.expression import Expression
from einloom.frontends.dispatch import frontend
from einloom.frontends.keras_tensors import floatx
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import SpecError

_EPSILON = {"value": 1e-7}


def epsilon() -> float:
    """Return the small number that denominators are kept above; 1e-7 at first."""
    return _EPSILON["value"]


def set_epsilon(value: float) -> None:
    """Set what :func:`epsilon` returns."""
    _EPSILON["value"] = float(value)


def _backend(name: str, *operands: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return frontend(
        f"keras.backend.{name}",
        operands=operands or ("x",),
        finish=as_tensor,
        keeps_numbers=True,
    )


def _elementwise(
    name: str, function: Callable[..., Any], doc: str, *operands: str
) -> Callable[..., Any]:
    """Return ``function`` as a function of the backend with operands so named, ``x`` where none."""
    names = operands or ("x",)

    def build(*values: Any) -> Any:
        return function(*values)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = doc
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(operand, kind) for operand in names]
    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return _backend(name, *names)(build)


exp = _elementwise("exp", F.exp, "Return the exponential.")
log = _elementwise("log", F.log, "Return the natural logarithm.")
square = _elementwise("square", F.square, "Return ``x * x``.")
abs = _elementwise("abs", F.absolute, "Return the absolute value.")
tanh = _elementwise("tanh", F.tanh, "Return the hyperbolic tangent.")
sigmoid = _elementwise("sigmoid", F.sigmoid, "Return ``1 / (1 + exp(-x))``.")
softplus = _elementwise("softplus", F.softplus, "Return ``log(1 + exp(x))``.")
softsign = _elementwise("softsign", F.softsign, "Return ``x / (1 + abs(x))``.")
sqrt = _elementwise(
    "sqrt", lambda x: F.sqrt(F.maximum(x, 0.0)), "Return the square root, 0 of negative numbers."
)
hard_sigmoid = _elementwise(
    "hard_sigmoid",
    lambda x: F.clip(0.2 * x + 0.5, 0.0, 1.0),
    "Return ``0.2 x + 0.5`` between 0 and 1, as Keras 2 does; Keras 3's is another function.",
)

_PAIR = ("x", "y")
maximum = _elementwise("maximum", F.maximum, "Return the larger of each pair.", *_PAIR)
minimum = _elementwise("minimum", F.minimum, "Return the smaller of each pair.", *_PAIR)
equal = _elementwise("equal", F.equal, "Return whether ``x == y``, as bools.", *_PAIR)
not_equal = _elementwise("not_equal", F.not_equal, "Return whether ``x != y``, as bools.", *_PAIR)
greater = _elementwise("greater", F.greater, "Return whether ``x > y``, as bools.", *_PAIR)
greater_equal = _elementwise(
    "greater_equal", F.greater_equal, "Return whether ``x >= y``, as bools.", *_PAIR
)
less = _elementwise("less", F.less, "Return whether ``x < y``, as bools.", *_PAIR)
less_equal = _elementwise(
    "less_equal", F.less_equal, "Return whether ``x <= y``, as bools.", *_PAIR
)


@_backend("softmax")
def softmax(x: Any, axis: int = -1) -> Any:
    """Return exponentials divided by their sum along an axis."""
    return F.softmax(x, axis)


@_backend("relu")
def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """Return x above the threshold, at most the top, and ``alpha * (x - threshold)`` elsewhere."""
    return F.relu(x, alpha, max_value, threshold)


@_backend("elu")
def elu(x: Any, alpha: float = 1.0) -> Any:
    """Return x where it is positive, else ``alpha * (exp(x) - 1)``."""
    return F.elu(x, alpha)


@_backend("pow")
def pow(x: Any, a: float) -> Any:
    """Return x to the power of a number."""
    return F.power(x, a)


@_backend("clip")
def clip(x: Any, min_value: float, max_value: float) -> Any:
    """Return x between two numbers."""
    return F.clip(x, min_value, max_value)


@_backend("switch", "condition", "then_expression", "else_expression")
def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """Return the one where the condition holds, else the other.

    A condition of lower rank is repeated along trailing axes.
    """
    rank = builtins.max(getattr(each, "ndim", 0) for each in (then_expression, else_expression))
    missing = rank - condition.ndim
    if missing > 0 and condition.ndim:
        condition = F.expand_dims(condition, tuple(range(condition.ndim, rank)))
    return F.where(condition, then_expression, else_expression)


def _reduction(
    name: str, function: Callable[..., Any], *, casts: bool = False
) -> Callable[..., Any]:
    def build(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if casts and x.dtype is not None and x.dtype.kind == "b":
            x = F.cast(x, floatx())
        along = tuple(axis) if isinstance(axis, list) else axis
        return function(x, axis=along, keepdims=keepdims)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Return the {name} along axes, all where None."
    return _backend(name)(build)


def _sum(x: Expression, axis: Any, keepdims: bool) -> Any:
    total = F.sum(x, axis=axis, keepdims=keepdims)
    return total if x.dtype is None else F.cast(total, x.dtype)  # TensorFlow widens no integers


sum = _reduction("sum", _sum)
mean = _reduction("mean", F.mean, casts=True)
max = _reduction("max", F.max)
min = _reduction("min", F.min)
var = _reduction("var", F.var, casts=True)
logsumexp = _reduction("logsumexp", F.logsumexp)


@_backend("l2_normalize")
def l2_normalize(x: Any, axis: Any = None) -> Any:
    """Return x divided by the root of its squares' sum along axes, kept above ``1e-12``."""
    total = F.sum(F.square(x), axis=axis, keepdims=True)
    return F.multiply(x, F.rsqrt(F.maximum(total, 1e-12)))


@_backend("batch_flatten")
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
