"""``K.dot``: x's last axis with y's second-to-last, all other axes outer.

Source: ``dot`` in ``keras/backend/tensorflow_backend.py`` (Keras 2.0 to 2.3.1, tf.keras, and the
legacy namespace of Keras 3 share it): two matrices go to ``tf.matmul``; operands of higher rank are
flattened around the contracted axis, multiplied, and unflattened.
"""

from __future__ import annotations

from typing import Any

from einloom.expression import Expression
from einloom.frontends.build import contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.keras_dtypes import MATMUL_DTYPES, common_dtype
from einloom.frontends.keras_tensors import keras_numbers
from einloom.frontends.letters import dot_equation, shape_text
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import AxisError, ShapeError
from einloom_compiler.extents import is_equal, text


@frontend("keras.backend.dot", operands=("x", "y"), convert=keras_numbers, finish=as_tensor)
def dot(x: Any, y: Any) -> Any:
    """Return the dot product as the TensorFlow backend of Keras computes it.

    Two matrices are multiplied. Where an operand has rank 3 or more, x's last axis is contracted
    with y's second-to-last, and nothing else is paired: ``abr,irk->abik``.

    Args:
        x: shape (a..., r).
        y: shape (i..., r, k), of x's dtype.

    Returns:
        The product, of shape (a..., i..., k), with ``.numpy()``.

    Raises:
        ShapeError: the contracted extents differ (the message proposes calls that fit), or both
            ranks are below 2.
        AxisError: an operand lacks the axis to contract.
        DTypeError: the dtypes differ, or TensorFlow multiplies no such matrices.

    Example:
        >>> import numpy as np
        >>> dot(np.ones((2, 3, 4)), np.ones((7, 4, 5))).shape
        (2, 3, 7, 5)
    """
    _check_ranks(x, y)
    dtype = common_dtype("K.dot", x, y, MATMUL_DTYPES)
    left, right = x.shape[-1], y.shape[-2]
    if is_equal(left, right) is False:
        raise ShapeError(_mismatch(x, y))
    return contract(dot_equation(x.ndim, y.ndim), x, y, dtype=dtype)


def _check_ranks(x: Expression, y: Expression) -> None:
    shapes = f"x has shape {shape_text(x.shape)} and y has shape {shape_text(y.shape)}"
    if max(x.ndim, y.ndim) <= 2 and not x.ndim == y.ndim == 2:
        raise ShapeError(
            f"K.dot on TensorFlow needs operands of rank 2, or one of rank 3 or more: {shapes}; "
            "add an axis with K.expand_dims, or use einloom.keras.ops.dot, which takes vectors and "
            "scalars"
        )
    if x.ndim < 1 or y.ndim < 2:
        lacking = "y has no second-to-last axis" if x.ndim else "x has no last axis"
        raise AxisError(
            f"K.dot contracts the last axis of x with the second-to-last axis of y, but {lacking}: "
            f"{shapes}; use einloom.keras.ops.dot, which takes vectors and scalars"
        )


def _mismatch(x: Expression, y: Expression) -> str:
    from einloom.frontends.keras_suggestions import fitting_calls

    left, right = text(x.shape[-1]), text(y.shape[-2])
    lines = [
        f"K.dot contracts the last axis of x with the second-to-last axis of y: axis {x.ndim - 1} "
        f"of x (shape {shape_text(x.shape)}) has extent {left}, but axis {y.ndim - 2} of y (shape "
        f"{shape_text(y.shape)}) has extent {right}. Dimensions must be equal, but are {left} and "
        f"{right}: {left} == {right} cannot hold.",
    ]
    calls = fitting_calls(x, y)
    if calls:
        lines.append("Calls that fit:")
        lines.extend(
            f"  {call.written}  ->  {shape_text(call.shape)}  ({call.note})" for call in calls
        )
    else:
        lines.append("No axis of x has the extent of an axis of y; check which operands you meant.")
    return "\n".join(lines)
