"""``K.batch_dot`` where only the first axis is batch: Keras 2.2.5 and later, and Theano's.

Sources: ``keras/src/layers/merging/dot.py`` of Keras 3.15.1 (the same rules since 2.2.5), and
``keras/backend/theano_backend.py`` of Keras 2.1.5, 2.1.6 and 2.2.4.
"""

from __future__ import annotations

import operator
from typing import Any

from einloom.expression import Expression
from einloom.frontends.build import contract, reshape
from einloom.frontends.keras_versions import Release
from einloom.frontends.letters import letters, shape_text
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import AxisError, ShapeError
from einloom_compiler.extents import is_equal, text

Axes = tuple[int, int]


def checked_axes(axes: Any) -> Axes | None:
    """Return ``axes`` as a pair of ints, None for None.

    Raises:
        AxisError: neither None, an int, nor a pair of ints.
    """
    if axes is None:
        return None
    if hasattr(axes, "__index__"):
        number = operator.index(axes)
        return number, number
    if not isinstance(axes, list | tuple) or any(isinstance(axis, list | tuple) for axis in axes):
        raise AxisError(
            "Multiple target dimensions are not supported. Expected: None, int, (int, int), "
            f"Provided: {axes!r}; contract several axes with einloom.keras.ops.tensordot"
        )
    if len(axes) != 2 or not all(hasattr(axis, "__index__") for axis in axes):
        raise AxisError(f"axes must be None, an int or a pair of ints, not {axes!r}")
    return operator.index(axes[0]), operator.index(axes[1])


def check_ranks(x: Expression, y: Expression) -> None:
    """Raise a ShapeError unless both operands have a batch axis and another one."""
    if x.ndim < 2 or y.ndim < 2:
        raise ShapeError(
            "Cannot do batch_dot on inputs with rank < 2. Received inputs with shapes "
            f"{shape_text(x.shape)} and {shape_text(y.shape)}; give each a batch axis, "
            "for example with K.expand_dims"
        )


def first_axis_batch_dot(
    x: Expression, y: Expression, axes: Any, dtype: AnyDType | None
) -> Expression:
    """Return the product over one axis of each operand, batched over their first axes.

    The batch extents must be equal; a symbolic one leaves a guard. (With a batch extent that is
    unknown until run time, Keras lets 1 stand for another one; the guard does not.)

    Args:
        x: rank 2 or more.
        y: rank 2 or more.
        axes: the contracted axes; None for x's last and y's second to last (its last where y has
            rank 2). Negative ones count from the end.
        dtype: dtype of the product.

    Returns:
        x's axes without the contracted one, then y's without the first and the contracted one;
        with a trailing 1 where only the batch axis is left.

    Raises:
        ShapeError: ranks or extents do not fit.
        AxisError: an axis is 0 or lies outside its operand.
    """
    check_ranks(x, y)
    if is_equal(x.shape[0], y.shape[0]) is False:
        raise ShapeError(
            "Cannot do batch_dot on inputs with different batch sizes. Received inputs with shapes "
            f"{shape_text(x.shape)} and {shape_text(y.shape)}: axis 0 has extent "
            f"{text(x.shape[0])} in x but {text(y.shape[0])} in y, and 1 does not broadcast"
        )
    pair = checked_axes(axes) or (x.ndim - 1, 1 if y.ndim == 2 else y.ndim - 2)
    x_axis, y_axis = _wrapped(pair[0], x, "x"), _wrapped(pair[1], y, "y")
    if x_axis == 0 or y_axis == 0:
        raise AxisError(
            "Cannot perform batch_dot over axis 0. If your inputs are not batched, add a dummy "
            f"batch dimension to your inputs using K.expand_dims(x, 0). Axes are {list(pair)}"
        )
    return _contract(x, y, (x_axis, y_axis), (range(x.ndim), range(y.ndim)), dtype)


