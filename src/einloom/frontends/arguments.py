"""Axes and shapes as users give them: checked once, for every front end."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError
from einloom_compiler.extents import Extent, parse_extent


def wrap_axis(axis: Any, rank: int, where: str) -> int:
    """Return ``axis`` counted from the first.

    Raises:
        DTypeError: it is no integer.
        AxisError: it lies outside ``rank``.
    """
    try:
        number = operator.index(axis)
    except TypeError:
        raise DTypeError(f"{where}: an axis must be an integer, not {axis!r}") from None
    if not -rank <= number < rank:
        raise AxisError(
            f"{where}: axis {number} is out of bounds for array of dimension {rank}; "
            + (f"axes are -{rank} to {rank - 1}" if rank else "it has no axes")
        )
    return number % rank


def listed_extents(shape: Any, where: str) -> list[Any]:
    """Return the extents of a ``shape`` argument: a tuple, list, integer array or tensor.

    Text would fall apart into its characters, so it is none.

    Raises:
        SpecError: it is not a sequence.
    """
    if hasattr(shape, "tolist"):
        shape = shape.tolist()
    elif hasattr(shape, "numpy"):
        shape = shape.numpy().tolist()
    if isinstance(shape, str | bytes | dict | set) or not isinstance(shape, Iterable):
        single = f"({shape!r},)" if isinstance(shape, str | int) else "(2, 3)"
        raise SpecError(
            f"{where}: a shape must be a tuple or list of extents, not {shape!r}; "
            f"write one as {single}"
        )
    return list(shape)


def concrete_shape(shape: Any, where: str) -> tuple[int, ...]:
    """Return a shape of integers, as arrays have it; an integer alone is a shape of rank 1.

    Raises:
        SpecError: it is no such shape, or holds names, which only symbolic operands have.
        ShapeError: an extent is negative.
    """
    try:
        listed = [operator.index(shape)]
    except TypeError:  # arrays and tensors have __index__ too, whatever their rank
        listed = listed_extents(shape, where)
    try:
        extents = tuple(operator.index(extent) for extent in listed)
    except TypeError:
        raise SpecError(
            f"{where}: an array's extents are integers, not {shape!r}; a symbolic operand is "
            "einloom.spec('B', 3) or K.placeholder(('B', 3))"
        ) from None
    if min(extents, default=0) < 0:
        raise ShapeError(f"{where}: an extent must not be negative, as in {shape!r}")
    return extents


def target_shape(shape: Any, where: str, *, is_symbolic: bool) -> tuple[list[Extent], int | None]:
    """Return the extents of a reshape's target, and which axis of them stands for the rest.

    The axis that is written -1 has extent 1 here.

    Args:
        shape: integers, one of them possibly -1; names too for a symbolic operand.
        where: what messages call the function.
        is_symbolic: whether the operand is.

    Raises:
        SpecError: it is no such shape.
        ShapeError: an extent is negative, or more than one is -1.
    """
    listed = listed_extents(shape, where)
    rest = [axis for axis, extent in enumerate(listed) if _is_minus_one(extent)]
    if len(rest) > 1:
        raise ShapeError(f"{where}: only one extent of the new shape {tuple(listed)} may be -1")
    given = [1 if axis in rest else extent for axis, extent in enumerate(listed)]
    if is_symbolic:
        return [parse_extent(extent) for extent in given], rest[0] if rest else None
    return [*concrete_shape(given, where)], rest[0] if rest else None


def _is_minus_one(extent: Any) -> bool:
    try:
        return operator.index(extent) == -1
    except TypeError:
        return False
