"""Attention as one function: softmax of scaled products of queries and keys, times values."""

from __future__ import annotations

import math
from typing import Any

from einloom.expression import Expression
from einloom.frontends.build import check_names
from einloom.frontends.dispatch import frontend
from einloom.functions.pointwise import aligned, broadcast_shape, cast
from einloom.functions.promotion import inexact, promoted
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent, is_equal, is_known, text
from einloom_compiler.ir.einsum import Index
from einloom_compiler.ir.graph import Attention
from einloom_compiler.ir.scalar import Combined, Number, Scalar, Value
from einloom_compiler.ir.shapes import index_extents, shape_of
from einloom_compiler.ir.verify_graph import verify_graph


@frontend(
    "functions.dot_product_attention",
    operands=("query", "key", "value", "mask", "bias"),
    keeps_numbers=True,
)
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    bias: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """Return ``softmax(query @ key.T * scale + bias) @ value``, scores never stored.

    Leading axes broadcast; this is the layout of ``torch.nn.functional`` (``keras.ops.nn`` has the
    head axis behind the position).

    Args:
        query: (..., rows, size).
        key: (..., positions, size).
        value: (..., positions, columns).
        mask: broadcasts to (..., rows, positions): bools that hold where a position is attended to,
            or numbers that are added to the scores.
        bias: numbers that are added to the scores, broadcast alike.
        is_causal: whether positions behind the row's are left out.
        scale: of the products; ``1 / sqrt(size)`` where None.

    Raises:
        ShapeError: extents do not fit, or ``scale`` is needed because the size is symbolic.
    """
    operands = [query, key, value]
    for name, operand in zip(("query", "key", "value"), operands, strict=True):
        if operand.ndim < 2:
            raise ShapeError(f"dot_product_attention: {name} has rank {operand.ndim}; give 2 axes")
    added = [operand for operand in (mask, bias) if operand is not None]
    check_names([*operands, *added])
    numbers = [operand for operand in added if operand.dtype is None or operand.dtype.kind != "b"]
    dtype = inexact(promoted(*operands, *numbers))
    scale = _usual_scale(query.shape[-1]) if scale is None else scale
    if dtype is not None:
        operands = [cast(operand, dtype) for operand in operands]
    batch = broadcast_shape([operand.shape[:-2] for operand in operands])
    leading = tuple(Index(chr(97 + n), n) for n in range(len(batch)))
    row, position, size_index, column = (Index(letter, 100) for letter in "tsdv")
    nodes, terms = [], []
    for operand, last in zip(
        operands, ((row, size_index), (position, size_index), (position, column)), strict=True
    ):
        node, kept = aligned(operand.node, (*batch, *operand.shape[-2:]))
        nodes.append(node)
        terms.append(tuple((*leading, *last)[axis] for axis in kept))
    frame = (*batch, query.shape[-2], key.shape[-2])
    score: Scalar = Combined("multiply", (Value(0), Number(scale)))
    masks, mask_terms = [], []
    for number, operand in enumerate(added, start=1):
        _check_mask(operand.shape, frame)
        is_condition = operand.dtype is not None and operand.dtype.kind == "b"
        node, kept = aligned(operand.node, frame)
        masks.append(node)
        mask_terms.append(tuple((*leading, row, position)[axis] for axis in kept))
        score = (
            Combined("where", (Value(number), score, Number(-math.inf)))
            if is_condition
            else Combined("add", (score, Value(number)))
        )
    made = Attention(
        query=nodes[0],
        key=nodes[1],
        value=nodes[2],
        terms=(terms[0], terms[1], terms[2]),
        output=(*leading, row, column),
        score=score,
        masks=tuple(masks),
        mask_terms=tuple(mask_terms),
        is_causal=is_causal,
        dtype=dtype,
    )
    index_extents(made)
    shape_of(made)
    verify_graph(made, stage="dot_product_attention")
    return Expression(made)


def _usual_scale(size: Extent) -> float:
    """Return what products of vectors of this size are multiplied by where nobody says it."""
    if not is_known(size):
        raise ShapeError(f"dot_product_attention: the size {text(size)} is symbolic; give scale=")
    return 1 / math.sqrt(size) if size else 1.0


def _check_mask(shape: tuple[Extent, ...], frame: tuple[Extent, ...]) -> None:
    """Raise unless a mask broadcasts to the shape of the scores."""
    common = broadcast_shape([frame, shape])
    if len(common) != len(frame) or any(
        is_equal(a, b) is False for a, b in zip(common, frame, strict=True)
    ):
        shown, wanted = (", ".join(map(text, extents)) for extents in (shape, frame))
        raise ShapeError(
            f"dot_product_attention: a mask of shape ({shown}) does not broadcast to the scores' "
            f"({wanted})"
        )
