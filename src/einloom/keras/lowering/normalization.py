"""Normalisations at inference, as rows; batch normalisation as a scale and a shift.

Source: ``keras/src/layers/normalization`` of Keras 3.15.1.
"""

from __future__ import annotations

from einloom.keras.lowering.building import (
    cast,
    elementwise,
    indices,
    reshaped,
    settled_dtype,
    wide,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.models.kinds.normalization import (
    BatchNormalization,
    LayerNormalization,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Elementwise, Node, Reduction, Rows
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Value, chain, combined
from einloom_compiler.ir.shapes import shape_of

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
    """Lower the division by the root mean square over axes, and a scale."""
    (x,) = call.nodes
    x = cast(x, wide(settled_dtype(x)))
    axes = _ascending(call, kind.axes)
    node = builders.rms_norm(x, axes, kind.epsilon, _along(call, "scale", axes, x))
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


def lower_rescaling(call: LayerCall, kind: Rescaling) -> Tensor:
    """Lower ``x * scale + offset``."""
    x = cast(call.inputs[0].node, call.dtype)
    body = chain((make_map("multiply", kind.scale), make_map("add", kind.offset)))
    return Tensor(elementwise(body, x, dtype=call.dtype), call.inputs[0].mask)


def _ascending(call: LayerCall, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(call.kind.axis_of(axis, call.shapes[0]) for axis in axes))


def _along(call: LayerCall, name: str, axes: tuple[int, ...], x: Node) -> Node:
    """Return a weight with its axes in ascending order.

    Keras keeps the weight in the order in which it sorted the axes as they were written, -1 before
    1, and then reshapes it.
    """
    shape = tuple(shape_of(x)[axis] for axis in axes)
    return reshaped(call.weight(name, settled_dtype(x)), shape)
