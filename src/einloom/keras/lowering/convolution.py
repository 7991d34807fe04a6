"""Convolutions: contractions of windows, which are views, with the kernel.

Source: ``keras/src/layers/convolutional`` of Keras 3.15.1.
"""

from __future__ import annotations

from einloom.keras.lowering.activations import activated, maps_of_activation
from einloom.keras.lowering.building import (
    cast,
    contraction,
    expanded,
    permuted,
    reshaped,
    split_axis,
    windows,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.lowering.products import projected
from einloom.keras.lowering.windows import windowed
from einloom.keras.models.kinds.activation import LINEAR, Function
from einloom.keras.models.kinds.convolution import (
    Conv,
    ConvTranspose,
    DepthwiseConv,
    SeparableConv,
)
from einloom_compiler.extents import Extent
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Node, Pad, Strided, ViewAxis
from einloom_compiler.ir.shapes import shape_of

_B, _C, _F, _M = (Index(name, 1) for name in "bcfm")


def lower_conv(call: LayerCall, kind: Conv) -> Tensor:
    """Lower a contraction of windows with the kernel; groups are an index of both."""
    kind.output_shape(*call.shapes)
    split, places, inner = _split(call, kind)
    n = len(places)
    shape = shape_of(split)
    kernel = call.weight("kernel")
    bias = call.weight("bias") if kind.use_bias else None
    group: Term = ()
    if kind.groups > 1:
        group = (Index("g", 1),)
        n_in, n_out = shape[-1] // kind.groups, kind.filters // kind.groups
        split = split_axis(split, len(shape) - 1, kind.groups, n_in)
        kernel = reshaped(kernel, (*kind.window, n_in, kind.groups, n_out))
        bias = bias and reshaped(bias, (kind.groups, n_out))
    around = _interleaved(places, inner)
    node = projected(
        (split, kernel),
        ((_B, *around, *group, _C), (*inner, _C, *group, _F)),
        (_B, *places, *group, _F),
        None if bias is None else (bias, (*group, _F)),
        _fusable(kind.activation),
        call.dtype,
    )
    if group:
        node = reshaped(node, (*shape_of(node)[: 1 + n], kind.filters))
    return _finished(node, kind)


def lower_depthwise_conv(call: LayerCall, kind: DepthwiseConv) -> Tensor:
    """Lower a contraction of windows with the kernels of their channel."""
    kind.output_shape(*call.shapes)
    split, places, inner = _split(call, kind)
    bias = None
    if kind.use_bias:
        shape = call.weight_shape("kernel")[-2:]
        bias = (reshaped(call.weight("bias"), shape), (_C, _M))
    node = projected(
        (split, call.weight("kernel")),
        ((_B, *_interleaved(places, inner), _C), (*inner, _C, _M)),
        (_B, *places, _C, _M),
        bias,
        _fusable(kind.activation),
        call.dtype,
    )
    *outer, channels, times = shape_of(node)
    node = reshaped(node, (*outer, channels * times))
    return _finished(node, kind)


def lower_separable_conv(call: LayerCall, kind: SeparableConv) -> Tensor:
    """Lower the contraction of windows with a channel's kernels, and one along the channels."""
    kind.output_shape(*call.shapes)
    split, places, inner = _split(call, kind)
    *_, channels, times = call.weight_shape("depthwise_kernel")
    depthwise = contraction(
        ((_B, *_interleaved(places, inner), _C), (*inner, _C, _M)),
        (_B, *places, _C, _M),
        split,
        call.weight("depthwise_kernel"),
        dtype=call.dtype,
    )
    pointwise = reshaped(call.weight("pointwise_kernel"), (channels, times, kind.filters))
    node = projected(
        (depthwise, pointwise),
        ((_B, *places, _C, _M), (_C, _M, _F)),
        (_B, *places, _F),
        (call.weight("bias"), (_F,)) if kind.use_bias else None,
        _fusable(kind.activation),
        call.dtype,
    )
    return _finished(node, kind)


def lower_conv_transpose(call: LayerCall, kind: ConvTranspose) -> Tensor:
    """Lower a contraction of windows with the kernel, whose places are counted by two indices.

    Output ``s * t + r`` of stride s is the sum over q of input ``t - q`` times the kernel's place
    ``s * q + r``: a convolution of stride 1 whose output has a further axis r, and no arithmetic
    with the zeros that are put between elements in the textbook's picture.
    """
    kind.output_shape(*call.shapes)
    x = _channels_last(call, kind.channels_first)
    n = len(kind.window)
    kernel = call.weight("kernel")
    growth = kind.growth()
    steps = zip(kind.window, kind.stride, kind.dilation, growth, strict=True)
    for number, (length, stride, dilation, (cut, more)) in enumerate(steps):
        reach = dilation * (length - 1) + 1
        n_shifts = -(-reach // stride)
        kernel = _phased(kernel, 2 * number, length, dilation, n_shifts, stride)
        missing = max(0, -(-(cut + more - stride * (n_shifts - 1)) // stride))
        axis = 1 + 2 * number
        x = _padded(x, axis, n_shifts - 1, n_shifts - 1 + missing)
        count = shape_of(x)[axis] - (n_shifts - 1)
        x = windows(x, axis, count, 1, n_shifts, 1)
    places, shifts, phases = (_numbered(name, n) for name in "pqr")
    node = projected(
        (x, kernel),
        ((_B, *_interleaved(places, shifts), _C), (*_interleaved(shifts, phases), _F, _C)),
        (_B, *_interleaved(places, phases), _F),
        (call.weight("bias"), (_F,)) if kind.use_bias else None,
        _fusable(kind.activation),
        call.dtype,
    )
    inner = shape_of(node)[1:-1]
    whole = tuple(a * b for a, b in zip(inner[::2], inner[1::2], strict=True))
    node = reshaped(node, (shape_of(node)[0], *whole, kind.filters))
    given = _positions_of(call, kind.channels_first)
    extents = [e * s + more for e, s, (_, more) in zip(given, kind.stride, growth, strict=True)]
    starts = (0, *(cut for cut, _ in growth), 0)
    axes = [ViewAxis(extent, axis) for axis, extent in enumerate(shape_of(node))]
    axes[1:-1] = [ViewAxis(extent, 1 + number) for number, extent in enumerate(extents)]
    return _finished(Strided(node, starts, tuple(axes)), kind)


def _phased(
    kernel: Node, axis: int, length: int, dilation: int, n_shifts: int, stride: int
) -> Node:
    """Return the kernel with an axis of places as two: shifts, from the last on, and phases."""
    if dilation > 1:  # zeros between places
        shape = shape_of(kernel)
        apart = _padded(expanded(kernel, axis + 1), axis + 1, 0, dilation - 1)
        kernel = reshaped(apart, (*shape[:axis], length * dilation, *shape[axis + 1 :]))
    shape = shape_of(kernel)
    wanted, given = n_shifts * stride, length * dilation
    if wanted > given:
        kernel = _padded(kernel, axis, 0, wanted - given)
    elif wanted < given:
        axes = [ViewAxis(extent, number) for number, extent in enumerate(shape)]
        axes[axis] = ViewAxis(wanted, axis)
        kernel = Strided(kernel, (0,) * len(shape), tuple(axes))
    kernel = reshaped(kernel, (*shape[:axis], n_shifts, stride, *shape[axis + 1 :]))
    shape = shape_of(kernel)
    starts = [0] * len(shape)
    starts[axis] = n_shifts - 1
    axes = [ViewAxis(extent, number) for number, extent in enumerate(shape)]
    axes[axis] = ViewAxis(n_shifts, axis, -1)
    return Strided(kernel, tuple(starts), tuple(axes))


def _padded(node: Node, axis: int, before: int, after: int) -> Node:
    if not before and not after:
        return node
    amounts = [[0] * len(shape_of(node)) for _ in range(2)]
    amounts[0][axis], amounts[1][axis] = before, after
    return Pad(node, tuple(amounts[0]), tuple(amounts[1]), 0.0)


def _channels_last(call: LayerCall, channels_first: bool) -> Node:
    x = cast(call.nodes[0], call.dtype)
    rank = len(shape_of(x))
    return permuted(x, (0, *range(2, rank), 1)) if channels_first else x


def _fusable(activation: Function) -> Function:
    """Return the activation where it goes into the contraction, else the identity."""
    return LINEAR if maps_of_activation(activation) is None else activation


def _finished(node: Node, kind: Conv | DepthwiseConv | SeparableConv | ConvTranspose) -> Tensor:
    """Return the layer's output: its axes as Keras has them, then a softmax along the last.

    Keras applies it to the finished tensor: across groups, and along the positions where channels
    come before them.
    """
    if kind.channels_first:
        rank = len(shape_of(node))
        node = permuted(node, (0, rank - 1, *range(1, rank - 1)))
    is_fused = _fusable(kind.activation) == kind.activation
    return Tensor(node if is_fused else activated(kind.activation, node))


def _positions_of(call: LayerCall, channels_first: bool) -> tuple[Extent, ...]:
    shape = call.shapes[0]
    return shape[2:] if channels_first else shape[1:-1]


def _split(call: LayerCall, kind: Conv | DepthwiseConv | SeparableConv) -> tuple[Node, Term, Term]:
    """Return windows of the input, channels last; indices of windows and of what is in them."""
    x = _channels_last(call, kind.channels_first)
    n = len(kind.window)
    positions = tuple(range(1, 1 + n))
    split = windowed(
        x,
        positions,
        _counts(call, kind),
        kind.stride,
        kind.window,
        kind.dilation,
        kind.padding,
        0.0,
    )
    return split, _numbered("p", n), _numbered("k", n)


def _counts(call: LayerCall, kind: Conv | DepthwiseConv | SeparableConv) -> tuple[Extent, ...]:
    n = len(kind.window)
    positions = tuple(range(2, 2 + n)) if kind.channels_first else tuple(range(1, 1 + n))
    return kind.counts(call.shapes[0], positions)


def _numbered(name: str, count: int) -> Term:
    return tuple(Index(name, 1 + number) for number in range(count))


def _interleaved(outer: Term, inner: Term) -> Term:
    return tuple(index for pair in zip(outer, inner, strict=True) for index in pair)
