"""Predicted time of one contraction from the extents of its index groups, cheap to search by.

The families' own predictions need a loop nest in memory; a search of thousands of pairs cannot wait
for that. This is their summary: arithmetic at the share of the peak that the family for such a
product reaches, or memory traffic, whichever takes longer, and what a launch costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.schedule.machine import Machine

#: Seconds of one launch and of the intermediate's allocation. Measured 2026-11: 0.5-1 us.
LAUNCH_SECONDS = 0.7e-6
#: Shares of the FMA peak, measured 2026-11 on a 2-core AVX-512 machine: the packed family's
#: microkernel; rows of accumulators in L1 that serve several products; anything else.
_PACKED, _ROWS, _PLAIN = 0.8, 0.3, 0.15
#: How much longer a product takes whose operands are both contiguous along contracted indices only:
#: ``ij,bj->bi`` against ``ij,bi->bj``. Measured 2026-11: up to 1.8 times, with 16 columns.
_ACROSS = 1.25
#: What the packed family takes: rows and columns, contracted points, points of one product.
_PACKED_EDGE, _PACKED_DEPTH, _PACKED_POINTS = 12, 4, 1 << 15


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a machine computes in one dtype.

    Attributes:
        itemsize: bytes of an element.
        flops: the peak of one core, in multiply-adds counted as 2 a second.
        machine: where bandwidths come from.
    """

    itemsize: int
    flops: float
    machine: Machine

    @classmethod
    def of(cls, dtype: str, machine: Machine) -> Rates:
        """Return the rates of a machine for the dtype of this name."""
        element = np.dtype(arithmetic(dtype).compute)
        is_complex = element.kind == "c"
        real = element.itemsize // 2 if is_complex else element.itemsize
        peak = machine.flops(real) / (4 if is_complex else 1)
        return cls(np.dtype(arithmetic(dtype).storage).itemsize, peak, machine)

    def pairwise(
        self, batch: int, rows: int, columns: int, contracted: int, *, is_across: bool = False
    ) -> float:
        """Return the seconds of a batch of products of ``rows`` x ``contracted`` x ``columns``.

        Each number is the product of the extents of an index group of two operands; ``is_across``
        says that both are contiguous along contracted indices only.
        """
        product = rows * columns * contracted
        elements = batch * (rows * contracted + columns * contracted + rows * columns)
        least, most = (rows, columns) if rows < columns else (columns, rows)
        if least >= _PACKED_EDGE and contracted >= _PACKED_DEPTH and product >= _PACKED_POINTS:
            share = _PACKED
        elif least > 1 and contracted > 1 and max(most, batch) >= 8:
            share = _ROWS
        else:
            share = _PLAIN
        seconds = self._roofline(2 * batch * product, share, elements)
        return seconds * _ACROSS if is_across else seconds

    def nest(self, points: int, n_operands: int, elements: int) -> float:
        """Return the seconds of one loop nest over any number of operands."""
        return self._roofline(max(1, n_operands) * points, _PLAIN, elements)

    def _roofline(self, flops: int, share: float, elements: int) -> float:
        moved = elements * self.itemsize
        traffic = moved / self.machine.bandwidth(moved)
        return LAUNCH_SECONDS + max(flops / (self.flops * share), traffic)
