"""A contraction tree of many operands, pair by pair: the pair whose contraction frees most memory.

It is a start for :mod:`.refine`. Source: the ``memory_removed`` cost of Smith and Gray, opt_einsum,
JOSS 3(26), 2018.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import combinations

from einloom_compiler.order.exact import Splits
from einloom_compiler.order.network import Network


def greedy_splits(network: Network) -> Splits:
    """Return the tree that greedy pairing makes; operands without common indices meet last."""
    alive = {1 << number for number in range(len(network.terms))}
    splits: Splits = {}
    queue: list[tuple[int, int, int]] = []

    def propose(pairs: Iterable[tuple[int, int]]) -> None:
        for left, right in pairs:
            if network.kept(left) & network.kept(right):
                sizes = [network.points(network.kept(part)) for part in (left | right, left, right)]
                heapq.heappush(queue, (sizes[0] - sizes[1] - sizes[2], left, right))

    def contract(left: int, right: int) -> int:
        alive.difference_update((left, right))
        splits[left | right] = left, right
        return left | right

    propose(combinations(sorted(alive), 2))
    while queue:
        _, left, right = heapq.heappop(queue)
        if left in alive and right in alive:
            made = contract(left, right)
            propose((other, made) for other in sorted(alive))
            alive.add(made)
    while len(alive) > 1:  # outer products, the smallest first
        left, right = sorted(alive, key=lambda part: (network.points(network.kept(part)), part))[:2]
        alive.add(contract(left, right))
    return splits
