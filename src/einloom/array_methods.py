"""The methods that expressions share with NumPy's arrays.

Each is the function of :mod:`einloom.functions` of that name with the array first, in the spelling
of NumPy's method: ``x.reshape(2, -1)``, ``x.sum(axis=0)``, ``x.astype("float64")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from einloom.operators import applied

if TYPE_CHECKING:
    from einloom.expression import Expression

Axes = int | tuple[int, ...] | None


class ArrayMethods:
    """What :class:`~einloom.expression.Expression` has of NumPy's methods."""

    __slots__ = ()

    def reshape(self, *shape: Any) -> Expression:
        """Return the elements in C order under another shape, given as extents or as one tuple."""
        return applied("reshape", self, _one_or_all(shape))

    def ravel(self) -> Expression:
        """Return the elements in C order under one axis."""
        return applied("flatten", self)

    def flatten(self) -> Expression:
        """Return the elements in C order under one axis."""
        return applied("flatten", self)

    def transpose(self, *axes: Any) -> Expression:
        """Return a view with axes in another order, one by one or as a tuple; reversed else."""
        order = _one_or_all(axes) if axes else None
        return applied("permute", self, order)

    def swapaxes(self, axis1: int, axis2: int) -> Expression:
        """Return a view with two axes exchanged."""
        return applied("swapaxes", self, axis1, axis2)

    def squeeze(self, axis: Axes = None) -> Expression:
        """Return a view without axes of extent 1."""
        return applied("squeeze", self, axis)

    def repeat(self, repeats: int, axis: int | None = None) -> Expression:
        """Return every element several times in a row."""
        return applied("repeat", self, repeats, axis)

    def take(self, indices: Any, axis: int | None = None) -> Expression:
        """Return the elements at integer positions along an axis, or in C order where None."""
        return applied("take", self, indices, axis)

    def astype(self, dtype: Any) -> Expression:
        """Return the elements in another dtype."""
        return applied("cast", self, dtype)

    def clip(self, min: Any = None, max: Any = None) -> Expression:
        """Return the elements, but at least ``min`` and at most ``max``, where they are given."""
        return applied("clip", self, min, max)

    def dot(self, other: Any) -> Expression:
        """Return the product along the last axis of self and the second to last of ``other``."""
        return applied("dot", self, other)

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the sum along axes, all where None."""
        return applied("sum", self, axis, keepdims)

    def prod(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the product along axes, all where None."""
        return applied("prod", self, axis, keepdims)

    def cumsum(self, axis: int | None = None) -> Expression:
        """Return the sum of the elements up to each place along an axis."""
        return applied("cumsum", self, axis)

    def cumprod(self, axis: int | None = None) -> Expression:
        """Return the product of the elements up to each place along an axis."""
        return applied("cumprod", self, axis)

    def mean(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the mean along axes, all where None."""
        return applied("mean", self, axis, keepdims)

    def var(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the mean squared distance from the mean along axes, all where None."""
        return applied("var", self, axis, keepdims)

    def std(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the square root of the variance along axes, all where None."""
        return applied("std", self, axis, keepdims)

    def max(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the largest element along axes, all where None."""
        return applied("max", self, axis, keepdims)

    def min(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return the smallest element along axes, all where None."""
        return applied("min", self, axis, keepdims)

    def any(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return whether an element along axes is not 0."""
        return applied("any", self, axis, keepdims)

    def all(self, axis: Axes = None, keepdims: bool = False) -> Expression:
        """Return whether all elements along axes are not 0."""
        return applied("all", self, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return where the largest element along an axis is."""
        return applied("argmax", self, axis, keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Expression:
        """Return where the smallest element along an axis is."""
        return applied("argmin", self, axis, keepdims)


def _one_or_all(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what is given one by one, or as one tuple."""
    is_tuple = len(given) == 1 and isinstance(given[0], tuple | list)
    return tuple(given[0]) if is_tuple else given
