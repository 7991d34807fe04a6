"""Views and reshapes of values in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from einloom.runtime.builder import Builder
from einloom.runtime.moving import copy
from einloom.runtime.values import Value
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import evaluate, is_equal, is_known
from einloom_compiler.ir.graph import Shape, Strided
from einloom_compiler.ir.shapes import shape_of

Sizes = Mapping[str, int]


def strided(node: Strided, operand: Value, sizes: Sizes) -> Value:
    """Return a strided view of a value.

    Raises:
        ShapeError: it leaves the operand, whose extents the front end did not know.
    """
    # A flipped axis of extent 0 would start at -1; all other extents are at least 0.
    starts = [evaluate(start + 1, sizes) - 1 for start in node.starts]
    axes = [(evaluate(axis.extent, sizes), axis.source, axis.step) for axis in node.axes]
    if not all(map(is_known, (*shape_of(node.operand), *shape_of(node), *node.starts))):
        _check_bounds(operand.shape, starts, axes)
    return operand.viewed(starts, axes)


def _check_bounds(
    shape: Sequence[int],
    starts: Sequence[int],
    axes: Sequence[tuple[int, int | None, int]],
) -> None:
    """Refuse a view, of extents that were not known to the front end, that leaves its operand.

    Where they are open formulas, whoever runs the recipe must check that.

    Raises:
        ShapeError: it does.
    """
    if any(extent == 0 for extent, _, _ in axes):
        return
    for axis, (extent, start) in enumerate(zip(shape, starts, strict=True)):
        steps = [(n, step) for n, source, step in axes if source == axis]
        is_whole = start == 0 and all(n == extent and step == 1 for n, step in steps)
        if is_whole and len(steps) == 1:
            continue
        if any(type(number) is not int for number in (extent, start, *(n for n, _ in steps))):
            continue
        least = start + sum((n - 1) * step for n, step in steps if step < 0)
        most = start + sum((n - 1) * step for n, step in steps if step > 0)
        if least < 0 or most >= extent:
            raise ShapeError(
                f"a slice takes elements {least} to {most} of axis {axis}, which has extent "
                f"{extent} in this call; pass a longer array, or slice less of it"
            )


def seen_through(node: Strided, value: Value) -> Value | None:
    """Return where the operand is if a view of all its elements is ``value``; None for others."""
    shape = shape_of(node.operand)
    sources = [axis.source for axis in node.axes if axis.source is not None]
    if sorted(sources) != list(range(len(shape))):
        return None
    axes, starts = {}, [0] * len(node.axes)
    for number, axis in enumerate(node.axes):
        if axis.source is None:
            if is_equal(axis.extent, 1) is not True:
                return None
            continue
        is_whole = is_equal(axis.extent, shape[axis.source]) is True
        start = node.starts[axis.source]
        is_flipped = axis.step == -1 and is_equal(start + 1, axis.extent) is True
        if not is_whole or not (is_flipped or (axis.step == 1 and is_equal(start, 0) is True)):
            return None
        extent = value.shape[number]
        starts[number] = extent - 1 if is_flipped else 0
        axes[axis.source] = (extent, number, axis.step)
    return value.viewed(starts, [axes[axis] for axis in range(len(shape))])


def reshaped(operand: Value, shape: tuple[int, ...], builder: Builder) -> Value:
    """Return the value of another shape: a view, or of a copy where that is needed."""
    found = operand.reshaped(shape)
    if found is None:
        whole = builder.buffer(operand.shape, operand.dtype)
        copy(builder, operand, whole)
        found = whole.reshaped(shape)
    assert found is not None
    return found


def evaluated(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the extents at these values of their symbols."""
    return tuple(evaluate(extent, sizes) for extent in shape)
