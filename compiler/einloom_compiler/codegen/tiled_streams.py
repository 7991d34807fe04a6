"""What tiled kernels do for memory's sake: streamed outputs, operands prefetched.

Streamed outputs are gathered in scratch, and written past the caches line by line.

Names: ``n_waiting`` real elements wait in scratch for the output from ``to`` on; what a cache line
lacks waits for the next task's, so that only the ends of a range are lines in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from einloom_compiler.codegen.tiled_values import Values


class Streams(Values):
    """Writes what gathers and streams, and prefetches; nothing where the nest does neither."""

    def _begin_ahead(self) -> None:
        """Write where the part of a later task starts, of each operand that is prefetched."""
        nest = self.nest
        for access in nest.foreseen if nest.ahead else ():
            terms = [self._term(access, i) for i in nest.tasks if i in access.indices]
            further = nest.ahead * nest.task_elements(access)
            self.line(f"{access.name}_ahead = {' + '.join([*terms, str(further)])}")

    def _prefetch_ahead(self) -> None:
        """Write the prefetch of one block's share of the lines of that part."""
        nest, lanes = self.nest, self.nest.lanes
        if not nest.ahead or lanes is None:
            return
        line = 64 // nest.itemsize
        for access in nest.foreseen:
            share, at = nest.lines_ahead(access), f"{access.name}_ahead"
            self.line(f"bprefetch{lanes.width}({share}, 1, {access.name}, {at}, {line})")
            if nest.blocks_a_task > 1:
                self.line(f"{at} += {share * line}")

    def _begin_stream(self) -> None:
        if self.nest.is_streamed:
            self.line("n_waiting, to = 0, 0")
            self.line(f"phase = vphase({self.nest.output.name})")

    @contextmanager
    def _gathered(self) -> Iterator[None]:
        """Gather what the task inside writes, and stream the lines that are full."""
        nest, name = self.nest, self.nest.output.name
        if not nest.is_streamed:
            yield
            return
        starts = [self._term(nest.output, i) for i in nest.tasks]
        self.line(f"to = {' + '.join(starts) or '0'} - n_waiting")
        yield
        self.line(f"n_waiting += {self._run()}")
        with self.block(f"if n_waiting >= {nest.stream_elements}:"):
            self.line(f"n_cut = (phase + to + n_waiting) % {64 // nest.itemsize}")
            self.line("n_whole = n_waiting - n_cut")
            self.line(f"vstream({name}, to, acc, acc_0, n_whole)")
            with self.block("for r in range(n_cut):"):
                self.line("acc[acc_0 + r] = acc[acc_0 + n_whole + r]")
            self.line("to += n_whole")
            self.line("n_waiting = n_cut")

    def _run(self) -> str:
        """Return how many real elements a task writes."""
        nest, lanes = self.nest, self.nest.lanes
        if lanes is None or lanes.index not in nest.tasks:
            return str(nest.run)
        left = f"{self._extent(lanes.index)} - {lanes.index}"
        if nest.scale > 1:
            left = f"{nest.scale} * ({left})"
        return f"min({nest.run}, {left})"

    def _finish_stream(self) -> None:
        if self.nest.is_streamed:
            self.line(f"vstream({self.nest.output.name}, to, acc, acc_0, n_waiting)")
            self.line("vfence()")
