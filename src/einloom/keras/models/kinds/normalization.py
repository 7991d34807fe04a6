"""Normalisations at inference: layer, root mean square, unit length, batch, groups.

Source: ``keras/src/layers/normalization`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape, Slot, shape_text
from einloom.keras.models.kinds.fields import Fields
from einloom_compiler.errors import ShapeError


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
        return _scale_and_shift(self)

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
        return _scale_and_shift(self)

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
        statistics = ("moving_mean", "moving_variance")
        return (*_scale_and_shift(self), *(Slot(n, is_trained=False) for n in statistics))

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


def _scale_and_shift(
    kind: LayerNormalization | GroupNormalization | BatchNormalization,
) -> tuple[Slot, ...]:
    return (Slot("gamma"),) * kind.has_gamma + (Slot("beta"),) * kind.has_beta


def _along(kind: Kind, axes: tuple[int, ...], shape: Shape) -> Shape:
    return tuple(kind.known_extent(shape, kind.axis_of(axis, shape)) for axis in sorted(axes))
