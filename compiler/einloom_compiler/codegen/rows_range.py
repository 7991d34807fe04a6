"""What all kernels of rows have: their parameters, and the loops over the parallel range.

A range is one of rows, or of blocks of rows that are neighbours along one index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from einloom_compiler.codegen.rows_values import RowsValues
from einloom_compiler.codegen.text import wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.rows import RowsNest


def parameters(nest: RowsNest) -> tuple[str, ...]:
    """Return the kernel's parameter names in ABI order."""
    accesses = (*nest.inputs, nest.output)
    return (
        *(access.name for access in accesses),
        *(f"n_{index}" for index in nest.indices),
        *(f"{access.name}_{index}" for access in accesses for index in access.strided),
        *("acc", "acc_0", "lo", "hi"),
    )


def scratch_elements(nest: RowsNest) -> int:
    """Return the elements of scratch: rows of accumulators, or the lanes of a product."""
    if nest.row:
        return nest.row * (len(nest.reductions) + len(blocked_sums(nest)))
    has_product = any(reduction.kind == "prod" for reduction in nest.reductions)
    return nest.lanes if has_product and nest.vector in nest.reduced else 0


#: Steps of the innermost loop along a row whose sum is formed apart, so that rounding grows with
#: the number of blocks and their length instead of their product.
BLOCK = 128


def blocked_sums(nest: RowsNest) -> tuple[int, ...]:
    """Return the numbers of the reductions that are formed of the sums of such blocks."""
    if np.dtype(arithmetic(nest.compute).compute).kind not in "fc":
        return ()
    return tuple(n for n, r in enumerate(nest.reductions) if r.kind in ("sum", "mean"))


class RowsRange(RowsValues):
    """Writes a kernel's parameters and its loops over rows."""

    def write(self, name: str) -> str:
        """Return the kernel as a function called ``name``."""
        nest = self.nest
        with (
            self.block(wrapped(f"def {name}(", ", ".join(parameters(nest)), "):")),
            self._rows(),
        ):
            for access in (*nest.inputs, nest.output):
                steps = [
                    f"{i} * {access.name}_{i}" if i != access.unit else i
                    for i in access.indices
                    if i in nest.kept and i != nest.blocked
                ]
                self.line(f"{access.name}_at = {' + '.join(steps) or '0'}")
            self.write_rows()
        return "\n".join(self.lines) + "\n"

    def write_rows(self) -> None:
        """Write what is done for a row, or a block of rows."""
        raise NotImplementedError

    @contextmanager
    def _rows(self) -> Iterator[None]:
        """Open the range [lo, hi) of rows, or of blocks of them."""
        nest = self.nest
        if nest.blocked:
            size = nest.block
            self.line(f"n_blocks = (n_{nest.blocked} + {size - 1}) // {size}")
        others = [index for index in nest.kept if index != nest.blocked]
        if len(others) == 1 and not nest.blocked:
            with self.block(f"for {others[0]} in range(lo, hi):"):
                yield
            return
        with self.block("for p in range(lo, hi):"):
            rest = "p"
            if nest.blocked and nest.streams > 1:
                self.line(f"{nest.blocked}_0 = p % n_blocks")
            elif nest.blocked:
                self.line(f"{nest.blocked}_lo = p % n_blocks * {size}")
                if others:
                    self.line("p_rows = p // n_blocks")
                rest = "p_rows"
            for position, index in reversed(list(enumerate(others))):
                self.line(f"{index} = {rest} % n_{index}" if position else f"{index} = {rest}")
                if position:
                    self.line(f"p{position} = {rest} // n_{index}")
                rest = f"p{position}"
            yield

    @contextmanager
    def in_blocks(
        self,
        index: str,
        span: tuple[str, str, int],
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> Iterator[None]:
        """Open the loop of ``index`` over a span, in blocks whose sums are formed apart.

        Args:
            index: what the loop counts.
            span: where it starts and ends, and its step.
            begin: writes what is done before each block.
            end: writes what is done behind it.
        """
        first, last, step = span
        with self.block(f"for {index}_lo in range({first}, {last}, {BLOCK * step}):"):
            self.line(f"{index}_hi = min({index}_lo + {BLOCK * step}, {last})")
            begin()
            steps = f", {step}" if step > 1 else ""
            with self.block(f"for {index} in range({index}_lo, {index}_hi{steps}):"):
                yield
            end()

    def masked_rest(self, index: str, end: str, point: Callable[[], None]) -> None:
        """Write what is done for the elements up to ``end`` that fill no vector."""
        with self.block(f"if {index}_full < {end}:"):
            self.line(f"{index} = {index}_full")
            self.line(f"n_left = {end} - {index}_full")
            self.rest = "n_left"
            point()
            self.rest = None

    @contextmanager
    def nested(self, loops: Sequence[str]) -> Iterator[None]:
        """Open a loop for each of these reduced indices."""
        if not loops:
            yield
            return
        with self.block(f"for {loops[0]} in range(n_{loops[0]}):"), self.nested(loops[1:]):
            yield
