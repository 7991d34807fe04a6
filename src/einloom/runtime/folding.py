"""Fold constants: what depends on no input is computed once, when a program is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from einloom.runtime.memory import viewed
from einloom.runtime.values import Value, layout
from einloom_compiler.extents import is_known
from einloom_compiler.ir.graph import Constant, Input, Node, Reshape, Strided
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import nodes_of, operands_of, with_operands

Array = npt.NDArray[Any]


def fold(roots: tuple[Node, ...], run: Callable[[Node], Array]) -> tuple[Node, ...]:
    """Return the graphs with every part that depends on no input replaced by a constant.

    Views of constants become constants that share their memory. Values are those that kernels
    compute, so that folding changes no bit.

    Args:
        roots: the graphs.
        run: computes a node whose operands are constants.
    """
    made: dict[Node, Node] = {}
    for part in nodes_of(*roots):
        node = with_operands(part, tuple(made[operand] for operand in operands_of(part)))
        made[part] = _folded(node, run)
    return tuple(made[root] for root in roots)


def _folded(node: Node, run: Callable[[Node], Array]) -> Node:
    operands = operands_of(node)
    are_constant = all(isinstance(operand, Constant) for operand in operands)
    if isinstance(node, Input | Constant) or not are_constant:
        return node
    starts = node.starts if isinstance(node, Strided) else ()
    if not all(map(is_known, (*shape_of(node), *starts))):
        return node
    if isinstance(node, Strided) and isinstance(node.operand, Constant):
        array = node.operand.array
        axes = [(int(axis.extent), axis.source, axis.step) for axis in node.axes]
        view = Value(0, layout(array)).viewed([int(start) for start in node.starts], axes)
        return Constant(viewed({0: array}, view), node.operand.name)
    if isinstance(node, Reshape) and isinstance(node.operand, Constant):
        # NumPy copies where there is no view.
        return Constant(node.operand.array.reshape(node.shape), node.operand.name)
    return Constant(run(node))
