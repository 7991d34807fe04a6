"""Tables of integers that kernels read besides their operands.

A table is kept as what it is made from, so that a program can print how to build it; the array is
built when a kernel is launched first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from einloom_compiler.lowering.formula import formula_text

TableArray = npt.NDArray[np.int64]

#: Defines what printed offset tables call.
OFFSETS_SOURCE = '''\
def offset_table(axes):
    """Return the offsets of all points along these axes: per point, one for each stride."""
    table = np.zeros((1, len(axes[0]) - 1), np.int64)
    for extent, *strides in axes:
        steps = np.arange(extent)[:, None] * np.array(strides)
        table = (table[:, None] + steps).reshape(-1, len(strides))
    return table.reshape(-1)
'''


@dataclass(frozen=True, slots=True)
class OffsetTable:
    """The element offsets of every point of a group of indices, in several operands.

    Attributes:
        axes: extent, then the stride in each operand, of each index, slowest first; at least one.
    """

    axes: tuple[tuple[int, ...], ...]

    def array(self) -> TableArray:
        """Return the offsets: (points, operands)."""
        offsets = np.zeros((1, len(self.axes[0]) - 1), np.int64)
        for extent, *strides in self.axes:
            steps = np.arange(extent, dtype=np.int64)[:, None] * np.array(strides, np.int64)
            offsets = (offsets[:, None, :] + steps[None, :, :]).reshape(-1, len(strides))
        return np.ascontiguousarray(offsets, np.int64)

    def text(self) -> str:
        """Return Python that builds it, see :data:`OFFSETS_SOURCE`."""
        rows = ", ".join(f"({', '.join(map(formula_text, axis))})" for axis in self.axes)
        return f"offset_table([{rows}])"


@dataclass(frozen=True, slots=True)
class DigitTable:
    """Extent and strides of the indices that a panel's or batch's number is made of.

    Attributes:
        rows: extent and three strides of each index, slowest first.
    """

    rows: tuple[tuple[int, ...], ...]

    def array(self) -> TableArray:
        """Return the rows, one of extent 1 where there are none: (digits, 4)."""
        return np.array(self.rows or ((1, 0, 0, 0),), np.int64)

    def text(self) -> str:
        """Return Python that builds it, flat."""
        rows = self.rows or ((1, 0, 0, 0),)
        inner = ", ".join(f"[{', '.join(map(formula_text, row))}]" for row in rows)
        return f"np.array([{inner}]).reshape(-1)"


Table = OffsetTable | DigitTable
