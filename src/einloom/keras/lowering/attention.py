"""Attention with projections: MultiHeadAttention and GroupQueryAttention.

Keras has two ways to compute them, which differ in queries that may see no key: its fused way
gives the average of all values, the one with explicit scores gives zeros. It takes the latter
where scores are asked for, where the layer has a dropout, and for inputs of more than one free
axis. Source: ``keras/src/layers/attention`` of Keras 3.15.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest

from einloom.keras.lowering.building import (
    cast,
    contraction,
    elementwise,
    indices,
    permuted,
    reshaped,
)
from einloom.keras.lowering.layer_call import LayerCall, Outputs, Tensor
from einloom.keras.lowering.masks import Condition, aligned_terms
from einloom.keras.lowering.products import projected
from einloom.keras.models.kinds.activation import FUNCTIONS, LINEAR
from einloom.keras.models.kinds.attention import GroupQueryAttention, MultiHeadAttention
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.extents import Extent, is_equal, product
from einloom_compiler.ir import builders
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Elementwise,
    Epilogue,
    Node,
    Shape,
    Strided,
    ViewAxis,
)
from einloom_compiler.ir.scalar import Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of

#: What a masked score becomes: finite, so that a row of nothing else averages.
LOWEST = -0.7 * 3.38953e38
_S, _H, _E = Index("s", 1), Index("h", 1), Index("e", 1)
_MASKS = ("query_mask", "value_mask", "key_mask")
_ARGUMENTS = (*_MASKS, "attention_mask", "use_causal_mask", "return_attention_scores")


@dataclass(frozen=True, slots=True)
class Heads:
    """Projected query, key and value, and what their axes are.

    Attributes:
        query, key, value: with axes as in ``terms``; positions of keys are one axis.
        terms: of query, key and value; the last index is the head's size.
        output: the query's indices with the value's size.
        shared: axes of query and key alike: batch and free axes that are not attended over.
        heads: the heads' indices.
        rows: positions of queries.
        key_shape: extents of the positions of keys.
    """

    query: Node
    key: Node
    value: Node
    terms: tuple[Term, Term, Term]
    output: Term
    shared: Term
    heads: Term
    rows: Term
    key_shape: Shape


def lower_multi_head_attention(call: LayerCall, kind: MultiHeadAttention) -> Outputs:
    """Lower projections, attention over any axes, and the projection back."""
    call.refuse_arguments(*_ARGUMENTS)
    kind.output_shape(*call.shapes)
    query, value, *keys = call.nodes
    key = keys[0] if keys else value
    rank = len(shape_of(query))
    axes = kind.attention_axes or tuple(range(1, rank - 1))
    attended = tuple(sorted(kind.axis_of(axis, shape_of(query), 1) for axis in axes))
    heads = (Index("n", 1),)
    free = indices(rank - 1)
    shared = tuple(i for axis, i in enumerate(free) if axis not in attended)
    q = _projection(call, query, "query", free, heads, _H)
    k, key_shape = _joined(_projection(call, key, "key", free, heads, _H), attended)
    v, _ = _joined(_projection(call, value, "value", free, heads, _E), attended)
    term = (*shared, _S, *heads)
    parts = Heads(
        q, k, v, ((*free, *heads, _H), (*term, _H), (*term, _E)), (*free, *heads, _E),
        shared, heads, tuple(free[axis] for axis in attended), key_shape,
    )  # fmt: skip
    condition, is_causal = _condition(call, parts, kind.sliding_window)
    is_fused = rank == 3 and not _has_dropout(call)
    return _attended(call, parts, condition, is_causal, is_fused, kind.key_width, kind.use_gate)


def lower_group_query_attention(call: LayerCall, kind: GroupQueryAttention) -> Outputs:
    """Lower attention whose key and value heads serve several query heads each.

    Query heads are counted by two indices, key and value repeat along the second: a view.
    """
    call.refuse_arguments(*_ARGUMENTS)
    kind.output_shape(*call.shapes)
    query, value, *keys = call.nodes
    key = keys[0] if keys else value
    free = indices(2)
    group, member = Index("n", 1), Index("r", 1)
    n_members = kind.n_query_heads // kind.n_key_value_heads
    heads = (group,) if n_members == 1 else (group, member)
    q = _projection(call, query, "query", free, heads, _H)
    k = _projection(call, key, "key", free, (group,), _H)
    v = _projection(call, value, "value", free, (group,), _E)
    if n_members > 1:
        k, v = _for_members(k, n_members), _for_members(v, n_members)
    term = (free[0], _S, *heads)
    parts = Heads(
        q, k, v, ((*free, *heads, _H), (*term, _H), (*term, _E)), (*free, *heads, _E),
        free[:1], heads, free[1:], (shape_of(key)[1],),
    )  # fmt: skip
    condition, is_causal = _condition(call, parts, kind.sliding_window)
    is_fused = not _has_dropout(call)
    return _attended(call, parts, condition, is_causal, is_fused, kind.head_width, kind.use_gate)


def _has_dropout(call: LayerCall) -> bool:
    rate = call.layer.config.get("dropout")
    return isinstance(rate, int | float) and rate > 0


def _projection(call: LayerCall, x: Node, part: str, free: Term, heads: Term, size: Index) -> Node:
    """Return ``x`` projected to heads; a gate goes through a sigmoid."""
    inner = Index("c", 1)
    n_in, n_heads, width = call.weight_shape(f"{part}/kernel")
    split = _split_heads(call, n_heads, heads)
    weight = reshaped(call.weight(f"{part}/kernel"), (n_in, *split, width))
    bias = None
    if call.has(f"{part}/bias"):
        bias = (reshaped(call.weight(f"{part}/bias"), (*split, width)), (*heads, size))
    activation = FUNCTIONS["sigmoid"] if part == "gate" else LINEAR
    return projected(
        (cast(x, call.dtype), weight),
        ((*free, inner), (inner, *heads, size)),
        (*free, *heads, size),
        bias,
        activation,
        call.dtype,
    )


def _split_heads(call: LayerCall, n_heads: Extent, heads: Term) -> Shape:
    if len(heads) == 1:
        return (n_heads,)
    n_groups = call.weight_shape("key/kernel")[1]
    return (n_groups, n_heads // n_groups)


def _for_members(node: Node, n_members: int) -> Node:
    """Return ``(b, s, group, h)`` as a view ``(b, s, group, member, h)``."""
    b, s, group, width = shape_of(node)
    axes = (
        *(ViewAxis(b, 0), ViewAxis(s, 1), ViewAxis(group, 2)),
        *(ViewAxis(n_members), ViewAxis(width, 3)),
    )
    return Strided(node, (0,) * 4, axes)


def _joined(node: Node, attended: tuple[int, ...]) -> tuple[Node, Shape]:
    """Return a projected key with its positions as one axis behind the shared ones."""
    shape = shape_of(node)
    shared = [axis for axis in range(len(shape) - 2) if axis not in attended]
    order = (*shared, *attended, len(shape) - 2, len(shape) - 1)
    positions = tuple(shape[axis] for axis in attended)
    moved = permuted(node, order)
    joined = (*(shape[axis] for axis in shared), product(positions), *shape[-2:])
    return reshaped(moved, joined), positions


def _condition(call: LayerCall, parts: Heads, window: int | None) -> tuple[Condition, bool]:
    """Return which pairs count, and whether causality is all that matters."""
    condition = Condition()
    query, *masks = _padding(call)
    is_padded = any(mask is not None for mask in (query, *masks))
    if is_padded and len(parts.shared) > 1:
        raise call.unsupported("a padding mask for inputs of more than one free axis")
    if len(parts.rows) == 1:
        batch = parts.shared[0]
        if query is not None:
            condition = condition.also(query, (batch, *parts.rows))
        for mask in masks:
            if mask is not None:
                condition = condition.also(mask, (batch, _S))
    elif is_padded:
        raise call.unsupported("a padding mask with attention over several axes")
    wants_causal = bool(call.arguments.get("use_causal_mask"))
    explicit = call.arguments.get("attention_mask")
    if not wants_causal and explicit is None and window is None:
        return condition, False
    if explicit is not None:
        if not isinstance(explicit, Tensor):
            raise call.unsupported("an attention_mask that is no tensor")
        condition = _with_mask(call, parts, condition, explicit.node)
    if wants_causal and condition.body is None and window is None:
        _check_rows(call, parts)
        return condition, True
    if wants_causal or window is not None:
        row, n_rows, n_columns = _check_rows(call, parts)
        if wants_causal:
            condition = condition.causal(row, n_rows, _S, n_columns)
        if window is not None:
            condition = condition.near(row, n_rows, _S, n_columns, window)
    return condition, False


def _padding(call: LayerCall) -> tuple[Node | None, ...]:
    """Return the padding masks of query, value and key ``(batch, positions)``.

    One that is given as an argument counts in place of the one that the tensor carries; the key's
    counts without a key, too. Keras's MultiHeadAttention does not read the query's argument.
    """
    is_read = not isinstance(call.kind, MultiHeadAttention)
    found: list[Node | None] = []
    for name, tensor in zip_longest(_MASKS, call.inputs):
        given = call.arguments.get(name) if is_read or name != "query_mask" else None
        mask: Node | None = None if tensor is None else tensor.mask
        if isinstance(given, Tensor):
            mask = given.node
        elif given is not None:
            raise call.unsupported(f"a {name} that is no tensor")
        if mask is not None and len(shape_of(mask)) != 2:
            raise call.unsupported(f"a {name} of rank {len(shape_of(mask))}")
        found.append(mask)
    return tuple(found)


def _check_rows(call: LayerCall, parts: Heads) -> tuple[Index, object, object]:
    """Return the one position of queries, its extent and that of keys."""
    if parts.rows != indices(1, 1):
        raise call.unsupported("a causal mask or a window with attention_axes other than 1")
    (row,) = parts.rows
    return row, shape_of(parts.query)[parts.terms[0].index(row)], parts.key_shape[0]


def _with_mask(call: LayerCall, parts: Heads, condition: Condition, mask: Node) -> Condition:
    """Return the condition that a mask ``(batch, ..., queries, keys)`` holds, too."""
    shape = shape_of(mask)
    n = len(parts.rows)
    lead = [(index,) for index in parts.shared]
    terms = aligned_terms(
        len(shape) - n + 1, [*lead, parts.heads], [*((i,) for i in parts.rows), (_S,)]
    )
    if terms is None:
        raise call.unsupported(f"an attention_mask of rank {len(shape)}")
    keys = shape[len(shape) - n :]
    ones = [is_equal(extent, 1) is True for extent in keys]
    if any(ones) and not all(ones) and any(is_equal(e, 1) is not True for e in parts.key_shape):
        same = all(is_equal(a, b) is not False for a, b in zip(keys, parts.key_shape, strict=True))
        if not same:
            raise call.unsupported("an attention_mask that is broadcast along some key axes only")
    flat: list[object] = [*shape[: len(shape) - n], product(keys)]
    whole: list[object] = []
    term: list[Index] = []
    for extent, group in zip(flat, terms, strict=True):
        if len(group) > 1 and is_equal(extent, 1) is not True:  # heads of groups
            sizes = [shape_of(parts.query)[parts.terms[0].index(index)] for index in group]
            whole += sizes
            term += group
        else:
            whole.append(extent)
            term.append(group[0])
    return condition.also(reshaped(mask, tuple(whole)), tuple(term))


def _attended(
    call: LayerCall,
    parts: Heads,
    condition: Condition,
    is_causal: bool,
    is_fused: bool,
    width: int,
    has_gate: bool,
) -> Outputs:
    scaled = combined("multiply", Value(0), Number(1 / math.sqrt(width)))
    wants_scores = bool(call.arguments.get("return_attention_scores"))
    scores = None
    if wants_scores:
        if is_causal:
            row, n_rows, n_columns = _check_rows(call, parts)
            condition = condition.causal(row, n_rows, _S, n_columns)
        weights, term = explicit_weights(parts, condition, scaled, call.dtype)
        out = contraction(
            (term, parts.terms[2]), parts.output, weights, parts.value, dtype=call.dtype
        )
        scores = Tensor(_as_keras_scores(weights, term, parts))
    else:
        out = Attention(
            parts.query, parts.key, parts.value, parts.terms, parts.output,
            condition.masked(scaled, Number(LOWEST)), condition.operands, condition.terms,
            is_causal, call.dtype,
        )  # fmt: skip
        if not is_fused and condition.body is not None:
            seen, kept = condition.of_rows(_S, call.dtype)
            body = combined("multiply", Value(0), Value(1))
            out = Elementwise(body, (out, seen), (parts.output, kept), parts.output, call.dtype)
    if has_gate:
        out = _gated(call, out, parts)
    result = Tensor(_output_projection(call, out, parts), call.inputs[0].mask)
    return result if scores is None else (result, scores)


def explicit_weights(
    parts: Heads, condition: Condition, score: Scalar, dtype: AnyDType
) -> tuple[Node, Term]:
    """Return the weights of all pairs, masked ones 0, and their axes' indices."""
    term = (*parts.shared, *parts.heads, *parts.rows, _S)
    lowest = Number(-3e4 if dtype.name == "float16" else -1e9)
    epilogue = Epilogue(condition.masked(score, lowest), condition.operands, condition.terms)
    scores = contraction(
        parts.terms[:2], term, parts.query, parts.key, dtype=dtype, epilogue=epilogue
    )
    weights: Node = builders.softmax(scores, -1)
    if condition.body is not None:
        body = combined("multiply", Value(0), condition.moved(1))
        weights = Elementwise(
            body, (weights, *condition.operands), (term, *condition.terms), term, dtype
        )
    return weights, term


