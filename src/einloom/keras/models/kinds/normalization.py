"""Normalisations at inference: layer, root mean square, batch, groups; fixed scales.

Source: ``keras/src/layers/normalization`` and ``keras/src/applications/convnext.py`` of Keras
3.15.1.
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
class LayerNormalization(Kind):
    """Mean and variance over some axes of each example, then scale and shift along them.

    Attributes:
        axes: as configured, in any order, negative ones too.
        epsilon: added to the variance.
        has_gamma: whether there is a scale.
        has_beta: whether there is a shift.
        rms_scaling: Keras 3's variant that subtracts no mean.
    """

    axes: tuple[int, ...]
    epsilon: float
    has_gamma: bool
    has_beta: bool
    rms_scaling: bool

    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``gamma`` and ``beta``."""
        return (Slot("gamma"),) * self.has_gamma + (Slot("beta"),) * self.has_beta

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the extents along the axes, for each weight.

        Keras sorts the axes as they are written: -1 comes before 1.
        """
        self.check_inputs(*inputs)
        return (_along(self, self.axes, inputs[0]),) * len(self.slots())


def layer_normalization(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``LayerNormalization``."""
    rms = fields.boolean("rms_scaling", False)
    return LayerNormalization(
        fields.axes("axis"),
        fields.number("epsilon"),
        fields.boolean("scale", True) or rms,
        fields.boolean("center", True) and not rms,
        rms,
    )


@dataclass(frozen=True, slots=True)
class RMSNormalization(Kind):
    """Division by the root mean square over some axes, then a scale along them.

    Attributes:
        axes: as configured.
        epsilon: added to the mean square.
    """

    axes: tuple[int, ...]
    epsilon: float

    def slots(self) -> tuple[Slot, ...]:
        """Return the place of ``scale``."""
        return (Slot("scale"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the extents along the axes."""
        self.check_inputs(*inputs)
        return (_along(self, self.axes, inputs[0]),)


def rms_normalization(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``RMSNormalization``."""
    return RMSNormalization(fields.axes("axis"), fields.number("epsilon"))


@dataclass(frozen=True, slots=True)
class UnitNormalization(Kind):
    """Division by the L2 norm over some axes.

    Attributes:
        axes: as configured.
    """

    axes: tuple[int, ...]

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        self.check_inputs(*inputs)
        for axis in self.axes:
            self.axis_of(axis, inputs[0])
        return inputs[0]


def unit_normalization(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``UnitNormalization``."""
    return UnitNormalization(fields.axes("axis"))


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
            check_broadcast(np.shape(numbers), inputs[0], f"Rescaling's {name}")
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
        check_broadcast((self.channels,), inputs[0], "LayerScale's gamma")
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


def check_broadcast(given: tuple[int, ...], shape: Shape, name: str) -> None:
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
            check_broadcast(
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


@dataclass(frozen=True, slots=True)
class GroupNormalization(Kind):
    """Mean and variance over all axes but the batch and groups of channels; scale and shift.

    Attributes:
        groups: into which the channels are split; -1 for one a channel.
        axis: of the channels; may be negative.
        epsilon: added to the variance.
        has_gamma: whether there is a scale.
        has_beta: whether there is a shift.
    """

    groups: int
    axis: int
    epsilon: float
    has_gamma: bool
    has_beta: bool

    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        self.check_inputs(*inputs)
        self.split(inputs[0])
        return inputs[0]

    def split(self, shape: Shape) -> tuple[int, int, int]:
        """Return the channels' axis, the number of groups, and the channels of a group.

        Raises:
            ShapeError: the channels cannot be split so.
        """
        axis = self.axis_of(self.axis, shape, 1)
        channels = self.known_extent(shape, axis)
        groups = channels if self.groups == -1 else self.groups
        if channels < groups or channels % groups:
            raise ShapeError(
                f"GroupNormalization of {groups} groups cannot split the {channels} channels of "
                f"shape {shape_text(shape)}"
            )
        return axis, groups, channels // groups

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``gamma`` and ``beta``."""
        return (Slot("gamma"),) * self.has_gamma + (Slot("beta"),) * self.has_beta

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the number of channels, for each weight."""
        self.check_inputs(*inputs)
        return (_along(self, (self.axis,), inputs[0]),) * len(self.slots())


def group_normalization(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``GroupNormalization``."""
    groups = fields.integer("groups", -1) if "groups" in fields.config else 32
    if groups == 0:
        raise fields.wrong("groups", "a number of groups, or -1")
    return GroupNormalization(
        groups,
        fields.axis("axis"),
        fields.number("epsilon"),
        fields.boolean("scale", True),
        fields.boolean("center", True),
    )


@dataclass(frozen=True, slots=True)
class BatchNormalization(Kind):
    """Scale and shift along one axis, by the statistics that training gathered.

    Attributes:
        axis: may be negative.
        epsilon: added to the variance.
        has_gamma: whether there is a scale.
        has_beta: whether there is a shift.
    """

    axis: int
    epsilon: float
    has_gamma: bool
    has_beta: bool

    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``gamma``, ``beta`` and the moving statistics."""
        return (
            *(Slot("gamma"),) * self.has_gamma,
            *(Slot("beta"),) * self.has_beta,
            Slot("moving_mean", is_trained=False),
            Slot("moving_variance", is_trained=False),
        )

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the extent along the axis, for each weight."""
        self.check_inputs(*inputs)
        return (_along(self, (self.axis,), inputs[0]),) * len(self.slots())


def batch_normalization(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``BatchNormalization``."""
    fields.refuse_unless_default("renorm", False, "batch renormalisation")
    fields.refuse_unless_default("virtual_batch_size", None, "virtual batches")
    return BatchNormalization(
        fields.axis("axis"),
        fields.number("epsilon"),
        fields.boolean("scale", True),
        fields.boolean("center", True),
    )


def _shape(numbers: Numbers | None) -> tuple[int, ...]:
    return () if numbers is None else np.shape(numbers)


def _along(kind: Kind, axes: tuple[int, ...], shape: Shape) -> Shape:
    return tuple(kind.known_extent(shape, kind.axis_of(axis, shape)) for axis in sorted(axes))
