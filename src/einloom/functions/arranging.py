"""Functions that repeat, shift or make elements by position: tiles, rolls, triangles, one-hot rows.

Arguments mean what they mean in NumPy, where it has the function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom.frontends.arguments import wrap_axis
from einloom.frontends.dispatch import frontend
from einloom.functions.conditions import equal, less_equal, where
from einloom.functions.pointwise import cast, elementwise
from einloom.functions.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    getitem,
    permute,
    reshape,
)
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError
from einloom_compiler.extents import Extent
from einloom_compiler.ir.graph import Iota
from einloom_compiler.ir.scalar import Number


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """Return a view with axes at other places, the others in their order.

    Args:
        x: of any rank.
        source: the axes that move; negative ones count from the last.
        destination: where each of them is in the result.

    Raises:
        AxisError: the two name unlike numbers of axes, one twice, or one that x lacks.
    """
    rank = len(x.shape)
    old, new = (
        [wrap_axis(each, rank, "moveaxis") for each in _listed(axes)]
        for axes in (source, destination)
    )
    if len(old) != len(new) or len(set(old)) < len(old) or len(set(new)) < len(new):
        raise AxisError(f"moveaxis: {source} cannot move to {destination}; name each axis once")
    order = [axis for axis in range(rank) if axis not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return permute(x, tuple(order))


@frontend("functions.repeat", operands=("x",))
def repeat(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Return x with each element along an axis ``repeats`` times; of all in C order where None.

    Raises:
        SpecError: ``repeats`` is negative.
    """
    if repeats < 0:
        raise SpecError(f"repeat: repeats is {repeats}; give a number that is not negative")
    x, along = (reshape(x, (-1,)), 0) if axis is None else (x, wrap_axis(axis, x.ndim, "repeat"))
    before, extent, after = x.shape[:along], x.shape[along], x.shape[along + 1 :]
    each = broadcast_to(expand_dims(x, along + 1), (*before, extent, repeats, *after))
    return reshape(each, (*before, extent * repeats, *after))


@frontend("functions.tile", operands=("x",))
def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """Return x repeated as a whole, ``reps`` times along each axis, the last ones where few.

    Raises:
        SpecError: a number is negative.
    """
    given = _listed(reps)
    if any(number < 0 for number in given):
        raise SpecError(f"tile: reps is {reps}; give numbers that are not negative")
    rank = max(x.ndim, len(given))
    times = [1] * (rank - len(given)) + given
    extents: list[Extent] = [1] * (rank - x.ndim) + list(x.shape)
    apart = expand_dims(
        reshape(x, tuple(extents)) if rank > x.ndim else x,
        tuple(2 * axis for axis in range(rank)),
    )
    pairs = [pair for both in zip(times, extents, strict=True) for pair in both]
    whole = broadcast_to(apart, tuple(pairs))
    return reshape(whole, tuple(n * extent for n, extent in zip(times, extents, strict=True)))


@frontend("functions.roll", operands=("x",))
def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """Return x with its elements moved along axes, those beyond the end at the start again.

    A symbolic axis must be at least as long as the shift when arrays are given.

    Raises:
        ShapeError: there are more shifts than axes.
    """
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape)
    axes, shifts = _listed(axis), _listed(shift)
    if len(shifts) == 1:
        shifts *= len(axes)
    elif len(axes) == 1:
        axes *= len(shifts)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes; give one for each")
    for each, number in zip(axes, shifts, strict=True):
        x = _rolled(x, number, wrap_axis(each, x.ndim, "roll"))
    return x


def _rolled(x: Any, shift: int, axis: int) -> Any:
    extent = x.shape[axis]
    if isinstance(extent, int):
        shift = shift % extent if extent else 0
    if not shift:
        return x
    before = (slice(None),) * axis
    parts = [getitem(x, (*before, part)) for part in (slice(-shift, None), slice(None, -shift))]
    return concatenate(parts, axis)


@frontend("functions.tril", operands=("x",))
def tril(x: Any, k: int = 0) -> Any:
    """Return x with 0 above the diagonal ``k`` of its last two axes; shape and dtype are x's.

    Raises:
        AxisError: x has fewer than two axes.
    """
    rows, columns = _positions(x, "tril")
    return where(less_equal(columns, rows + k), x, 0)


@frontend("functions.triu", operands=("x",))
def triu(x: Any, k: int = 0) -> Any:
    """Return x with 0 below the diagonal ``k`` of its last two axes; shape and dtype are x's.

    Raises:
        AxisError: x has fewer than two axes.
    """
    rows, columns = _positions(x, "triu")
    return where(less_equal(rows + k, columns), x, 0)


def _positions(x: Any, caller: str) -> tuple[Expression, Expression]:
    """Return the numbers of rows as a column, and of columns."""
    if x.ndim < 2:
        raise AxisError(f"{caller}: x has rank {x.ndim}; a triangle needs two axes")
    rows, columns = (Expression(Iota(extent, np.dtype("int64"))) for extent in x.shape[-2:])
    return expand_dims(rows, 1), columns


@frontend("functions.one_hot", operands=("indices",))
def one_hot(indices: Any, extent: int, dtype: Any = "float32") -> Any:
    """Return rows of ``extent`` elements that are 1 at the index and 0 elsewhere, a new last axis.

    An index outside gives a row of zeros.

    Raises:
        DTypeError: the indices are no integers.
    """
    if indices.dtype is not None and indices.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: indices must be integers, not {indices.dtype}")
    places = Expression(Iota(extent, indices.dtype or np.dtype("int64")))
    return cast(equal(expand_dims(indices, indices.ndim), places), dtype)


@frontend("functions.full_like", operands=("x",))
def full_like(x: Any, value: float, dtype: Any = None) -> Any:
    """Return an array of x's shape, and dtype where none is given, of one number."""
    made: AnyDType | None = x.dtype if dtype is None else as_dtype(dtype)
    return elementwise(lambda _: Number(float(value)), (x,), made)


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Return zeros of x's shape, and dtype where none is given."""
    return full_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Return ones of x's shape, and dtype where none is given."""
    return full_like(x, 1, dtype)


def _listed(values: int | Sequence[int]) -> list[int]:
    return [values] if isinstance(values, int) else list(values)
