"""The packed nest: a matrix product over groups of indices, blocked for caches and registers.

Grammar::

    PackedNest = (rows, columns, output: dtype name, compute: dtype name, block: RegisterBlock,
                  depth, row_panels, column_elements, are_rows_contiguous)

An operand with the row indices, one with the column indices and the output are each reached through
digit tables at run time (extents and strides of the indices of a group), so one kernel serves all
contractions of these dtypes. The algorithm is GETT: blocks are packed straight from the strided
operands, nothing is transposed before. Sources: Springer and Bientinesi, "Design of a
high-performance GEMM-like tensor-tensor multiplication", TOMS 44(3), 2018; Matthews, "High-
performance tensor contraction without transposition", SISC 40(1), 2018; loop order as in BLIS.
"""

from __future__ import annotations

from dataclasses import dataclass


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
class PackedNest:
    """A blocked matrix product; see the module's grammar.

    Attributes:
        rows: dtype name in memory of the operand with the row indices.
        columns: dtype name in memory of the operand with the column indices.
        output: dtype name in memory of the output.
        compute: dtype name that operands are cast to.
        element: dtype of packed blocks and accumulators.
        block: the microkernel's register block.
        depth: contracted points of one packed block (``kc``).
        row_panels: panels of ``mr`` rows in one packed block (``mc / mr``).
        column_elements: elements of one packed block of columns at most (``nc * kc``).
        are_rows_contiguous: whether neighbouring rows are neighbours in memory, so that a panel is
            packed row index fastest; otherwise contracted index fastest.
    """

    rows: str
    columns: str
    output: str
    compute: str
    element: str
    block: RegisterBlock
    depth: int
    row_panels: int
    column_elements: int
    are_rows_contiguous: bool

    def __str__(self) -> str:
        """Print the blocking in one line, in BLIS's names."""
        mr, nr = self.block.mr, self.block.nr
        order = "rows" if self.are_rows_contiguous else "k"
        return (
            f"Packed(mr={mr}, nr={nr}, kc={self.depth}, mc={self.row_panels * mr}, "
            f"nc={self.column_elements // self.depth}, {self.element}, "
            f"{order} fastest in row panels)"
        )

    @property
    def scratch_elements(self) -> int:
        """Elements of scratch that each range needs: both packed blocks and one output block."""
        block = self.block
        a = self.row_panels * block.mr * self.depth
        return a + self.column_elements + block.mr * block.nr

    def column_panels(self, n_k: int) -> int:
        """Return how many column panels of this contracted extent fit in a packed block."""
        return self.column_elements // (self.block.nr * min(self.depth, n_k))
