"""Convolutions along one to three axes: plain, depthwise, separable, transposed.

Source: ``keras/src/layers/convolutional`` of Keras 3.15.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.activation import Function, activation_field
from einloom.keras.models.kinds.base import Kind, Shape, Slot, shape_text
from einloom.keras.models.kinds.dense import refuse_quantized
from einloom.keras.models.kinds.fields import Fields
from einloom.keras.models.kinds.positions import (
    channels_first,
    check_rank,
    position_axes,
    rank_of,
    window_counts,
    with_positions,
)
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent


@dataclass(frozen=True, slots=True)
class Convolution(Kind):
    """What all convolutions along position axes have.

    Attributes:
        window: lengths of the kernel.
        stride: distances of windows; where transposed, of the kernel's multiples.
        dilation: distances of a window's elements.
        padding: ``valid``, ``same`` or, along one axis, ``causal`` (all of it in front).
        channels_first: whether the positions come after the channels.
        activation: applied to the sum.
        use_bias: whether a bias is added.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    channels_first: bool
    activation: Function
    use_bias: bool

    @property
    def reach(self) -> tuple[int, ...]:
        """Over how many elements a window reaches."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.window, strict=True))

    @property
    def positions(self) -> tuple[int, ...]:
        """The position axes."""
        return position_axes(len(self.window), self.channels_first)

    @property
    def channels_axis(self) -> int:
        """The axis of the channels."""
        return 1 if self.channels_first else 1 + len(self.window)

    def checked(self, *inputs: Shape) -> Shape:
        """Return the only input's shape.

        Raises:
            ShapeError: its rank is not the one of these windows.
        """
        self.check_inputs(*inputs)
        (shape,) = inputs
        check_rank(self, shape, len(self.window))
        return shape

    def counts(self, shape: Shape, positions: Sequence[int]) -> tuple[Extent, ...]:
        """Return the number of windows along these axes of a shape.

        Raises:
            ShapeError: an axis is shorter than a window.
        """
        return window_counts(self, shape, positions, self.reach, self.stride, self.padding)

    def with_windows(self, shape: Shape, channels: Extent) -> Shape:
        """Return a shape with numbers of windows as positions, and so many channels."""
        counted = with_positions(shape, self.positions, self.counts(shape, self.positions))
        return with_positions(counted, (self.channels_axis,), (channels,))

    def known_channels(self, *inputs: Shape) -> tuple[Shape, int]:
        """Return the only input's shape, and its channels, which must be a number.

        Raises:
            ShapeError: they are not, or an axis is shorter than a window.
        """
        shape = self.checked(*inputs)
        channels = self.known_extent(shape, self.channels_axis)
        self.counts(shape, self.positions)
        return shape, channels

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)


@dataclass(frozen=True, slots=True)
class Conv(Convolution):
    """A convolution along position axes, a bias, an activation.

    Attributes:
        filters: channels of the output.
        groups: into which the channels are split.
    """

    filters: int
    groups: int

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and filters, in the input's order."""
        return self.with_windows(self.checked(*inputs), self.filters)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, channels / groups, filters)`` and ``(filters,)``."""
        shape = self.checked(*inputs)
        channels = self.known_extent(shape, self.channels_axis)
        if channels % self.groups:
            raise ShapeError(
                f"Conv{len(self.window)}D of {self.groups} groups cannot split {channels} channels "
                f"of shape {shape_text(shape)}"
            )
        kernel = (*self.window, channels // self.groups, self.filters)
        return (kernel, (self.filters,)) if self.use_bias else (kernel,)


def conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Conv1D``, ``Conv2D`` or ``Conv3D``."""
    groups = fields.integer("groups") if "groups" in fields.config else 1
    filters = fields.integer("filters")
    if filters % groups:
        raise fields.wrong("filters", f"a multiple of groups={groups}")
    return Conv(*_steps(fields), *_rest(fields), filters, groups)


@dataclass(frozen=True, slots=True)
class DepthwiseConv(Convolution):
    """A convolution of each channel by kernels of its own, a bias, an activation.

    Attributes:
        multiplier: kernels of a channel; output channel ``c * multiplier + m`` is of channel c.
    """

    multiplier: int

    RANKS: ClassVar[tuple[int, int | None]] = (3, 4)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and channels times ``multiplier``."""
        shape, channels = self.known_channels(*inputs)
        return self.with_windows(shape, channels * self.multiplier)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, channels, multiplier)`` and ``(channels * multiplier,)``."""
        _, channels = self.known_channels(*inputs)
        kernel = (*self.window, channels, self.multiplier)
        return (kernel, (channels * self.multiplier,)) if self.use_bias else (kernel,)


