"""Scales and offsets that are fixed: numbers, arrays, statistics of a data set.

Source: ``keras/src/layers/preprocessing/{rescaling,normalization}.py`` and
``keras/src/applications/convnext.py`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from einloom.keras.models.kinds.base import Kind, Shape, Slot, shape_text
from einloom.keras.models.kinds.fields import Fields, Numbers
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import is_equal


@dataclass(frozen=True, slots=True)
class Rescaling(Kind):
    """A multiple of the input and an offset: numbers, or arrays that broadcast to it.

    Attributes:
        scale: what the input is multiplied by.
        offset: what is added then.
    """

    scale: Numbers
    offset: Numbers

    RANKS: ClassVar[tuple[int, int | None]] = (0, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape, checked against those of arrays."""
        self.check_inputs(*inputs)
        for name, numbers in (("scale", self.scale), ("offset", self.offset)):
            _check_broadcast(np.shape(numbers), inputs[0], f"Rescaling's {name}")
        return inputs[0]


def rescaling(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Rescaling``."""
    scale, offset = fields.numbers("scale"), fields.numbers("offset")
    if scale is None:
        raise fields.wrong("scale", "a number, or a list of numbers")
    return Rescaling(scale, 0.0 if offset is None else offset)


@dataclass(frozen=True, slots=True)
class LayerScale(Kind):
    """A multiple of the input, another one for each channel, which are the last axis.

    Attributes:
        channels: how many numbers there are.
    """

    channels: int

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape, checked against the channels."""
        self.check_inputs(*inputs)
        _check_broadcast((self.channels,), inputs[0], "LayerScale's gamma")
        return inputs[0]

    def slots(self) -> tuple[Slot, ...]:
        """Return the place of ``gamma``."""
        return (Slot("gamma"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the number of channels."""
        self.output_shape(*inputs)
        return ((self.channels,),)


def layer_scale(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``LayerScale``."""
    return LayerScale(fields.integer("projection_dim"))


@dataclass(frozen=True, slots=True)
class Normalization(Kind):
    """``(x - mean) / deviation`` with the statistics of a data set, or its inverse.

    Attributes:
        axes: as configured: those that the statistics vary along.
        mean, variance: where they are given; None where they were adapted and are weights.
        invert: whether the inverse is computed: ``x * deviation + mean``.
    """

    axes: tuple[int, ...]
    mean: Numbers | None
    variance: Numbers | None
    invert: bool

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        self.check_inputs(*inputs)
        kept = self.kept(inputs[0])
        if self.mean is not None:
            along = tuple(inputs[0][axis] for axis in kept)
            _check_broadcast(
                np.shape(self.mean), along, f"Normalization over axes {self.axes}: mean"
            )
        return inputs[0]

    def kept(self, shape: Shape) -> tuple[int, ...]:
        """Return the axes of a shape that the statistics vary along, in ascending order."""
        return tuple(sorted(self.axis_of(axis, shape) for axis in self.axes))

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of the adapted statistics, and of a count that nothing reads."""
        if self.mean is not None:
            return ()
        return tuple(Slot(name, is_trained=False) for name in ("mean", "variance", "count"))

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the extents along the axes twice, and ``()``."""
        self.check_inputs(*inputs)
        if self.mean is not None:
            return ()
        shape = tuple(self.known_extent(inputs[0], axis) for axis in self.kept(inputs[0]))
        return (shape, shape, ())


def normalization(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Normalization``."""
    mean, variance = fields.numbers("mean"), fields.numbers("variance")
    if (mean is None) != (variance is None) or _shape(mean) != _shape(variance):
        raise fields.wrong("variance", "of the shape of mean")
    axis = fields.get("axis")
    return Normalization(
        () if axis is None or axis == () else fields.axes("axis"),
        mean,
        variance,
        fields.boolean("invert", False),
    )


def _check_broadcast(given: tuple[int, ...], shape: Shape, name: str) -> None:
    """Check that an array broadcasts to a shape without growing it.

    Raises:
        ShapeError: it does not.
    """
    missing = len(shape) - len(given)
    fits = missing >= 0 and all(
        extent == 1 or is_equal(extent, wanted) is not False
        for extent, wanted in zip(given, shape[missing:], strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{name} has shape {given}, which does not broadcast to the input's shape "
            f"{shape_text(shape)}"
        )


def _shape(numbers: Numbers | None) -> tuple[int, ...]:
    return () if numbers is None else np.shape(numbers)