def theano_batch_dot(
    x: Expression, y: Expression, axes: Any, dtype: AnyDType | None, release: Release
) -> Expression:
    """Return the product as the Theano backend of Keras 1.2.2 to 2.2.4 computes it.

    As :func:`first_axis_batch_dot`, but ``axes=None`` is always x's last and y's second-to-last
    axis, and (from 2.1.6) axis 0 transposes its whole operand, after which its last axis is
    contracted.

    Raises:
        ShapeError: ranks or extents do not fit (Theano notices when it evaluates).
        AxisError: an axis is negative or lies outside its operand.
    """
    check_ranks(x, y)
    pair = checked_axes(axes) or (x.ndim - 1, y.ndim - 2)
    orders: list[range] = []
    contracted: list[int] = []
    for name, operand, axis in (("x", x, pair[0]), ("y", y, pair[1])):
        if not 0 <= axis < operand.ndim or (axis == 0 and not release.settles_axes):
            first = 0 if release.settles_axes else 1
            raise AxisError(
                f"axis {axis} of {name} is not taken by batch_dot of {release.title}, for shape "
                f"{shape_text(operand.shape)}; it takes {first} to {operand.ndim - 1}"
            )
        order = range(operand.ndim - 1, -1, -1) if axis == 0 else range(operand.ndim)
        orders.append(order)
        contracted.append(operand.ndim - 1 if axis == 0 else axis)
    x_batch, y_batch = x.shape[orders[0][0]], y.shape[orders[1][0]]
    if is_equal(x_batch, y_batch) is False:
        raise ShapeError(
            f"batch_dot of {release.title} pairs axis {orders[0][0]} of x (extent {text(x_batch)}) "
            f"with axis {orders[1][0]} of y (extent {text(y_batch)}) as batch: "
            f"{text(x_batch)} == {text(y_batch)} cannot hold"
        )
    return _contract(x, y, (contracted[0], contracted[1]), (orders[0], orders[1]), dtype)


def _wrapped(axis: int, operand: Expression, name: str) -> int:
    if not -operand.ndim <= axis < operand.ndim:
        raise AxisError(
            f"axis {axis} is out of range for {name} of rank {operand.ndim} "
            f"(shape {shape_text(operand.shape)}); it must be -{operand.ndim} to {operand.ndim - 1}"
        )
    return axis % operand.ndim


def _contract(
    x: Expression, y: Expression, axes: Axes, orders: tuple[range, range], dtype: AnyDType | None
) -> Expression:
    """Contract axis ``axes[n]`` of each operand, its axes taken in order ``orders[n]``."""
    x_shape = tuple(x.shape[axis] for axis in orders[0])
    y_shape = tuple(y.shape[axis] for axis in orders[1])
    if is_equal(x_shape[axes[0]], y_shape[axes[1]]) is False:
        left, right = text(x_shape[axes[0]]), text(y_shape[axes[1]])
        raise ShapeError(
            f"Cannot do batch_dot on inputs with shapes {shape_text(x.shape)} and "
            f"{shape_text(y.shape)} with axes={list(axes)}. x.shape[{orders[0][axes[0]]}] != "
            f"y.shape[{orders[1][axes[1]]}] ({left} != {right}): {left} == {right} cannot hold"
        )
    x_term, y_term = _terms(x.ndim, y.ndim, axes)
    output = "".join(
        [
            *(letter for axis, letter in enumerate(x_term) if axis != axes[0]),
            *(letter for axis, letter in enumerate(y_term) if axis not in (0, axes[1])),
        ]
    )
    placed = ",".join(
        "".join(letter for _, letter in sorted(zip(order, term, strict=True)))
        for order, term in zip(orders, (x_term, y_term), strict=True)
    )
    result = contract(f"{placed}->{output}", x, y, dtype=dtype)
    return reshape(result, (*result.shape, 1)) if result.ndim == 1 else result


def _terms(x_rank: int, y_rank: int, axes: Axes) -> tuple[str, str]:
    """Return the letters: ``abij,acjk`` for matrix products of high rank, else ``bij,bkj``."""
    if min(x_rank, y_rank) >= 4 and axes == (x_rank - 1, y_rank - 2):
        x_leading = letters(x_rank - 2, taken="ijk")
        y_leading = letters(y_rank - 3, taken=f"{x_leading}ijk")
        return f"{x_leading}ij", f"{x_leading[0]}{y_leading}jk"
    free = letters(x_rank + y_rank - 3, "i")
    x_term = f"b{free[: x_rank - 1]}"
    y_term = ["b", *free[x_rank - 1 :]]
    y_term.insert(axes[1], x_term[axes[0]])
    return x_term, "".join(y_term)
