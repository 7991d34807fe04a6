"""Reductions along the same rows become one node: softmax and norms written out by hand.

``e = exp(x - max(x)); e / sum(e)`` is written as five nodes, and is one pass over rows: what a
row's reduction is used for next to the row's elements is computed where the reduction is.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from einloom_compiler.dtypes import is_floating
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import Contraction, Elementwise, Epilogue, Node, Reduction, Rows
from einloom_compiler.ir.scalar import Number, Scalar, Value, combined, positions_of, substituted
from einloom_compiler.ir.shapes import index_extents
from einloom_compiler.optimizer.constants import is_fixed
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.fuse import MOST_FUNCTIONS, MOST_OPERANDS, has_own_dtype
from einloom_compiler.optimizer.scalars import size_of
from einloom_compiler.optimizer.terms import Slot, bodies_of, has_repeats, renamed, slots_of


def join_rows(node: Node, uses: Uses) -> Node | None:
    """Compute rows' reductions in the node that uses them together with the rows' elements.

    Rewrite: ``x - mean(x)`` is one node of rows, and so is ``mean(square(x - mean(x)))``.
    """
    if not isinstance(node, Elementwise | Rows) or node.dtype is None:
        return None
    for number, (operand, term) in enumerate(slots_of(node)):
        if not isinstance(operand, Rows) or operand.dtype != node.dtype:
            continue
        if not has_own_dtype(operand) or has_repeats(term) or _is_running(operand, node):
            continue
        names = _names(node, operand, term, uses)
        if names is not None and is_fixed(operand) == is_fixed(node):
            return _joined(node, number, operand, names)
    return None


def _is_running(*nodes: Node) -> bool:
    """Say whether a node is a scan, which is computed alone."""
    return any(r.is_running for node in nodes if isinstance(node, Rows) for r in node.reductions)


def _names(
    node: Elementwise | Rows, inner: Rows, term: Term, uses: Uses
) -> dict[Index, Index] | None:
    """Return what the inner node's indices are called in ``node``; None where they do not join."""
    names = dict(zip(inner.output, term, strict=True))
    if set(inner.reduced) <= set(inner.output):
        # An elementwise node on stored rows is appended to them instead. Where one other node uses
        # the rows' elements, they are computed again rather than stored for it.
        is_row_result = isinstance(node, Rows) and not set(node.reduced) & set(node.output)
        if not is_row_result or uses(inner) > 2:
            return None
    else:
        found = _matched(node, inner, names)
        if found is None or not uses.is_single(inner):
            return None
        names = found
    reduced = {names[index] for index in inner.reduced}
    if isinstance(node, Rows) and reduced != set(node.reduced):
        return None
    kept = {names[index] for index in inner.output if index not in inner.reduced}
    return names if kept == set(node.output) - reduced else None


def _matched(
    node: Elementwise | Rows, inner: Rows, names: dict[Index, Index]
) -> dict[Index, Index] | None:
    """Return ``names`` with the reduced indices' too, from an operand that both nodes have."""
    for operand, own in slots_of(inner):
        if not set(inner.reduced) <= set(own):
            continue
        for other, term in slots_of(node):
            if other is not operand or has_repeats(term):
                continue
            found = dict(names)
            for index, name in zip(own, term, strict=True):
                found.setdefault(index, name)
            if renamed(own, found) == term and len(set(found.values())) == len(found):
                return found
    return None


