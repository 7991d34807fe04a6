"""Layers that wrap another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from einloom.keras.lowering.building import reshaped
from einloom.keras.lowering.layer_call import LayerCall, Outputs, Tensor
from einloom.keras.models.kinds.sequence import GlobalPooling
from einloom.keras.models.kinds.wrapping import PART, TimeDistributed
from einloom.keras.models.record import LayerRecord, Weight
from einloom_compiler.extents import product
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
    outputs = lower(
        replace(
            call,
            layer=replace(inner, weights=_own_weights(call.layer)),
            kind=kind.inner,
            inputs=(Tensor(reshaped(x, (batch, *shape[2:]))),),
            arguments={},
            operands={name.removeprefix(_PREFIX): node for name, node in call.operands.items()},
        )
    )
    assert isinstance(outputs, Tensor)  # only attention gives several
    return Tensor(reshaped(outputs.node, (*shape[:2], *shape_of(outputs.node)[1:])), mask)


def _own_weights(wrapper: LayerRecord) -> tuple[Weight, ...]:
    """Return the wrapped layer's weights under the names that it gives them."""
    return tuple(
        replace(weight, name=weight.name.removeprefix(_PREFIX)) for weight in wrapper.weights
    )
