"""Reshapes that split or join whole indices move out of the way: they are a matter of indices.

A split moves up to the operands, whose elements it renames at no cost, a join moves down to the
users. Where they meet they cancel; at constants they are folded; at inputs a split is a view.
"""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.extents import Extent, is_equal, product
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Input,
    Iota,
    Node,
    Reshape,
    Rows,
    Shape,
    Strided,
)
from einloom_compiler.ir.shapes import (
    Indexed,
    indexed_operands,
    output_of,
    shape_of,
)
from einloom_compiler.ir.verify_graph import attention_flaw
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.simplify import is_one
from einloom_compiler.optimizer.terms import fresh, has_repeats, indices_of, map_terms
from einloom_compiler.optimizer.views import Part, with_parts


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring axes of an operand that become neighbouring axes of its reshape.

    Attributes:
        before: the operand's axes.
        after: the result's axes.
    """

    before: range
    after: range

    @property
    def is_split(self) -> bool:
        """Whether one axis becomes several."""
        return len(self.before) == 1 and len(self.after) > 1

    @property
    def is_join(self) -> bool:
        """Whether several axes become one."""
        return len(self.before) > 1 and len(self.after) == 1


def groups_of(before: Shape, after: Shape) -> tuple[Group, ...] | None:
    """Return the smallest groups of axes that a reshape keeps apart; None where it is not known.

    Axes of extent 1 at the end may be a group with nothing on the other side.
    """
    found: list[Group] = []
    i = j = 0
    while i < len(before) and j < len(after):
        sizes = sorted(
            ((m, n) for m in range(1, len(before) - i + 1) for n in range(1, len(after) - j + 1)),
            key=lambda pair: (sum(pair), pair),
        )
        for m, n in sizes:
            if is_equal(product(before[i : i + m]), product(after[j : j + n])) is True:
                found.append(Group(range(i, i + m), range(j, j + n)))
                i, j = i + m, j + n
                break
        else:
            return None
    rest = (*before[i:], *after[j:])
    if any(is_equal(extent, 1) is not True for extent in rest):
        return None
    if rest:
        found.append(Group(range(i, len(before)), range(j, len(after))))
    return tuple(found)


def split_result(node: Node, uses: Uses) -> Node | None:
    """Compute a result with the indices that its only user splits one of its axes into.

    Rewrite: ``reshape(einsum("be,en->bn", x, w), (B, H, D))`` is
    ``einsum("be,ehd->bhd", x, reshape(w, (E, H, D)))``.
    """
    if not isinstance(node, Reshape) or not isinstance(node.operand, Indexed):
        return None
    inner = node.operand
    shape = shape_of(inner)
    groups = groups_of(shape, node.shape) if uses.is_single(inner) else None
    made: Indexed = inner
    for group in groups or ():
        if group.is_split:
            index = output_of(inner)[group.before[0]]
            made = split_index(made, index, tuple(node.shape[n] for n in group.after)) or made
    return None if made is inner else Reshape(made, node.shape)


def split_index(node: Indexed, index: Index, extents: Shape) -> Indexed | None:
    """Return the node with an index replaced by several, its operands reshaped; None if it cannot.

    Rewrite: an axis ``n`` of extent ``H * D`` is the axes ``h, d``, with ``n == h * D + d``.
    """
    parts = indexed_operands(node)
    if any(term[axis] == index for _, term, marks in parts for axis in marks):
        return None
    if isinstance(node, Rows) and index in node.reduced and node.reductions[0].is_running:
        return None  # a scan runs along one index
    taken = indices_of(node)
    several = tuple(fresh(index, taken) for _ in extents)

    def change(term: Term) -> Term:
        return tuple(i for own in term for i in (several if own == index else (own,)))

    changed: list[Part] = []
    for operand, term, marks in parts:
        shape: list[Extent] = []
        places: list[int] = []
        for own, extent in zip(term, shape_of(operand), strict=True):
            places.append(len(shape))
            shape += extents if own == index else (extent,)
        shaped = Reshape(operand, tuple(shape)) if index in term else operand
        changed.append((shaped, change(term), frozenset(places[axis] for axis in marks)))
    made = with_parts(map_terms(node, change), changed)
    if isinstance(made, Attention) and attention_flaw(made) is not None:
        return None
    return made


def join_operand(node: Node, uses: Uses) -> Node | None:
    """Use an operand's own indices where a reshape joins them to one.

    Rewrite: ``einsum("bn,ne->be", reshape(y, (B, H * D)), w)`` is
    ``einsum("bhd,hde->be", y, reshape(w, (H, D, E)))``.
    """
    if not isinstance(node, Indexed):
        return None
    for operand, term, marks in indexed_operands(node):
        if not isinstance(operand, Reshape) or marks or has_repeats(term):
            continue
        inner = operand.operand
        if isinstance(inner, Input | Constant | Iota):
            continue
        before = shape_of(inner)
        for group in groups_of(before, operand.shape) or ():
            if not group.is_join:
                continue
            index = term[group.after[0]]
            if not _is_worth(node, index, operand, uses):
                continue
            made = split_index(node, index, tuple(before[n] for n in group.before))
            if made is None:
                continue
            if index not in output_of(node):
                return made
            return Reshape(made, shape_of(node))
    return None


def _is_worth(node: Indexed, index: Index, operand: Reshape, uses: Uses) -> bool:
    """Say whether a join should move: where it vanishes, or lets two nodes meet."""
    if index not in output_of(node):
        return not isinstance(node, Rows)
    inner = operand.operand
    if isinstance(inner, Strided) and any(
        axis.source is None and not is_one(axis.extent) for axis in inner.axes
    ):
        return True  # a repeat, which would be stored
    meets = isinstance(inner, Contraction | Rows) and isinstance(node, Elementwise | Rows)
    meets = meets or (isinstance(inner, Elementwise) and isinstance(node, Elementwise | Rows))
    return meets and uses.is_single(operand) and uses.is_single(inner)


#: All of them.
RULES = (split_result, join_operand)
