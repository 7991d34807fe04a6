"""The cost of an expression graph as integers or polynomials of its symbolic extents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einloom_compiler.dtypes import AnyDType
from einloom_compiler.ir.graph import Contraction, Node, Reshape
from einloom_compiler.ir.shapes import index_extents
from einloom_compiler.order.cost import Cost, tree_cost
from einloom_compiler.order.path import single_step, tree_from_path

if TYPE_CHECKING:
    from einloom.expression import Expression
    from einloom_compiler.ir.contraction import ContractionTree

#: Bytes of an element where no dtype is settled: float32's.
_DEFAULT_ITEMSIZE = 4


def cost_of(expression: Expression) -> Cost:
    """Return what the whole graph costs.

    Every contraction counts at the order that ``optimize=True`` chooses; with symbolic extents, at
    the one chosen for representative sizes.
    """
    total = Cost(0, 0)

    def visit(node: Node) -> None:
        nonlocal total
        match node:
            case Reshape():
                visit(node.operand)
            case Contraction():
                for operand in node.operands:
                    visit(operand)
                total = total + tree_cost(
                    representative_tree(node), index_extents(node), itemsize(node.dtype)
                )
            case _:
                pass

    visit(expression.node)
    return total


def itemsize(dtype: AnyDType | None) -> int:
    """Return the bytes of an element, float32's where the dtype is not settled."""
    return _DEFAULT_ITEMSIZE if dtype is None else dtype.itemsize


def representative_tree(node: Contraction) -> ContractionTree:
    """Return the contraction tree of a node at its sizes, or at representative ones."""
    from einloom.report.plan import representative_extents, stripped

    expr = stripped(node)
    if len(expr.terms) <= 2:
        return tree_from_path(expr, single_step(len(expr.terms)))
    from einloom_compiler.order.search import search

    return search(expr, representative_extents(node), True, itemsize(node.dtype))
