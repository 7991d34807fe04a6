"""Values while a recipe is made: where their elements are in memory.

A view (a slice, a transpose, a reshape that needs no copy) is a value in its operand's slot, with
another layout and offset, so that it costs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from einloom_compiler.dtypes import AnyDType
from einloom_compiler.lowering.iteration import c_strides

Array = npt.NDArray[Any]
#: Shape, strides in bytes, dtype.
Layout = tuple[tuple[int, ...], tuple[int, ...], AnyDType]


def c_layout(shape: tuple[int, ...], dtype: AnyDType) -> Layout:
    """Return the layout of an array in C order."""
    return shape, tuple(stride * dtype.itemsize for stride in c_strides(shape)), dtype


def layout(array: Array) -> Layout:
    """Return what a recipe depends on: shape, strides in bytes, and dtype of an array."""
    return array.shape, array.strides, array.dtype


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a recipe.

    Attributes:
        slot: its memory, as recipes number it.
        layout: its shape, strides and dtype.
        offset: from the slot's first element to the value's, in bytes.
    """

    slot: int
    layout: Layout
    offset: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Its extents."""
        return self.layout[0]

    @property
    def dtype(self) -> AnyDType:
        """Its dtype."""
        return self.layout[2]

    @property
    def steps(self) -> tuple[int, ...]:
        """Its strides in elements."""
        return tuple(stride // self.dtype.itemsize for stride in self.layout[1])

    def is_at(self, other: Value) -> bool:
        """Say whether two values of one shape are the same elements of one memory.

        Along an axis of extent 1 their strides may differ.
        """
        if (self.slot, self.offset) != (other.slot, other.offset):
            return False
        (shape, strides, dtype), (their_shape, theirs, their_dtype) = self.layout, other.layout
        return (shape, dtype) == (their_shape, their_dtype) and all(
            extent == 1 or own == their
            for extent, own, their in zip(shape, strides, theirs, strict=True)
        )

    def reshaped(self, shape: tuple[int, ...]) -> Value | None:
        """Return its elements in C order under another shape; None where only a copy has them so.

        Extents may be open formulas where it is in C order.
        """
        old, strides, dtype = self.layout
        if self.layout == c_layout(old, dtype) or 0 in shape:
            return replace(self, layout=c_layout(shape, dtype))
        found = _reshaped_strides(old, strides, shape, dtype.itemsize)
        return None if found is None else replace(self, layout=(shape, found, dtype))

    def viewed(self, starts: Sequence[int], axes: Sequence[tuple[int, int | None, int]]) -> Value:
        """Return a strided view.

        Args:
            starts: its first element's position along each axis.
            axes: extent of each axis of the view, the axis it runs along if any, and its step.
        """
        _, strides, dtype = self.layout
        shape = tuple(extent for extent, _, _ in axes)
        steps = tuple(0 if axis is None else step * strides[axis] for _, axis, step in axes)
        offset = sum(start * stride for start, stride in zip(starts, strides, strict=True))
        is_empty = 0 in shape  # its start may lie outside
        return Value(self.slot, (shape, steps, dtype), self.offset + (0 if is_empty else offset))

    def part(self, axis: int, start: int, extent: int) -> Value:
        """Return the elements from ``start`` on along one axis."""
        starts = [start if number == axis else 0 for number in range(len(self.shape))]
        axes = [
            (extent if number == axis else own, number, 1) for number, own in enumerate(self.shape)
        ]
        return self.viewed(starts, axes)


def _reshaped_strides(
    old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...], itemsize: int
) -> tuple[int, ...] | None:
    """Return the strides of a view of another shape, None where there is none.

    Runs of old axes that are one in memory are split among runs of new axes with as many elements
    (NumPy's ``_attempt_nocopy_reshape``). No extent is 0.
    """
    kept = [(extent, stride) for extent, stride in zip(old, strides, strict=True) if extent != 1]
    found: list[int] = []
    position = first = 0
    while position < len(kept) and first < len(new):
        stop, last = position + 1, first + 1
        n_old, n_new = kept[position][0], new[first]
        while n_old != n_new:
            if n_new < n_old:
                if last == len(new):
                    return None
                n_new *= new[last]
                last += 1
            else:
                if stop == len(kept):
                    return None
                n_old *= kept[stop][0]
                stop += 1
        run = kept[position:stop]
        for (_, outer), (extent, inner) in itertools.pairwise(run):
            if outer != inner * extent:
                return None
        stride = run[-1][1]
        own: list[int] = []
        for extent in reversed(new[first:last]):
            own.insert(0, stride)
            stride *= extent
        found += own
        position, first = stop, last
    # What is left over are axes of extent 1.
    return (*found, *(itemsize for _ in new[first:]))
