"""Write rows that are read side by side, each in a part of its own of the kept index.

A core that reads one row after another asks for too little of memory at once; see
:mod:`einloom_compiler.schedule.streams`. Where the parts do not divide the rows evenly, the last
row is computed again for what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from einloom_compiler.codegen.rows_passes import RowsWriter
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.scalar import Scalar, Value, positions_of


class StreamsWriter(RowsWriter):
    """Writes one kernel whose rows are read as several streams: a copy of a statement for each."""

    def write_rows(self) -> None:
        """Write what is done for the rows in work."""
        index = self.nest.blocked
        for copy in range(1, self.nest.streams):
            self.line(f"{index}_{copy} = min({index}_{copy - 1} + n_blocks, n_{index} - 1)")
        self.copies = self.nest.streams
        self.write_row()

    @property
    def n_sums(self) -> int:
        """Accumulators of each reduction: a vector for each row."""
        return self.nest.streams

    def is_copied(self, part: Scalar) -> bool:
        """Say whether a part differs between rows."""
        return bool(positions_of(part))

    def remembers(self, reduction: Reduction) -> bool:
        """Say whether NaN is remembered for all copies at once; each row has its own here."""
        del reduction
        return False

    def offset(self, access: Access, copy: int) -> str:
        """Return the element offset of an access at the loops that are open."""
        index, at = self.nest.blocked, super().offset(access, 0)
        if index not in access.indices:
            return at
        name = f"{index}_{copy}"
        return f"{at} + {name if index == access.unit else f'{name} * {access.name}_{index}'}"

    def vectors(self, point: Callable[[], None], n_sums: int, blocked: Sequence[int]) -> None:
        """Write the loop along the rows' vectors, and the masked rest."""
        index, lanes = str(self.nest.vector), self.nest.lanes
        self.line(f"{index}_full = n_{index} - n_{index} % {lanes}")
        with self.blocks_along(index, f"{index}_full", lanes, n_sums, blocked):
            point()
        self.masked_rest(index, f"n_{index}", point)

    def finish(self, number: int, reduction: Reduction, n_sums: int) -> None:
        """Write a reduction's results, one a row, from its accumulators."""
        names = []
        for copy in range(n_sums):
            total = f"sum{number}_{copy}"
            nan = f"{total} != {total}" if self.keeps_nan(reduction) else None
            names.append(self.joined(f"r{number}_{copy}", reduction, total, nan))
        self.row[Value(self.n_inputs + number)] = tuple(names)
