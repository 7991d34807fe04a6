"""The packed nest: a matrix product over groups of indices, blocked for caches and registers.

Grammar::

    PackedNest = (rows: Side, columns: Side, output: dtype name, compute: dtype name,
                  element: dtype name, block: RegisterBlock, depth, row_elements, column_elements,
                  is_output_contiguous, sum_elements, epilogue: Scalar,
                  extras: Extra*)
    Side       = (dtype name, order, is_conjugated)
    Extra      = (dtype name, columns: "unit" | "strided" | "none", has_rows)
    order      = "panel" | "k" | "digit" | "gather" | "prepacked"

An operand with the row indices, one with the column indices and the output are each reached through
tables of offsets and digits at run time, so one kernel serves all contractions of these dtypes and
orders. The algorithm is GETT: blocks are packed straight from the strided operands, nothing is
transposed before. Sources: Springer and Bientinesi, "Design of a high-performance GEMM-like
tensor-tensor multiplication", TOMS 44(3), 2018; Matthews, "High-performance tensor contraction
without transposition", SISC 40(1), 2018; blocking as in BLIS, with rows in the part of its columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from einloom_compiler.ir.printer import print_epilogue
from einloom_compiler.ir.scalar import SUM, Scalar

#: How an operand is contiguous in memory: along the run that panels are cut from, along contracted
#: points, along a digit of neighbouring panels, or along nothing that helps; or that its memory
#: holds packed panels already, each with all contracted points (:mod:`~..lowering.prepacking`).
Order = Literal["panel", "k", "digit", "gather", "prepacked"]


#: Bytes of each point that are packed at once where panels are neighbours in memory: a panel's
#: alone are a line or less of a page, which no prefetcher foresees. Measured 2026-11 (2-core AVX2,
#: 1024 cubed in float32): packing took 13 % of the time panel by panel.
PACKED_TOGETHER = 1 << 9

#: Depth where only one panel of rows meets packed columns: no cache need keep them for another.
STREAM_DEPTH = 4096


@dataclass(frozen=True, slots=True)
class RegisterBlock:
    """The output block that the microkernel keeps in registers: ``mr`` x ``nr`` elements.

    Attributes:
        mr: rows.
        vectors: vectors a row.
        width: lanes of a vector.
    """

    mr: int
    vectors: int
    width: int

    @property
    def nr(self) -> int:
        """Columns: ``vectors * width``."""
        return self.vectors * self.width


@dataclass(frozen=True, slots=True)
class Side:
    """How one operand is packed.

    Attributes:
        dtype: dtype name in memory; that of packed elements where it is packed already.
        order: what it is contiguous along.
        is_conjugated: whether its conjugate is packed.
    """

    dtype: str
    order: Order
    is_conjugated: bool = False

    @property
    def is_prepacked(self) -> bool:
        """Whether its memory holds packed panels already."""
        return self.order == "prepacked"


@dataclass(frozen=True, slots=True)
class Extra:
    """How an operand of the epilogue meets a block of the output.

    Attributes:
        dtype: dtype name in memory.
        columns: whether it is contiguous along the columns of a block, has them at another stride,
            or has one value for all of them.
        has_rows: whether it depends on the row of a block.
    """

    dtype: str
    columns: Literal["unit", "strided", "none"]
    has_rows: bool

    def __str__(self) -> str:
        """Print as what it depends on within a block."""
        rows = "rows, " if self.has_rows else ""
        return f"{self.dtype}[{rows}columns {self.columns}]"


@dataclass(frozen=True, slots=True)
class PackedNest:
    """A blocked matrix product; see the module's grammar.

    Attributes:
        rows: the operand with the row indices.
        columns: the operand with the column indices.
        output: dtype name in memory of the output.
        compute: dtype name that operands are cast to.
        element: dtype of packed blocks and accumulators; complex numbers are packed as two parts.
        block: the microkernel's register block.
        depth: contracted points of one packed block at most (``kc``).
        row_elements: elements of the packed rows, which pass by the packed columns.
        column_elements: elements of the packed columns, which stay in L2.
        is_output_contiguous: whether a run of columns is contiguous in the output.
        sum_elements: elements that keep unfinished sums of a task where the output cannot; else 0.
        epilogue: what is computed from each finished sum, ``Value(0)``, and the elements of extras,
            ``Value(1 + n)``.
        extras: further operands of the epilogue.
    """

    rows: Side
    columns: Side
    output: str
    compute: str
    element: str
    block: RegisterBlock
    depth: int
    row_elements: int
    column_elements: int
    is_output_contiguous: bool
    sum_elements: int = 0
    epilogue: Scalar = SUM
    extras: tuple[Extra, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether sums are stored as they are."""
        return self.epilogue is SUM

    def __str__(self) -> str:
        """Print the blocking in one line, in BLIS's names."""
        block = self.block
        maps = print_epilogue(self.epilogue, [str(extra) for extra in self.extras])
        return (
            f"Packed(mr={block.mr}, nr={block.nr}, kc={self.depth}, "
            f"mc={self.row_elements // self.panel_elements(block.mr) * block.mr}, "
            f"nc={self.column_elements // self.panel_elements(block.nr) * block.nr}, {self.element}"
            f"{' pairs' if self.is_complex else ''}, rows {_by(self.rows)}, "
            f"columns {_by(self.columns)}{maps})"
        )

    @property
    def is_complex(self) -> bool:
        """Whether elements are packed as real and imaginary parts."""
        return self.compute.startswith("complex")

    @property
    def is_streamed(self) -> bool:
        """Whether each packed column panel meets one row panel only."""
        return self.columns.is_prepacked and self.depth >= STREAM_DEPTH

    @property
    def parts(self) -> int:
        """Packed elements of one operand element."""
        return 2 if self.is_complex else 1

    @property
    def has_halves(self) -> bool:
        """Whether products are summed as those of 32-bit halves, in two accumulators.

        No target but AVX-512 multiplies vectors of 64-bit integers.
        """
        return self.element in ("int64", "uint64") and self.block.width < 8

    @property
    def accumulators(self) -> int:
        """Accumulators of each vector of a block."""
        return 2 if self.is_complex or self.has_halves else 1

    @property
    def itemsize(self) -> int:
        """Bytes of a packed element."""
        return 8 if self.element.endswith("64") else 4

    @property
    def line(self) -> int:
        """Elements of a cache line."""
        return 64 // self.itemsize

    def panel_elements(self, size: int) -> int:
        """Return what a packed panel of ``size`` rows or columns takes: its points, and a line."""
        return size * self.parts * self.depth + self.line

    def together(self, which: Literal["rows", "columns"]) -> int:
        """Return how many neighbouring panels of ``which`` are packed at once, line by line."""
        size = self.block.mr if which == "rows" else self.block.nr
        return max(1, PACKED_TOGETHER // (size * self.parts * self.itemsize))

    @property
    def tile_elements(self) -> int:
        """Elements of one output block."""
        return self.block.mr * self.block.nr * self.parts

    @property
    def column_start(self) -> int:
        """Where packed columns begin in the scratch: after the rows, whose last store overlaps."""
        if self.rows.is_prepacked:
            return 0
        return -(-(self.row_elements + 2 * self.block.width) // 64) * 64

    @property
    def tile_start(self) -> int:
        """Where an output block, or all unfinished sums, begin in the scratch."""
        if self.columns.is_prepacked:
            return self.column_start
        return self.column_start + -(-(self.column_elements + self.block.width) // 64) * 64

    @property
    def scratch_elements(self) -> int:
        """Elements of scratch that each range needs: both packed blocks and output blocks."""
        return self.tile_start + max(self.sum_elements, self.tile_elements)


def _by(side: Side) -> str:
    return side.order if side.is_prepacked else f"by {side.order}"