def depthwise_conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``DepthwiseConv1D`` or ``DepthwiseConv2D``."""
    multiplier = fields.integer("depth_multiplier") if "depth_multiplier" in fields.config else 1
    return DepthwiseConv(*_steps(fields), *_rest(fields), multiplier)


@dataclass(frozen=True, slots=True)
class SeparableConv(Convolution):
    """A depthwise convolution, then a product along the channels, a bias, an activation.

    Attributes:
        filters: channels of the output.
        multiplier: kernels of a channel, as of DepthwiseConv.
    """

    filters: int
    multiplier: int

    RANKS: ClassVar[tuple[int, int | None]] = (3, 4)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and filters, in the input's order."""
        shape, _ = self.known_channels(*inputs)
        return self.with_windows(shape, self.filters)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of both kernels and the bias."""
        kernels = (Slot("depthwise_kernel"), Slot("pointwise_kernel"))
        return (*kernels, Slot("bias")) if self.use_bias else kernels

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, c, m)``, ``(1, ..., c * m, filters)`` and ``(filters,)``."""
        _, channels = self.known_channels(*inputs)
        ones = (1,) * len(self.window)
        kernels = (
            (*self.window, channels, self.multiplier),
            (*ones, channels * self.multiplier, self.filters),
        )
        return (*kernels, (self.filters,)) if self.use_bias else kernels


def separable_conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``SeparableConv1D`` or ``SeparableConv2D``."""
    multiplier = fields.integer("depth_multiplier") if "depth_multiplier" in fields.config else 1
    return SeparableConv(*_steps(fields), *_rest(fields), fields.integer("filters"), multiplier)


@dataclass(frozen=True, slots=True)
class ConvTranspose(Convolution):
    """A transposed convolution: each element adds a multiple of the kernel, a stride apart.

    Attributes:
        filters: channels of the output.
        extra: elements added at each axis's end; None for what ``padding``, by which elements
            are cut off in front, says.
    """

    filters: int
    extra: tuple[int, ...] | None

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    def growth(self) -> tuple[tuple[int, int], ...]:
        """Return for each position axis of extent n how the output lies in the whole sum.

        A pair: what is cut off in front, and the output's extent less ``n * stride``.
        """
        pairs = []
        for number, (step, reach) in enumerate(zip(self.stride, self.reach, strict=True)):
            extra = None if self.extra is None else self.extra[number]
            if self.padding == "valid":
                more = max(reach, step) - reach if extra is None else extra
                pairs.append((0, reach - step + more))
            elif extra is None:
                pairs.append((max(reach - step, 0) // 2, 0))
            else:
                cut = max(reach - reach % 2 - extra, 0)
                pairs.append((cut // 2, reach % 2 + extra - step))
        return tuple(pairs)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, the axes' new extents and filters, in the input's order."""
        shape, positions = self.checked(*inputs), self.positions
        extents = [
            shape[axis] * step + more
            for axis, step, (_, more) in zip(positions, self.stride, self.growth(), strict=True)
        ]
        grown = with_positions(shape, positions, extents)
        return with_positions(grown, (self.channels_axis,), (self.filters,))

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, filters, channels)`` and ``(filters,)``."""
        channels = self.known_extent(self.checked(*inputs), self.channels_axis)
        kernel = (*self.window, self.filters, channels)
        return (kernel, (self.filters,)) if self.use_bias else (kernel,)


def conv_transpose(fields: Fields) -> Kind:
    """Return the layer for the configuration of a transposed convolution."""
    window, stride, dilation, padding = _steps(fields)
    rank = len(window)
    extra = None
    if fields.get("output_padding") is not None:
        found = fields.extents("output_padding")
        found = found * rank if len(found) == 1 else found
        extra = tuple(amount for amount in found if amount is not None)
        if len(extra) != rank or any(a >= s for a, s in zip(extra, stride, strict=True)):
            raise fields.wrong("output_padding", f"{rank} numbers below the strides {stride}")
    return ConvTranspose(
        window, stride, dilation, padding, *_rest(fields), fields.integer("filters"), extra
    )


def _steps(
    fields: Fields,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str]:
    """Return lengths, distances of windows and of their elements, and how edges are padded."""
    refuse_quantized(fields)
    rank = rank_of(fields)
    ones = (1,) * rank
    paddings = ("valid", "same", *(("causal",) if fields.class_name == "Conv1D" else ()))
    return (
        fields.lengths("kernel_size", rank),
        fields.lengths("strides", rank) if "strides" in fields.config else ones,
        fields.lengths("dilation_rate", rank) if "dilation_rate" in fields.config else ones,
        fields.choice("padding", *paddings, default="valid"),
    )


def _rest(fields: Fields) -> tuple[bool, Function, bool]:
    """Return whether channels come first, the activation, and whether there is a bias."""
    return channels_first(fields), activation_field(fields), fields.boolean("use_bias", True)
