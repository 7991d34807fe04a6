"""Layers that merge tensors elementwise or join them, and the masks that follow.

Source: ``keras/src/layers/merging`` of Keras 3.15.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from einloom.keras.lowering.building import (
    BOOL,
    FLAG,
    cast,
    elementwise,
    expanded,
    keep_axes,
    settled_dtype,
)
from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.models.kinds.merging import Concatenate, Merge
from einloom_compiler.dtypes import AnyDType, is_floating
from einloom_compiler.extents import is_equal
from einloom_compiler.ir.graph import Join, Node
from einloom_compiler.ir.scalar import Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of

_FUNCTIONS = {"average": "add"}


def lower_merge(call: LayerCall, kind: Merge) -> Tensor:
    """Lower an elementwise function of several tensors, one node whatever their number."""
    kind.output_shape(*call.shapes)
    dtype = common_dtype(call, call.nodes)
    rank = max(map(len, call.shapes))
    operands = [expanded(node, *range(1, 1 + rank - len(shape_of(node)))) for node in call.nodes]
    name = _FUNCTIONS.get(kind.function, kind.function)
    body: Scalar = Value(0)
    for number in range(1, len(operands)):
        body = combined(name, body, Value(number))
    if kind.function == "average":
        if not is_floating(dtype):
            raise call.unsupported(f"an average of {dtype}")
        body = combined("divide", body, Number(float(len(operands))))
    return Tensor(elementwise(body, *operands, dtype=dtype), _any_of(call))


def _any_of(call: LayerCall) -> Node | None:
    """Return the mask of positions that any input counts; none where an input has none."""
    masks = [tensor.mask for tensor in call.inputs if tensor.mask is not None]
    if len(masks) < len(call.inputs):
        return None
    if len({len(shape_of(mask)) for mask in masks}) > 1:
        raise call.unsupported("a merge of tensors whose masks differ in rank")
    return disjunction(masks)


def disjunction(masks: Sequence[Node]) -> Node:
    """Return where any of the masks holds."""
    body: Scalar = Value(0)
    for number in range(1, len(masks)):
        body = combined("maximum", body, Value(number))
    return masks[0] if len(masks) == 1 else elementwise(body, *masks, dtype=FLAG, result=BOOL)


def lower_concatenate(call: LayerCall, kind: Concatenate) -> Tensor:
    """Lower tensors one behind the other."""
    kind.output_shape(*call.shapes)
    dtype = common_dtype(call, call.nodes)
    axis = kind.axis_of(kind.axis, call.shapes[0])
    joined = Join(tuple(cast(node, dtype) for node in call.nodes), axis)
    node = joined if len(call.nodes) > 1 else joined.operands[0]
    if all(tensor.mask is None for tensor in call.inputs):
        return Tensor(node)
    return Tensor(node, _joined_mask(call, axis))


def _joined_mask(call: LayerCall, axis: int) -> Node:
    """Return the mask of a join; along the last axis a position counts if any input counts it."""
    rank = len(call.shapes[0])
    masks = [tensor.mask for tensor in call.inputs]
    if any(mask is not None and len(shape_of(mask)) != rank - 1 for mask in masks):
        raise call.unsupported("a join of tensors with masks of several axes less")
    if axis == rank - 1:
        if None in masks:  # an input without a mask counts everywhere
            known = next(mask for mask in masks if mask is not None)
            return elementwise(Number(1.0), known, dtype=FLAG, result=BOOL)
        return disjunction([mask for mask in masks if mask is not None])
    parts = []
    for tensor, mask in zip(call.inputs, masks, strict=True):
        parts.append(mask if mask is not None else _everywhere(call, tensor))
    return Join(tuple(parts), axis)


def _everywhere(call: LayerCall, tensor: Tensor) -> Node:
    """Return a mask of ones of the tensor's shape without its last axis."""
    shape = shape_of(tensor.node)
    if any(is_equal(extent, 0) is True for extent in shape):
        raise call.unsupported("a join of masks of an empty tensor")
    first = keep_axes(tensor.node, range(len(shape) - 1))
    return elementwise(Number(1.0), first, dtype=settled_dtype(first), result=BOOL)


def common_dtype(call: LayerCall, operands: Sequence[Node]) -> AnyDType:
    """Return the dtype of a merge: the layer's where any operand is a float.

    Raises:
        UnsupportedError: integers of several dtypes meet.
    """
    dtypes = {settled_dtype(operand) for operand in operands}
    if len(dtypes) == 1:
        return dtypes.pop()
    if any(map(is_floating, dtypes)):
        return call.dtype
    names = ", ".join(sorted(dtype.name for dtype in dtypes))
    raise call.unsupported(f"a merge of integers of several dtypes ({names})")
