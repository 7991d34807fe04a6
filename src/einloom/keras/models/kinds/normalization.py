"""Normalisations at inference: layer, root mean square, batch.

Source: ``keras/src/layers/normalization`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape, Slot
from einloom.keras.models.kinds.fields import Fields, NotKnownError


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
    """A multiple of the input and an offset, both numbers.

    Attributes:
        scale: what the input is multiplied by.
        offset: what is added then.
    """

    scale: float
    offset: float


def rescaling(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Rescaling``."""
    for name in ("scale", "offset"):
        if isinstance(fields.get(name), tuple):
            raise NotKnownError(f"a {name} for each channel is not interpreted")
    return Rescaling(fields.number("scale"), fields.number("offset", 0.0))


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


def _along(kind: Kind, axes: tuple[int, ...], shape: Shape) -> Shape:
    return tuple(kind.known_extent(shape, kind.axis_of(axis, shape)) for axis in sorted(axes))
