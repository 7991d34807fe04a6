"""When the optimizer has something to do."""

from __future__ import annotations

from einloom_compiler.ir.graph import Constant, Contraction, Input, Node, Reshape
from einloom_compiler.ir.traversal import operands_of
from einloom_compiler.order.search import Optimize

#: Passes that do not run where the order of each contraction was named.
ORDERED = ("merge contractions", "join siblings")


def optimized(roots: tuple[Node, ...], order: Optimize) -> tuple[Node, ...]:
    """Return the graphs as they are run: merged and fused where they are more than one step.

    A contraction of plain operands stays what it is: a kernel with schedules of its own, although
    it may do no more than move elements. Contractions are neither merged nor joined where ``order``
    names how each one's order is chosen.
    """
    if is_one_step(roots):
        return roots
    from einloom_compiler.optimizer import optimize

    return optimize(roots, without=() if order is True else ORDERED)


def is_one_step(roots: tuple[Node, ...]) -> bool:
    """Say whether there is nothing to merge or fuse: one contraction of plain operands at most."""
    return len(roots) == 1 and _is_single(roots[0])


def _is_single(node: Node) -> bool:
    while isinstance(node, Reshape):
        node = node.operand
    if isinstance(node, Input | Constant):
        return True
    if not isinstance(node, Contraction):
        return False
    return all(_is_leaf(operand) for operand in operands_of(node))


def _is_leaf(node: Node) -> bool:
    while isinstance(node, Reshape):
        node = node.operand
    return isinstance(node, Input | Constant)
