"""Functions that move elements: reshapes, transposes, slices, joins, pads, lookups.

Most are views, which cost nothing. Arguments mean what they mean in NumPy, where it has the
function.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from einloom.expression import Expression
from einloom.frontends import build
from einloom.frontends.arguments import listed_extents, target_shape, wrap_axis
from einloom.frontends.build import check_names
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import shape_text
from einloom.functions.pointwise import aligned, broadcast_shape, cast
from einloom.functions.promotion import promoted
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import (
    Extent,
    is_equal,
    is_known,
    parse_extent,
    product,
    quotient,
    text,
)
from einloom_compiler.ir.graph import Join, Node, Pad, Strided, Take, ViewAxis
from einloom_compiler.ir.shapes import guards


def _view(node: Node, axes: Sequence[ViewAxis], starts: Sequence[Extent] | None = None) -> Node:
    rank = Expression(node).ndim
    return Strided(node, tuple(starts) if starts is not None else (0,) * rank, tuple(axes))


@frontend("functions.reshape", operands=("x",))
def reshape(x: Any, shape: Any) -> Any:
    """Return x's elements in C order under another shape; one extent may be -1: the rest.

    Raises:
        ShapeError: the number of elements cannot stay.
    """
    listed = [shape] if isinstance(shape, int | str) else shape
    given, rest = target_shape(listed, "reshape", is_symbolic=True)
    if rest is not None:
        found = quotient(product(x.shape), product(given))
        if found is None:
            raise ShapeError(
                f"cannot reshape {shape_text(x.shape)} to {tuple(listed)}: "
                f"{text(product(x.shape))} is no multiple of {text(product(given))}"
            )
        given[rest] = found
    return build.reshape(x, tuple(given))


@frontend("functions.permute", operands=("x",))
def permute(x: Any, axes: Any = None) -> Any:
    """Return a view with axes in another order, reversed where None.

    Raises:
        AxisError: ``axes`` is no order of x's axes.
    """
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(axes)
    wrapped = [wrap_axis(axis, x.ndim, "permute") for axis in order]
    if sorted(wrapped) != list(range(x.ndim)):
        raise AxisError(f"permute: {order} is no order of {x.ndim} axes; name each once")
    return Expression(_view(x.node, [ViewAxis(x.shape[axis], axis) for axis in wrapped]))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Return a view with two axes exchanged."""
    rank = len(x.shape)
    order = list(range(rank))
    a, b = wrap_axis(axis1, rank, "swapaxes"), wrap_axis(axis2, rank, "swapaxes")
    order[a], order[b] = b, a
    return permute(x, tuple(order))


@frontend("functions.expand_dims", operands=("x",))
def expand_dims(x: Any, axis: Any) -> Any:
    """Return a view with axes of extent 1 at these places of the result."""
    given = axis if isinstance(axis, tuple | list) else (axis,)
    rank = x.ndim + len(given)
    new = {wrap_axis(each, rank, "expand_dims") for each in given}
    if len(new) < len(given):
        raise AxisError(f"expand_dims: {given} names an axis twice")
    sources = iter(range(x.ndim))
    axes = [
        ViewAxis(1) if number in new else ViewAxis(x.shape[source := next(sources)], source)
        for number in range(rank)
    ]
    return Expression(_view(x.node, axes))


@frontend("functions.squeeze", operands=("x",))
def squeeze(x: Any, axis: Any = None) -> Any:
    """Return a view without axes of extent 1: those named, or all that are known to be.

    Raises:
        ShapeError: a named axis has another extent.
    """
    if axis is None:
        dropped = {number for number, extent in enumerate(x.shape) if is_equal(extent, 1) is True}
    else:
        given = axis if isinstance(axis, tuple | list) else (axis,)
        dropped = {wrap_axis(each, x.ndim, "squeeze") for each in given}
    for number in dropped:
        if is_equal(x.shape[number], 1) is not True:
            raise ShapeError(
                f"squeeze: axis {number} has extent {text(x.shape[number])}, not 1 (shape "
                f"{shape_text(x.shape)})"
            )
    kept = [number for number in range(x.ndim) if number not in dropped]
    return Expression(_view(x.node, [ViewAxis(x.shape[number], number) for number in kept]))


