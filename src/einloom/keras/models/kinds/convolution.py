"""Convolutions along one to three axes: plain, depthwise, separable, transposed.

Source: ``keras/src/layers/convolutional`` of Keras 3.15.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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
class Conv(Kind):
    """A convolution along position axes, a bias, an activation.

    Attributes:
        filters: channels of the output.
        window: lengths of the kernel.
        stride: distances of windows.
        dilation: distances of a window's elements.
        padding: ``valid``, ``same`` or, along one axis, ``causal`` (all of it in front).
        groups: into which the channels are split.
        channels_first: whether the positions come after the channels.
        activation: applied to the sum.
        use_bias: whether a bias is added.
    """

    filters: int
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    groups: int
    channels_first: bool
    activation: Function
    use_bias: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    def counts(self, shape: Shape, positions: Sequence[int]) -> tuple[Extent, ...]:
        """Return the number of windows along these axes of a shape.

        Raises:
            ShapeError: an axis is shorter than a window.
        """
        return window_counts(self, shape, positions, _reach(self), self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and filters, in the input's order."""
        self.check_inputs(*inputs)
        n = len(self.window)
        check_rank(self, inputs[0], n)
        positions = position_axes(n, self.channels_first)
        shape = with_positions(inputs[0], positions, self.counts(inputs[0], positions))
        return with_positions(shape, (_channels_axis(self, n),), (self.filters,))

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, channels / groups, filters)`` and ``(filters,)``."""
        self.check_inputs(*inputs)
        check_rank(self, inputs[0], len(self.window))
        channels = self.known_extent(inputs[0], _channels_axis(self, len(self.window)))
        if channels % self.groups:
            raise ShapeError(
                f"Conv{len(self.window)}D of {self.groups} groups cannot split {channels} channels "
                f"of shape {shape_text(inputs[0])}"
            )
        kernel = (*self.window, channels // self.groups, self.filters)
        return (kernel, (self.filters,)) if self.use_bias else (kernel,)


def conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Conv1D``, ``Conv2D`` or ``Conv3D``."""
    groups = fields.integer("groups") if "groups" in fields.config else 1
    filters = fields.integer("filters")
    if filters % groups:
        raise fields.wrong("filters", f"a multiple of groups={groups}")
    return Conv(filters, *_steps(fields), groups, *_rest(fields))


@dataclass(frozen=True, slots=True)
class DepthwiseConv(Kind):
    """A convolution of each channel by kernels of its own, a bias, an activation.

    Attributes:
        window, stride, dilation, padding, channels_first, activation, use_bias: as of Conv.
        multiplier: kernels of a channel; output channel ``c * multiplier + m`` is of channel c.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    multiplier: int
    channels_first: bool
    activation: Function
    use_bias: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 4)

    def counts(self, shape: Shape, positions: Sequence[int]) -> tuple[Extent, ...]:
        """Return the number of windows along these axes of a shape.

        Raises:
            ShapeError: an axis is shorter than a window.
        """
        return window_counts(self, shape, positions, _reach(self), self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and channels times ``multiplier``."""
        shape, channels = _windows(self, inputs)
        return with_positions(
            shape, (_channels_axis(self, len(self.window)),), (channels * self.multiplier,)
        )

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, channels, multiplier)`` and ``(channels * multiplier,)``."""
        _, channels = _windows(self, inputs)
        kernel = (*self.window, channels, self.multiplier)
        return (kernel, (channels * self.multiplier,)) if self.use_bias else (kernel,)


def depthwise_conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``DepthwiseConv1D`` or ``DepthwiseConv2D``."""
    multiplier = fields.integer("depth_multiplier") if "depth_multiplier" in fields.config else 1
    return DepthwiseConv(*_steps(fields), multiplier, *_rest(fields))


