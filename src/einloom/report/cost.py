"""The cost of an expression graph as integers or polynomials of its symbolic extents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einloom_compiler.dtypes import AnyDType
from einloom_compiler.ir.graph import Contraction
from einloom_compiler.ir.shapes import extents_at, index_extents, representative_sizes
from einloom_compiler.ir.traversal import contractions_of
from einloom_compiler.order.cost import Cost, tree_cost
from einloom_compiler.order.select import tree_at

if TYPE_CHECKING:
    from einloom_compiler.ir.contraction import ContractionTree
    from einloom_compiler.ir.graph import Node
    from einloom_compiler.order.search import Optimize

#: Bytes of an element where no dtype is settled: float32's.
_DEFAULT_ITEMSIZE = 4


def cost_of(roots: tuple[Node, ...], optimize: Optimize) -> Cost:
    """Return what graphs cost together.

    Every contraction counts once, however often its result is used, at the order that ``optimize``
    chooses; with symbolic extents, at the one chosen for representative sizes.
    """
    total = Cost(0, 0)
    for node in contractions_of(*roots):
        tree = representative_tree(node, optimize)
        total = total + tree_cost(tree, index_extents(node), itemsize(node.dtype))
    return total


def itemsize(dtype: AnyDType | None) -> int:
    """Return the bytes of an element, float32's where the dtype is not settled."""
    return _DEFAULT_ITEMSIZE if dtype is None else dtype.itemsize


def representative_tree(node: Contraction, optimize: Optimize) -> ContractionTree:
    """Return the contraction tree of a node at its sizes, or at representative ones."""
    return tree_at(node, extents_at(node, representative_sizes(node)), optimize)
