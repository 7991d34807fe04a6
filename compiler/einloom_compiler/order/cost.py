"""Cost of contractions: FLOPs and bytes, as integers or as polynomials of symbolic extents.

A FLOP count follows opt_einsum's ``flop_count``: the number of points of the loop nest, times the
number of operands less one (at least one), plus one where something is summed; a multiply-add is 2.
Bytes count every operand read once and the result written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einloom_compiler.extents import Extent, factored, product
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, is_view


@dataclass(frozen=True, slots=True)
class Cost:
    """What an expression costs.

    Attributes:
        flops: floating-point (or integer) operations; multiply and add count 1 each.
        bytes: memory moved when each operand and intermediate is read and written once.
    """

    flops: Extent
    bytes: Extent

    @property
    def intensity(self) -> Extent | float:
        """FLOPs per byte moved."""
        if isinstance(self.flops, int) and isinstance(self.bytes, int):
            return self.flops / self.bytes if self.bytes else 0.0
        return self.flops / self.bytes

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __str__(self) -> str:
        """Print FLOPs, bytes and intensity."""
        flops, moved, intensity = map(factored, (self.flops, self.bytes, self.intensity))
        return f"{flops} FLOPs, {moved} bytes, {intensity} FLOPs/byte"


def step_cost(expr: EinsumExpr, extents: Mapping[Index, Extent], itemsize: int) -> Cost:
    """Return the cost of one contraction; a pure view costs nothing."""
    if is_view(expr):
        return Cost(0, 0)
    points = product(extents[index] for index in expr.indices)
    factor = max(1, len(expr.terms) - 1) + bool(expr.contracted)
    moved: Extent = sum(
        product(extents[index] for index in dict.fromkeys(term))
        for term in (*expr.terms, expr.output)
    )
    return Cost(points * factor, moved * itemsize)


def tree_cost(tree: ContractionTree, extents: Mapping[Index, Extent], itemsize: int) -> Cost:
    """Return the cost of all steps of a tree."""
    total = Cost(0, 0)
    for step in tree.steps:
        total = total + step_cost(step.expr, extents, itemsize)
    return total


def peak_elements(tree: ContractionTree, extents: Mapping[Index, int]) -> int:
    """Return the largest number of elements that intermediates hold at once."""
    sizes = _intermediate_sizes(tree, extents)
    n_inputs = len(tree.expr.terms)
    alive = peak = 0
    for number, step in enumerate(tree.steps, n_inputs):
        alive += sizes.get(number, 0)
        peak = max(peak, alive)
        alive -= sum(sizes.get(position, 0) for position in step.positions)
    return peak


def _intermediate_sizes(tree: ContractionTree, extents: Mapping[Index, int]) -> dict[int, int]:
    n_inputs = len(tree.expr.terms)
    sizes: dict[int, int] = {}
    for number, step in enumerate(tree.steps[:-1], n_inputs):
        count = 1
        for index in step.expr.output:
            count *= extents[index]
        sizes[number] = count
    return sizes