def _joined(
    node: Elementwise | Rows, number: int, inner: Rows, names: dict[Index, Index]
) -> Node | None:
    own = slots_of(node)
    further = [(operand, renamed(term, names)) for operand, term in slots_of(inner)]
    if any(has_repeats(term) for _, term in (*own, *further)):
        return None
    numbers: dict[Slot, int] = {}
    places = [numbers.setdefault(slot, len(numbers)) for slot in further]
    kept = {n: numbers.setdefault(slot, len(numbers)) for n, slot in enumerate(own) if n != number}
    n_slots, n_own, n_inner = len(numbers), len(own), len(further)
    inside: dict[int, Scalar] = {n: Value(place) for n, place in enumerate(places)}
    for n in range(len(inner.reductions)):
        inside[n_inner + n] = Value(n_slots + n)
    outside: dict[int, Scalar] = {n: Value(place) for n, place in kept.items()}
    outside[number] = substituted(inner.body, inside)
    given = node.reductions if isinstance(node, Rows) else ()
    for n in range(len(given)):
        outside[n_own + n] = Value(n_slots + len(inner.reductions) + n)
    reduced = tuple(names[index] for index in inner.reduced)
    made = Rows(
        operands=tuple(operand for operand, _ in numbers),
        terms=tuple(term for _, term in numbers),
        output=node.output,
        reduced=node.reduced if isinstance(node, Rows) else reduced,
        reductions=(
            *(_moved(reduction, inside) for reduction in inner.reductions),
            *(_moved(reduction, outside) for reduction in given),
        ),
        body=substituted(node.body, outside),
        dtype=node.dtype,
        result=node.result,
    )
    is_large = sum(map(size_of, bodies_of(made))) > MOST_FUNCTIONS or n_slots > MOST_OPERANDS
    return None if is_large else made


def _moved(reduction: Reduction, values: dict[int, Scalar]) -> Reduction:
    return replace(reduction, body=substituted(reduction.body, values))


def share_reductions(node: Node, uses: Uses) -> Node | None:
    """Compute equal reductions once, and none that nothing uses."""
    if not isinstance(node, Rows):
        return None
    first = len(node.operands)
    used = {p for body in bodies_of(node) for p in positions_of(body)}
    places: dict[Reduction, int] = {}
    values: dict[int, Scalar] = {}
    kept: list[Reduction] = []
    for number, reduction in enumerate(node.reductions):
        moved = _moved(reduction, values)
        if moved not in places and (first + number in used or len(node.reductions) == 1):
            places[moved] = len(kept)
            kept.append(moved)
        if moved in places:
            values[first + number] = Value(first + places[moved])
    if len(kept) == len(node.reductions) or not kept:
        return None
    return replace(node, reductions=tuple(kept), body=substituted(node.body, values))


def write_as_contraction(node: Node, uses: Uses) -> Node | None:
    """Write a sum or mean that stands alone as a contraction with an epilogue.

    Rewrite: ``mean(x, axis=0)`` of 4096 rows is ``ij->j``, divided by 4096. Its families read large
    operands as several streams: 4096 x 4096 in float32 took 2.2 ms, and 19 in passes along rows
    (2-core AVX2, 2026-11).
    """
    if not isinstance(node, Rows) or node.dtype is None or not is_floating(node.dtype):
        return None
    if len(node.operands) != 1 or len(node.reductions) != 1:
        return None
    (operand,), (term,), (reduction,) = node.operands, node.terms, node.reductions
    is_sum = reduction.kind in ("sum", "mean") and reduction.body is Value(0)
    if not is_sum or set(node.reduced) & set(node.output) or positions_of(node.body) != {1}:
        return None
    total: Scalar = Value(0)
    if reduction.kind == "mean":
        extents = index_extents(node)
        count = prod(extents[index] for index in node.reduced)
        if not isinstance(count, int):
            return None
        total = combined("divide", total, Number(float(count)))
    body = substituted(node.body, {1: total})
    return Contraction(
        einsum=EinsumExpr((term,), node.output),
        operands=(operand,),
        dtype=node.dtype,
        conjugated=(False,),
        broadcast=(frozenset(),),
        epilogue=Epilogue(body, dtype=node.result),
    )


#: Those of the passes that fuse.
RULES = (join_rows, share_reductions)
#: Those of the last one, when nothing more joins.
LAST = (write_as_contraction,)
