"""Layers over positions: pooling and convolution along one axis or two.

Source: ``keras/src/layers/pooling`` and ``convolutional`` of Keras 3.15.1; output lengths as in
``keras/src/ops/operation_utils.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.activation import Function, activation_field
from einloom.keras.models.kinds.base import Kind, Shape, Slot, shape_text
from einloom.keras.models.kinds.dense import refuse_quantized
from einloom.keras.models.kinds.fields import Fields
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent, text


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
        return _positions(self.rank, self.channels_first)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape without the position axes, or with 1 there."""
        self.check_inputs(*inputs)
        _check_rank(self, inputs[0], self.rank)
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
        _channels_first(fields),
        _rank(fields),
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
        return _positions(len(self.window), self.channels_first)

    def counts(self, shape: Shape) -> tuple[Extent, ...]:
        """Return the number of windows along each position axis of an input of this shape.

        Raises:
            ShapeError: an axis is shorter than a window.
        """
        self.check_inputs(shape)
        _check_rank(self, shape, len(self.window))
        return _counts(self, shape, self.positions, self.window, self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with the numbers of windows as positions."""
        self.check_inputs(*inputs)
        result = list(inputs[0])
        for axis, count in zip(self.positions, self.counts(inputs[0]), strict=True):
            result[axis] = count
        return tuple(result)


def pooling(fields: Fields) -> Kind:
    """Return the layer for the configuration of a pooling over windows."""
    rank = _rank(fields)
    window = fields.lengths("pool_size", rank)
    stride = window if fields.get("strides") is None else fields.lengths("strides", rank)
    return Pooling(
        "average" if "Average" in fields.class_name else "max",
        window,
        stride,
        fields.choice("padding", "valid", "same", default="valid"),
        _channels_first(fields),
    )


@dataclass(frozen=True, slots=True)
class Conv(Kind):
    """A convolution along one axis or two, a bias, an activation.

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
        reach = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.window, strict=True))
        return _counts(self, shape, positions, reach, self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, numbers of windows and filters, in the input's order."""
        self.check_inputs(*inputs)
        n = len(self.window)
        _check_rank(self, inputs[0], n)
        positions = _positions(n, self.channels_first)
        result = list(inputs[0])
        for axis, count in zip(positions, self.counts(inputs[0], positions), strict=True):
            result[axis] = count
        result[1 if self.channels_first else 1 + n] = self.filters
        return tuple(result)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(*window, channels / groups, filters)`` and ``(filters,)``."""
        self.check_inputs(*inputs)
        _check_rank(self, inputs[0], len(self.window))
        last = len(inputs[0]) - 1
        channels = self.known_extent(inputs[0], 1 if self.channels_first else last)
        if channels % self.groups:
            raise ShapeError(
                f"Conv{len(self.window)}D of {self.groups} groups cannot split {channels} channels "
                f"of shape {shape_text(inputs[0])}"
            )
        kernel = (*self.window, channels // self.groups, self.filters)
        return (kernel, (self.filters,)) if self.use_bias else (kernel,)


def conv(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Conv1D`` or ``Conv2D``."""
    refuse_quantized(fields)
    rank = _rank(fields)
    groups = fields.integer("groups") if "groups" in fields.config else 1
    filters = fields.integer("filters")
    if filters % groups:
        raise fields.wrong("filters", f"a multiple of groups={groups}")
    ones = (1,) * rank
    return Conv(
        filters,
        fields.lengths("kernel_size", rank),
        fields.lengths("strides", rank) if "strides" in fields.config else ones,
        fields.lengths("dilation_rate", rank) if "dilation_rate" in fields.config else ones,
        fields.choice(
            "padding", "valid", "same", *(("causal",) if rank == 1 else ()), default="valid"
        ),
        groups,
        _channels_first(fields),
        activation_field(fields),
        fields.boolean("use_bias", True),
    )


def _rank(fields: Fields) -> int:
    """Return the number of position axes, which the class's name ends in."""
    return int(fields.class_name[-2])


def _positions(rank: int, channels_first: bool) -> tuple[int, ...]:
    return tuple(range(2, 2 + rank)) if channels_first else tuple(range(1, 1 + rank))


def _check_rank(kind: Kind, shape: Shape, rank: int) -> None:
    if len(shape) != rank + 2:
        raise ShapeError(
            f"{type(kind).__name__} along {rank} axes takes rank {rank + 2}, but inputs has shape "
            f"{shape_text(shape)}"
        )


def _channels_first(fields: Fields) -> bool:
    form = fields.choice("data_format", "channels_last", "channels_first", default="channels_last")
    return form == "channels_first"


def _counts(
    kind: Kind,
    shape: Shape,
    positions: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
    padding: str,
) -> tuple[Extent, ...]:
    """Return the number of windows along each position axis."""
    found: list[Extent] = []
    for axis, across, step in zip(positions, reach, stride, strict=True):
        length = shape[axis]
        if padding != "valid":
            found.append(_quotient_below(length + step - 1, step))
            continue
        if isinstance(length, int) and length < across:
            raise ShapeError(
                f"{type(kind).__name__} with windows that reach over {across} elements cannot take "
                f"a sequence of {text(length)} (shape {shape_text(shape)})"
            )
        found.append(_quotient_below(length - across, step) + 1)
    return tuple(found)


def _quotient_below(dividend: Extent, divisor: int) -> Extent:
    return dividend if divisor == 1 else dividend // divisor
