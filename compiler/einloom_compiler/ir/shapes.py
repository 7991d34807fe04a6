"""Shapes of graph nodes, and the guards that symbolic extents leave.

Sources: numpy.einsum's documentation for the meaning of an index; broadcasting is already marked
on the nodes (see :mod:`.graph`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import (
    Extent,
    evaluate,
    free_names,
    is_equal,
    is_known,
    product,
    text,
)
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Contraction,
    Elementwise,
    Join,
    Node,
    Pad,
    Reshape,
    Rows,
    Shape,
    Take,
)
from einloom_compiler.ir.traversal import nodes_of, operands_of

#: Extents that stand for symbols, in order of their names.
_PRIMES = (67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


@dataclass(frozen=True, slots=True)
class Guard:
    """An equation of extents that holds at some sizes only and is checked at call time."""

    left: Extent
    right: Extent
    reason: str

    def __str__(self) -> str:
        """Print as ``K == L  (reason)``."""
        return f"{text(self.left)} == {text(self.right)}  ({self.reason})"


Indexed = Contraction | Elementwise | Rows | Attention


#: Shapes of nodes that were asked for and are alive: a node never changes.
_shapes: WeakKeyDictionary[Node, Shape] = WeakKeyDictionary()


def shape_of(node: Node) -> Shape:
    """Return the node's shape, symbolic where its inputs' are."""
    found = _shapes.get(node)
    if found is None:
        pending = [node]
        while pending:  # operands first, so that no depth is too deep
            part = pending[-1]
            unknown = [operand for operand in operands_of(part) if operand not in _shapes]
            if unknown:
                pending += unknown
                continue
            if part not in _shapes:
                _shapes[part] = _shape(part)
            pending.pop()
        found = _shapes[node]
    return found


def _shape(node: Node) -> Shape:
    match node:
        case Contraction() | Elementwise() | Rows() | Attention():
            extents = index_extents(node)
            return tuple(extents[index] for index in output_of(node))
        case Pad():
            around = zip(node.before, shape_of(node.operand), node.after, strict=True)
            return tuple(before + extent + after for before, extent, after in around)
        case Join():
            first, *others = (shape_of(operand) for operand in node.operands)
            along = first[node.axis]
            for shape in others:
                along = along + shape[node.axis]
            return (*first[: node.axis], along, *first[node.axis + 1 :])
        case Take():
            return (*shape_of(node.indices), *shape_of(node.table)[1:])
        case _:
            return node.shape


def output_of(node: Indexed) -> Term:
    """Return the index of each of the result's axes."""
    return node.einsum.output if isinstance(node, Contraction) else node.output


def indexed_operands(node: Indexed) -> tuple[tuple[Node, Term, frozenset[int]], ...]:
    """Return each operand, its axes' indices, and the axes that are broadcast by mark."""
    none: frozenset[int] = frozenset()
    match node:
        case Contraction(epilogue=epilogue):
            own = zip(node.operands, node.einsum.terms, node.broadcast, strict=True)
            further = zip(epilogue.operands, epilogue.terms, strict=True)
            return (*own, *((operand, term, none) for operand, term in further))
        case Attention():
            terms = (*node.terms, *node.mask_terms)
        case _:
            terms = node.terms
    return tuple((operand, term, none) for operand, term in zip(node.operands, terms, strict=True))


def index_extents(node: Indexed) -> dict[Index, Extent]:
    """Return the extent of every index: a known integer wins over a symbol equal to it by guard.

    Raises:
        ShapeError: two axes of one index cannot be equal at any size.
    """
    extents, _ = _unify(node)
    return extents


def guards(*roots: Node) -> tuple[Guard, ...]:
    """Return the equations that must hold at call time for whole graphs."""
    found: dict[Guard, None] = {}
    for part in nodes_of(*roots):
        match part:
            case Contraction() | Elementwise() | Rows() | Attention():
                found.update(dict.fromkeys(_unify(part)[1]))
            case Reshape():
                before, after = product(shape_of(part.operand)), product(part.shape)
                if is_equal(before, after) is None:
                    found[Guard(before, after, "a reshape keeps the number of elements")] = None
            case Join():
                found.update(dict.fromkeys(_join_guards(part)))
            case _:
                pass
    return tuple(found)


def _join_guards(node: Join) -> list[Guard]:
    pending: list[Guard] = []
    first, *others = (shape_of(operand) for operand in node.operands)
    for number, shape in enumerate(others, start=1):
        for axis, (known, extent) in enumerate(zip(first, shape, strict=True)):
            if axis == node.axis or is_equal(known, extent) is True:
                continue
            reason = f"axis {axis} of operands 0 and {number} that are joined along {node.axis}"
            if is_equal(known, extent) is False:
                raise ShapeError(
                    f"{reason}: extents {text(known)} and {text(extent)} differ; make them equal"
                )
            pending.append(Guard(known, extent, reason))
    return pending