@frontend("functions.broadcast_to", operands=("x",))
def broadcast_to(x: Any, shape: Any) -> Any:
    """Return a view of this shape, axes of extent 1 repeated.

    Raises:
        ShapeError: the shape is none that x broadcasts to.
    """
    target = tuple(parse_extent(extent) for extent in listed_extents(shape, "broadcast_to"))
    common = broadcast_shape([x.shape, target])
    if len(common) != len(target) or any(
        is_equal(a, b) is False for a, b in zip(common, target, strict=True)
    ):
        raise ShapeError(
            f"broadcast_to: {shape_text(x.shape)} does not broadcast to {shape_text(target)}"
        )
    node, kept = aligned(x.node, target)
    sources = {axis: source for source, axis in enumerate(kept)}
    axes = [ViewAxis(extent, sources.get(axis)) for axis, extent in enumerate(target)]
    return Expression(_view(node, axes))


@frontend("functions.flip", operands=("x",))
def flip(x: Any, axis: Any = None) -> Any:
    """Return a view with axes reversed, all where None."""
    given = range(x.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    flipped = {wrap_axis(each, x.ndim, "flip") for each in given}
    starts = [n - 1 if number in flipped else 0 for number, n in enumerate(x.shape)]
    axes = [ViewAxis(n, number, -1 if number in flipped else 1) for number, n in enumerate(x.shape)]
    return Expression(_view(x.node, axes, starts))


@frontend("functions.getitem", operands=("x",))
def getitem(x: Any, key: Any) -> Any:
    """Return ``x[key]`` for integers, slices, None and ``...``: a view.

    A slice of a symbolic axis has the length that is written: ``x[:3]`` needs an extent of at least
    3, which is checked when arrays are given.

    Raises:
        AxisError: an index is out of bounds, or there are too many.
        UnsupportedError: the key holds arrays (see :func:`take`), or a symbolic axis is stepped
            through.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    n_axes = sum(each is not None and each is not Ellipsis for each in keys)
    if n_axes > x.ndim:
        raise AxisError(f"x[{key}] has {n_axes} indices, but x has rank {x.ndim}")
    if not any(each is Ellipsis for each in keys):
        keys.append(Ellipsis)
    axes: list[ViewAxis] = []
    starts: list[Extent] = []
    for each in keys:
        if each is Ellipsis:
            for _ in range(x.ndim - n_axes):
                axes.append(ViewAxis(x.shape[len(starts)], len(starts)))
                starts.append(0)
        elif each is None:
            axes.append(ViewAxis(1))
        elif isinstance(each, slice):
            start, extent, step = _sliced(each, x.shape[len(starts)])
            axes.append(ViewAxis(extent, len(starts), step))
            starts.append(start)
        else:
            starts.append(_indexed(each, x.shape[len(starts)], len(starts)))
    return Expression(_view(x.node, axes, starts))


def _indexed(index: Any, extent: Extent, axis: int) -> Extent:
    try:
        number = operator.index(index)
    except TypeError:
        raise UnsupportedError(
            f"cannot index by {index!r}; use integers, slices, None and ..., or take for arrays"
        ) from None
    if isinstance(extent, int) and not -extent <= number < extent:
        raise AxisError(f"index {number} is out of bounds for axis {axis} of extent {extent}")
    return number if number >= 0 else extent + number


def _sliced(key: slice, extent: Extent) -> tuple[Extent, Extent, int]:
    """Return the first position, the number of elements, and the step."""
    if isinstance(extent, int):
        start, stop, step = key.indices(extent)
        positions = range(start, stop, step)
        return (start if positions else 0), len(positions), step
    step = 1 if key.step is None else operator.index(key.step)
    if step == -1 and key.start is None and key.stop is None:
        return extent - 1, extent, -1
    if step != 1:
        raise UnsupportedError(
            f"a slice with step {step} of the symbolic extent {text(extent)} has an extent that is "
            "not known; declare the axis's extent as a number"
        )
    start = _bound(key.start, 0, extent)
    return start, _bound(key.stop, extent, extent) - start, 1


def _bound(value: Any, default: Extent, extent: Extent) -> Extent:
    if value is None:
        return default
    try:
        number = operator.index(value)
    except TypeError:
        return parse_extent(value)
    return number if number >= 0 else extent + number


@frontend("functions.concatenate", operands=("*arrays",))
def _concatenate(*arrays: Any, axis: int = 0) -> Any:
    along = wrap_axis(axis, arrays[0].ndim, "concatenate") if arrays else 0
    dtype = promoted(*arrays)
    check_names(arrays)
    for number, array in enumerate(arrays):
        if array.ndim != arrays[0].ndim:
            raise ShapeError(
                f"concatenate: operand {number} has rank {array.ndim}, operand 0 has rank "
                f"{arrays[0].ndim}; make them equal"
            )
    same = arrays if dtype is None else [cast(array, dtype) for array in arrays]
    node = Join(tuple(array.node for array in same), along)
    guards(node)  # raises where extents cannot be equal
    return Expression(node)


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays one behind another along an axis, in their common dtype.

    Raises:
        ShapeError: shapes differ along other axes.
        SpecError: there are no arrays.
    """
    if not arrays:
        raise SpecError("concatenate needs at least one array")
    return _concatenate(*arrays, axis=axis)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Return arrays of one shape along a new axis."""
    if not arrays:
        raise SpecError("stack needs at least one array")
    return _concatenate(*(expand_dims(array, axis) for array in arrays), axis=axis)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> tuple[Any, ...]:
    """Return views of x cut along an axis: into equal parts, or at positions.

    Raises:
        ShapeError: the extent is no multiple of the number of parts.
    """
    along = wrap_axis(axis, len(x.shape), "split")
    extent = x.shape[along]
    if isinstance(sections, int):
        if not is_known(extent) or extent % sections:
            raise ShapeError(
                f"split: axis {axis} of extent {text(extent)} has no {sections} equal parts; give "
                "positions"
            )
        cuts = [number * (extent // sections) for number in range(1, sections)]
    else:
        cuts = list(sections)
    before = (slice(None),) * along
    pairs = zip([None, *cuts], [*cuts, None], strict=True)
    return tuple(getitem(x, (*before, slice(start, stop))) for start, stop in pairs)


@frontend("functions.pad", operands=("x",))
def pad(x: Any, widths: Any, value: float = 0.0) -> Any:
    """Return x with elements of one value around it.

    Args:
        x: the operand.
        widths: (before, after) of each axis, or one pair or integer for all axes.
        value: of the new elements.
    """
    if isinstance(widths, int):
        widths = (widths, widths)
    if len(widths) == 2 and all(isinstance(width, int | str) for width in widths):
        widths = [widths] * x.ndim
    if len(widths) != x.ndim:
        raise ShapeError(f"pad: {len(widths)} pairs of widths, but x has rank {x.ndim}")
    before, after = zip(*widths, strict=True) if widths else ((), ())
    return Expression(
        Pad(x.node, tuple(map(parse_extent, before)), tuple(map(parse_extent, after)), float(value))
    )


@frontend("functions.take", operands=("x", "indices"))
def take(x: Any, indices: Any, axis: int | None = 0) -> Any:
    """Return the elements of x at integer positions along an axis, as ``numpy.take``.

    ``axis=None`` counts in all elements in C order.

    Positions run from 0 to the extent less 1; others, negative ones too, are an IndexError when
    arrays are given.

    Raises:
        DTypeError: the indices are no integers.
    """
    x, axis = (reshape(x, (-1,)), 0) if axis is None else (x, axis)
    along = wrap_axis(axis, x.ndim, "take")
    if indices.dtype is not None and indices.dtype.kind not in "iu":
        raise DTypeError(f"take: indices must be integers, not {indices.dtype}")
    check_names([x, indices])
    order = (along, *(number for number in range(x.ndim) if number != along))
    rows = Take(permute(x, order).node if along else x.node, indices.node)
    if not along:
        return Expression(rows)
    n = indices.ndim
    back = [*range(n, n + along), *range(n), *range(n + along, n + x.ndim - 1)]
    return permute(Expression(rows), tuple(back))


def flatten(x: Any) -> Any:
    """Return x's elements in C order under one axis."""
    return reshape(x, (-1,))
