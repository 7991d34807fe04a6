"""``keras.ops``: the products of Keras 3, and its scans.

Source: ``keras/src/ops/numpy.py`` and ``keras/src/backend/tensorflow/numpy.py`` of Keras 3.15.1.
Rules that hold for all of them:

- Dtypes are promoted as :func:`~einloom.frontends.keras_dtypes.keras_result_dtype` says; Python
  numbers and lists count as float32 (:func:`floatx`) or int32.
- Integers are exact and wrap around at the result's width. (Keras on TensorFlow computes them in
  float32 and rounds: there 2**24 + 1 becomes 2**24.)
- Two int8 operands of ``matmul`` and ``einsum`` give int32, as Keras's shape inference says;
  vectors included, for which Keras itself returns int8.
"""

from __future__ import annotations

import functools
import operator
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from einloom import functions as F  # noqa: N812
from einloom.expression import Expression
from einloom.frontends.build import contract, flat, scaled
from einloom.frontends.dispatch import frontend
from einloom.frontends.keras_dtypes import keras_result_dtype
from einloom.frontends.keras_tensors import keras_numbers
from einloom.frontends.letters import letters, shape_text, tensordot_equation
from einloom.frontends.values import as_tensor
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SubscriptError
from einloom_compiler.extents import is_equal, product, text
from einloom_compiler.language import expand, parse_string

_frontend = functools.partial(frontend, convert=keras_numbers, finish=as_tensor)


def _wide_dtype(*operands: Expression) -> AnyDType | None:
    """Return the promoted dtype, int32 where all operands are int8."""
    if all(operand.dtype == np.int8 for operand in operands):
        return np.dtype(np.int32)
    return keras_result_dtype(*operands)


def _check_equal(function: str, x1: Expression, x1_axis: int, x2: Expression, x2_axis: int) -> None:
    left, right = x1.shape[x1_axis], x2.shape[x2_axis]
    if is_equal(left, right) is False:
        raise ShapeError(
            f"keras.ops.{function} contracts axis {x1_axis % x1.ndim} of x1 (shape "
            f"{shape_text(x1.shape)}) with axis {x2_axis % x2.ndim} of x2 (shape "
            f"{shape_text(x2.shape)}), but their extents differ: {text(left)} == {text(right)} "
            "cannot hold"
        )


@_frontend("keras.ops.matmul", operands=("x1", "x2"))
def matmul(x1: Any, x2: Any) -> Any:
    """Return the matrix product over the last two axes; leading axes broadcast.

    A vector x1 counts as a row and a vector x2 as a column, whose axes the result lacks.

    Args:
        x1: shape (..., m, k) or (k,).
        x2: shape (..., k, n) or (k,).

    Raises:
        ShapeError: a scalar operand, or extents that do not fit.
        DTypeError: Keras has no promotion for a dtype.
    """
    for name, operand in (("x1", x1), ("x2", x2)):
        if operand.ndim == 0:
            raise ShapeError(
                f"keras.ops.matmul takes no scalar, but {name} has rank 0; multiply with "
                "keras.ops.dot"
            )
    _check_equal("matmul", x1, -1, x2, max(-2, -x2.ndim))
    batch = letters(max(x1.ndim, x2.ndim, 2) - 2, taken="ijk")
    row, column = "i" if x1.ndim > 1 else "", "k" if x2.ndim > 1 else ""
    x1_batch = batch[len(batch) - max(x1.ndim - 2, 0) :]
    x2_batch = batch[len(batch) - max(x2.ndim - 2, 0) :]
    _check_batch("matmul", x1, x2)
    return contract(
        f"{x1_batch}{row}j,{x2_batch}j{column}->{batch}{row}{column}",
        x1,
        x2,
        dtype=_wide_dtype(x1, x2),
        broadcast=batch,
    )


def _check_batch(function: str, x1: Expression, x2: Expression) -> None:
    for back in range(3, min(x1.ndim, x2.ndim) + 1):
        left, right = x1.shape[-back], x2.shape[-back]
        can_be_one = is_equal(left, 1) is not False or is_equal(right, 1) is not False
        if is_equal(left, right) is False and not can_be_one:
            raise ShapeError(
                f"keras.ops.{function} broadcasts leading axes, but axis {x1.ndim - back} of x1 "
                f"(shape {shape_text(x1.shape)}) has extent {text(left)} and axis "
                f"{x2.ndim - back} of x2 (shape {shape_text(x2.shape)}) has {text(right)}; they "
                "must be equal, or one of them 1"
            )


