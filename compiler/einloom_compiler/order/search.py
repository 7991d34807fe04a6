"""Find a contraction order: the tree that is predicted to take the least time.

Up to :data:`EXACT` operands all trees are searched, by dynamic programming in time and in FLOPs;
beyond, a greedy tree is refined for each. No order of more than twice the least FLOPs found is
taken, unless it has few: predictions err, and FLOPs bound the damage. Steps are then joined where
one loop nest is faster than two. No search happens for one or two operands.

An optimizer or path that is named keeps its meaning in NumPy and opt_einsum. What opt_einsum
proposed is kept on disk, so that a later process need not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einloom_compiler.errors import DTypeError
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.printer import print_einsum
from einloom_compiler.order.cost import tree_cost
from einloom_compiler.order.estimate import Rates
from einloom_compiler.order.exact import (
    Splits,
    StepCost,
    cheapest_splits,
    flop_cost,
    path_of,
    time_cost,
)
from einloom_compiler.order.greedy import greedy_splits
from einloom_compiler.order.merge import MOST_FLOPS, TINY_FLOPS, merged, tree_seconds
from einloom_compiler.order.network import Network
from einloom_compiler.order.path import single_step, tree_from_path
from einloom_compiler.order.refine import refined
from einloom_compiler.schedule.machine import Machine, host
from einloom_compiler.store import paths

#: What ``optimize=`` may be: a bool, None, an optimizer's name, (name, memory limit in elements), a
#: path, or an opt_einsum path optimizer.
Optimize = Any

#: Names of opt_einsum's optimizers, so that a correct one is known without importing it; those that
#: give the same path each time, and those that do not.
_REPEATABLE = frozenset(
    (
        *("auto", "branch-1", "branch-2", "branch-all", "dp", "dynamic-programming", "eager"),
        *("greedy", "opportunistic", "optimal"),
    )
)
_KNOWN = _REPEATABLE | {"auto-hq", "random-greedy", "random-greedy-128"}
#: Operands up to which every tree is searched: 2 ms for 6, 20 ms for 8.
EXACT = 8


class OptimizerNameError(DTypeError, KeyError):
    """``optimize=`` names no optimizer; a KeyError as in NumPy and opt_einsum."""

    __str__ = Exception.__str__


class OptimizeTypeError(DTypeError):
    """``optimize=`` is of no known form."""


def search(
    expr: EinsumExpr,
    extents: Mapping[Index, int],
    optimize: Optimize,
    dtype: str = "float64",
    machine: Machine | None = None,
) -> ContractionTree:
    """Return the contraction tree of ``expr`` at these extents.

    Args:
        expr: the expression; broadcast axes are already dropped from its terms.
        extents: elements along each index.
        optimize: see :data:`Optimize`.
        dtype: name of the dtype that is computed in.
        machine: what times are predicted for; this one where None.

    Raises:
        OptimizerNameError: an optimizer's name is unknown.
        OptimizeTypeError: ``optimize`` is of no known form.
        PathError: an explicit path does not contract all operands.
    """
    n_operands = len(expr.terms)
    if (path := explicit_path(optimize)) is not None:
        return tree_from_path(expr, path, extents)
    name, memory_limit = _optimizer(optimize)
    if isinstance(name, str):
        _check_name(name)
    if name is False or (n_operands <= 2 and name is not True):
        return tree_from_path(expr, single_step(n_operands), extents)
    if name is not True:
        return tree_from_path(expr, _propose(name, expr, extents, memory_limit), extents)
    if n_operands <= 2:
        tree = tree_from_path(expr, single_step(n_operands), extents)
        if len(tree.steps) == 1:
            return tree
        return merged(tree, extents, Rates.of(dtype, machine or host()))
    return _fastest(expr, extents, Rates.of(dtype, machine or host()))


def _fastest(expr: EinsumExpr, extents: Mapping[Index, int], rates: Rates) -> ContractionTree:
    """Return the tree of least predicted time whose FLOPs are near the least."""
    network = Network(expr, extents)
    costs = time_cost(network, rates), flop_cost(network)
    found = [_cheapest(network, cost) for cost in costs]
    linear = dict.fromkeys(path_of(splits, len(expr.terms)) for splits in found)
    trees = [tree_from_path(expr, path, extents) for path in linear]
    flops = [tree_cost(tree, extents, 1).flops for tree in trees]
    most = max(TINY_FLOPS, MOST_FLOPS * min(flops))
    near = [tree for tree, own in zip(trees, flops, strict=True) if own <= most]
    joined = [merged(tree, extents, rates) for tree in near]
    return min(joined, key=lambda tree: tree_seconds(tree, extents, rates))


def least_flops(network: Network) -> Splits:
    """Return the tree of least FLOPs that is found: of all trees up to :data:`EXACT` operands."""
    return _cheapest(network, flop_cost(network))


def _cheapest(network: Network, cost: StepCost) -> Splits:
    """Return the cheapest tree up to :data:`EXACT` operands, a good one beyond."""
    n_operands = len(network.terms)
    if n_operands <= EXACT:
        return cheapest_splits([1 << number for number in range(n_operands)], cost)[1]
    return refined(greedy_splits(network), cost)


def check_optimize(expr: EinsumExpr, optimize: Optimize) -> None:
    """Raise what :func:`search` would raise for ``optimize``, without searching.

    Raises:
        OptimizerNameError: an optimizer's name is unknown.
        OptimizeTypeError: ``optimize`` is of no known form.
        PathError: an explicit path does not contract all operands.
    """
    if (path := explicit_path(optimize)) is not None:
        tree_from_path(expr, path)
        return
    name, _ = _optimizer(optimize)
    if isinstance(name, str):
        _check_name(name)


def explicit_path(optimize: Optimize) -> Sequence[Sequence[int]] | None:
    """Return the path that ``optimize`` spells out, None where it is of another form."""
    if isinstance(optimize, list | tuple) and optimize:
        if optimize[0] == "einsum_path":
            return list(optimize[1:])
        if all(isinstance(step, tuple | list) for step in optimize):
            return list(optimize)
    return None


def _optimizer(optimize: Optimize) -> tuple[Any, int | None]:
    """Return an optimizer, True for the best proposal or False for none, and a memory limit."""
    if optimize is None or isinstance(optimize, bool):
        return bool(optimize), None
    if isinstance(optimize, str) or callable(optimize):
        return optimize, None
    if isinstance(optimize, tuple) and len(optimize) == 2 and isinstance(optimize[0], str):
        name, limit = optimize
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            return name, int(limit)
    raise OptimizeTypeError(
        f"did not understand optimize={optimize!r}; give a bool, an optimizer's name such as "
        "'greedy' or 'optimal', (name, memory limit in elements), or a path such as "
        "['einsum_path', (0, 1), (0, 1)]"
    )


def _check_name(name: str) -> None:
    if name in _KNOWN:
        return
    from opt_einsum import paths

    try:
        paths.get_path_fn(name)
    except KeyError:
        known = ", ".join(sorted(map(str, paths._PATH_OPTIONS)))
        raise OptimizerNameError(f"optimize={name!r} names no optimizer; known: {known}") from None


def _propose(
    name: Any, expr: EinsumExpr, extents: Mapping[Index, int], memory_limit: int | None
) -> Sequence[Sequence[int]]:
    """Return the path that an optimizer proposes, from disk where it is known to repeat itself."""
    if not isinstance(name, str):
        return _ask(name, expr, extents, memory_limit)
    _check_name(name)
    if name not in _REPEATABLE:
        return _ask(name, expr, extents, memory_limit)
    sizes = [extents[index] for index in expr.indices]
    asked = [print_einsum(expr), sizes, name, memory_limit]
    return paths.remembered(asked, lambda: _ask(name, expr, extents, memory_limit))


def _ask(
    name: Any, expr: EinsumExpr, extents: Mapping[Index, int], memory_limit: int | None
) -> Sequence[Sequence[int]]:
    from opt_einsum.paths import get_path_fn

    optimizer = get_path_fn(name) if isinstance(name, str) else name
    inputs, output = [frozenset(term) for term in expr.terms], frozenset(expr.output)
    path: Sequence[Sequence[int]] = optimizer(inputs, output, dict(extents), memory_limit)
    return path
