"""The cheapest contraction path of few operands, found by trying every way to pair them.

Dynamic programming over sets of operands: the cheapest way to contract a set is the cheapest over
all ways to split it in two. Outer products are tried too, so nothing is cheaper, by the measure of
:mod:`.cost`: FLOPs first, then bytes. Sets of operands and of indices are bits of integers. Source:
Pfeifer, Haegeman and Verstraete, "Faster identification of optimal contraction sequences for tensor
networks", Physical Review E 90, 2014, without its pruning, which up to 8 operands is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.order.path import Path

#: Operands up to which this is quick: 8 take 10 ms, each more three times as long.
MOST_OPERANDS = 8

#: FLOPs, elements moved, and the two sets that are contracted last (0 where nothing is).
_Best = tuple[int, int, int, int]


def exact_path(expr: EinsumExpr, extents: Mapping[Index, int]) -> Path:
    """Return the path of pairwise contractions with the fewest FLOPs, then the fewest bytes.

    Args:
        expr: an expression of 2 to :data:`MOST_OPERANDS` operands.
        extents: elements along each index.
    """
    numbers = {index: 1 << number for number, index in enumerate(expr.indices)}
    sizes = [extents[index] for index in expr.indices]
    terms = [sum(numbers[index] for index in set(term)) for term in expr.terms]
    output = sum(numbers[index] for index in expr.output)
    everything = (1 << len(terms)) - 1

    @cache
    def product(indices: int) -> int:
        total, number = 1, 0
        while indices:
            if indices & 1:
                total *= sizes[number]
            indices >>= 1
            number += 1
        return total

    @cache
    def union(operands: int) -> int:
        return _union(terms, operands)

    @cache
    def kept(operands: int) -> int:
        """Return the indices that a set's result has: those that something outside needs."""
        return union(operands) & (output | union(everything & ~operands))

    @cache
    def best(operands: int) -> _Best:
        if operands & (operands - 1) == 0:
            # A single operand: indices that only it has are summed before it is multiplied.
            before, after = union(operands), kept(operands)
            if before == after:
                return 0, 0, 0, 0
            return 2 * product(before), product(before) + product(after), 0, 0
        result = kept(operands)
        found: _Best | None = None
        left = (operands - 1) & operands
        while left:
            right = operands & ~left
            if left > right:
                found = _less(found, _pair(left, right, result))
            left = (left - 1) & operands
        if found is None:
            raise AssertionError(operands)
        return found

    def _pair(left: int, right: int, result: int) -> _Best:
        (flops, moved, *_), (more_flops, more_moved, *_) = best(left), best(right)
        first, second = kept(left), kept(right)
        points = first | second
        flops += more_flops + product(points) * (1 + (points != result))
        moved += more_moved + product(first) + product(second) + product(result)
        return flops, moved, left, right

    return _linear(len(terms), lambda operands: best(operands)[2:], everything)


def _less(found: _Best | None, other: _Best) -> _Best:
    return other if found is None or other[:2] < found[:2] else found


def _union(terms: list[int], operands: int) -> int:
    indices = 0
    for number, term in enumerate(terms):
        if operands >> number & 1:
            indices |= term
    return indices


def _linear(n_operands: int, split: Callable[[int], tuple[int, int]], everything: int) -> Path:
    """Write the splits as a linear path: positions among what is left, results appended."""
    alive = [1 << number for number in range(n_operands)]
    path: list[tuple[int, ...]] = []

    def contract(operands: int) -> None:
        left, right = split(operands)
        if not left:
            return
        contract(right)
        contract(left)
        picked = sorted((alive.index(left), alive.index(right)))
        path.append(tuple(picked))
        alive[:] = [each for each in alive if each not in (left, right)]
        alive.append(operands)

    contract(everything)
    return tuple(path)