def _unify(node: Indexed) -> tuple[dict[Index, Extent], list[Guard]]:
    extents: dict[Index, Extent] = {}
    first: dict[Index, str] = {}
    pending: list[Guard] = []
    operands = indexed_operands(node)
    for number, (operand, term, broadcast) in enumerate(operands):
        shape = shape_of(operand)
        if len(shape) != len(term):
            raise ShapeError(
                f"operand {number} has rank {len(shape)} but its term has {len(term)} indices"
            )
        for axis, (index, extent) in enumerate(zip(term, shape, strict=True)):
            if axis in broadcast:
                continue
            where = f"axis {axis} of operand {number}"
            if index not in extents:
                extents[index], first[index] = extent, where
                continue
            known = extents[index]
            match is_equal(known, extent):
                case True:
                    continue
                case False:
                    raise ShapeError(
                        f"index '{index.name}' has extent {text(known)} ({first[index]}) but "
                        f"{text(extent)} ({where}): {text(known)} == {text(extent)} cannot hold; "
                        "give it one extent in both"
                    )
                case None:
                    reason = f"index '{index.name}': {first[index]} and {where}"
                    pending.append(Guard(known, extent, reason))
                    if is_known(extent):
                        extents[index] = extent
    for _, term, axes in operands:
        for axis in axes:
            extents.setdefault(term[axis], 1)
    return extents, pending


def representative_sizes(*roots: Node) -> dict[str, int]:
    """Return a size for every symbol in the graphs: distinct primes."""
    names: set[str] = set()
    for part in nodes_of(*roots):
        for extent in shape_of(part):
            names |= free_names(extent)
        if isinstance(part, Contraction):
            for extent in index_extents(part).values():
                names |= free_names(extent)
    return {
        name: _PRIMES[number % len(_PRIMES)] + 60 * (number // len(_PRIMES))
        for number, name in enumerate(sorted(names))
    }


def open_indices(node: Indexed) -> frozenset[Index]:
    """Return the indices of a node whose extents calls settle."""
    return frozenset(i for i, extent in index_extents(node).items() if not is_known(extent))


def extents_at(node: Contraction, sizes: Mapping[str, int]) -> dict[Index, int]:
    """Return the extents of a contraction's indices at these values of its symbols."""
    return {index: evaluate(extent, sizes) for index, extent in index_extents(node).items()}


def bind_extents(
    expr: EinsumExpr,
    shapes: Sequence[tuple[int, ...]],
    *,
    broadcasts: bool,
) -> tuple[dict[Index, int], tuple[frozenset[int], ...]]:
    """Return every index's extent for concrete shapes, and the axes that are broadcast.

    Args:
        expr: the expression; its terms have the operands' ranks.
        shapes: extents of each operand's axes.
        broadcasts: whether an axis of extent 1 may stand for a longer extent of its index, as in
            numpy.einsum; never within one operand.

    Raises:
        ShapeError: two axes of one index differ.
    """
    extents: dict[Index, int] = {}
    first: dict[Index, int] = {}
    for number, (term, shape) in enumerate(zip(expr.terms, shapes, strict=True)):
        own: dict[Index, int] = {}
        for index, extent in zip(term, shape, strict=True):
            if own.setdefault(index, extent) != extent:
                raise ShapeError(
                    f"dimensions in operand {number} for collapsing index '{index.name}' don't "
                    f"match ({own[index]} != {extent}): {_describe(expr, number, shape)}"
                )
        for index, extent in own.items():
            known = extents.get(index)
            if known is None or (broadcasts and known == 1):
                extents[index], first[index] = extent, number
            elif extent != known and not (broadcasts and extent == 1):
                a, b = first[index], number
                raise ShapeError(
                    f"index '{index.name}' has extent {known} in "
                    f"{_describe(expr, a, shapes[a])} but {extent} in "
                    f"{_describe(expr, b, shape)}; give it one extent in both"
                    + (", or 1 to broadcast" if broadcasts else "")
                )
    broadcast = tuple(
        frozenset(a for a, i in enumerate(term) if shape[a] == 1 and extents[i] != 1)
        for term, shape in zip(expr.terms, shapes, strict=True)
    )
    return extents, broadcast


def _describe(expr: EinsumExpr, number: int, shape: tuple[int, ...]) -> str:
    letters = "".join(index.name for index in expr.terms[number])
    return f"operand {number} '{letters}' (shape {shape})"
