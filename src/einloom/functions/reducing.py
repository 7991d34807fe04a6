"""Reductions along axes, softmax and norms.

Axes are counted as NumPy counts them: ``axis`` is one or several, negative ones from the last, and
None is all of them. A reduction's result lacks these axes; with ``keepdims`` they stay, with extent
1. Softmax and norms have their operand's shape. An axis that the operand lacks is an ``AxisError``.
Sources: NumPy's documentation for reductions, Keras 3 and PyTorch for softmax and norms.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

from einloom.expression import Expression
from einloom.frontends.arguments import wrap_axis
from einloom.frontends.build import check_names, contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import letters
from einloom.frontends.values import numpy_scalar
from einloom.functions.pointwise import cast, sqrt
from einloom.functions.promotion import inexact, quotient_dtype, summed_dtype
from einloom.functions.shaping import expand_dims, reshape
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.ir import builders

Axes = int | tuple[int, ...] | None

_NO_ELEMENT = "ShapeError: no element lies along it."
_NO_ORDER = "DTypeError: x is complex, which has no order."
#: What documentation says of the operands of reductions, and of their errors.
_NOTES = """
Args:
    x: of any rank.
    axis: {axis}; may be negative.
    keepdims: whether reduced axes stay, with extent 1.

Raises:
    AxisError: x has no such axis."""
_SEVERAL, _ONE = "one or several, all where None", "one, all elements in a row where None"
_normalising = functools.partial(frontend, keeps_numbers=True)


def _reducing(
    name: str, *errors: str, axis: str = _SEVERAL
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the decorator of a reduction, which documents its operands and errors."""

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        doc = inspect.cleandoc(build.__doc__ or "")
        notes = [_NOTES.format(axis=axis), *(f"    {error}" for error in errors)]
        build.__doc__ = "\n".join([doc, *notes])
        return frontend(name, operands=("x",), finish=numpy_scalar)(build)

    return decorate


def _as(x: Expression, dtype: AnyDType | None) -> Expression:
    return x if dtype is None or x.dtype == dtype else cast(x, dtype)


