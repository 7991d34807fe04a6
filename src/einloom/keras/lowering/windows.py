"""Pooling: windows as views, and reductions over them.

Source: ``keras/src/layers/pooling`` of Keras 3.15.1; padding as in ``tf.nn.convolution``: of
``same``, the smaller half comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from einloom.keras.lowering.building import (
    indices,
    repeated,
    settled_dtype,
    windows,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.models.kinds.sequence import AdaptivePooling, GlobalPooling, Pooling
from einloom_compiler.dtypes import is_floating
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.extents import Extent
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Join, Node, Pad, Reduction, Rows, Strided, ViewAxis
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
    split = windowed(x, kind.positions, counts, *steps, kind.padding, filling)
    rank = len(shape_of(split))
    within = tuple(axis + 1 + number for number, axis in enumerate(kind.positions))
    if not is_mean or kind.padding == "valid":
        return Tensor(builders.reduce(split, "mean" if is_mean else "max", within))
    # The number of elements that are no padding, by summing windows of ones.
    line = [shape_of(x)[axis] for axis in kind.positions]
    one: Node = call.computed(np.ones(()), dtype, "one")
    for number, extent in enumerate(line):
        one = repeated(one, number, extent)
    ones = windowed(one, tuple(range(n)), counts, *steps, "same", 0.0)
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


def lower_adaptive_pooling(call: LayerCall, kind: AdaptivePooling) -> Tensor:
    """Lower the mean or maximum over windows of almost one length, one axis after the other.

    A window is a box, and its mean the mean of means along its axes.
    """
    (x,) = call.nodes
    dtype = settled_dtype(x)
    if not is_floating(dtype):
        raise call.unsupported(f"a pooling of {dtype}")
    kind.output_shape(shape_of(x))
    for axis, size in zip(kind.positions, kind.sizes, strict=True):
        length = shape_of(x)[axis]
        if not isinstance(length, int):
            raise call.unsupported(
                f"axis {axis} of an extent that is not known; give it as an integer, since it"
            )
        x = _adapted(x, kind, axis, length, size)
    return Tensor(x)


def _adapted(x: Node, kind: AdaptivePooling, axis: int, length: int, size: int) -> Node:
    function: builders.Kind = "mean" if kind.function == "average" else "max"
    if length % size == 0:
        part = length // size
        return builders.reduce(windows(x, axis, size, part, part, 1), function, axis + 1)
    parts = []
    for first, last in kind.bounds(length, size):
        starts = [0] * len(shape_of(x))
        starts[axis] = first
        view = [ViewAxis(extent, a) for a, extent in enumerate(shape_of(x))]
        view[axis] = ViewAxis(last - first, axis)
        parts.append(
            builders.reduce(Strided(x, tuple(starts), tuple(view)), function, axis, keepdims=True)
        )
    return Join(tuple(parts), axis)


def windowed(
    node: Node,
    positions: Sequence[int],
    counts: Sequence[Extent],
    stride: Sequence[int],
    length: Sequence[int],
    dilation: Sequence[int],
    padding: str,
    filling: float,
) -> Node:
    """Return the node with every position axis split into windows and their elements.

    Raises:
        UnsupportedError: how much is padded depends on an extent that is not known.
    """
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
