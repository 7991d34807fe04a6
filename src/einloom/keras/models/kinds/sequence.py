"""Layers over sequences: pooling and convolution along one axis.

Source: ``keras/src/layers/pooling`` and ``convolutional`` of Keras 3.15.1; output lengths as in
``keras/src/ops/operation_utils.py``.
"""

from __future__ import annotations

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
    """The mean or maximum over a whole sequence.

    Attributes:
        function: ``average`` or ``max``.
        keepdims: whether the reduced axis stays, with extent 1.
        channels_first: whether the sequence is axis 2, not axis 1.
    """

    function: str
    keepdims: bool
    channels_first: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 3)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape without the sequence axis, or with 1 there."""
        self.check_inputs(*inputs)
        axis = 2 if self.channels_first else 1
        kept = (1,) if self.keepdims else ()
        return (*inputs[0][:axis], *kept, *inputs[0][axis + 1 :])


def global_pooling(fields: Fields) -> Kind:
    """Return the layer for the configuration of a global pooling over one axis."""
    return GlobalPooling(
        "average" if "Average" in fields.class_name else "max",
        fields.boolean("keepdims", False),
        _channels_first(fields),
    )


@dataclass(frozen=True, slots=True)
class Pooling(Kind):
    """The mean or maximum over windows of a sequence.

    Attributes:
        function: ``average`` or ``max``.
        window: length of a window.
        stride: distance of windows.
        padding: ``valid`` or ``same``.
        channels_first: whether the sequence is axis 2, not axis 1.
    """

    function: str
    window: int
    stride: int
    padding: str
    channels_first: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 3)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with the number of windows along the sequence."""
        self.check_inputs(*inputs)
        return _windowed(self, inputs[0], self.window, self.stride, self.padding, None)


def pooling(fields: Fields) -> Kind:
    """Return the layer for the configuration of a pooling along one axis."""
    window = fields.window("pool_size")
    stride = window if fields.get("strides") is None else fields.window("strides")
    return Pooling(
        "average" if "Average" in fields.class_name else "max",
        window,
        stride,
        fields.choice("padding", "valid", "same", default="valid"),
        _channels_first(fields),
    )


@dataclass(frozen=True, slots=True)
class Conv1D(Kind):
    """A convolution along one axis, a bias, an activation.

    Attributes:
        filters: channels of the output.
        window: length of the kernel.
        stride: distance of windows.
        dilation: distance of a window's elements.
        padding: ``valid``, ``same`` or ``causal`` (all of it in front).
        groups: into which the channels are split.
        channels_first: whether the sequence is axis 2, not axis 1.
        activation: applied to the sum.
        use_bias: whether a bias is added.
    """

    filters: int
    window: int
    stride: int
    dilation: int
    padding: str
    groups: int
    channels_first: bool
    activation: Function
    use_bias: bool

    RANKS: ClassVar[tuple[int, int | None]] = (3, 3)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, number of windows and filters, in the input's order."""
        self.check_inputs(*inputs)
        reach = self.dilation * (self.window - 1) + 1
        return _windowed(self, inputs[0], reach, self.stride, self.padding, self.filters)

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of ``kernel`` and ``bias``."""
        return (Slot("kernel"), Slot("bias")) if self.use_bias else (Slot("kernel"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return ``(window, channels / groups, filters)`` and ``(filters,)``."""
        self.check_inputs(*inputs)
        channels = self.known_extent(inputs[0], 1 if self.channels_first else 2)
        if channels % self.groups:
            raise ShapeError(
                f"Conv1D of {self.groups} groups cannot split {channels} channels "
                f"of shape {shape_text(inputs[0])}"
            )
        kernel = (self.window, channels // self.groups, self.filters)
        return (kernel, (self.filters,)) if self.use_bias else (kernel,)


def conv1d(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Conv1D``."""
    refuse_quantized(fields)
    groups = fields.integer("groups") if "groups" in fields.config else 1
    filters = fields.integer("filters")
    if filters % groups:
        raise fields.wrong("filters", f"a multiple of groups={groups}")
    return Conv1D(
        filters,
        fields.window("kernel_size"),
        fields.window("strides") if "strides" in fields.config else 1,
        fields.window("dilation_rate") if "dilation_rate" in fields.config else 1,
        fields.choice("padding", "valid", "same", "causal", default="valid"),
        groups,
        _channels_first(fields),
        activation_field(fields),
        fields.boolean("use_bias", True),
    )


def _channels_first(fields: Fields) -> bool:
    form = fields.choice("data_format", "channels_last", "channels_first", default="channels_last")
    return form == "channels_first"


def _windowed(
    kind: Pooling | Conv1D,
    shape: Shape,
    reach: int,
    stride: int,
    padding: str,
    channels: int | None,
) -> Shape:
    """Return the shape with the number of windows, and ``channels`` where given."""
    sequence, features = (2, 1) if kind.channels_first else (1, 2)
    length = shape[sequence]
    n_windows: Extent
    if padding == "valid":
        if isinstance(length, int) and length < reach:
            raise ShapeError(
                f"{type(kind).__name__} with windows that reach over {reach} elements cannot take "
                f"a sequence of {text(length)} (shape {shape_text(shape)})"
            )
        n_windows = _quotient_below(length - reach, stride) + 1
    else:
        n_windows = _quotient_below(length + stride - 1, stride)
    result = list(shape)
    result[sequence] = n_windows
    if channels is not None:
        result[features] = channels
    return tuple(result)


def _quotient_below(dividend: Extent, divisor: int) -> Extent:
    return dividend if divisor == 1 else dividend // divisor
