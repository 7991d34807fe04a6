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
    """Lower an elementwise function of several tensors, one node whatever their number.

    Padded elements leave products and extrema to the tensors in which they count.
    """
    kind.output_shape(*call.shapes)
    dtype = common_dtype(call, call.nodes)
    rank = max(map(len, call.shapes))
    operands = [expanded(node, *range(1, 1 + rank - len(shape_of(node)))) for node in call.nodes]
    masks = _masks(call, rank)
    if kind.skips_masked and any(mask is not None for mask in masks):
        if kind.function == "multiply":
            return Tensor(_product(operands, masks, dtype), _any_of(call))
        if kind.function in ("maximum", "minimum"):
            return Tensor(_extremum(kind.function, operands, masks, dtype), _any_of(call))
    name = _FUNCTIONS.get(kind.function, kind.function)
    body: Scalar = Value(0)
    for number in range(1, len(operands)):
        body = combined(name, body, Value(number))
    if kind.function == "average":
        if not is_floating(dtype):
            raise call.unsupported(f"an average of {dtype}")
        body = combined("divide", body, Number(float(len(operands))))
    return Tensor(elementwise(body, *operands, dtype=dtype), _any_of(call))


def _masks(call: LayerCall, rank: int) -> list[Node | None]:
    """Return the masks of tensors of this rank, with a last axis of extent 1.

    Keras expands tensors of lower rank, which then carry none.
    """
    found: list[Node | None] = []
    for tensor, shape in zip(call.inputs, call.shapes, strict=True):
        mask = tensor.mask if len(shape) == rank else None
        if mask is not None and len(shape_of(mask)) != rank - 1:
            raise call.unsupported(f"a mask of {len(shape_of(mask))} axes for a merge of {rank}")
        found.append(mask if mask is None else expanded(mask, rank - 1))
    return found


def _product(operands: Sequence[Node], masks: Sequence[Node | None], dtype: AnyDType) -> Node:
    """Return the product of the elements that count; 0 where all tensors have masks and none does.

    A padded element counts as 1.
    """
    known = [mask for mask in masks if mask is not None]
    numbers = iter(range(len(operands), len(operands) + len(known)))
    factors: list[Scalar] = [
        Value(n) if mask is None else combined("where", Value(next(numbers)), Value(n), Number(1.0))
        for n, mask in enumerate(masks)
    ]
    body = factors[0]
    for factor in factors[1:]:
        body = combined("multiply", body, factor)
    if len(known) == len(operands):
        counts: Scalar = Value(len(operands))
        for number in range(1, len(known)):
            counts = combined("maximum", counts, Value(len(operands) + number))
        body = combined("where", counts, body, Number(0.0))
    return elementwise(body, *operands, *known, dtype=dtype)


def _extremum(
    name: str, operands: Sequence[Node], masks: Sequence[Node | None], dtype: AnyDType
) -> Node:
    """Return the extremum, tensor by tensor: a padded element is the other one.

    The result so far is padded where no tensor counts, if all so far have masks.
    """
    whole, counts = operands[0], masks[0]
    for operand, mask in zip(operands[1:], masks[1:], strict=True):
        both = [node for node in (mask, counts) if node is not None]
        other: Scalar = Value(1)
        if mask is not None:
            other = combined("where", Value(2), other, Value(0))
        body: Scalar = Value(0)
        if counts is not None:
            body = combined("where", Value(1 + len(both)), body, other)
        body = combined(name, body, other)
        whole = elementwise(body, whole, operand, *both, dtype=dtype)
        counts = disjunction(both) if len(both) == 2 else None
    return whole


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
