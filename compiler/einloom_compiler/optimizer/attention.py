"""Attention is found: softmax of products of queries and keys, and its products with values.

The scores are one contraction's result with whatever is computed from them (a scale, masks); what
cannot be written as one :class:`~einloom_compiler.ir.graph.Attention` node stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import replace

from einloom_compiler.dtypes import is_floating
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import (
    PLAIN,
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Iota,
    Node,
    Rows,
)
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import (
    Combined,
    Mapped,
    Number,
    Scalar,
    Value,
    positions_of,
    substituted,
)
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.ir.verify_graph import attention_flaw
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.terms import Slot, fresh, has_repeats, indices_of, renamed

#: A masked score at most this leaves nothing of a softmax over scores of any plausible size.
_MASKED = -1e9


def softmax_argument(rows: Rows) -> Scalar | None:
    """Return what rows are the softmax of, an expression of their operands; None for other rows."""
    match rows.reductions:
        case (first, second) if first.kind == "max" and second.kind == "sum":
            n = len(rows.operands)
            exp = Mapped(make_map("exp"), Combined("subtract", (first.body, Value(n))))
            whole = Combined("divide", (exp, Value(n + 1)))
            return first.body if second.body is exp and rows.body is whole else None
        case _:
            return None


def find_attention(node: Node, uses: Uses) -> Node | None:
    """Make one node of scores, their softmax, and the sum of values.

    Rewrite: ``einsum("ts,sd->td", softmax(einsum("td,sd->ts", q, k) * c), v)`` is
    ``attention(q, k, v)`` with the score ``c * sum``.
    """
    if not isinstance(node, Contraction) or len(node.operands) != 2 or not _is_plain(node):
        return None
    for number, operand in enumerate(node.operands):
        if isinstance(operand, Rows) and uses.is_single(operand):
            made = _attention(node, operand, number, uses)
            if made is not None:
                return made
    return None


def _is_plain(node: Contraction) -> bool:
    is_float = node.dtype is not None and is_floating(node.dtype)
    return is_float and not any(node.conjugated) and not any(node.broadcast)


def _attention(node: Contraction, rows: Rows, number: int, uses: Uses) -> Node | None:
    argument = softmax_argument(rows)
    if argument is None or len(rows.reduced) != 1:
        return None
    if rows.dtype != node.dtype or rows.result not in (None, rows.dtype):
        return None
    term = node.einsum.terms[number]
    if has_repeats(term):
        return None
    names = dict(zip(rows.output, term, strict=True))
    slots = [(o, renamed(t, names)) for o, t in zip(rows.operands, rows.terms, strict=True)]
    for place, (scores, score_term) in enumerate(slots):
        if (
            isinstance(scores, Contraction)
            and len(scores.operands) == 2
            and _is_plain(scores)
            and uses.is_single(scores)
            and scores.dtype == node.dtype == dtype_of(scores)
            and set(score_term) == set(term)
        ):
            key_position = names[rows.reduced[0]]
            made = _joined(node, number, slots, place, argument, key_position)
            if made is not None:
                return made
    return None


def _joined(
    node: Contraction,
    number: int,
    slots: list[Slot],
    place: int,
    argument: Scalar,
    position: Index,
) -> Node | None:
    scores, score_term = slots[place]
    assert isinstance(scores, Contraction)
    taken = indices_of(node)
    names = dict(zip(scores.einsum.output, score_term, strict=True))
    for index in scores.einsum.contracted:
        names[index] = fresh(index, taken)
    terms = [renamed(term, names) for term in scores.einsum.terms]
    operands = list(scores.operands)
    if position in terms[0]:
        terms.reverse()
        operands.reverse()
    if position in terms[0] or position not in terms[1]:
        return None
    masks: list[Slot] = [
        (o, renamed(t, names))
        for o, t in zip(scores.epilogue.operands, scores.epilogue.terms, strict=True)
    ]
    values: dict[int, Scalar] = {}
    for n, slot in enumerate(slots):
        if n == place:
            values[n] = scores.epilogue.body
        else:
            masks.append(slot)
            values[n] = Value(len(masks))
    score = substituted(argument, values)
    value, value_term = node.operands[1 - number], node.einsum.terms[1 - number]
    if any(map(has_repeats, (*terms, value_term))):
        return None
    made = Attention(
        query=operands[0],
        key=operands[1],
        value=value,
        terms=(terms[0], terms[1], value_term),
        output=node.einsum.output,
        score=score,
        masks=tuple(mask for mask, _ in masks),
        mask_terms=tuple(term for _, term in masks),
        is_causal=False,
        dtype=node.dtype,
    )
    if attention_flaw(made) is not None or made.key_position != position:
        return None
    shown = ((set(terms[0]) | set(terms[1])) & set(made.output)) | {position}
    if any(not set(term) <= shown or has_repeats(term) for term in made.mask_terms):
        return None
    return made if node.epilogue is PLAIN else _followed(made, node)


def _followed(made: Attention, node: Contraction) -> Elementwise:
    """Return what the epilogue of the products with values computes, from their sums."""
    further, output = node.epilogue, node.einsum.output
    return Elementwise(
        further.body,
        (made, *further.operands),
        (output, *further.terms),
        output,
        node.dtype,
        further.dtype,
    )


def find_causal(node: Node, uses: Uses) -> Node | None:
    """Replace a mask that hides later keys by the mark that says so.

    Rewrite: ``score where(s <= t, x, -inf)`` is ``x``, causal.
    """
    if not isinstance(node, Attention) or node.is_causal:
        return None
    match node.score:
        case Combined("where", (condition, kept, Number(value=hidden))):
            pass
        case _:
            return None
    factors = _factors(condition)
    later = [factor for factor in factors if _is_later_hidden(node, factor)]
    if not later:
        return None
    others = [factor for factor in factors if factor not in later]
    if hidden == -math.inf:
        for factor in others:
            kept = Combined("where", (factor, kept, Number(hidden)))
    elif others or hidden > _MASKED or not positions_of(kept) <= {0}:
        # A row of nothing but masked scores averages over later keys, too.
        return None
    used = sorted(p for p in positions_of(kept) if p > 0)
    places: dict[int, Scalar] = {old: Value(1 + new) for new, old in enumerate(used)}
    made = replace(
        node,
        score=substituted(kept, places),
        masks=tuple(node.masks[old - 1] for old in used),
        mask_terms=tuple(node.mask_terms[old - 1] for old in used),
        is_causal=True,
    )
    return made if attention_flaw(made) is None else None


def _factors(condition: Scalar) -> list[Scalar]:
    """Return the conditions that must all hold."""
    found: list[Scalar] = []
    pending = [condition]
    while pending:
        part = pending.pop()
        if isinstance(part, Combined) and part.function == "multiply":
            pending += reversed(part.arguments)
        else:
            found.append(part)
    return found


def _is_later_hidden(node: Attention, condition: Scalar) -> bool:
    """Say whether a condition holds exactly where the key is not behind the query."""
    query, key, value = map(set, node.terms)
    rows = (query & set(node.output)) - key - value
    if len(rows) != 1:
        return False
    (row,) = rows
    masks, terms = node.masks, node.mask_terms
    match condition:
        case Value(position=position) if position > 0:
            mask, term = masks[position - 1], terms[position - 1]
            if isinstance(mask, Constant):
                return _is_lower_triangle(mask, term, row, node.key_position)
            if not isinstance(mask, Elementwise):
                return False
            names = dict(zip(mask.output, term, strict=True))
            slots = [(o, renamed(t, names)) for o, t in zip(mask.operands, mask.terms, strict=True)]
            return _compares(mask.body, slots, row, node.key_position)
        case Combined():
            shift: dict[int, Scalar] = {1 + n: Value(n) for n in range(len(masks))}
            if 0 in positions_of(condition):
                return False
            slots = list(zip(masks, terms, strict=True))
            return _compares(substituted(condition, shift), slots, row, node.key_position)
        case _:
            return False


def _compares(body: Scalar, slots: list[Slot], row: Index, position: Index) -> bool:
    match body:
        case Combined("less_equal", (Value(position=a), Value(position=b))):
            return _counts(slots[a], position) and _counts(slots[b], row)
        case _:
            return False


def _counts(slot: Slot, index: Index) -> bool:
    """Say whether the operand is the position along the index."""
    operand, term = slot
    while (
        isinstance(operand, Elementwise) and operand.body is Value(0) and len(operand.operands) == 1
    ):
        names = dict(zip(operand.output, term, strict=True))
        term = renamed(operand.terms[0], names)
        operand = operand.operands[0]
    return isinstance(operand, Iota) and term == (index,)


def _is_lower_triangle(mask: Constant, term: Term, row: Index, position: Index) -> bool:
    if term not in ((row, position), (position, row)):
        return False
    import numpy as np

    array = mask.array if term[0] == row else mask.array.T
    return bool(np.array_equal(array != 0, np.tri(*array.shape, dtype=bool)))


#: All of them.
RULES = (find_attention, find_causal)
