"""Indices and bodies of nodes, changed consistently: what all rules are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Contraction,
    Elementwise,
    Node,
    Rows,
)
from einloom_compiler.ir.scalar import Scalar, Value, substituted
from einloom_compiler.ir.shapes import Indexed

#: A node with bodies: a function of operands' elements, slot by slot.
Bodied = Contraction | Elementwise | Rows

#: An operand of a body and its axes' indices.
Slot = tuple[Node, Term]


def has_repeats(term: Term) -> bool:
    """Say whether an index repeats: a diagonal."""
    return len(set(term)) < len(term)


def fresh(like: Index, taken: set[Index]) -> Index:
    """Return an index of the same name that is not taken, and take it."""
    number = like.number
    while (found := Index(like.name, number)) in taken:
        number += 1
    taken.add(found)
    return found


def indices_of(node: Indexed) -> set[Index]:
    """Return all indices of a node."""
    match node:
        case Contraction(einsum=einsum):
            return set(einsum.indices)
        case Attention():
            terms = (*node.terms, *node.mask_terms, node.output)
        case Rows():
            terms = (*node.terms, node.output, node.reduced)
        case _:
            terms = (*node.terms, node.output)
    return {index for term in terms for index in term}


def map_terms(node: Indexed, change: Callable[[Term], Term]) -> Indexed:
    """Return the node with every term, the output and the reduced indices changed."""
    match node:
        case Contraction(einsum=einsum, epilogue=epilogue):
            return replace(
                node,
                einsum=EinsumExpr(tuple(map(change, einsum.terms)), change(einsum.output)),
                epilogue=replace(epilogue, terms=tuple(map(change, epilogue.terms))),
            )
        case Elementwise():
            return replace(node, terms=tuple(map(change, node.terms)), output=change(node.output))
        case Rows():
            return replace(
                node,
                terms=tuple(map(change, node.terms)),
                output=change(node.output),
                reduced=change(node.reduced),
            )
        case Attention():
            query, key, value = map(change, node.terms)
            return replace(
                node,
                terms=(query, key, value),
                mask_terms=tuple(map(change, node.mask_terms)),
                output=change(node.output),
            )


def with_output(node: Indexed, output: Term) -> Indexed:
    """Return the node with its result's axes in another order."""
    if isinstance(node, Contraction):
        return replace(node, einsum=EinsumExpr(node.einsum.terms, output))
    return replace(node, output=output)


def renamed(term: Term, names: Mapping[Index, Index]) -> Term:
    """Return the term with these indices replaced."""
    return tuple(names.get(index, index) for index in term)


def slots_of(node: Bodied) -> tuple[Slot, ...]:
    """Return the operands of the node's body; a contraction's are those of its epilogue."""
    if isinstance(node, Contraction):
        epilogue = node.epilogue
        return tuple(zip(epilogue.operands, epilogue.terms, strict=True))
    return tuple(zip(node.operands, node.terms, strict=True))


def with_slots(
    node: Bodied, slots: Sequence[Slot], values: Mapping[int, Scalar] | None = None
) -> Bodied:
    """Return the node with other body operands.

    Args:
        node: the node.
        slots: the new operands; equal ones become one.
        values: what each old slot's element is now, as an expression of ``Value(n)``, the element
            of new slot ``n``; old slots that are not named keep their numbers.
    """
    numbers: dict[Slot, int] = {}
    places = [numbers.setdefault(slot, len(numbers)) for slot in slots]
    offset = 1 if isinstance(node, Contraction) else 0
    shift: dict[int, Scalar] = {n: Value(place + offset) for n, place in enumerate(places)}
    n_old = len(slots_of(node))
    named: Mapping[int, Scalar] = values or {}
    given = {
        n + offset: substituted(named.get(n, Value(n)), shift)
        for n in range(n_old)
        if n in named or n < len(slots)
    }
    operands = tuple(operand for operand, _ in numbers)
    terms = tuple(term for _, term in numbers)
    match node:
        case Contraction(epilogue=epilogue):
            body = substituted(epilogue.body, given)
            return replace(
                node, epilogue=replace(epilogue, body=body, operands=operands, terms=terms)
            )
        case Elementwise():
            return replace(node, operands=operands, terms=terms, body=substituted(node.body, given))
        case Rows():
            for n in range(len(node.reductions)):
                given[n_old + n] = Value(len(operands) + n)
            return replace(
                node,
                operands=operands,
                terms=terms,
                reductions=tuple(
                    replace(reduction, body=substituted(reduction.body, given))
                    for reduction in node.reductions
                ),
                body=substituted(node.body, given),
            )


def bodies_of(node: Bodied) -> tuple[Scalar, ...]:
    """Return the node's bodies: of the reductions, then of the result."""
    match node:
        case Contraction(epilogue=epilogue):
            return (epilogue.body,)
        case Elementwise():
            return (node.body,)
        case Rows():
            return (*(reduction.body for reduction in node.reductions), node.body)


def with_bodies(node: Bodied, bodies: Iterable[Scalar]) -> Bodied:
    """Return the node with other bodies, given as :func:`bodies_of` lists them."""
    *reduced, body = bodies
    match node:
        case Contraction(epilogue=epilogue):
            return replace(node, epilogue=replace(epilogue, body=body))
        case Elementwise():
            return replace(node, body=body)
        case Rows():
            changed = zip(node.reductions, reduced, strict=True)
            reductions = tuple(replace(old, body=new) for old, new in changed)
            return replace(node, reductions=reductions, body=body)