def _as_keras_scores(weights: Node, term: Term, parts: Heads) -> Node:
    """Return weights with heads as one axis and positions of keys as Keras has them."""
    shape = shape_of(weights)
    n_shared, n_heads = len(parts.shared), len(parts.heads)
    heads = product(shape[n_shared : n_shared + n_heads])
    rows = shape[n_shared + n_heads : -1]
    return reshaped(weights, (*shape[:n_shared], heads, *rows, *parts.key_shape))


def _gated(call: LayerCall, out: Node, parts: Heads) -> Node:
    free = parts.terms[0][: -1 - len(parts.heads)]
    gate = _projection(call, call.nodes[0], "gate", free, parts.heads, _E)
    return elementwise(combined("multiply", Value(0), Value(1)), out, gate, dtype=call.dtype)


def _output_projection(call: LayerCall, out: Node, parts: Heads) -> Node:
    n_heads, width, *given = call.weight_shape("attention_output/kernel")
    split = _split_heads(call, n_heads, parts.heads)
    weight = reshaped(call.weight("attention_output/kernel"), (*split, width, *given))
    free = parts.terms[0][: -1 - len(parts.heads)]
    to = tuple(Index("o", 1 + number) for number in range(len(given)))
    bias = None
    if call.has("attention_output/bias"):
        bias = (call.weight("attention_output/bias"), to)
    terms = (parts.output, (*parts.heads, _E, *to))
    return projected((out, weight), terms, (*free, *to), bias, LINEAR, call.dtype)
