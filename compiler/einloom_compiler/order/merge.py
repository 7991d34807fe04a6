"""Join neighbouring steps of a tree into one loop nest where that is predicted to be faster.

An elementwise factor, a sum of few elements, or a product so small that its launch costs more than
its arithmetic: the intermediate is never stored, the nest has one operand more.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from einloom_compiler.ir.contraction import ContractionTree, Step
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.order.cost import step_cost
from einloom_compiler.order.estimate import Rates

#: FLOPs that a joined nest may always have; above, no more than :data:`MOST_FLOPS` of the apart.
TINY_FLOPS = 1 << 13
MOST_FLOPS = 2
#: Operands of one nest: each needs a pointer and strides in registers.
_MOST_OPERANDS = 4


def merged(tree: ContractionTree, extents: Mapping[Index, int], rates: Rates) -> ContractionTree:
    """Return ``tree`` with every step joined into its consumer where one nest takes less time."""
    n_inputs = len(tree.expr.terms)
    steps: dict[int, Step] = dict(enumerate(tree.steps, n_inputs))
    for number in sorted(steps):
        consumer = next((n for n, step in steps.items() if number in step.positions), None)
        if consumer is None:
            continue
        joined = _joined(steps[number], steps[consumer], number)
        apart = (steps[number], steps[consumer])
        if len(joined.positions) <= _MOST_OPERANDS and _pays(joined, apart, extents, rates):
            steps[consumer] = joined
            del steps[number]
    renumbered = {old: new for new, old in enumerate(sorted(steps), n_inputs)}
    kept = tuple(
        Step(tuple(renumbered.get(p, p) for p in step.positions), step.expr)
        for _, step in sorted(steps.items())
    )
    return ContractionTree(tree.expr, kept)


def step_seconds(expr: EinsumExpr, extents: Mapping[Index, int], rates: Rates) -> float:
    """Return the predicted seconds of one step of a tree."""
    if len(expr.terms) == 2:
        a, b, kept = (set(term) for term in (*expr.terms, expr.output))
        if a | b <= kept | (a & b):
            groups = a & b & kept, a - b, b - a, (a & b) - kept
            across = bool(expr.terms[0] and expr.terms[1]) and not (
                {term[-1] for term in expr.terms} & kept
            )
            return rates.pairwise(*(_points(g, extents) for g in groups), is_across=across)
    elements = sum(_points(set(term), extents) for term in (*expr.terms, expr.output))
    return rates.nest(_points(set(expr.indices), extents), len(expr.terms), elements)


def tree_seconds(tree: ContractionTree, extents: Mapping[Index, int], rates: Rates) -> float:
    """Return the predicted seconds of all steps of a tree."""
    return sum(step_seconds(step.expr, extents, rates) for step in tree.steps)


def _joined(producer: Step, consumer: Step, number: int) -> Step:
    """Return the consumer with the producer's operands in the place of its result."""
    positions: list[int] = []
    terms: list[Term] = []
    for position, term in zip(consumer.positions, consumer.expr.terms, strict=True):
        if position == number:
            positions += producer.positions
            terms += producer.expr.terms
        else:
            positions.append(position)
            terms.append(term)
    return Step(tuple(positions), EinsumExpr(tuple(terms), consumer.expr.output))


def _pays(
    joined: Step, apart: tuple[Step, Step], extents: Mapping[Index, int], rates: Rates
) -> bool:
    flops = step_cost(joined.expr, extents, 1).flops
    before = sum(step_cost(step.expr, extents, 1).flops for step in apart)
    if flops > max(TINY_FLOPS, MOST_FLOPS * before):
        return False
    seconds = step_seconds(joined.expr, extents, rates)
    return seconds < sum(step_seconds(step.expr, extents, rates) for step in apart)


def _points(indices: set[Index], extents: Mapping[Index, int]) -> int:
    return prod(extents[index] for index in indices)
