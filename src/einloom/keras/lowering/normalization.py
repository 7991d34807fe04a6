"""Normalisations at inference, as rows; those by known statistics as a scale and a shift.

Source: ``keras/src/layers/normalization`` of Keras 3.15.1.
"""

from __future__ import annotations

import numpy as np

from einloom.keras.lowering.building import (
    cast,
    elementwise,
    indices,
    keep_axes,
    reshaped,
    settled_dtype,
    split_axis,
    wide,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.models.kinds.base import same_extent
from einloom.keras.models.kinds.fields import Numbers
from einloom.keras.models.kinds.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from einloom.keras.models.kinds.scaling import LayerScale, Normalization, Rescaling
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.extents import is_equal
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Elementwise, Node, Reduction, Rows
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of

#: ``keras.config.epsilon()``: no deviation of a Normalization counts as smaller.
EPSILON = 1e-7
_PRODUCT = combined("multiply", Value(0), Value(1))


def lower_layer_normalization(call: LayerCall, kind: LayerNormalization) -> Tensor:
    """Lower mean and variance over axes, scale and shift; computed in float32 at least."""
    (tensor,) = call.inputs
    x = cast(tensor.node, wide(settled_dtype(tensor.node)))
    axes = _ascending(call, kind.axes)
    gamma = _along(call, "gamma", axes, x) if kind.has_gamma else None
    beta = _along(call, "beta", axes, x) if kind.has_beta else None
    if kind.rms_scaling:
        node = _scaled_by_deviation(x, axes, kind.epsilon, gamma)
    else:
        node = builders.layer_norm(x, axes, kind.epsilon, gamma, beta)
    return Tensor(cast(node, call.dtype), tensor.mask)


def _scaled_by_deviation(
    x: Node, axes: tuple[int, ...], epsilon: float, gamma: Node | None
) -> Node:
    """Return ``x * rsqrt(variance + epsilon) * gamma``: Keras's ``rms_scaling``, which is no RMS.

    The variance is that of distances from the mean.
    """
    term = indices(len(shape_of(x)))
    reduced = tuple(term[axis] for axis in axes)
    n = 1 if gamma is None else 2
    center = combined("subtract", Value(0), Value(n))
    deviation = Mapped(make_map("rsqrt"), combined("add", Value(n + 1), Number(epsilon)))
    body = combined("multiply", Value(0), deviation)
    if gamma is not None:
        body = combined("multiply", body, Value(1))
    square = Mapped(make_map("square"), center)
    return Rows(
        (x,) if gamma is None else (x, gamma),
        (term,) if gamma is None else (term, reduced),
        term,
        reduced,
        (Reduction("mean", Value(0)), Reduction("mean", square)),
        body,
        settled_dtype(x),
    )


def lower_rms_normalization(call: LayerCall, kind: RMSNormalization) -> Tensor:
    """Lower the division by the root mean square over axes, and a scale.

    Keras multiplies by the scale as it is, which broadcasts it along the last axes, whatever the
    axes of the mean are.
    """
    (x,) = call.nodes
    x = cast(x, wide(settled_dtype(x)))
    axes, shape = _ascending(call, kind.axes), shape_of(x)
    last = tuple(range(len(shape) - len(axes), len(shape)))
    scale = _along(call, "scale", axes, x)
    node: Node = builders.rms_norm(x, axes, kind.epsilon, scale if axes == last else None)
    if axes != last:
        term = indices(len(shape))
        where = f"RMSNormalization(axis={kind.axes}), whose scale goes along the last axes"
        kept = [n for n, extent in enumerate(shape_of(scale)) if is_equal(extent, 1) is not True]
        for n in kept:
            same_extent(shape[last[n]], shape_of(scale)[n], where)
        along = tuple(term[last[n]] for n in kept)
        operands = (node, keep_axes(scale, kept))
        node = Elementwise(_PRODUCT, operands, (term, along), term, settled_dtype(x))
    return Tensor(cast(node, call.dtype))


def lower_unit_normalization(call: LayerCall, kind: UnitNormalization) -> Tensor:
    """Lower the division by the L2 norm over axes, which counts as 1e-12 at least."""
    (x,) = call.nodes
    node = builders.l2_normalize(x, _ascending(call, kind.axes), 1e-24)
    return Tensor(node, call.inputs[0].mask)


def lower_batch_normalization(call: LayerCall, kind: BatchNormalization) -> Tensor:
    """Lower ``x * scale + shift``, both folded from statistics and weights."""
    (x,) = call.nodes
    dtype = wide(settled_dtype(x))
    exact = dtype if call.operands else as_dtype("float64")
    mean, variance = (call.weight(name, exact) for name in ("moving_mean", "moving_variance"))
    inverse = Mapped(make_map("rsqrt"), combined("add", Value(0), Number(kind.epsilon)))
    scale = elementwise(inverse, variance, dtype=exact)
    if kind.has_gamma:
        scale = elementwise(_PRODUCT, scale, call.weight("gamma", exact), dtype=exact)
    shift = elementwise(Mapped(make_map("negative"), _PRODUCT), mean, scale, dtype=exact)
    if kind.has_beta:
        body = combined("add", Value(0), Value(1))
        shift = elementwise(body, shift, call.weight("beta", exact), dtype=exact)
    term = indices(len(shape_of(x)))
    along = (term[kind.axis_of(kind.axis, shape_of(x))],)
    body = combined("add", _PRODUCT, Value(2))
    further = (call.folded(scale, dtype, "scale"), call.folded(shift, dtype, "shift"))
    node = Elementwise(body, (x, *further), (term, along, along), term, dtype, call.dtype)
    return Tensor(node, call.inputs[0].mask)


def lower_group_normalization(call: LayerCall, kind: GroupNormalization) -> Tensor:
    """Lower mean and variance over a group of channels at all positions, scale and shift."""
    (x,) = call.nodes
    x = cast(x, wide(settled_dtype(x)))
    axis, groups, width = kind.split(shape_of(x))
    split = split_axis(x, axis, groups, width)
    term = indices(len(shape_of(split)))
    channels = term[axis : axis + 2]
    operands, terms = [split], [term]
    for name in ("gamma", "beta"):
        if call.has(name):
            weight = call.weight(name, settled_dtype(x))
            operands.append(reshaped(weight, (groups, width)))
            terms.append(channels)
    first = len(operands)
    center = combined("subtract", Value(0), Value(first))
    raised = combined("add", Value(first + 1), Number(kind.epsilon))
    body = combined("multiply", center, Mapped(make_map("rsqrt"), raised))
    if kind.has_gamma:
        body = combined("multiply", body, Value(1))
    if kind.has_beta:
        body = combined("add", body, Value(first - 1))
    reduced = tuple(index for index in term[1:] if index != channels[0])
    square = Mapped(make_map("square"), center)
    node = Rows(
        tuple(operands), tuple(terms), term, reduced,
        (Reduction("mean", Value(0)), Reduction("mean", square)), body, settled_dtype(x),
    )  # fmt: skip
    return Tensor(cast(reshaped(node, call.shapes[0]), call.dtype), call.inputs[0].mask)


def lower_rescaling(call: LayerCall, kind: Rescaling) -> Tensor:
    """Lower ``x * scale + offset``; arrays broadcast as NumPy's do."""
    x = cast(call.inputs[0].node, call.dtype)
    kind.output_shape(shape_of(x))
    operands = [x]
    scale, offset = (
        _fixed(call, operands, value, name)
        for name, value in (("scale", kind.scale), ("offset", kind.offset))
    )
    body = combined("add", combined("multiply", Value(0), scale), offset)
    return Tensor(elementwise(body, *operands, dtype=call.dtype), call.inputs[0].mask)


def lower_layer_scale(call: LayerCall, kind: LayerScale) -> Tensor:
    """Lower ``x * gamma``, a number for each channel."""
    x = cast(call.inputs[0].node, call.dtype)
    kind.output_shape(shape_of(x))
    return Tensor(elementwise(_PRODUCT, x, call.weight("gamma"), dtype=call.dtype))


def lower_normalization(call: LayerCall, kind: Normalization) -> Tensor:
    """Lower ``(x - mean) / deviation``, or its inverse; a deviation is 1e-7 at least."""
    x = cast(call.inputs[0].node, call.dtype)
    shape = shape_of(x)
    kind.output_shape(shape)
    kept = kind.kept(shape)
    operands = [x]
    for name, given in (("mean", kind.mean), ("variance", kind.variance)):
        if given is None:
            node: Node = call.weight(name)
        else:
            node = call.computed(np.asarray(given), call.dtype, name)
        # Of the last of the kept axes where there are fewer than those; 1 along all others.
        along = kept[len(kept) - len(shape_of(node)) :]
        extents = dict(zip(along, shape_of(node), strict=True))
        operands.append(reshaped(node, tuple(extents.get(a, 1) for a in range(len(shape)))))
    root = Mapped(make_map("sqrt"), Value(2))
    deviation = combined("maximum", root, Number(EPSILON))
    if kind.invert:
        body = combined("add", Value(1), combined("multiply", Value(0), deviation))
    else:
        body = combined("divide", combined("subtract", Value(0), Value(1)), deviation)
    return Tensor(elementwise(body, *operands, dtype=call.dtype), call.inputs[0].mask)


def _fixed(call: LayerCall, operands: list[Node], value: Numbers, name: str) -> Scalar:
    """Return a number, or an array as a further operand."""
    if not isinstance(value, tuple):
        return Number(value)
    operands.append(call.computed(np.asarray(value), call.dtype, name))
    return Value(len(operands) - 1)


def _ascending(call: LayerCall, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(call.kind.axis_of(axis, call.shapes[0]) for axis in axes))


def _along(call: LayerCall, name: str, axes: tuple[int, ...], x: Node) -> Node:
    """Return a weight with its axes in ascending order.

    Keras keeps the weight in the order in which it sorted the axes as they were written, -1 before
    1, and then reshapes it.
    """
    shape = tuple(shape_of(x)[axis] for axis in axes)
    return reshaped(call.weight(name, settled_dtype(x)), shape)
