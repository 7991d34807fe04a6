"""Orders for symbolic extents: every tree that can be the cheapest, and the pick at a call.

Up to :data:`POLYNOMIAL` operands all trees are compared by their FLOP polynomials, and a tree is
dropped only where another one provably never needs more; so the pick has the least FLOPs of all
trees at every size (a chain's is what the classical dynamic program finds). Beyond, trees are found
at sampled sizes. Trees of equal FLOPs are told apart by the elements of their intermediates.

The unit is FLOPs, not time: they are exact at every size, and no machine is known to a library
that is shipped. Concrete extents are searched by predicted time, see :mod:`.search`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product as pairs

from einloom_compiler.dtypes import dtype_name
from einloom_compiler.extents import Extent, text
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, without_axes
from einloom_compiler.ir.graph import Contraction
from einloom_compiler.ir.shapes import index_extents
from einloom_compiler.order.exact import Splits, path_of, step_flops
from einloom_compiler.order.network import Network
from einloom_compiler.order.path import Path, single_step
from einloom_compiler.order.polynomial import (
    Bounds,
    Monomial,
    Polynomial,
    added,
    cheapest_somewhere,
    expression,
)
from einloom_compiler.order.search import Optimize, least_flops, search

#: Operands up to which orders are found by polynomials.
POLYNOMIAL = 6
#: Sizes from which orders are compared. Along an extent of 1 a product counts 2 FLOPs a point where
#: an outer product counts 1, so that absurd orders win by a few FLOPs; they are found when needed.
LEAST = 2
#: Sampled sizes beyond, by number of operands; each costs one search.
_SAMPLES = ((12, 48), (24, 12), (math.inf, 6))
#: Largest sample of an unknown without upper bound, as a multiple of its lower one.
_SPAN = 1024
#: What an unknown counts as where only one size can be looked at.
_USUAL = 64

Ranges = Mapping[str, Bounds]


@dataclass(frozen=True)
class Orders:
    """The orders of one expression that can be the cheapest.

    Attributes:
        expr: the expression.
        paths: each as a contraction path.
        flops: FLOPs of each as a polynomial of the unknowns.
        unknowns: for each unknown extent, an index that has it.
    """

    expr: EinsumExpr
    paths: tuple[Path, ...]
    flops: tuple[Polynomial, ...]
    unknowns: tuple[Index, ...]

    @cached_property
    def _evaluate(self) -> Callable[..., tuple[int, ...]]:
        """FLOPs of all orders as a function of the unknowns, written out and compiled."""
        names = [f"n{number}" for number in range(len(self.unknowns))]
        source = f"lambda {', '.join(names)}: {expression(self.flops, names)}"
        evaluate: Callable[..., tuple[int, ...]] = eval(source, {"__builtins__": {}})
        return evaluate

    def pick(self, extents: Mapping[Index, int]) -> Path:
        """Return the path of least FLOPs at these extents, the first of equal ones.

        Below :data:`LEAST` all trees are searched again.
        """
        if len(self.paths) == 1:
            return self.paths[0]
        sizes = [extents[index] for index in self.unknowns]
        if min(sizes) < LEAST and len(self.expr.terms) <= POLYNOMIAL:
            splits = least_flops(Network(self.expr, extents))
            return path_of(splits, len(self.expr.terms))
        flops = self._evaluate(*sizes)
        return self.paths[flops.index(min(flops))]


def orders_of(node: Contraction, optimize: Optimize, ranges: Ranges | None = None) -> Orders | None:
    """Return the orders a contraction of a graph chooses from at each call.

    None where there is nothing to choose: up to two operands, concrete extents, or an order that
    ``optimize`` names.
    """
    if len(node.operands) <= 2 or not (optimize is True or optimize is None):
        return None
    extents = index_extents(node)
    if all(isinstance(extent, int) for extent in extents.values()):
        return None
    return orders(without_axes(node.einsum, node.broadcast), extents, ranges)


def tree_at(
    node: Contraction,
    extents: Mapping[Index, int],
    optimize: Optimize,
    ranges: Ranges | None = None,
) -> ContractionTree:
    """Return the tree that a compiled function takes for a contraction at these extents.

    Args:
        node: the contraction; its dtype counts as float32 where it is not settled.
        extents: elements along each index.
        optimize: how the order is chosen.
        ranges: least and largest value of symbols by name.
    """
    kept = orders_of(node, optimize, ranges)
    dtype = "float32" if node.dtype is None else dtype_name(node.dtype)
    expr = without_axes(node.einsum, node.broadcast)
    how = (True if optimize is None else optimize) if kept is None else kept.pick(extents)
    return search(expr, extents, how, dtype)


def orders(
    expr: EinsumExpr, extents: Mapping[Index, Extent], ranges: Ranges | None = None
) -> Orders:
    """Return the orders of ``expr`` that can be cheapest at some sizes.

    Args:
        expr: the expression; broadcast axes are already dropped from its terms.
        extents: integers or symbolic extents; an extent that is no plain symbol is an unknown of
            its own.
        ranges: least and largest value of symbols by name; from 1 without end where not given.
    """
    n_operands = len(expr.terms)
    costs = _SymbolicCosts(expr, extents, ranges or {})
    if n_operands <= 2:
        return Orders(expr, (single_step(n_operands),), ((),), costs.unknowns)
    found = costs.all_trees() if n_operands <= POLYNOMIAL else costs.sampled_trees()
    return Orders(
        expr,
        tuple(path_of(splits, n_operands) for splits, _ in found),
        tuple(flops for _, flops in found),
        costs.unknowns,
    )


class _SymbolicCosts:
    """FLOP polynomials of an expression's trees."""

    def __init__(self, expr: EinsumExpr, extents: Mapping[Index, Extent], ranges: Ranges) -> None:
        self.expr, self.extents = expr, extents
        first: dict[str, Index] = {}
        for index in expr.indices:
            if not isinstance(extents[index], int):
                first.setdefault(text(extents[index]), index)
        numbers = {name: number for number, name in enumerate(first)}
        self.unknowns = tuple(first.values())
        given = [ranges.get(name, (LEAST, math.inf)) for name in first]
        self.bounds = [(max(LEAST, least), max(LEAST, most)) for least, most in given]
        self.unknown_of = {
            index: numbers[text(extents[index])]
            for index in expr.indices
            if not isinstance(extents[index], int)
        }
        self.usual = self.network([_clamped(_USUAL, bounds) for bounds in self.bounds])
        self._points: dict[int, tuple[Monomial, int]] = {}

    def network(self, sizes: Sequence[int]) -> Network:
        """Return the expression's network at these values of the unknowns."""
        return Network(
            self.expr,
            {
                i: sizes[self.unknown_of[i]] if i in self.unknown_of else n
                for i, n in self.extents.items()
            },
        )

    def step(self, whole: int, left: int, right: int) -> Polynomial:
        """Return the FLOPs of a step; arguments as of :data:`~.exact.StepCost`."""
        network = self.usual
        kept = network.kept(whole)
        if right:
            used = network.kept(left) | network.kept(right)
            factor = 2 if used != kept else 1
        else:
            used, factor = network.term_of(whole), 2
            if used == kept:
                return ()
        monomial, constant = self._product(used)
        return ((monomial, factor * constant),) if constant else ()

    def _product(self, indices: int) -> tuple[Monomial, int]:
        found = self._points.get(indices)
        if found is None:
            exponents, constant = [0] * len(self.unknowns), 1
            for bit, index in enumerate(self.expr.indices):
                if indices >> bit & 1:
                    extent = self.extents[index]
                    if isinstance(extent, int):
                        constant *= extent
                    else:
                        exponents[self.unknown_of[index]] += 1
            found = self._points[indices] = tuple(exponents), constant
        return found

    def all_trees(self) -> list[tuple[Splits, Polynomial]]:
        """Return every tree that can be cheapest: by dynamic programming over sets of operands.

        A subtree that another one over the same operands never exceeds is in no cheapest tree.
        """
        whole = (1 << len(self.expr.terms)) - 1
        made: dict[int, list[tuple[Splits, Polynomial]]] = {}
        for operands in range(1, whole + 1):
            lowest = operands & -operands
            rest = operands ^ lowest
            if not rest:
                made[operands] = [({}, self.step(operands, operands, 0))]
                continue
            found: dict[Polynomial, tuple[int, Splits]] = {}
            right = rest
            while right:
                left = operands ^ right
                own = self.step(operands, left, right)
                for (a, flops_a), (b, flops_b) in pairs(made[left], made[right]):
                    flops = added(added(flops_a, flops_b), own)
                    splits = {**a, **b, operands: (left, right)}
                    moved = self._moved(splits)
                    if flops not in found or moved < found[flops][0]:
                        found[flops] = moved, splits
                right = (right - 1) & rest
            kept = cheapest_somewhere(list(found), self.bounds)
            made[operands] = [(found[flops][1], flops) for flops in kept]
        return self._by_usual_flops(made[whole])

    def sampled_trees(self) -> list[tuple[Splits, Polynomial]]:
        """Return the trees that are cheapest at sampled sizes and at both ends of the ranges."""
        n_operands = len(self.expr.terms)
        n_samples = next(count for most, count in _SAMPLES if n_operands <= most)
        generator = random.Random(0)
        ends = [(least, min(most, least * _SPAN)) for least, most in self.bounds]
        sizes = [[int(least) for least, _ in ends], [int(most) for _, most in ends]]
        for _ in range(n_samples if self.bounds else 0):
            sizes.append([_sample(generator, *end) for end in ends])
        found: dict[frozenset[tuple[int, tuple[int, int]]], Splits] = {}
        for sample in sizes:
            splits = least_flops(self.network(sample))
            found.setdefault(frozenset(splits.items()), splits)
        by_flops: dict[Polynomial, Splits] = {}
        for splits in sorted(found.values(), key=self._moved):
            by_flops.setdefault(self._tree_flops(splits), splits)
        kept = cheapest_somewhere(list(by_flops), self.bounds)
        return self._by_usual_flops([(by_flops[flops], flops) for flops in kept])

    def _tree_flops(self, splits: Splits) -> Polynomial:
        total: Polynomial = ()
        for number in range(len(self.expr.terms)):
            total = added(total, self.step(1 << number, 1 << number, 0))
        for whole, (left, right) in splits.items():
            total = added(total, self.step(whole, left, right))
        return total

    def _moved(self, splits: Splits) -> int:
        """Return the elements of all intermediates at usual sizes."""
        return sum(self.usual.points(self.usual.kept(operands)) for operands in splits)

    def _by_usual_flops(
        self, trees: list[tuple[Splits, Polynomial]]
    ) -> list[tuple[Splits, Polynomial]]:
        """Sort trees, the one that is cheapest at usual sizes first."""

        def usual(tree: tuple[Splits, Polynomial]) -> tuple[int, int]:
            splits, _ = tree
            flops = sum(step_flops(self.usual, whole, *parts) for whole, parts in splits.items())
            return flops, self._moved(splits)

        return sorted(trees, key=usual)


def _clamped(size: int, bounds: Bounds) -> int:
    least, most = bounds
    return int(max(1, least, min(size, most)))


def _sample(generator: random.Random, least: float, most: float) -> int:
    """Return a size between two positive ones, its logarithm uniform."""
    return round(math.exp(generator.uniform(math.log(least), math.log(max(least, most)))))
