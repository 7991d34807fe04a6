"""Identities of nodes: views of views, reshapes of reshapes, copies that change nothing."""

from __future__ import annotations

from dataclasses import replace

from einloom_compiler.dtypes import AnyDType, arithmetic, dtype_name, has_kernel
from einloom_compiler.extents import Extent, is_equal
from einloom_compiler.ir.einsum import Index, is_view
from einloom_compiler.ir.graph import (
    PLAIN,
    Contraction,
    Elementwise,
    Node,
    Reshape,
    Rows,
    Shape,
    Strided,
    ViewAxis,
)
from einloom_compiler.ir.scalar import Value, positions_of
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.scalars import simplified
from einloom_compiler.optimizer.terms import (
    bodies_of,
    has_repeats,
    slots_of,
    with_bodies,
    with_slots,
)


def same_extents(left: Shape, right: Shape) -> bool:
    """Say whether two shapes are equal at all sizes."""
    return len(left) == len(right) and all(
        is_equal(a, b) is True for a, b in zip(left, right, strict=True)
    )


def is_one(extent: Extent) -> bool:
    """Say whether the extent is the integer 1."""
    return isinstance(extent, int) and extent == 1


def identity_axes(shape: Shape) -> tuple[ViewAxis, ...]:
    """Return the axes of a view that is the operand itself."""
    return tuple(ViewAxis(extent, axis) for axis, extent in enumerate(shape))


def simplify_view(node: Node, uses: Uses) -> Node | None:
    """Compose views; a view of everything in its order is its operand.

    Rewrite: ``view(view(x))`` is ``view(x)``; ``x[:, :]`` is ``x``.
    """
    if not isinstance(node, Strided):
        return None
    inner = node.operand
    if isinstance(inner, Strided):
        starts: list[Extent] = list(inner.starts)
        for axis, start in zip(inner.axes, node.starts, strict=True):
            if axis.source is not None:
                starts[axis.source] = starts[axis.source] + axis.step * start
        axes = []
        for axis in node.axes:
            through = None if axis.source is None else inner.axes[axis.source]
            if through is None or through.source is None:
                axes.append(ViewAxis(axis.extent))
            else:
                axes.append(ViewAxis(axis.extent, through.source, axis.step * through.step))
        return Strided(inner.operand, tuple(starts), tuple(axes))
    shape = shape_of(inner)
    canonical = _canonical_axes(node, shape)
    if canonical != node.axes:
        return replace(node, axes=canonical)
    is_whole = all(axis.source == n and axis.step == 1 for n, axis in enumerate(node.axes))
    if is_whole and not any(map(_is_nonzero, node.starts)) and same_extents(node.shape, shape):
        return inner
    return None


def _is_nonzero(start: Extent) -> bool:
    return not (isinstance(start, int) and start == 0)


def _canonical_axes(node: Strided, shape: Shape) -> tuple[ViewAxis, ...]:
    """Return the view's axes, those of extent 1 along the operand's axes of extent 1, in order."""
    plain = [
        ViewAxis(1) if is_one(axis.extent) and (axis.source is None or is_one(shape[axis.source]))
        else replace(axis, step=1) if is_one(axis.extent) else axis
        for axis in node.axes
    ]  # fmt: skip
    used = {axis.source for axis in plain}
    free = [n for n, extent in enumerate(shape) if is_one(extent) and n not in used]
    for number, axis in enumerate(plain):
        if axis.source is None and is_one(axis.extent) and free:
            plain[number] = ViewAxis(1, free.pop(0))
    return tuple(plain)


def simplify_reshape(node: Node, uses: Uses) -> Node | None:
    """Compose reshapes; one that only adds or drops axes of extent 1 is a view.

    Rewrite: ``reshape(reshape(x))`` is ``reshape(x)``; ``reshape(x, shape(x))`` is ``x``.
    """
    if not isinstance(node, Reshape):
        return None
    if isinstance(node.operand, Reshape):
        return replace(node, operand=node.operand.operand)
    before, after = shape_of(node.operand), node.shape
    if same_extents(before, after):
        return node.operand
    long = [axis for axis, extent in enumerate(before) if not is_one(extent)]
    kept = [extent for extent in after if not is_one(extent)]
    if not same_extents(tuple(before[axis] for axis in long), tuple(kept)):
        return None
    sources = iter(long)
    axes = (ViewAxis(1) if is_one(extent) else ViewAxis(extent, next(sources)) for extent in after)
    return Strided(node.operand, (0,) * len(before), tuple(axes))


def simplify_body(node: Node, uses: Uses) -> Node | None:
    """Simplify bodies; equal operands become one, and those that no body uses go."""
    if not isinstance(node, Contraction | Elementwise | Rows) or node.dtype is None:
        return None
    kind = _kind(node.dtype)
    bodies = bodies_of(node)
    simpler = bodies if kind is None else tuple(simplified(body, kind) for body in bodies)
    if simpler != bodies:
        return with_bodies(node, simpler)
    slots = slots_of(node)
    offset = 1 if isinstance(node, Contraction) else 0
    used = {position - offset for body in bodies for position in positions_of(body)}
    kept = [n for n in range(len(slots)) if n in used]
    for n, (_, term) in enumerate(slots):
        if n in used or isinstance(node, Contraction):
            continue
        others = {i for other in kept for i in slots[other][1]}
        if not kept or not set(term) <= others:  # it says how long an index is
            kept.append(n)
    kept.sort()
    if len(kept) < len(slots) or len(set(slots)) < len(slots):
        chosen = {n: Value(place) for place, n in enumerate(kept)}
        return with_slots(node, [slots[n] for n in kept], chosen)
    return None


def _kind(dtype: AnyDType) -> str | None:
    """Return the kind of what the dtype is computed in; None where identities are not known."""
    if dtype.kind == "b" or not has_kernel(dtype):
        return None
    return arithmetic(dtype_name(dtype)).compute[0]


def simplify_copy(node: Node, uses: Uses) -> Node | None:
    """Make views of nodes that only move elements: casts to the same dtype, transposes.

    Rewrite: ``einsum("ij->ji", x)`` is a view of ``x``.
    """
    match node:
        case Contraction(einsum=einsum, operands=(operand,), conjugated=(False,), dtype=dtype):
            is_plain = node.epilogue is PLAIN and not any(node.broadcast) and is_view(einsum)
            term, output = einsum.terms[0], einsum.output
        case Elementwise(operands=(operand,), terms=(term,), output=output, dtype=dtype):
            is_plain = node.body is Value(0) and node.result in (None, dtype)
        case _:
            return None
    if not is_plain or dtype is None:
        return None
    if has_repeats(term) or dtype_of(operand) != dtype:
        if isinstance(node, Contraction) and set(output) == set(term):
            return Elementwise(Value(0), (operand,), (term,), output, dtype)
        return None
    axes: dict[Index, int] = {index: axis for axis, index in enumerate(term)}
    shape = shape_of(operand)
    view = tuple(ViewAxis(shape[axes[index]], axes[index]) for index in output)
    return Strided(operand, (0,) * len(term), view)


#: All of them.
RULES = (simplify_view, simplify_reshape, simplify_body, simplify_copy)
