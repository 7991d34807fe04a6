"""Pooling and convolution: windows as views, and reductions or a contraction over them.

Source: ``keras/src/layers/pooling`` and ``convolutional`` of Keras 3.15.1; padding as in
``tf.nn.convolution``: of ``same``, the smaller half comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from einloom.keras.lowering.building import (
    cast,
    indices,
    is_floating,
    permuted,
    repeated,
    reshaped,
    settled_dtype,
    windows,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.lowering.products import projected
from einloom.keras.models.kinds.sequence import Conv, GlobalPooling, Pooling
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.extents import Extent
from einloom_compiler.ir import builders
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Node, Pad, Reduction, Rows, Strided, ViewAxis
from einloom_compiler.ir.scalar import Number, Value, combined
from einloom_compiler.ir.shapes import shape_of


def lower_global_pooling(call: LayerCall, kind: GlobalPooling) -> Tensor:
    """Lower the mean or maximum over all positions; a mean counts masked positions not at all."""
    (x,) = call.nodes
    axes = kind.positions
    dtype = settled_dtype(x)
    if kind.function == "max":
        return Tensor(builders.reduce(x, "max", axes, kind.keepdims))
    if not is_floating(dtype):
        raise call.unsupported(f"a mean of {dtype}")
    mask = call.inputs[0].mask
    given = call.arguments.get("mask")
    if isinstance(given, Tensor):
        mask = given.node
    if mask is None or kind.rank == 2:
        return Tensor(builders.reduce(x, "mean", axes, kind.keepdims))
    term = indices(3)
    (along,) = (term[axis] for axis in axes)
    kept = tuple(index for index in term if index != along)
    weighted = combined("where", Value(1), Value(0), Number(0.0))
    counted = combined("not_equal", Value(1), Number(0.0))
    total = Rows(
        (x, mask), (term, (term[0], along)), kept, (along,),
        (Reduction("sum", weighted), Reduction("sum", counted)),
        combined("divide", Value(2), Value(3)), dtype,
    )  # fmt: skip
    node: Node = repeated(total, axes[0], 1) if kind.keepdims else total
    return Tensor(node)


def lower_pooling(call: LayerCall, kind: Pooling) -> Tensor:
    """Lower the mean or maximum over windows; a mean counts no padding."""
    (x,) = call.nodes
    dtype = settled_dtype(x)
    is_mean = kind.function == "average"
    if not is_floating(dtype):
        raise call.unsupported(f"a pooling of {dtype}")
    n = len(kind.window)
    counts = kind.counts(shape_of(x))
    steps = (kind.stride, kind.window, (1,) * n)
    filling = 0.0 if is_mean else float("-inf")
    split = _windowed(x, kind.positions, counts, *steps, kind.padding, filling)
    rank = len(shape_of(split))
    within = tuple(axis + 1 + number for number, axis in enumerate(kind.positions))
    if not is_mean or kind.padding == "valid":
        return Tensor(builders.reduce(split, "mean" if is_mean else "max", within))
    # The number of elements that are no padding, by summing windows of ones.
    line = [shape_of(x)[axis] for axis in kind.positions]
    one: Node = call.computed(np.ones(()), dtype, "one")
    for number, extent in enumerate(line):
        one = repeated(one, number, extent)
    ones = _windowed(one, tuple(range(n)), counts, *steps, "same", 0.0)
    term = indices(rank)
    window_term = tuple(
        term[axis + number + extra]
        for number, axis in enumerate(kind.positions)
        for extra in (0, 1)
    )
    reduced = tuple(term[axis] for axis in within)
    output = tuple(index for index in term if index not in reduced)
    node = Rows(
        (split, ones), (term, window_term), output, reduced,
        (Reduction("sum", Value(0)), Reduction("sum", Value(1))),
        combined("divide", Value(2), Value(3)), dtype,
    )  # fmt: skip
    return Tensor(node)


def lower_conv(call: LayerCall, kind: Conv) -> Tensor:
    """Lower a contraction of windows with the kernel; groups are an index of both."""
    (x,) = call.nodes
    x = cast(x, call.dtype)
    kind.output_shape(shape_of(x))
    n = len(kind.window)
    if kind.channels_first:
        x = permuted(x, (0, *range(2, 2 + n), 1))
    positions = tuple(range(1, 1 + n))
    counts = kind.counts(shape_of(x), positions)
    split = _windowed(
        x, positions, counts, kind.stride, kind.window, kind.dilation, kind.padding, 0.0
    )
    shape = shape_of(split)
    kernel: Node = call.weight("kernel")
    bias: Node | None = call.weight("bias") if kind.use_bias else None
    b, c, f = Index("b", 1), Index("c", 1), Index("f", 1)
    places = tuple(Index("p", 1 + number) for number in range(n))
    inner = tuple(Index("k", 1 + number) for number in range(n))
    group: Term = ()
    if kind.groups > 1:
        group = (Index("g", 1),)
        n_in, n_out = shape[-1] // kind.groups, kind.filters // kind.groups
        split = _with_groups(split, kind.groups, n_in)
        kernel = reshaped(kernel, (*kind.window, n_in, kind.groups, n_out))
        bias = bias and reshaped(bias, (kind.groups, n_out))
    around = tuple(index for pair in zip(places, inner, strict=True) for index in pair)
    node = projected(
        (split, kernel),
        ((b, *around, *group, c), (*inner, c, *group, f)),
        (b, *places, *group, f),
        None if bias is None else (bias, (*group, f)),
        kind.activation,
        call.dtype,
    )
    if group:
        node = reshaped(node, (*shape_of(node)[: 1 + n], kind.filters))
    if kind.channels_first:
        node = permuted(node, (0, 1 + n, *range(1, 1 + n)))
    return Tensor(node)


def _with_groups(node: Node, groups: int, width: int) -> Node:
    """Return the node with its last axis split: a view, since windows must not be copied."""
    shape = shape_of(node)
    last = len(shape) - 1
    axes = [ViewAxis(extent, axis) for axis, extent in enumerate(shape[:-1])]
    axes += [ViewAxis(groups, last, width), ViewAxis(width, last)]
    return Strided(node, (0,) * len(shape), tuple(axes))


def _windowed(
    node: Node,
    positions: Sequence[int],
    counts: Sequence[Extent],
    stride: Sequence[int],
    length: Sequence[int],
    dilation: Sequence[int],
    padding: str,
    filling: float,
) -> Node:
    """Return the node with every position axis split into windows and their elements."""
    shape = shape_of(node)
    before, after = [0] * len(shape), [0] * len(shape)
    if padding != "valid":
        for number, axis in enumerate(positions):
            reach = dilation[number] * (length[number] - 1) + 1
            total = _padding(shape[axis], counts[number], stride[number], reach, padding)
            before[axis] = total if padding == "causal" else total // 2
            after[axis] = total - before[axis]
        if any(extent != 0 for extent in (*before, *after)):
            node = Pad(node, tuple(before), tuple(after), filling)
    for number, axis in enumerate(positions):
        node = windows(
            node, axis + number, counts[number], stride[number], length[number], dilation[number]
        )
    return node


def _padding(extent: Extent, count: Extent, stride: int, reach: int, padding: str) -> int:
    """Return how many elements are added along an axis.

    With stride 1 it does not depend on the extent; with others it does, by a maximum, which
    extents do not have.
    """
    if padding == "causal":
        return reach - 1
    if stride == 1:
        return reach - 1
    if isinstance(extent, int) and isinstance(count, int):
        return max((count - 1) * stride + reach - extent, 0)
    raise UnsupportedError(
        "padding='same' with strides needs the extent of the axis; give it as an integer"
    )
