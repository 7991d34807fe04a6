"""Memory order of an einsum result: NumPy's rule for ``order=``.

``K`` follows the operands' strides as NumPy's iterator does: iteration axes (the output's, then the
summed ones) are sorted by insertion, an axis moving inwards where the operands agree that its
strides are smaller; where operands conflict, C order wins. The result is laid out in that order.
Source: NumPy's nditer, ``npyiter_find_best_axis_ordering``, checked by running numpy.einsum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from einloom_compiler.ir.einsum import EinsumExpr, Index

Array = npt.NDArray[Any]


def result_axes(expr: EinsumExpr, arrays: Sequence[Array], order: str) -> list[int]:
    """Return the output's axes from the slowest to the fastest varying one.

    Args:
        expr: the einsum expression.
        arrays: its operands.
        order: ``C``, ``F``, ``A`` or ``K``, in either case.
    """
    rank = len(expr.output)
    wanted = order.upper()
    if wanted == "A":
        wanted = "F" if all(array.flags.f_contiguous for array in arrays) else "C"
    if wanted == "F":
        return list(range(rank - 1, -1, -1))
    if wanted == "C" or rank < 2:
        return list(range(rank))
    position = {index: axis for axis, index in enumerate(expr.output)}
    ordered = _iteration_order(expr, arrays)
    return [position[index] for index in ordered if index in position]


def _iteration_order(expr: EinsumExpr, arrays: Sequence[Array]) -> list[Index]:
    """Return all indices from the outermost to the innermost of NumPy's iteration."""
    axes = [*expr.output, *sorted(expr.contracted)]
    columns = [_strides(term, array) for term, array in zip(expr.terms, arrays, strict=True)]
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


def _strides(term: Sequence[Index], array: Array) -> dict[Index, int]:
    strides: dict[Index, int] = {}
    for index, extent, stride in zip(term, array.shape, array.strides, strict=True):
        if extent != 1:
            strides[index] = strides.get(index, 0) + stride
    return {index: abs(stride) for index, stride in strides.items()}
