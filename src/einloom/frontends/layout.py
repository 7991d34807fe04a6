"""Memory order of an einsum result: NumPy's rule for ``order=``.

``K`` follows the operands' strides as NumPy's iterator does: iteration axes (the output's, then the
summed ones) are sorted by insertion, an axis moving inwards where the operands agree that its
strides are smaller; where operands conflict, C order wins. The result is laid out in that order.
Source: NumPy's nditer, ``npyiter_find_best_axis_ordering``, checked by running numpy.einsum.
"""

from __future__ import annotations

from collections.abc import Sequence

from einloom_compiler.ir.einsum import EinsumExpr, Index

#: Shape and strides in bytes of an operand.
Layout = tuple[tuple[int, ...], tuple[int, ...]]


def result_axes(expr: EinsumExpr, layouts: Sequence[Layout], order: str) -> tuple[int, ...]:
    """Return the output's axes from the slowest to the fastest varying one.

    Args:
        expr: the einsum expression.
        layouts: shape and strides of each operand.
        order: ``C``, ``F`` or ``K``.
    """
    rank = len(expr.output)
    if order == "F":
        return tuple(range(rank - 1, -1, -1))
    if order == "C" or rank < 2:
        return tuple(range(rank))
    position = {index: axis for axis, index in enumerate(expr.output)}
    ordered = _iteration_order(expr, layouts)
    return tuple(position[index] for index in ordered if index in position)


def _iteration_order(expr: EinsumExpr, layouts: Sequence[Layout]) -> list[Index]:
    """Return all indices from the outermost to the innermost of NumPy's iteration."""
    axes = [*expr.output, *sorted(expr.contracted)]
    columns = [_strides(term, *layout) for term, layout in zip(expr.terms, layouts, strict=True)]
    inner_first = axes[::-1]
    for start in range(1, len(inner_first)):
        index = inner_first[start]
        target = start
        for place in range(start - 1, -1, -1):
            verdict = _compare(columns, index, inner_first[place])
            if verdict is False:
                break
            if verdict is True:
                target = place
        inner_first.insert(target, inner_first.pop(start))
    return inner_first[::-1]


def _compare(columns: list[dict[Index, int]], index: Index, inner: Index) -> bool | None:
    """Say whether ``index`` belongs inside ``inner``; None where no operand has both."""
    verdict: bool | None = None
    for column in columns:
        outer_stride, inner_stride = column.get(index, 0), column.get(inner, 0)
        if outer_stride and inner_stride:
            if inner_stride <= outer_stride:
                verdict = False
            elif verdict is None:
                verdict = True
    return verdict


def _strides(
    term: Sequence[Index], shape: tuple[int, ...], strides: tuple[int, ...]
) -> dict[Index, int]:
    """Return each index's absolute stride; a diagonal's strides add up."""
    total: dict[Index, int] = {}
    for index, extent, stride in zip(term, shape, strides, strict=True):
        if extent != 1:
            total[index] = total.get(index, 0) + stride
    return {index: abs(stride) for index, stride in total.items()}