@_frontend("keras.ops.dot", operands=("x1", "x2"))
def dot(x1: Any, x2: Any) -> Any:
    """Return NumPy's dot product: x1's last axis with x2's second to last (its only one).

    Free axes of x1 come first, then those of x2; a scalar multiplies.

    Raises:
        ShapeError: the contracted extents differ.
        DTypeError: Keras has no promotion for a dtype.
    """
    if x1.ndim == 0 or x2.ndim == 0:
        return scaled(x1, x2, keras_result_dtype(x1, x2))
    x2_axis = max(x2.ndim - 2, 0)
    _check_equal("dot", x1, x1.ndim - 1, x2, x2_axis)
    return _tensordot(x1, x2, [(x1.ndim - 1, x2_axis)])


@_frontend("keras.ops.inner", operands=("x1", "x2"))
def inner(x1: Any, x2: Any) -> Any:
    """Return the product over the last axis of each, outer over the others; a scalar multiplies.

    Raises:
        ShapeError: the last extents differ.
        DTypeError: Keras has no promotion for a dtype.
    """
    if x1.ndim == 0 or x2.ndim == 0:
        return scaled(x1, x2, keras_result_dtype(x1, x2))
    _check_equal("inner", x1, x1.ndim - 1, x2, x2.ndim - 1)
    return _tensordot(x1, x2, [(x1.ndim - 1, x2.ndim - 1)])