@dataclass(frozen=True, slots=True)
class SeparableConv(Kind):
    """A depthwise convolution, then a product along the channels, a bias, an activation.

    Attributes:
        filters: channels of the output.
        window, stride, dilation, padding, multiplier, channels_first: as of DepthwiseConv.
        activation: applied to the sum.
        use_bias: whether a bias is added.
    """

    filters: int
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    multiplier: int
    channels_first: bool
    activation: Function
    use_bias: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 4)

    def counts(self, shape: Shape, positions: Sequence[int]) -> tuple[Extent, ...]:
        """Return the number of windows along these axes of a shape.

        Raises:
            ShapeError: an axis is shorter than a window.
        """
        return window_counts(self, shape, positions, _reach(self), self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and filters, in the input's order."""
        shape, _ = _windows(self, inputs)
        return with_positions(shape, (_channels_axis(self, len(self.window)),), (self.filters,))

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of both kernels and the bias."""
        kernels = (Slot("depthwise_kernel"), Slot("pointwise_kernel"))
        return (*kernels, Slot("bias")) if self.use_bias else kernels

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, c, m)``, ``(1, ..., c * m, filters)`` and ``(filters,)``."""
        _, channels = _windows(self, inputs)
        ones = (1,) * len(self.window)
        kernels = (
            (*self.window, channels, self.multiplier),
            (*ones, channels * self.multiplier, self.filters),
        )
        return (*kernels, (self.filters,)) if self.use_bias else kernels


def separable_conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``SeparableConv1D`` or ``SeparableConv2D``."""
    multiplier = fields.integer("depth_multiplier") if "depth_multiplier" in fields.config else 1
    return SeparableConv(fields.integer("filters"), *_steps(fields), multiplier, *_rest(fields))


@dataclass(frozen=True, slots=True)
class ConvTranspose(Kind):
    """A transposed convolution: each element adds a multiple of the kernel, a stride apart.

    Attributes:
        filters: channels of the output.
        window: lengths of the kernel.
        stride: distances of the kernel's multiples.
        dilation: distances of the kernel's elements.
        padding: ``valid`` or ``same``: what is cut off in front.
        extra: elements added at each axis's end; None for what ``padding`` says.
        channels_first: whether the positions come after the channels.
        activation: applied to the sum.
        use_bias: whether a bias is added.
    """

    filters: int
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str
    extra: tuple[int, ...] | None
    channels_first: bool
    activation: Function
    use_bias: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 5)

    def growth(self) -> tuple[tuple[int, int], ...]:
        """Return for each position axis of extent n how the output lies in the whole sum.

        A pair: what is cut off in front, and the output's extent less ``n * stride``.
        """
        pairs = []
        for number, (step, reach) in enumerate(zip(self.stride, _reach(self), strict=True)):
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
        self.check_inputs(*inputs)
        n = len(self.window)
        check_rank(self, inputs[0], n)
        positions = position_axes(n, self.channels_first)
        extents = [
            inputs[0][axis] * step + more
            for axis, step, (_, more) in zip(positions, self.stride, self.growth(), strict=True)
        ]
        shape = with_positions(inputs[0], positions, extents)
        return with_positions(shape, (_channels_axis(self, n),), (self.filters,))

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, filters, channels)`` and ``(filters,)``."""
        self.check_inputs(*inputs)
        n = len(self.window)
        check_rank(self, inputs[0], n)
        channels = self.known_extent(inputs[0], _channels_axis(self, n))
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
        fields.integer("filters"), window, stride, dilation, padding, extra, *_rest(fields)
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


def _reach(kind: Any) -> tuple[int, ...]:
    """Return over how many elements a window reaches."""
    return tuple(d * (k - 1) + 1 for d, k in zip(kind.dilation, kind.window, strict=True))


def _channels_axis(kind: Any, n_positions: int) -> int:
    return 1 if kind.channels_first else 1 + n_positions


def _windows(kind: DepthwiseConv | SeparableConv, inputs: Sequence[Shape]) -> tuple[Shape, int]:
    """Return the input's shape with numbers of windows as positions, and its channels."""
    kind.check_inputs(*inputs)
    (shape,) = inputs
    n = len(kind.window)
    check_rank(kind, shape, n)
    positions = position_axes(n, kind.channels_first)
    channels = kind.known_extent(shape, _channels_axis(kind, n))
    return with_positions(shape, positions, kind.counts(shape, positions)), channels