@_reducing("functions.sum")
def sum(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the sum along axes; integers are summed in 64 bits, as NumPy does."""
    along = builders.normalized_axes(x.node, axis, "sum")
    term = letters(x.ndim)
    kept = "".join(letter for number, letter in enumerate(term) if number not in along)
    total = contract(f"{term}->{kept}", x, dtype=summed_dtype(x.dtype))
    return expand_dims(total, tuple(sorted(along))) if keepdims and along else total


@_reducing("functions.mean")
def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the mean along axes; of integers in float64."""
    x = _as(x, quotient_dtype(x))
    return Expression(builders.reduce(x.node, "mean", axis, keepdims))


@_reducing("functions.var", "DTypeError: x is complex; NumPy's variance is then real.")
def var(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the mean squared distance from the mean along axes."""
    x = _as(x, quotient_dtype(x))
    return Expression(builders.variance(x.node, axis, keepdims))


@_reducing("functions.prod")
def prod(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the product along axes; of integers in 64 bits, as NumPy does."""
    x = _as(x, summed_dtype(x.dtype))
    return Expression(builders.reduce(x.node, "prod", axis, keepdims))


@_reducing("functions.max", _NO_ELEMENT, _NO_ORDER)
def max(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the largest element along axes; NaN where one is."""
    return Expression(builders.reduce(x.node, "max", axis, keepdims))


@_reducing("functions.min", _NO_ELEMENT, _NO_ORDER)
def min(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the smallest element along axes; NaN where one is."""
    return Expression(builders.reduce(x.node, "min", axis, keepdims))


@_reducing("functions.std", "DTypeError: x is complex.")
def std(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return the square root of the mean squared distance from the mean along axes."""
    return sqrt(var(x, axis, keepdims))


@_reducing("functions.any")
def any(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return whether an element along axes is not 0, as bools."""
    return Expression(builders.holds(cast(x, "bool").node, "any", axis, keepdims))


@_reducing("functions.all")
def all(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return whether all elements along axes are not 0, as bools."""
    return Expression(builders.holds(cast(x, "bool").node, "all", axis, keepdims))


@_reducing("functions.argmax", _NO_ELEMENT, _NO_ORDER, axis=_ONE)
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return where the largest element along an axis is, the first of several, as int64.

    A NaN is the largest. ``axis=None`` counts in all elements in C order.
    """
    return _position(x, "max", axis, keepdims)


@_reducing("functions.argmin", _NO_ELEMENT, _NO_ORDER, axis=_ONE)
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Return where the smallest element along an axis is, the first of several, as int64.

    A NaN is the smallest. ``axis=None`` counts in all elements in C order.
    """
    return _position(x, "min", axis, keepdims)


def _position(x: Any, kind: Literal["max", "min"], axis: int | None, keepdims: bool) -> Any:
    flat, along = (
        (reshape(x, (-1,)), 0) if axis is None else (x, wrap_axis(axis, x.ndim, f"arg{kind}"))
    )
    found = Expression(builders.position(flat.node, kind, along))
    if not keepdims:
        return found
    return expand_dims(found, tuple(range(x.ndim)) if axis is None else along)


@_reducing("functions.logsumexp", "DTypeError: x is complex.")
def logsumexp(x: Any, axis: Axes = None, keepdims: bool = False) -> Any:
    """Return ``log(sum(exp(x)))`` along axes, without overflow."""
    return Expression(builders.logsumexp(_as(x, inexact(x.dtype)).node, axis, keepdims))


@frontend("functions.softmax", operands=("x",))
def softmax(x: Any, axis: Axes = -1) -> Any:
    """Return exponentials divided by their sum along axes, without overflow.

    Integers are computed in the float that NumPy's ``exp`` gives them.

    Args:
        x: of any rank.
        axis: one or several, all where None; may be negative.

    Raises:
        AxisError: x has no such axis.
        DTypeError: x is complex.
    """
    return Expression(builders.softmax(_as(x, inexact(x.dtype)).node, axis))


@frontend("functions.log_softmax", operands=("x",))
def log_softmax(x: Any, axis: Axes = -1) -> Any:
    """Return the logarithm of softmax along axes.

    Integers are computed in the float that NumPy's ``exp`` gives them.

    Args:
        x: of any rank.
        axis: one or several, all where None; may be negative.

    Raises:
        AxisError: x has no such axis.
        DTypeError: x is complex.
    """
    return Expression(builders.log_softmax(_as(x, inexact(x.dtype)).node, axis))


@_normalising("functions.layer_norm", operands=("x", "gamma", "beta"))
def layer_norm(
    x: Any, gamma: Any = None, beta: Any = None, axis: Axes = -1, epsilon: float = 1e-3
) -> Any:
    """Return ``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` along axes.

    ``gamma`` and ``beta`` have the shape of these axes. Epsilon is Keras's; PyTorch's is 1e-5.

    Raises:
        AxisError: x has no such axis.
        ShapeError: gamma or beta has not the shape of these axes.
        DTypeError: an operand is complex.
    """
    given = [operand for operand in (x, gamma, beta) if operand is not None]
    check_names(given)
    dtype = quotient_dtype(*given)
    x, *scales = (_as(operand, dtype) for operand in given)
    nodes = iter(operand.node for operand in scales)
    scale = next(nodes) if gamma is not None else None
    shift = next(nodes) if beta is not None else None
    return Expression(builders.layer_norm(x.node, axis, epsilon, scale, shift))


@_normalising("functions.rms_norm", operands=("x", "gamma"))
def rms_norm(x: Any, gamma: Any = None, axis: Axes = -1, epsilon: float = 1e-6) -> Any:
    """Return ``x / sqrt(mean(x * x) + epsilon) * gamma`` along axes.

    ``gamma`` has the shape of these axes.

    Raises:
        AxisError: x has no such axis.
        ShapeError: gamma has not the shape of these axes.
        DTypeError: an operand is complex.
    """
    given = [operand for operand in (x, gamma) if operand is not None]
    check_names(given)
    dtype = quotient_dtype(*given)
    x, *scales = (_as(operand, dtype) for operand in given)
    return Expression(builders.rms_norm(x.node, axis, epsilon, scales[0].node if scales else None))
