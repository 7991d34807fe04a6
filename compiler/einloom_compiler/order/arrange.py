"""Choose the order of each intermediate's axes, so that the steps around it fuse into long loops.

From the result backwards: the output of a step is known, so are its other operands where they are
the expression's. An intermediate's indices fall into groups by who else has them (in a matrix
product: batch, rows, contracted); the groups are tried in every order, and each order is rated by
the lengths of the runs that the consumer and the producer can step through as one index.

Example: in ``pi,ijkl,qj,rk,sl->pqrs`` each step contracts the leading index of the last result and
appends a new one, ``pi,ijkl->jklp``, ``jklp,qj->klpq``, ..., so that all are plain matrix products.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from einloom_compiler.ir.contraction import ContractionTree, Step
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term

#: Groups are permuted up to so many; a step of many operands can have more.
_PERMUTED = 4
#: What it costs, in units of a run of one element, when the contiguous index of the consumer's
#: other arrays is not the intermediate's: one of them is gathered, unless it is packed.
_GATHERED = 0.1


def arranged(tree: ContractionTree, extents: Mapping[Index, int] | None = None) -> ContractionTree:
    """Return ``tree`` with the axes of its intermediates in an order that makes long loops.

    Args:
        tree: its intermediates' terms count as sets.
        extents: elements along each index; alike where None.
    """
    n_inputs = len(tree.expr.terms)
    if len(tree.steps) < 2:
        return tree
    sizes = extents or dict.fromkeys(tree.expr.indices, 8)
    terms: dict[int, Term] = dict(enumerate(tree.expr.terms))
    terms[n_inputs + len(tree.steps) - 1] = tree.expr.output
    for number in range(len(tree.steps) - 1, -1, -1):
        step = tree.steps[number]
        for position in sorted(step.positions, key=lambda p: -_points(_term(tree, p), sizes)):
            if position not in terms:
                others = [terms.get(p) for p in step.positions if p != position]
                known = [term for term in others if term is not None]
                consumer = _Side((terms[n_inputs + number], *known), step.expr)
                made = tree.steps[position - n_inputs]
                inputs = [terms[p] for p in made.positions if p < n_inputs]
                unordered = [set(t) for t in made.expr.terms]
                producer = _Side(tuple(inputs), made.expr, unordered)
                terms[position] = _best(_term(tree, position), consumer, producer, sizes)
    steps = tuple(
        Step(
            step.positions,
            EinsumExpr(tuple(terms[p] for p in step.positions), terms[n_inputs + number]),
        )
        for number, step in enumerate(tree.steps)
    )
    return replace(tree, steps=steps)


class _Side:
    """A step that reads or writes an intermediate.

    Attributes:
        known: its other terms whose order of axes is known; for a consumer the output's first.
        expr: the step.
        owners: sets of indices that tell groups apart.
    """

    def __init__(
        self, known: tuple[Term, ...], expr: EinsumExpr, owners: Sequence[set[Index]] | None = None
    ) -> None:
        self.known = known
        self.expr = expr
        self.owners = owners or [set(expr.output), *map(set, known)]
        self.after = [dict(itertools.pairwise(term)) for term in known]
        self.inside = [set(term) for term in known]

    def group(self, index: Index) -> tuple[bool, ...]:
        """Say who else has ``index``."""
        return tuple(index in owner for owner in self.owners)

    def gathered(self, term: Term, sizes: Mapping[Index, int]) -> float:
        """Return the share of the known arrays' elements that ``term`` does not go along with.

        Those are the arrays whose last index it has, but not as its last.
        """
        volumes = [_points(other, sizes) for other in self.known]
        across = sum(
            volume
            for other, volume in zip(self.known, volumes, strict=True)
            if other and other[-1] in term and other[-1] != term[-1]
        )
        return across / (sum(volumes) or 1)

    def fuses(self, outer: Index, inner: Index) -> bool:
        """Say whether the step can run through two neighbouring axes as one."""
        return self.group(outer) == self.group(inner) and all(
            after.get(outer) == inner
            for after, inside in zip(self.after, self.inside, strict=True)
            if inner in inside
        )


def _best(term: Term, consumer: _Side, producer: _Side, sizes: Mapping[Index, int]) -> Term:
    """Return the order of an intermediate's indices that makes the longest runs."""
    groups: dict[tuple[bool, ...], list[Index]] = {}
    for index in _ordered(term, consumer.known):
        groups.setdefault(consumer.group(index), []).append(index)
    blocks = sorted(groups.values(), key=lambda block: -consumer.group(block[0])[0])
    if len(blocks) > _PERMUTED:
        return tuple(index for block in blocks for index in block)
    weights = [_points(side.expr.indices, sizes) for side in (consumer, producer)]
    shares = [weight / (sum(weights) or 1) for weight in weights]
    sides = list(zip((consumer, producer), shares, strict=True))

    def rate(candidate: Term) -> float:
        return sum(
            share
            * (
                sum(1 / (length or 1) for length in _runs(candidate, side, sizes))
                + _GATHERED * side.gathered(candidate, sizes)
            )
            for side, share in sides
        )

    candidates = (
        tuple(index for block in order for index in block)
        for order in itertools.permutations(blocks)
    )
    return min(candidates, key=rate)


def _ordered(term: Term, known: Sequence[Term]) -> Term:
    """Return the indices of ``term`` in the order in which the known terms have them."""
    wanted = dict.fromkeys(index for other in known for index in other if index in term)
    return (*wanted, *(index for index in term if index not in wanted))


def _runs(term: Term, side: _Side, sizes: Mapping[Index, int]) -> list[int]:
    """Return the extents of the runs that ``side`` steps through as one index."""
    runs: list[int] = []
    for position, index in enumerate(term):
        if position and side.fuses(term[position - 1], index):
            runs[-1] *= sizes[index]
        else:
            runs.append(sizes[index])
    return runs


def _term(tree: ContractionTree, position: int) -> Term:
    """Return the term of an operand or, as a set, of an intermediate."""
    n_inputs = len(tree.expr.terms)
    if position < n_inputs:
        return tree.expr.terms[position]
    return tree.steps[position - n_inputs].expr.output


def _points(indices: Sequence[Index], sizes: Mapping[Index, int]) -> int:
    return prod(sizes[index] for index in set(indices))
