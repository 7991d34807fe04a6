"""Layers that make position axes longer or shorter: padding, cropping, repetition.

Source: ``keras/src/layers/reshaping`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape, shape_text
from einloom.keras.models.kinds.fields import Fields
from einloom.keras.models.kinds.positions import (
    channels_first,
    check_rank,
    position_axes,
    rank_of,
    with_positions,
)
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent


@dataclass(frozen=True, slots=True)
class Ends(Kind):
    """What is added or left out at both ends of the positions.

    Attributes:
        amounts: how many elements before and after, for each position axis.
        channels_first: whether the positions come after the channels.
    """

    amounts: tuple[tuple[int, int], ...]
    channels_first: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position axes."""
        return position_axes(len(self.amounts), self.channels_first)


@dataclass(frozen=True, slots=True)
class ZeroPadding(Ends):
    """Zeros before and after the positions."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with longer position axes."""
        self.check_inputs(*inputs)
        check_rank(self, inputs[0], len(self.amounts))
        extents = [
            inputs[0][axis] + sum(amounts)
            for axis, amounts in zip(self.positions, self.amounts, strict=True)
        ]
        return with_positions(inputs[0], self.positions, extents)


def zero_padding(fields: Fields) -> Kind:
    """Return the layer for the configuration of a zero padding."""
    return ZeroPadding(fields.amounts("padding", rank_of(fields)), channels_first(fields))


@dataclass(frozen=True, slots=True)
class Cropping(Ends):
    """The positions without some at both ends."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with shorter position axes."""
        self.check_inputs(*inputs)
        shape = inputs[0]
        check_rank(self, shape, len(self.amounts))
        extents: list[Extent] = []
        for axis, amounts in zip(self.positions, self.amounts, strict=True):
            left = shape[axis] - sum(amounts)
            if isinstance(left, int) and left <= 0:
                raise ShapeError(
                    f"Cropping by {amounts} leaves nothing of axis {axis} of shape "
                    f"{shape_text(shape)}; crop fewer than its {shape[axis]} elements"
                )
            extents.append(left)
        return with_positions(shape, self.positions, extents)


def cropping(fields: Fields) -> Kind:
    """Return the layer for the configuration of a cropping."""
    return Cropping(fields.amounts("cropping", rank_of(fields)), channels_first(fields))


@dataclass(frozen=True, slots=True)
class UpSampling(Kind):
    """Each position several times.

    Attributes:
        times: how often, for each position axis.
        channels_first: whether the positions come after the channels.
    """

    times: tuple[int, ...]
    channels_first: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position axes."""
        return position_axes(len(self.times), self.channels_first)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with position axes that many times as long."""
        self.check_inputs(*inputs)
        check_rank(self, inputs[0], len(self.times))
        pairs = zip(self.positions, self.times, strict=True)
        return with_positions(
            inputs[0], self.positions, [inputs[0][axis] * times for axis, times in pairs]
        )


def up_sampling(fields: Fields) -> Kind:
    """Return the layer for the configuration of an up-sampling that repeats positions."""
    fields.refuse_unless_default("interpolation", "nearest", "an interpolation between positions")
    return UpSampling(fields.lengths("size", rank_of(fields)), channels_first(fields))
