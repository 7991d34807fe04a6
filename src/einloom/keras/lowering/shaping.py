"""Layers without arithmetic: views of their input, and activations as layers."""

from __future__ import annotations

import numpy as np

from einloom.keras.lowering.activations import activated
from einloom.keras.lowering.building import (
    BOOL,
    elementwise,
    indices,
    permuted,
    repeated,
    reshaped,
    settled_dtype,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.models.kinds.activation import Activation, PReLU
from einloom.keras.models.kinds.resizing import Cropping, UpSampling, ZeroPadding
from einloom.keras.models.kinds.shaping import (
    Flatten,
    Identity,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
)
from einloom_compiler.dtypes import is_floating
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Elementwise, Node, Pad, Reduction, Rows, Strided, ViewAxis
from einloom_compiler.ir.scalar import Number, Value, combined
from einloom_compiler.ir.shapes import shape_of


def lower_identity(call: LayerCall, kind: Identity) -> Tensor:
    """Lower a layer that only matters in training."""
    return Tensor(call.nodes[0], call.inputs[0].mask)


def lower_flatten(call: LayerCall, kind: Flatten) -> Tensor:
    """Lower the join of all axes but the first."""
    (x,) = call.nodes
    rank = len(shape_of(x))
    if kind.channels_first and rank > 1:
        x = permuted(x, (0, *range(2, rank), 1))
    return Tensor(reshaped(x, kind.output_shape(shape_of(x))))


def lower_reshape(call: LayerCall, kind: Reshape) -> Tensor:
    """Lower the elements in C order under another shape."""
    (x,) = call.nodes
    return Tensor(reshaped(x, kind.output_shape(shape_of(x))))


def lower_permute(call: LayerCall, kind: Permute) -> Tensor:
    """Lower another order of axes."""
    (x,) = call.nodes
    kind.output_shape(shape_of(x))
    return Tensor(permuted(x, kind.order))


def lower_repeat_vector(call: LayerCall, kind: RepeatVector) -> Tensor:
    """Lower a new axis 1 along which nothing changes."""
    (x,) = call.nodes
    return Tensor(repeated(x, 1, kind.times))


def lower_activation(call: LayerCall, kind: Activation) -> Tensor:
    """Lower an activation as a layer; a softmax leaves masked elements out."""
    (tensor,) = call.inputs
    x = call.nodes[0]
    if not is_floating(settled_dtype(x)) and kind.function.name not in ("linear", "relu"):
        raise call.unsupported(f"{kind.function.name} of {settled_dtype(x)}")
    kind.output_shape(shape_of(x))
    mask = call.arguments.get("mask") or tensor.mask
    if call.layer.class_name == "Softmax" and mask is not None:
        node = mask.node if isinstance(mask, Tensor) else mask
        return Tensor(masked_softmax(x, node, kind.function.axes or ()), tensor.mask)
    return Tensor(activated(kind.function, x), tensor.mask)


def masked_softmax(x: Node, mask: Node, axes: tuple[int, ...]) -> Node:
    """Return a softmax in which elements without the mask are 0, also where a row has no other.

    The mask broadcasts to ``x`` as NumPy's arrays do.
    """
    dtype = settled_dtype(x)
    lowest = -3e4 if dtype.name == "float16" else -1e9
    body = combined("where", Value(1), Value(0), Number(lowest))
    kept = elementwise(body, x, mask, dtype=dtype)
    product = combined("multiply", Value(0), Value(1))
    return elementwise(product, builders.softmax(kept, axes), mask, dtype=dtype)


def lower_prelu(call: LayerCall, kind: PReLU) -> Tensor:
    """Lower ``x`` above 0 and ``alpha * x`` below."""
    (x,) = call.nodes
    below = combined("multiply", Value(0), Value(1))
    body = combined("where", combined("less", Value(0), Number(0.0)), below, Value(0))
    node = elementwise(body, x, call.weight("alpha"), dtype=call.dtype)
    return Tensor(node, call.inputs[0].mask)


def lower_zero_padding(call: LayerCall, kind: ZeroPadding) -> Tensor:
    """Lower zeros around the positions."""
    (x,) = call.nodes
    kind.output_shape(shape_of(x))
    before, after = [0] * len(shape_of(x)), [0] * len(shape_of(x))
    for axis, amounts in zip(kind.positions, kind.amounts, strict=True):
        before[axis], after[axis] = amounts
    return Tensor(Pad(x, tuple(before), tuple(after), 0.0) if any(before + after) else x)


def lower_cropping(call: LayerCall, kind: Cropping) -> Tensor:
    """Lower a slice of the positions."""
    (x,) = call.nodes
    extents = kind.output_shape(shape_of(x))
    starts = [0] * len(extents)
    for axis, (first, _) in zip(kind.positions, kind.amounts, strict=True):
        starts[axis] = first
    axes = tuple(ViewAxis(extent, axis) for axis, extent in enumerate(extents))
    return Tensor(Strided(x, tuple(starts), axes))


def lower_up_sampling(call: LayerCall, kind: UpSampling) -> Tensor:
    """Lower the repetition of positions: a view, joined with the axis."""
    (x,) = call.nodes
    shape = kind.output_shape(shape_of(x))
    for number, (axis, times) in enumerate(zip(kind.positions, kind.times, strict=True)):
        x = repeated(x, axis + number + 1, times)
    return Tensor(reshaped(x, shape))


def lower_masking(call: LayerCall, kind: Masking) -> Tensor:
    """Lower zeros at positions whose features all are the masked value, and their mask."""
    (x,) = call.nodes
    dtype = settled_dtype(x)
    term = indices(len(shape_of(x)))
    value = float(np.asarray(kind.value, np.float64 if dtype.name == "bfloat16" else dtype))
    counts = combined("not_equal", Value(0), Number(value))
    flags = Rows(
        (x,), (term,), term[:-1], term[-1:], (Reduction("max", counts),), Value(1), dtype, BOOL
    )
    product = combined("where", Value(1), Value(0), Number(0.0))
    node = Elementwise(product, (x, flags), (term, term[:-1]), term, dtype)
    return Tensor(node, flags)
