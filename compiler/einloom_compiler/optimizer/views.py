"""Views dissolve into terms: a transpose or a broadcast is a matter of which index an axis has.

A view of an operand keeps what no term can say (slices, steps, windows); a transposed result is
computed in that order; a slice of a result is computed from slices of its operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from einloom_compiler.extents import Extent, is_equal
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Contraction,
    Elementwise,
    Node,
    Rows,
    Strided,
    ViewAxis,
)
from einloom_compiler.ir.shapes import (
    Indexed,
    indexed_operands,
    output_of,
    shape_of,
)
from einloom_compiler.ir.verify_graph import attention_flaw
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.simplify import identity_axes
from einloom_compiler.optimizer.terms import with_output

#: An operand, its axes' indices, and its axes that are broadcast by mark.
Part = tuple[Node, Term, frozenset[int]]


def with_parts(node: Indexed, parts: Sequence[Part]) -> Indexed:
    """Return the node with other operands and terms, as ``indexed_operands`` lists them."""
    operands = tuple(operand for operand, _, _ in parts)
    terms = tuple(term for _, term, _ in parts)
    match node:
        case Contraction(einsum=einsum, epilogue=epilogue):
            n = len(node.operands)
            further = replace(epilogue, operands=operands[n:], terms=terms[n:])
            return replace(
                node,
                einsum=EinsumExpr(terms[:n], einsum.output),
                operands=operands[:n],
                broadcast=tuple(axes for _, _, axes in parts[:n]),
                epilogue=further,
            )
        case Attention():
            query, key, value, *masks = operands
            a, b, c, *mask_terms = terms
            return replace(
                node,
                query=query,
                key=key,
                value=value,
                masks=tuple(masks),
                terms=(a, b, c),
                mask_terms=tuple(mask_terms),
            )
        case _:
            return replace(node, operands=operands, terms=terms)


def absorb_views(node: Node, uses: Uses) -> Node | None:
    """Let operands' terms say how a view orders and repeats axes.

    Rewrite: ``einsum("ij,jk->ik", x.T, y)`` is ``einsum("ji,jk->ik", x, y)``.
    """
    if not isinstance(node, Indexed):
        return None
    parts = list(indexed_operands(node))
    # In a contraction only its own operands say how long an index is, not those of its epilogue.
    n_own = len(node.operands)
    changed = False
    for number, part in enumerate(parts):
        if not isinstance(part[0], Strided):
            continue
        if (simpler := _absorbed(parts, number, n_own)) is not None:
            parts[number] = simpler
            changed = True
    if not changed:
        return None
    made = with_parts(node, parts)
    if isinstance(made, Attention) and attention_flaw(made) is not None:
        return None
    return made


def _absorbed(parts: list[Part], number: int, n_own: int) -> Part | None:
    """Return the operand without the part of its view that its term can say."""
    view, term, marks = parts[number]
    assert isinstance(view, Strided)
    kept = [n for n, axis in enumerate(view.axes) if axis.source is not None]
    measured = {term[n] for n in kept if n not in marks}
    for other, (_, indices, axes) in enumerate(parts[:n_own]):
        if other != number:
            measured |= {index for n, index in enumerate(indices) if n not in axes}
    for n, axis in enumerate(view.axes):
        # A new axis that alone says how long its index is must stay, and so must one of extent 1
        # that only a mark makes longer.
        if axis.source is None and (term[n] not in measured or n in marks):
            kept.append(n)
    kept.sort(key=lambda n: (_source(view.axes[n], len(view.starts)), n))
    if kept == list(range(len(view.axes))):
        return None
    inner = Strided(view.operand, view.starts, tuple(view.axes[n] for n in kept))
    places = {n: place for place, n in enumerate(kept)}
    return inner, tuple(term[n] for n in kept), frozenset(places[n] for n in marks)


def _source(axis: ViewAxis, last: int) -> int:
    return last if axis.source is None else axis.source


def permute_result(node: Node, uses: Uses) -> Node | None:
    """Compute a result in the order in which its only user views it.

    Rewrite: ``einsum("ij,jk->ik", x, y).T`` is ``einsum("ij,jk->ki", x, y)``.
    """
    if not isinstance(node, Strided) or not isinstance(node.operand, Indexed):
        return None
    inner = node.operand
    sources = [axis.source for axis in node.axes if axis.source is not None]
    rank = len(node.starts)
    if not uses.is_single(inner) or sorted(sources) != list(range(rank)):
        return None
    if sources == list(range(rank)):
        return None
    output = output_of(inner)
    made = with_output(inner, tuple(output[source] for source in sources))
    places = {source: place for place, source in enumerate(sources)}
    axes = tuple(
        axis if axis.source is None else replace(axis, source=places[axis.source])
        for axis in node.axes
    )
    return Strided(made, tuple(node.starts[source] for source in sources), axes)


def slice_operands(node: Node, uses: Uses) -> Node | None:
    """Compute only the part of a result that its only user views.

    Rewrite: ``(x + y)[2:4]`` is ``x[2:4] + y[2:4]``.
    """
    if not isinstance(node, Strided):
        return None
    inner = node.operand
    if not isinstance(inner, Contraction | Elementwise | Rows) or not uses.is_single(inner):
        return None
    output, shape = output_of(inner), shape_of(inner)
    along: dict[int, list[ViewAxis]] = {}
    for axis in node.axes:
        if axis.source is not None:
            along.setdefault(axis.source, []).append(axis)
    stored = set(inner.reduced) if isinstance(inner, Rows) else set()
    cuts: dict[Index, tuple[Extent, ViewAxis | None]] = {}
    for number, (index, start) in enumerate(zip(output, node.starts, strict=True)):
        found = along.get(number, [])
        if len(found) > 1 or index in stored:
            continue
        along_it = found[0] if found else None
        is_whole = (
            along_it is not None
            and along_it.step == 1
            and isinstance(start, int)
            and start == 0
            and is_equal(along_it.extent, shape[number]) is True
        )
        if not is_whole:
            cuts[index] = start, along_it
    parts = indexed_operands(inner)
    if any(term[axis] in cuts for _, term, marks in parts for axis in marks):
        return None
    if not cuts:
        return None
    made = with_parts(inner, [_cut(part, cuts) for part in parts])
    made = with_output(made, tuple(i for i in output if i not in cuts or cuts[i][1] is not None))
    left = [n for n, i in enumerate(output) if i not in cuts or cuts[i][1] is not None]
    places = {source: place for place, source in enumerate(left)}
    starts = tuple(0 if output[n] in cuts else node.starts[n] for n in left)
    axes = tuple(
        axis
        if axis.source is None
        else ViewAxis(
            axis.extent, places[axis.source], 1 if output[axis.source] in cuts else axis.step
        )
        for axis in node.axes
    )
    return Strided(made, starts, axes)


def _cut(part: Part, cuts: dict[Index, tuple[Extent, ViewAxis | None]]) -> Part:
    operand, term, marks = part
    if not set(term) & set(cuts):
        return part
    shape = shape_of(operand)
    whole = identity_axes(shape)
    starts: list[Extent] = [0] * len(term)
    axes: list[ViewAxis] = []
    left: list[int] = []
    for number, index in enumerate(term):
        if index not in cuts:
            axes.append(whole[number])
            left.append(number)
            continue
        start, cut = cuts[index]
        starts[number] = start
        if cut is not None:
            axes.append(ViewAxis(cut.extent, number, cut.step))
            left.append(number)
    places = {n: place for place, n in enumerate(left)}
    return (
        Strided(operand, tuple(starts), tuple(axes)),
        tuple(term[n] for n in left),
        frozenset(places[n] for n in marks),
    )


#: All of them.
RULES = (absorb_views, permute_result, slice_operands)
