"""Operations of a functional model that rearrange, join or contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einloom.expression import Expression
from einloom.frontends.numpy import einsum_expression
from einloom.keras.lowering.building import (
    cast,
    contraction,
    expanded,
    indices,
    keep_axes,
    permuted,
    reshaped,
)
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import AxisError, ShapeError, UnsupportedError
from einloom_compiler.extents import Extent, is_equal, product, quotient, text
from einloom_compiler.ir.graph import Join, Node, Strided, ViewAxis
from einloom_compiler.ir.shapes import shape_of


def with_axis(node: Node, axis: Any) -> Node:
    """Return the node with an axis of extent 1."""
    rank = len(shape_of(node)) + 1
    axes = axis if isinstance(axis, tuple) else (axis,)
    return expanded(node, *sorted(_counted(a, rank) for a in axes))


def squeezed(node: Node, axis: Any) -> Node:
    """Return the node without axes of extent 1."""
    shape = shape_of(node)
    if axis is None:
        dropped = {a for a, extent in enumerate(shape) if is_equal(extent, 1) is True}
    else:
        axes = axis if isinstance(axis, tuple) else (axis,)
        dropped = {_counted(a, len(shape)) for a in axes}
        for a in dropped:
            if is_equal(shape[a], 1) is not True:
                raise ShapeError(f"axis {a} of extent {text(shape[a])} cannot be squeezed")
    return keep_axes(node, [a for a in range(len(shape)) if a not in dropped])


def reshaped_to(node: Node, newshape: Any) -> Node:
    """Return the node under another shape, whose -1 takes what is left."""
    given = product(shape_of(node))
    fixed = product(extent for extent in newshape if extent not in (-1, None))
    rest = quotient(given, fixed)
    if rest is None:
        raise ShapeError(f"{text(given)} elements cannot be reshaped to {newshape}")
    if sum(extent in (-1, None) for extent in newshape) > 1:
        raise UnsupportedError(f"a reshape to {newshape}")
    return reshaped(node, tuple(rest if extent in (-1, None) else extent for extent in newshape))


def moved(node: Node, axes: Any) -> Node:
    """Return the node with its axes in another order, reversed where none is given."""
    rank = len(shape_of(node))
    order = tuple(reversed(range(rank))) if axes is None else axes
    return permuted(node, [_counted(axis, rank) for axis in order])


def broadcast(node: Node, shape: Any) -> Node:
    """Return the node repeated along its axes of extent 1, and along new first ones."""
    own = shape_of(node)
    if any(extent is None for extent in shape):
        raise UnsupportedError(f"a broadcast to {shape}")
    axes = []
    for number, extent in enumerate(shape):
        axis = number - (len(shape) - len(own))
        is_own = axis >= 0 and (is_equal(own[axis], 1) is not True or extent == 1)
        axes.append(ViewAxis(own[axis], axis) if is_own else ViewAxis(extent))
    return Strided(node, (0,) * len(own), tuple(axes))


def concatenated(nodes: Sequence[Node], axis: int) -> Node:
    """Return the nodes one behind the other."""
    axis = _counted(axis, len(shape_of(nodes[0])))
    return nodes[0] if len(nodes) == 1 else Join(tuple(nodes), axis)


def matrix_product(x: Node, y: Node, dtype: AnyDType) -> Node:
    """Return the product of matrices, leading axes broadcast as NumPy's."""
    n, m = len(shape_of(x)), len(shape_of(y))
    if min(n, m) < 2:
        raise UnsupportedError("a product of vectors by matmul")
    batch = indices(max(n, m) - 2)
    i, j, k = indices(3, 24)
    terms = []
    operands = []
    for node, rank, last in ((x, n, (i, k)), (y, m, (k, j))):
        term = (*batch[len(batch) - (rank - 2) :], *last)
        shape = shape_of(node)
        other = shape_of(y if node is x else x)
        kept = [
            a
            for a in range(rank)
            if a >= rank - 2
            or is_equal(shape[a], 1) is not True
            or rank - a > len(other)
            or is_equal(other[len(other) - rank + a], 1) is True
        ]
        operands.append(cast(keep_axes(node, kept), dtype))
        terms.append(tuple(term[a] for a in kept))
    return contraction(terms, (*batch, i, j), *operands, dtype=dtype)


def einsum(subscripts: str, nodes: Sequence[Node], dtype: AnyDType) -> Node:
    """Return an einsum; its output must be spelled out, since Keras's default differs."""
    if "->" not in subscripts:
        raise UnsupportedError(f"the einsum {subscripts!r} without an explicit output")
    operands = [Expression(cast(node, dtype)) for node in nodes]
    return einsum_expression(subscripts, *operands).node


def item(node: Node, key: Any) -> Node:
    """Return the elements that a key of integers, slices, None and ``...`` picks: a view."""
    shape = shape_of(node)
    keys = key if isinstance(key, tuple) else (key,)
    named = sum(part is not None and not _is_ellipsis(part) for part in keys)
    starts: list[Extent] = []
    axes: list[ViewAxis] = []
    for part in keys:
        axis = len(starts)
        if part is None:
            axes.append(ViewAxis(1))
            continue
        if _is_ellipsis(part):
            for whole in range(axis, axis + len(shape) - named):
                starts.append(0)
                axes.append(ViewAxis(shape[whole], whole))
            continue
        if axis >= len(shape):
            raise AxisError(f"{len(keys)} indices for a tensor of rank {len(shape)}")
        if isinstance(part, int) and not isinstance(part, bool):
            starts.append(_position(part, shape[axis]))
        elif isinstance(part, Mapping) and part.get("class_name") == "__slice__":
            start, extent, step = _slice(part["config"], shape[axis])
            starts.append(start)
            axes.append(ViewAxis(extent, axis, step))
        else:
            raise UnsupportedError(f"an index {part!r}")
    for axis in range(len(starts), len(shape)):
        starts.append(0)
        axes.append(ViewAxis(shape[axis], axis))
    return Strided(node, tuple(starts), tuple(axes))


def _is_ellipsis(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("class_name") == "__ellipsis__"


def _position(number: int, extent: Extent) -> Extent:
    if isinstance(extent, int) and not -extent <= number < extent:
        raise AxisError(f"index {number} lies outside an axis of extent {extent}")
    return number if number >= 0 else extent + number


def _slice(config: Mapping[str, Any], extent: Extent) -> tuple[Extent, Extent, int]:
    """Return start, number of elements and step of a slice."""
    start, stop, step = (config.get(name) for name in ("start", "stop", "step"))
    if not all(part is None or isinstance(part, int) for part in (start, stop, step)):
        raise UnsupportedError("a slice whose bounds are tensors")
    if isinstance(extent, int):
        first, behind, step = slice(start, stop, step).indices(extent)
        return first, len(range(first, behind, step)), step
    if (start, stop) == (None, None) and step in (None, 1):
        return 0, extent, 1
    if step in (None, 1) and (start or 0) >= 0 and (stop is None or stop < 0):
        first = start or 0
        # A sequence shorter than this has no elements there, which an extent cannot say.
        return first, extent - first + (stop or 0), 1
    if step in (None, 1) and start is not None and start < 0 and stop is None:
        return extent + start, -start, 1
    raise UnsupportedError(f"a slice {start}:{stop}:{step} of an axis of open extent")


def _counted(axis: Any, rank: int) -> int:
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise AxisError(f"axis {axis} lies outside rank {rank}")
    return axis % rank
