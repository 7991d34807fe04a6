"""Layers that wrap another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from einloom.keras.lowering.building import cast, reshaped, settled_dtype
from einloom.keras.lowering.layer_call import LayerCall, Outputs, Tensor
from einloom.keras.models.kinds.base import Kind
from einloom.keras.models.kinds.sequence import GlobalPooling
from einloom.keras.models.kinds.wrapping import PART, SpectralNormalization, TimeDistributed
from einloom_compiler.extents import product
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.shapes import shape_of

_PREFIX = f"{PART}/"


def lower_time_distributed(
    call: LayerCall, kind: TimeDistributed, lower: Callable[[LayerCall], Outputs]
) -> Tensor:
    """Lower a layer over each step: one call, whose batch is that of all steps.

    No covered layer mixes the elements of its batch at inference.

    Args:
        call: of the wrapper.
        kind: its configuration.
        lower: lowers the wrapped layer's call.

    Raises:
        UnsupportedError: the wrapped layer would read the padding mask, which Keras gives it for
            each step, or computes in another dtype than the wrapper.
    """
    inner = call.layer.wrapped
    assert inner is not None
    mask = call.inputs[0].mask
    is_read = inner.class_name == "Softmax" or isinstance(kind.inner, GlobalPooling)
    if is_read and (mask is not None or call.arguments.get("mask") is not None):
        raise call.unsupported(f"a padding mask, which a wrapped {inner.class_name} would read,")
    if mask is not None and not kind.keeps_mask:
        raise call.unsupported("a padding mask of Keras 2, which asks the wrapped layer for it,")
    if inner.dtype_policy != call.layer.dtype_policy:
        raise call.unsupported(
            f"a wrapped layer of the policy {inner.dtype_policy!r} in one of "
            f"{call.layer.dtype_policy!r}"
        )
    (x,) = call.nodes
    shape = shape_of(x)
    batch = product(shape[:2])
    outputs = lower(_inner_call(call, kind.inner, reshaped(x, (batch, *shape[2:]))))
    assert isinstance(outputs, Tensor)  # only attention gives several
    return Tensor(reshaped(outputs.node, (*shape[:2], *shape_of(outputs.node)[1:])), mask)


def lower_spectral_normalization(
    call: LayerCall, kind: SpectralNormalization, lower: Callable[[LayerCall], Outputs]
) -> Tensor:
    """Lower the wrapped layer, whose result is cast to the input's dtype.

    Args:
        call: of the wrapper.
        kind: its configuration.
        lower: lowers the wrapped layer's call.

    Raises:
        UnsupportedError: there is a padding mask, of which Keras's result has what the wrapped
            layer attaches, or none where it is cast.
    """
    if call.inputs[0].mask is not None:
        raise call.unsupported("a padding mask, which the wrapped layer would get,")
    (x,) = call.nodes
    outputs = lower(_inner_call(call, kind.inner, x))
    assert isinstance(outputs, Tensor)  # only attention gives several
    return Tensor(cast(outputs.node, settled_dtype(x)))


def _inner_call(call: LayerCall, kind: Kind, x: Node) -> LayerCall:
    """Return the wrapped layer's call on ``x``, its weights under the names that it gives them."""
    inner = call.layer.wrapped
    assert inner is not None
    weights = tuple(
        replace(weight, name=weight.name.removeprefix(_PREFIX)) for weight in call.layer.weights
    )
    return replace(
        call,
        layer=replace(inner, weights=weights),
        kind=kind,
        inputs=(Tensor(x),),
        arguments={},
        operands={name.removeprefix(_PREFIX): node for name, node in call.operands.items()},
    )
