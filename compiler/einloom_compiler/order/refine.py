"""Improve a contraction tree of many operands: parts of it are searched exactly, again and again.

Any subtree with up to :data:`LEAVES` leaves, which may be intermediates themselves, is replaced by
the cheapest tree over the same leaves. Source: "subtree reconfiguration" of Gray and Kourtis,
Hyper-optimized tensor network contraction, Quantum 5, 410, 2021.
"""

from __future__ import annotations

from einloom_compiler.order.exact import Splits, StepCost, cheapest_splits

#: Leaves of one part: 90 splits for 5, 966 for 7. A pass over 49 steps takes 0.1 s.
LEAVES = 6
#: Passes over all subtrees; most trees stop improving after two.
PASSES = 3


def refined(splits: Splits, cost: StepCost) -> Splits:
    """Return a tree that costs no more, each subtree of a few leaves being the cheapest."""
    splits = dict(splits)
    for _ in range(PASSES):
        is_changed = False
        for root in sorted(splits, key=lambda s: -s.bit_count()):
            if root in splits:
                is_changed |= _improve(splits, root, cost)
        if not is_changed:
            break
    return splits


def _improve(splits: Splits, root: int, cost: StepCost) -> bool:
    """Replace the subtree at ``root`` in place if a cheaper one has the same leaves."""
    leaves, inner, before = [root], [], 0.0
    while len(leaves) < LEAVES:
        costs = {
            leaf: cost(leaf, *splits[leaf]) for leaf in leaves if leaf in splits
        }  # the dearest steps matter most
        if not costs:
            break
        dearest = max(costs, key=lambda leaf: costs[leaf])
        leaves.remove(dearest)
        leaves += splits[dearest]
        inner.append(dearest)
        before += costs[dearest]
    if len(leaves) < 3:
        return False
    single = [leaf for leaf in leaves if not leaf & (leaf - 1)]
    before += sum(cost(leaf, leaf, 0) for leaf in single)
    after, found = cheapest_splits(leaves, cost)
    if after >= before * (1 - 1e-9):
        return False
    for part in inner:
        del splits[part]
    splits.update(found)
    return True