@_frontend("keras.ops.tensordot", operands=("x1", "x2"))
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Return the product over paired axes, x1's free axes first, then x2's.

    Paired extents must be equal here. (Keras on TensorFlow compares only the numbers of contracted
    elements, so that axes of extents (3, 2) and (2, 3) pass there.)

    Args:
        x1: first operand.
        x2: second operand.
        axes: n for the last n axes of x1 with the first n of x2 (0 is the outer product); or two
            axes; or two lists of axes, paired in order. Negative axes count from the end.

    Raises:
        AxisError: an axis is out of range or repeated, or the lists are of unequal lengths.
        ShapeError: paired extents differ; 1 does not broadcast.
        DTypeError: Keras has no promotion for a dtype.
    """
    pairs = list(zip(*_tensordot_axes(x1, x2, axes), strict=True))
    for left, right in pairs:
        _check_equal("tensordot", x1, left, x2, right)
    return _tensordot(x1, x2, pairs)


def _tensordot_axes(x1: Expression, x2: Expression, axes: Any) -> tuple[list[int], list[int]]:
    if hasattr(axes, "__index__"):
        count = operator.index(axes)
        if not 0 <= count <= min(x1.ndim, x2.ndim):
            raise AxisError(
                f"axes={count} must be 0 to {min(x1.ndim, x2.ndim)} for operands of ranks "
                f"{x1.ndim} and {x2.ndim}"
            )
        return list(range(x1.ndim - count, x1.ndim)), list(range(count))
    if isinstance(axes, np.ndarray):
        axes = axes.tolist()
    if not isinstance(axes, list | tuple) or len(axes) != 2:
        raise AxisError(f"axes must be an int, two axes or two lists of axes, not {axes!r}")
    lefts = _wrapped_axes(axes[0], x1, "x1")
    rights = _wrapped_axes(axes[1], x2, "x2")
    if len(lefts) != len(rights):
        raise AxisError(
            f"different number of contraction axes: x1 has {len(lefts)} ({lefts}) and x2 has "
            f"{len(rights)} ({rights})"
        )
    return lefts, rights


def _wrapped_axes(axes: Any, operand: Expression, name: str) -> list[int]:
    listed: Sequence[Any] = axes if isinstance(axes, list | tuple) else [axes]
    if not all(hasattr(axis, "__index__") for axis in listed):
        raise AxisError(f"axes of {name} must be ints, not {axes!r}")
    numbers = [operator.index(axis) for axis in listed]
    for number in numbers:
        if not -operand.ndim <= number < operand.ndim:
            raise AxisError(
                f"axis {number} is out of range for {name} of rank {operand.ndim} (shape "
                f"{shape_text(operand.shape)})"
            )
    wrapped = [number % operand.ndim for number in numbers]
    if len(set(wrapped)) != len(wrapped):
        raise AxisError(f"axes {numbers} of {name} name one axis twice")
    return wrapped


def _tensordot(x1: Expression, x2: Expression, pairs: Sequence[tuple[int, int]]) -> Expression:
    equation = tensordot_equation(x1.ndim, x2.ndim, pairs)
    return contract(equation, x1, x2, dtype=keras_result_dtype(x1, x2))


@_frontend("keras.ops.outer", operands=("x1", "x2"))
def outer(x1: Any, x2: Any) -> Any:
    """Return the outer product of the flattened operands, of rank 2.

    Raises:
        DTypeError: Keras has no promotion for a dtype.
    """
    return contract("i,j->ij", flat(x1), flat(x2), dtype=keras_result_dtype(x1, x2))


@_frontend("keras.ops.vdot", operands=("x1", "x2"))
def vdot(x1: Any, x2: Any) -> Any:
    """Return the sum of products of the flattened operands; complex x1 is not conjugated.

    NumPy's vdot conjugates its first operand; Keras on TensorFlow does not.

    Raises:
        ShapeError: the numbers of elements differ.
        DTypeError: Keras has no promotion for a dtype.
    """
    left, right = product(x1.shape), product(x2.shape)
    if is_equal(left, right) is False:
        raise ShapeError(
            f"keras.ops.vdot flattens its operands, but x1 (shape {shape_text(x1.shape)}) has "
            f"{text(left)} elements and x2 (shape {shape_text(x2.shape)}) has {text(right)}: "
            f"{text(left)} == {text(right)} cannot hold"
        )
    return contract("i,i->", flat(x1), flat(x2), dtype=keras_result_dtype(x1, x2))


@_frontend("keras.ops.einsum", operands=("*operands",))
def einsum(subscripts: str, *operands: Any) -> Any:
    """Return the einsum, with the string grammar that Keras and TensorFlow share.

    Without ``->`` the output has the labels that occur once, sorted, as the documentation says
    (Keras on TensorFlow keeps the order of first appearance). Ellipsis axes broadcast; named ones
    of extent 1 do not (Keras lets some batch axes, where it happens to compute by matmul).

    Args:
        subscripts: letters a-z and A-Z, spaces, ``...``, ``,`` and ``->``.
        operands: one a term; there is no sublist form.

    Raises:
        SubscriptError: the subscripts are malformed, or do not fit the operands' ranks.
        ShapeError: extents of one label differ.
        DTypeError: an operand is bool, or Keras has no promotion for a dtype.
    """
    if not isinstance(subscripts, str):
        raise SubscriptError(
            f"keras.ops.einsum has no sublist form: the subscripts must be a string, not "
            f"{type(subscripts).__name__}; use einloom.einsum"
        )
    allowed = f"{string.ascii_letters} .,->"
    strange = sorted({character for character in subscripts if character not in allowed})
    if strange:
        raise SubscriptError(
            f"keras.ops.einsum takes letters a-z and A-Z, but {subscripts!r} has "
            f"{', '.join(map(repr, strange))}; use einloom.einsum"
        )
    for number, operand in enumerate(operands):
        if operand.dtype == np.bool_:
            raise DTypeError(
                f"keras.ops.einsum does not take bool, but operand {number} is; cast it, or use "
                "keras.ops.dot"
            )
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    if any(index.name == "..." for index in expr.contracted):
        raise SubscriptError(
            f"the output of {subscripts!r} drops the axes of '...', which keras.ops.einsum does "
            "not sum over; write '...' in the output, or use einloom.einsum"
        )
    return contract(expr, *operands, dtype=_wide_dtype(*operands), broadcast=("...",))


@_frontend("keras.ops.cumsum", operands=("x",))
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Return the sum of the elements up to each place along an axis, of all where that is None.

    The result's dtype is ``dtype``, to which x is cast before, or x's; of bools, int32.

    Raises:
        AxisError: x has no such axis.
    """
    return F.cumsum(x, axis, _scan_dtype(x, dtype))


@_frontend("keras.ops.cumprod", operands=("x",))
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Return the product of the elements up to each place, as :func:`cumsum` does the sum."""
    return F.cumprod(x, axis, _scan_dtype(x, dtype))


def _scan_dtype(x: Expression, dtype: Any) -> Any:
    wanted = x.dtype if dtype is None else as_dtype(dtype)
    return np.dtype(np.int32) if wanted == np.bool_ else wanted
