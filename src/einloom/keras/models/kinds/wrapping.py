"""Layers that wrap another one.

Source: ``keras/src/layers/rnn/time_distributed.py`` and
``keras/src/layers/normalization/spectral_normalization.py`` of Keras 3.15.1, and the former's
``compute_mask`` of Keras 2.2.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from einloom.keras.models.kinds.activation import Activation
from einloom.keras.models.kinds.base import Kind, Shape, Slot
from einloom.keras.models.kinds.dense import Dense, Embedding
from einloom.keras.models.kinds.fields import Fields, NotKnownError
from einloom.keras.models.kinds.shaping import Identity, Masking

#: The attribute of a wrapper that holds the layer.
PART = "layer"


@dataclass(frozen=True, slots=True)
class TimeDistributed(Kind):
    """A layer that is called on each step along axis 1.

    Attributes:
        inner: the layer, which sees the input without that axis.
        keeps_mask: whether its input's padding mask is the output's. Keras 3 hands it on whatever
            the layer is; Keras 2 asks the layer, and only those that keep positions are told here.
    """

    inner: Kind
    keeps_mask: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, None)

    def check_inputs(self, *inputs: Shape) -> None:
        """Check the input, and that the layer can take a step of it."""
        Kind.check_inputs(self, *inputs)
        self.inner.check_inputs(_step(inputs[0]))

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return what the layer gives for a step, with the axis of steps after the batch's."""
        self.check_inputs(*inputs)
        batch, *rest = self.inner.output_shape(_step(inputs[0]))
        return (batch, inputs[0][1], *rest)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of the layer's weights: ``layer/kernel``."""
        return _within(self.inner.slots())

    def stored(self) -> tuple[Slot, ...]:
        """Return the places of what an archive holds of the layer."""
        return _within(self.inner.stored())

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return those of the layer, whose input is a step."""
        self.check_inputs(*inputs)
        return self.inner.weight_shapes(_step(inputs[0]))


def _step(shape: Shape) -> Shape:
    return (shape[0], *shape[2:])


def _within(slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Return the places of a layer's weights as those of the layer around it."""
    return tuple(
        replace(slot, name=f"{PART}/{slot.name}", part="/".join(filter(None, (PART, slot.part))))
        for slot in slots
    )


def time_distributed(fields: Fields, inner: Kind) -> Kind:
    """Return the layer for a configuration of ``TimeDistributed`` and the layer in it.

    Raises:
        NotKnownError: the layer takes several tensors, or would give each step a mask.
    """
    title = type(inner).__name__
    if inner.IS_VARIADIC or inner.MIN_INPUTS != 1:
        raise NotKnownError(f"it wraps a {title}, which takes other than one tensor")
    makes_mask = isinstance(inner, Masking) or (isinstance(inner, Embedding) and inner.mask_zero)
    if makes_mask and not fields.is_keras_3:
        raise NotKnownError(
            f"it wraps a {title} that gives each step a mask, which is not followed"
        )
    return TimeDistributed(
        inner, fields.is_keras_3 or isinstance(inner, Dense | Activation | Identity)
    )


@dataclass(frozen=True, slots=True)
class SpectralNormalization(Kind):
    """A layer whose kernel training divides by its largest singular value; at inference, itself.

    Attributes:
        inner: the layer, whose kernel is already divided.
    """

    inner: Kind

    def check_inputs(self, *inputs: Shape) -> None:
        """Check that the layer can take the input."""
        self.inner.check_inputs(*inputs)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return what the layer gives."""
        return self.inner.output_shape(*inputs)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of the kernel, of the vector that training keeps, and of the rest."""
        kernel, *rest = _within(self.inner.slots())
        return (kernel, Slot("vector_u", is_trained=False), *rest)

    def stored(self) -> tuple[Slot, ...]:
        """Return the places of what an archive holds: the kernel as the wrapper's own, too."""
        kernel, vector, *_ = self.slots()
        return (replace(kernel, part=""), vector, *_within(self.inner.stored()))

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return those of the layer, and a row of the kernel's last extent."""
        kernel, *rest = self.inner.weight_shapes(*inputs)
        return (kernel, (1, kernel[-1]), *rest)


def spectral_normalization(fields: Fields, inner: Kind) -> Kind:
    """Return the layer for a configuration of ``SpectralNormalization`` and the layer in it.

    Raises:
        NotKnownError: the layer has no kernel of its own, or makes a mask.
    """
    title = type(inner).__name__
    names = [slot.name for slot in inner.slots()]
    if not names or names[0] not in ("kernel", "embeddings"):
        raise NotKnownError(f"it wraps a {title}, which has no kernel of its own")
    if isinstance(inner, Embedding) and inner.mask_zero:
        raise NotKnownError(f"it wraps a {title} that makes a mask, which is not followed")
    return SpectralNormalization(inner)
