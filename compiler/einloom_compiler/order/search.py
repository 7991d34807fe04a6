"""Find a contraction order: the cheapest by our cost model, or what opt_einsum proposes.

No search happens for one or two operands. For up to 8, ``optimize=True`` is exact (:mod:`.exact`).
For more, several of opt_einsum's optimizers propose (dynamic programming up to 12, greedy always)
and the tree with the fewest FLOPs, then the fewest bytes, is taken. What opt_einsum proposed is
kept on disk, so that a later process need not import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einloom_compiler.errors import DTypeError
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.printer import print_einsum
from einloom_compiler.order.cost import tree_cost
from einloom_compiler.order.exact import MOST_OPERANDS, exact_path
from einloom_compiler.order.path import single_step, tree_from_path
from einloom_compiler.store import paths

#: What ``optimize=`` may be: a bool, None, an optimizer's name, (name, memory limit in elements), a
#: path, or an opt_einsum path optimizer.
Optimize = Any

_DYNAMIC = 12
#: Names of opt_einsum's optimizers, so that a correct one is known without importing it; those that
#: give the same path each time, and those that do not.
_REPEATABLE = frozenset(
    (
        *("auto", "branch-1", "branch-2", "branch-all", "dp", "dynamic-programming", "eager"),
        *("greedy", "opportunistic", "optimal"),
    )
)
_KNOWN = _REPEATABLE | {"auto-hq", "random-greedy", "random-greedy-128"}


class OptimizerNameError(DTypeError, KeyError):
    """``optimize=`` names no optimizer; a KeyError as in NumPy and opt_einsum."""

    __str__ = Exception.__str__


class OptimizeTypeError(DTypeError):
    """``optimize=`` is of no known form."""


def search(
    expr: EinsumExpr, extents: Mapping[Index, int], optimize: Optimize, itemsize: int = 8
) -> ContractionTree:
    """Return the contraction tree of ``expr`` at these extents.

    Args:
        expr: the expression; broadcast axes are already dropped from its terms.
        extents: elements along each index.
        optimize: see :data:`Optimize`.
        itemsize: bytes of an element of the result dtype.

    Raises:
        OptimizerNameError: an optimizer's name is unknown.
        OptimizeTypeError: ``optimize`` is of no known form.
        PathError: an explicit path does not contract all operands.
    """
    n_operands = len(expr.terms)
    if (path := explicit_path(optimize)) is not None:
        return tree_from_path(expr, path)
    name, memory_limit = _optimizer(optimize)
    if name is False or n_operands <= 2:
        if isinstance(name, str):
            _check_name(name)
        return tree_from_path(expr, single_step(n_operands))
    if name is True and n_operands <= MOST_OPERANDS:
        return tree_from_path(expr, exact_path(expr, extents))
    if name is not True:
        return tree_from_path(expr, _propose(name, expr, extents, memory_limit))
    names = ["greedy", "dp"] if n_operands <= _DYNAMIC else ["greedy"]
    trees = [tree_from_path(expr, _propose(n, expr, extents, memory_limit)) for n in names]
    return min(trees, key=lambda tree: _rank(tree, extents, itemsize))


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


def _rank(
    tree: ContractionTree, extents: Mapping[Index, int], itemsize: int
) -> tuple[object, object]:
    cost = tree_cost(tree, extents, itemsize)
    return cost.flops, cost.bytes


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
