"""Walks over expression graphs: operands, nodes in order of evaluation, rewriting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from einloom_compiler.extents import Extent, replaced
from einloom_compiler.ir.graph import (
    Attention,
    Contraction,
    Elementwise,
    Input,
    Iota,
    Join,
    Node,
    Pad,
    Reshape,
    Rows,
    Shape,
    Strided,
    Take,
)

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


def operands_of(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node is computed from, in order, those of an epilogue last."""
    match node:
        case Contraction():
            return (*node.operands, *node.epilogue.operands)
        case Elementwise() | Rows() | Attention() | Join():
            return node.operands
        case Reshape() | Strided() | Pad():
            return (node.operand,)
        case Take():
            return (node.table, node.indices)
        case _:
            return ()


def with_operands(node: Node, operands: tuple[Node, ...]) -> Node:
    """Return the node computed from other operands, given as :func:`operands_of` lists them."""
    if operands == operands_of(node):
        return node
    match node:
        case Contraction():
            n = len(node.operands)
            epilogue = node.epilogue
            if epilogue.operands:
                epilogue = replace(epilogue, operands=operands[n:])
            return replace(node, operands=operands[:n], epilogue=epilogue)
        case Attention():
            query, key, value, *masks = operands
            return replace(node, query=query, key=key, value=value, masks=tuple(masks))
        case Elementwise() | Rows() | Join():
            return replace(node, operands=operands)
        case Reshape() | Strided() | Pad():
            return replace(node, operand=operands[0])
        case Take():
            return replace(node, table=operands[0], indices=operands[1])
        case _:
            return node


def ordered(roots: Sequence[Node], before: Callable[[Node], tuple[Node, ...]]) -> tuple[Node, ...]:
    """Return nodes, once each, every one after those ``before`` it."""
    found: dict[Node, None] = {}
    pending: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while pending:
        node, is_ready = pending.pop()
        if node in found:
            continue
        if is_ready:
            found[node] = None
            continue
        pending.append((node, True))
        pending += [(other, False) for other in reversed(before(node))]
    return tuple(found)


def nodes_of(*roots: Node) -> tuple[Node, ...]:
    """Return the nodes of graphs, once each, every one after those it is computed from."""
    return ordered(roots, operands_of)


def rewritten(node: Node, rewrite: Callable[[Node], Node]) -> Node:
    """Return the graph with ``rewrite`` applied to every node, operands before what uses them."""
    made: dict[Node, Node] = {}
    for part in nodes_of(node):
        operands = tuple(made[operand] for operand in operands_of(part))
        made[part] = rewrite(with_operands(part, operands))
    return made[node]


def inputs_of(*roots: Node) -> tuple[Input, ...]:
    """Return the graphs' inputs, once each by name, in order of first use, depth first."""
    found: dict[str, Input] = {}
    for part in nodes_of(*roots):
        if isinstance(part, Input):
            found.setdefault(part.name, part)
    return tuple(found.values())


def contractions_of(*roots: Node) -> tuple[Contraction, ...]:
    """Return the graphs' contractions, once each, in order of evaluation."""
    return tuple(part for part in nodes_of(*roots) if isinstance(part, Contraction))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return the graph with its inputs called by these names."""

    def rename(part: Node) -> Node:
        return replace(part, name=names[part.name]) if isinstance(part, Input) else part

    return rewritten(node, rename)


def dtype_of(node: Node) -> np.dtype[Any] | None:
    """Return the node's dtype, None while it is not settled."""
    while True:
        match node:
            case Contraction():
                return node.epilogue.dtype or node.dtype
            case Elementwise() | Rows():
                return node.result or node.dtype
            case Reshape() | Strided() | Pad():
                node = node.operand
            case Join():
                node = node.operands[0]
            case Take():
                node = node.table
            case _:
                return node.dtype


def at_sizes(node: Node, sizes: Mapping[str, Extent]) -> Node:
    """Return the graph with these values for the symbols so named."""

    def of(extents: Shape) -> Shape:
        return tuple(replaced(extent, sizes) for extent in extents)

    def rewrite(part: Node) -> Node:
        match part:
            case Input() | Reshape():
                return replace(part, shape=of(part.shape))
            case Iota():
                return replace(part, extent=replaced(part.extent, sizes))
            case Pad():
                return replace(part, before=of(part.before), after=of(part.after))
            case Strided():
                axes = (replace(a, extent=replaced(a.extent, sizes)) for a in part.axes)
                return replace(part, starts=of(part.starts), axes=tuple(axes))
            case _:
                return part

    return rewritten(node, rewrite)
