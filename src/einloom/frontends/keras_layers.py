"""The Keras 3 layer ``Dot``: a batchwise product over one axis of each input, optionally a cosine.

Source: ``keras/src/layers/merging/dot.py`` and ``keras/src/ops/nn.py`` (``normalize``) of Keras
3.15.1. Only the first axis is batch, as in ``K.batch_dot`` from Keras 2.2.5 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom.frontends.build import contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.keras_batch_dot_first_axis import first_axis_batch_dot
from einloom.frontends.keras_dtypes import keras_result_dtype
from einloom.frontends.keras_tensors import keras_numbers
from einloom.frontends.letters import letters, shape_text
from einloom.frontends.values import as_tensor
from einloom_compiler.dtypes import AnyDType, as_dtype, is_floating
from einloom_compiler.errors import AxisError, DTypeError, ShapeError
from einloom_compiler.extents import is_equal, text
from einloom_compiler.ir.graph import Shape
from einloom_compiler.ir.maps import Map

#: ``keras.config.epsilon()``: no norm counts as smaller than this.
EPSILON = 1e-7


class AxesTypeError(AxisError, TypeError):
    """``axes`` is of a type that names no axes; a TypeError as in Keras."""


def checked_dot_axes(axes: Any) -> int | tuple[int, int]:
    """Return the ``axes`` argument of a Dot layer.

    Raises:
        AxisError: it is neither an int nor a pair of ints; where it is not even a list, the error
            is a TypeError too.
    """
    if isinstance(axes, int):
        return axes
    if not isinstance(axes, list | tuple):
        raise AxesTypeError(
            "Invalid type for argument `axes`: it should be a list or an int. Received: "
            f"axes={axes!r}"
        )
    if len(axes) != 2:
        raise AxisError(
            "Invalid format for argument `axes`: it should contain two elements. Received: "
            f"axes={axes!r}"
        )
    if not all(isinstance(axis, int) for axis in axes):
        raise AxisError(
            "Invalid format for argument `axes`: list elements should be integers. Received: "
            f"axes={axes!r}"
        )
    return axes[0], axes[1]


def paired_dot_axes(axes: int | tuple[int, int], x1: Shape, x2: Shape) -> tuple[int, int]:
    """Return the axis of each input, counted from the front.

    Raises:
        AxisError: an axis lies outside its input, or is the batch axis 0.
        ShapeError: the extents along the axes differ.
    """
    given = (axes, axes) if isinstance(axes, int) else axes
    for number, (axis, shape) in enumerate(zip(given, (x1, x2), strict=True), 1):
        if not -len(shape) <= axis < len(shape):
            raise AxisError(
                f"axis {axis} is out of range for input {number} of a Dot layer, of shape "
                f"{shape_text(shape)}"
            )
    left, right = given[0] % len(x1), given[1] % len(x2)
    if is_equal(x1[left], x2[right]) is False:
        raise ShapeError(
            f"Incompatible input shapes: axis values {text(x1[left])} (at axis {left}) != "
            f"{text(x2[right])} (at axis {right}). Full input shapes: {shape_text(x1)}, "
            f"{shape_text(x2)}"
        )
    if left == 0 or right == 0:
        raise AxisError(
            f"a Dot layer cannot contract axis 0, the batch axis; axes are {axes!r} for inputs of "
            f"shapes {shape_text(x1)} and {shape_text(x2)}; add a batch axis with "
            "K.expand_dims(x, 0) if the inputs have none"
        )
    return left, right


@frontend("keras.layers.Dot", operands=("x1", "x2"), convert=keras_numbers, finish=as_tensor)
def dot_layer(
    x1: Any,
    x2: Any,
    axes: int | tuple[int, int] = -1,
    normalize: bool = False,
    dtype: str = "float32",
) -> Any:
    """Return what a Dot layer gives for two inputs.

    Floating-point inputs are cast to the layer's dtype, as every Keras layer does; then they are
    promoted as ``keras.ops`` does. With ``normalize`` each input is divided by its L2 norm along
    its axis; norms below 1e-7 count as 1e-7, so that a zero vector gives 0. Halves are normalized
    in float32. (Keras does not, and gives nan for a zero vector in float16.)

    Args:
        x1: rank 2 or more, axis 0 the batch.
        x2: rank 2 or more, axis 0 the batch.
        axes: axis of each input to contract, or one int for both.
        normalize: whether to give the cosine of the angle instead.
        dtype: the layer's compute dtype.

    Raises:
        AxisError, ShapeError: axes or extents do not fit.
        DTypeError: inputs to be normalized are not floating-point, or Keras has no promotion.
    """
    for number, operand in enumerate((x1, x2), 1):
        if operand.ndim < 2:
            raise ShapeError(
                f"a Dot layer takes inputs of rank 2 or more, but input {number} has shape "
                f"{shape_text(operand.shape)}; add a batch axis with K.expand_dims(x, 0)"
            )
    pair = paired_dot_axes(checked_dot_axes(axes), x1.shape, x2.shape)
    cast1, cast2 = _autocast(x1, as_dtype(dtype)), _autocast(x2, as_dtype(dtype))
    product = _product_dtype(cast1, cast2)
    if not normalize:
        return first_axis_batch_dot(cast1, cast2, pair, product)
    for number, operand in enumerate((cast1, cast2), 1):
        if operand.dtype is not None and not is_floating(operand.dtype):
            raise DTypeError(
                f"a Dot layer with normalize=True takes floating-point inputs, but input {number} "
                f"is {operand.dtype}; cast it to float32"
            )
    wide = product if product is None or product.itemsize > 2 else np.dtype(np.float32)
    result = first_axis_batch_dot(
        _normalized(cast1, pair[0], wide), _normalized(cast2, pair[1], wide), pair, wide
    )
    return result if wide == product else _identity(result, product)


def _product_dtype(x1: Expression, x2: Expression) -> AnyDType | None:
    """Return the dtype of ``keras.ops.matmul``, which a Dot layer ends in."""
    if x1.dtype == np.int8 and x2.dtype == np.int8:
        return np.dtype(np.int32)
    return keras_result_dtype(x1, x2)


def _autocast(operand: Expression, dtype: AnyDType) -> Expression:
    if operand.dtype is None or not is_floating(operand.dtype) or operand.dtype == dtype:
        return operand
    return _identity(operand, dtype)


def _identity(operand: Expression, dtype: AnyDType | None) -> Expression:
    term = letters(operand.ndim)
    return contract(f"{term}->{term}", operand, dtype=dtype)


def _normalized(operand: Expression, axis: int, dtype: AnyDType | None) -> Expression:
    """Return the operand divided by its L2 norm along ``axis``."""
    term = letters(operand.ndim)
    kept = term[:axis] + term[axis + 1 :]
    inverse = contract(
        f"{term},{term}->{kept}",
        operand,
        operand,
        dtype=dtype,
        epilogue=(Map("sqrt"), Map("maximum", (EPSILON,)), Map("reciprocal")),
    )
    return contract(f"{term},{kept}->{term}", operand, inverse, dtype=dtype)


def dot_output_shape(axes: int | tuple[int, int], shapes: Sequence[Sequence[Any]]) -> Any:
    """Return the shape of a Dot layer's result; None stands for an unknown extent.

    Raises:
        ShapeError: not two shapes.
        AxisError: an axis lies outside its input.
    """
    if not isinstance(shapes, list | tuple) or len(shapes) != 2:
        raise ShapeError(
            f"A `Dot` layer should be called on a list of 2 inputs. Received: input_shape={shapes}"
        )
    given = (axes, axes) if isinstance(axes, int) else axes
    left, right = list(shapes[0]), list(shapes[1])
    for axis, shape in zip(given, (left, right), strict=True):
        if not -len(shape) <= axis < len(shape):
            raise AxisError(f"axis {axis} is out of range for shape {tuple(shape)}")
    left.pop(given[0] % len(left))
    right.pop(given[1] % len(right))
    result = (*left, *right[1:])
    return result if len(result) > 1 else (*result, 1)
