"""What layers are lowered with: nodes of common forms, with NumPy's broadcasting resolved."""

from __future__ import annotations

from collections.abc import Sequence

from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.extents import Extent, is_equal
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    PLAIN,
    Contraction,
    Elementwise,
    Epilogue,
    Node,
    Reshape,
    Shape,
    Strided,
    ViewAxis,
)
from einloom_compiler.ir.scalar import Scalar, Value
from einloom_compiler.ir.shapes import index_extents, shape_of
from einloom_compiler.ir.traversal import dtype_of

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Masks are combined as numbers 0 and 1, and stored as bools.
FLAG = as_dtype("uint8")
BOOL = as_dtype("bool")
FLOAT32 = as_dtype("float32")


def indices(count: int, start: int = 0) -> Term:
    """Return ``count`` indices, from the one of number ``start``."""
    return tuple(Index(_LETTERS[n % 26], n // 26) for n in range(start, start + count))


def settled_dtype(node: Node) -> AnyDType:
    """Return the node's dtype; operands of layers always have one."""
    dtype = dtype_of(node)
    assert dtype is not None
    return dtype


def wide(dtype: AnyDType) -> AnyDType:
    """Return the dtype in which Keras normalises: at least float32."""
    return dtype if dtype.name == "float64" else FLOAT32


def cast(node: Node, dtype: AnyDType) -> Node:
    """Return the node's values in another dtype."""
    if dtype_of(node) == dtype:
        return node
    term = indices(len(shape_of(node)))
    return Elementwise(Value(0), (node,), (term,), term, dtype)


def elementwise(
    body: Scalar, *operands: Node, dtype: AnyDType, result: AnyDType | None = None
) -> Node:
    """Return ``body`` of operands that broadcast as NumPy's do, computed in ``dtype``."""
    rank = max(len(shape_of(operand)) for operand in operands)
    output = indices(rank)
    longer = {
        rank - len(shape) + axis
        for shape in map(shape_of, operands)
        for axis, extent in enumerate(shape)
        if is_equal(extent, 1) is not True
    }
    aligned, terms = [], []
    for operand in operands:
        shape = shape_of(operand)
        kept = [
            axis
            for axis, extent in enumerate(shape)
            if is_equal(extent, 1) is not True or rank - len(shape) + axis not in longer
        ]
        aligned.append(keep_axes(operand, kept))
        terms.append(tuple(output[rank - len(shape) + axis] for axis in kept))
    node = Elementwise(body, tuple(aligned), tuple(terms), output, dtype, result)
    index_extents(node)
    return node


def contraction(
    terms: Sequence[Term],
    output: Term,
    *operands: Node,
    dtype: AnyDType,
    epilogue: Epilogue = PLAIN,
) -> Node:
    """Return the contraction of operands whose extents agree."""
    node = Contraction(
        EinsumExpr(tuple(terms), output),
        operands,
        dtype,
        (False,) * len(operands),
        (frozenset(),) * len(operands),
        epilogue,
    )
    index_extents(node)
    return node


def keep_axes(node: Node, kept: Sequence[int]) -> Node:
    """Return the node without its other axes, at their first element."""
    shape = shape_of(node)
    if list(kept) == list(range(len(shape))):
        return node
    return Strided(node, (0,) * len(shape), tuple(ViewAxis(shape[a], a) for a in kept))


def permuted(node: Node, order: Sequence[int]) -> Node:
    """Return the node with its axes in another order: output axis n is axis ``order[n]``."""
    return keep_axes(node, order)


def expanded(node: Node, *axes: int) -> Node:
    """Return the node with axes of extent 1 at these places of the result, in ascending order."""
    if not axes:
        return node
    shape = shape_of(node)
    view = [ViewAxis(extent, axis) for axis, extent in enumerate(shape)]
    for axis in axes:
        view.insert(axis, ViewAxis(1))
    return Strided(node, (0,) * len(shape), tuple(view))


def repeated(node: Node, axis: int, times: Extent) -> Node:
    """Return the node with a new axis at ``axis`` along which it is the same."""
    shape = shape_of(node)
    view = [ViewAxis(extent, a) for a, extent in enumerate(shape)]
    view.insert(axis, ViewAxis(times))
    return Strided(node, (0,) * len(shape), tuple(view))


def windows(node: Node, axis: int, count: Extent, stride: int, length: int, dilation: int) -> Node:
    """Return the node with ``axis`` split into ``count`` windows and their ``length`` elements."""
    shape = shape_of(node)
    view = [ViewAxis(extent, a) for a, extent in enumerate(shape)]
    view[axis : axis + 1] = [ViewAxis(count, axis, stride), ViewAxis(length, axis, dilation)]
    return Strided(node, (0,) * len(shape), tuple(view))


def split_axis(node: Node, axis: int, count: int, length: Extent) -> Node:
    """Return a view in which ``count`` pieces of ``length`` elements take the place of an axis."""
    shape = shape_of(node)
    view = [ViewAxis(extent, a) for a, extent in enumerate(shape)]
    view[axis : axis + 1] = [ViewAxis(count, axis, length), ViewAxis(length, axis)]
    return Strided(node, (0,) * len(shape), tuple(view))


def reshaped(node: Node, shape: Shape) -> Node:
    """Return the node's elements in C order under another shape."""
    return node if shape_of(node) == shape else Reshape(node, shape)
