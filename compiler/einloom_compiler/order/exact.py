"""The cheapest contraction tree by dynamic programming over sets of operands.

What an intermediate costs to make depends on the set of operands it is made of, not on how, so the
cheapest tree of a set is the cheapest split into two sets with their cheapest trees. All splits are
tried, outer products too. Three operands have 3 trees, six 945; the sets are 2 ** n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from einloom_compiler.order.estimate import Rates
from einloom_compiler.order.network import Network
from einloom_compiler.order.path import Path

#: Cost of making the set of operands ``whole`` from ``left`` and ``right``, as sets of operands;
#: of summing an operand's private indices where ``right`` is 0.
StepCost = Callable[[int, int, int], float]

#: What a return of an operand's axes to a group costs, as a share of the step's time. Measured
#: 2026-11 on products of 24 to the fourth with a 24 x 24 matrix: 0.05, within noise.
_DETOUR = 0.03
#: Bits that FLOPs are shifted by, so that elements only decide between equal FLOPs.
_SHIFT = 64


#: For a set of operands that a tree makes: the two sets it is made of.
Splits = dict[int, tuple[int, int]]


def cheapest_splits(parts: Sequence[int], cost: StepCost) -> tuple[float, Splits]:
    """Return the least cost of contracting ``parts`` with each other, and the tree that has it.

    Args:
        parts: disjoint sets of operands, each of one operand or already contracted.
        cost: what a step costs.
    """
    whole = (1 << len(parts)) - 1
    union = [0] * (whole + 1)
    best: list[float] = [0.0] * (whole + 1)
    chosen = [0] * (whole + 1)
    for chosen_parts in range(1, whole + 1):
        lowest = chosen_parts & -chosen_parts
        rest = chosen_parts ^ lowest
        operands = union[rest] | parts[lowest.bit_length() - 1]
        union[chosen_parts] = operands
        if not rest:
            if not operands & (operands - 1):
                best[chosen_parts] = cost(operands, operands, 0)
            continue
        least, right = float("inf"), rest
        found = 0
        while right:  # every subset of the rest but none, the largest first
            left = chosen_parts ^ right
            total = best[left] + best[right]
            if total < least:
                total += cost(operands, union[left], union[right])
                if total < least:
                    least, found = total, left
            right = (right - 1) & rest
        best[chosen_parts], chosen[chosen_parts] = least, found
    splits: Splits = {}
    pending = [whole]
    while pending:
        part = pending.pop()
        left = chosen[part]
        if left:
            splits[union[part]] = union[left], union[part ^ left]
            pending += [left, part ^ left]
    return best[whole], splits


def path_of(splits: Splits, n_operands: int) -> Path:
    """Return a tree as a linear path: the two picked leave, their result is appended."""
    alive = [1 << number for number in range(n_operands)]
    path: list[tuple[int, ...]] = []
    if n_operands == 1:
        return ((0,),)

    def visit(operands: int) -> None:
        if operands not in splits:
            return
        left, right = splits[operands]
        visit(left)
        visit(right)
        picked = tuple(sorted((alive.index(left), alive.index(right))))
        for position in reversed(picked):
            alive.pop(position)
        alive.append(operands)
        path.append(picked)

    visit((1 << n_operands) - 1)
    return tuple(path)


def flop_cost(network: Network) -> StepCost:
    """Return the cost of a step by FLOPs, and by elements written where those are equal."""

    def cost(whole: int, left: int, right: int) -> int:
        flops = step_flops(network, whole, left, right)
        return (flops << _SHIFT) + (network.points(network.kept(whole)) if flops else 0)

    return cost


def time_cost(network: Network, rates: Rates) -> StepCost:
    """Return the predicted seconds of a step."""

    def cost(whole: int, left: int, right: int) -> float:
        kept = network.kept(whole)
        if not right:
            own = network.term_of(whole)
            if own == kept:
                return 0.0
            points = network.points(own)
            return rates.nest(points, 1, points + network.points(kept))
        a, b = network.kept(left), network.kept(right)
        detours = network.detours(left, b, kept) + network.detours(right, a, kept)
        return (1 + _DETOUR * detours) * rates.pairwise(
            network.points(a & b & kept),
            network.points(a & ~b),
            network.points(b & ~a),
            network.points(a & b & ~kept),
            is_across=network.is_across(left, right, kept),
        )

    return cost


def step_flops(network: Network, whole: int, left: int, right: int) -> int:
    """Return the FLOPs of one step between sets of operands; see :data:`StepCost`."""
    kept = network.kept(whole)
    if not right:
        own = network.term_of(whole)
        return 2 * network.points(own) if own != kept else 0
    used = network.kept(left) | network.kept(right)
    return network.points(used) * (2 if used != kept else 1)
