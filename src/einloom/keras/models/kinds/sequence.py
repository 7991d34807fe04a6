"""Pooling along one to three axes: over all positions, over windows, to a given size.

Source: ``keras/src/layers/pooling`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape
from einloom.keras.models.kinds.fields import Fields
from einloom.keras.models.kinds.positions import (
    channels_first,
    check_rank,
    position_axes,
    rank_of,
    window_counts,
    with_positions,
)
from einloom_compiler.extents import Extent


@dataclass(frozen=True, slots=True)
class GlobalPooling(Kind):
    """The mean or maximum over all positions.

    Attributes:
        function: ``average`` or ``max``.
        keepdims: whether the reduced axes stay, with extent 1.
        channels_first: whether the positions come after the channels.
        rank: number of position axes.
    """

    function: str
    keepdims: bool
    channels_first: bool
    rank: int

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position axes."""
        return position_axes(self.rank, self.channels_first)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape without the position axes, or with 1 there."""
        self.check_inputs(*inputs)
        check_rank(self, inputs[0], self.rank)
        kept = (1,) if self.keepdims else ()
        shape: list[Extent] = []
        for axis, extent in enumerate(inputs[0]):
            shape += kept if axis in self.positions else (extent,)
        return tuple(shape)


def global_pooling(fields: Fields) -> Kind:
    """Return the layer for the configuration of a global pooling."""
    return GlobalPooling(
        "average" if "Average" in fields.class_name else "max",
        fields.boolean("keepdims", False),
        channels_first(fields),
        rank_of(fields),
    )


@dataclass(frozen=True, slots=True)
class Pooling(Kind):
    """The mean or maximum over windows of positions.

    Attributes:
        function: ``average`` or ``max``.
        window: lengths of a window.
        stride: distances of windows.
        padding: ``valid`` or ``same``.
        channels_first: whether the positions come after the channels.
    """

    function: str
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str
    channels_first: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position axes."""
        return position_axes(len(self.window), self.channels_first)

    def counts(self, shape: Shape) -> tuple[Extent, ...]:
        """Return the number of windows along each position axis of an input of this shape.

        Raises:
            ShapeError: an axis is shorter than a window.
        """
        self.check_inputs(shape)
        check_rank(self, shape, len(self.window))
        return window_counts(self, shape, self.positions, self.window, self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with the numbers of windows as positions."""
        self.check_inputs(*inputs)
        return with_positions(inputs[0], self.positions, self.counts(inputs[0]))


def pooling(fields: Fields) -> Kind:
    """Return the layer for the configuration of a pooling over windows."""
    rank = rank_of(fields)
    window = fields.lengths("pool_size", rank)
    stride = window if fields.get("strides") is None else fields.lengths("strides", rank)
    return Pooling(
        "average" if "Average" in fields.class_name else "max",
        window,
        stride,
        fields.choice("padding", "valid", "same", default="valid"),
        channels_first(fields),
    )


@dataclass(frozen=True, slots=True)
class AdaptivePooling(Kind):
    """The mean or maximum over windows that part each position axis into a given number.

    Window ``n`` of ``size`` along an axis of ``length`` goes from ``floor(n * length / size)`` to
    ``ceil((n + 1) * length / size)``, so that neighbours may overlap.

    Attributes:
        function: ``average`` or ``max``.
        sizes: the numbers of windows.
        channels_first: whether the positions come after the channels.
    """

    function: str
    sizes: tuple[int, ...]
    channels_first: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position axes."""
        return position_axes(len(self.sizes), self.channels_first)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with the numbers of windows as positions."""
        self.check_inputs(*inputs)
        check_rank(self, inputs[0], len(self.sizes))
        return with_positions(inputs[0], self.positions, self.sizes)

    def bounds(self, length: int, size: int) -> tuple[tuple[int, int], ...]:
        """Return where each window begins and ends along an axis."""
        return tuple((n * length // size, -(-(n + 1) * length // size)) for n in range(size))


def adaptive_pooling(fields: Fields) -> Kind:
    """Return the layer for the configuration of an adaptive pooling."""
    return AdaptivePooling(
        "average" if "Average" in fields.class_name else "max",
        fields.lengths("output_size", rank_of(fields)),
        channels_first(fields),
    )
