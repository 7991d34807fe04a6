"""Write a scheduled loop nest's kernel: its loops, and the statements between them.

The statements are of :mod:`.access_source`; this module decides where they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from einloom_compiler.codegen.access_source import AccessWriter
from einloom_compiler.codegen.simd_blocks import LINE
from einloom_compiler.codegen.text import wrapped
from einloom_compiler.codegen.transpose_source import write_transposition
from einloom_compiler.dtypes import storage_bytes
from einloom_compiler.ir.loops import Level, LoopNest


def parameters(nest: LoopNest) -> tuple[str, ...]:
    """Return the kernel's parameter names in ABI order."""
    accesses = nest.accesses
    return (
        *(access.name for access in accesses),
        *(f"n_{index}" for index in nest.indices),
        *(f"{access.name}_{index}" for access in accesses for index in access.strided),
        *(f"{access.name}_start" for access in accesses if access.has_start),
        *("acc", "acc_0", "lo", "hi"),
    )


class NestWriter(AccessWriter):
    """Writes one kernel; ``bound`` are the indices open so far, ``loaded`` the operands read."""

    @property
    def _has_streams(self) -> bool:
        nest = self.nest
        if nest.transposition is not None:
            return nest.transposition.pitch > 0
        return nest.vectors is not None and nest.vectors.is_streamed

    def write(self, name: str) -> str:
        """Return the kernel as a function called ``name``."""
        with self.block(wrapped(f"def {name}(", ", ".join(parameters(self.nest)), "):")):
            flattened = self.nest.levels[: self.nest.n_parallel]
            self._spans()
            with self._parallel(flattened):
                bound = frozenset(level.index for level in flattened if level.kind == "range")
                self._level(len(flattened), bound, frozenset())
            if self._has_streams:
                self.line("vfence()")
        return "\n".join(self.lines) + "\n"

    # --- loops -----------------------------------------------------------------------------------

    def _spans(self) -> None:
        """Write how far apart the points are that levels compute together."""
        for level in self.nest.levels:
            if level.apart:
                # Sums have a loop for what is left; the output's last points are computed again.
                is_summed = level.index in self.nest.contracted
                extent = f"n_{level.index}"
                extent = extent if is_summed else f"({extent} + {level.unroll - 1})"
                self.line(f"span_{level.index} = {extent} // {level.unroll}")

    @contextmanager
    def _parallel(self, flattened: tuple[Level, ...]) -> Iterator[None]:
        """Open the range [lo, hi): its first position is decoded, the next ones are counted."""
        for level in flattened:
            if level.slack:
                self.line(f"phase = vphase({self.nest.output.name})")
        if self.nest.vectors is not None and self.nest.vectors.is_streamed:
            self.line(f"phase = vphase({self.nest.output.name})")
        if not flattened:
            yield
            return
        only = flattened[0]
        if len(flattened) == 1 and _step(only) == 1:
            with self.block(f"for {only.index} in range(lo, hi):"):
                self._start(only, only.index)
                yield
            return
        if len(flattened) == 1:
            with self.block("for p in range(lo, hi):"):
                self._start(only, "p")
                yield
            return
        with self.block("if lo >= hi:"):
            self.line("return")
        rest = "lo"
        for position, level in reversed(list(enumerate(flattened))):
            if not position:
                self.line(f"{_counter(level)} = {rest}")
                break
            if _step(level) > 1:
                extent = f"{_length(level)} + {level.slack + _step(level) - 1}"
                self.line(f"count_{level.index} = ({extent}) // {_step(level)}")
            self.line(f"{_counter(level)} = {rest} % {_count(level)}")
            self.line(f"p{position} = {rest} // {_count(level)}")
            rest = f"p{position}"
        with self.block("for _p in range(lo, hi):"):
            for level in flattened:
                self._start(level, _counter(level))
            yield
            self._count_up(flattened)

    def _count_up(self, flattened: tuple[Level, ...]) -> None:
        """Move on to the next position of the flattened levels, the last running fastest."""
        *outer, last = flattened
        self.line(f"{_counter(last)} += 1")
        if outer:
            with self.block(f"if {_counter(last)} == {_count(last)}:"):
                self.line(f"{_counter(last)} = 0")
                self._count_up(tuple(outer))

    def _start(self, level: Level, counter: str) -> None:
        """Write where a flattened level starts and what follows from it."""
        start, step = _start(level), _step(level)
        scaled = counter if step == 1 else f"{counter} * {step}"
        if level.slack or level.fused:
            if level.slack:
                scaled = f"{scaled} - phase"
            self.line(f"{level.index}_hi = min({scaled} + {step}, {_length(level)})")
            self.line(f"{start} = max({scaled}, 0)" if level.slack else f"{start} = {scaled}")
            return
        if start != scaled:
            self.line(f"{start} = {scaled}")
        self._bind(level)

    @contextmanager
    def _loop(self, level: Level) -> Iterator[None]:
        low, high = bounds(level)
        step = _step(level)
        if level.kind == "tile":
            high = f"n_{level.index}"
        steps = f", {step}" if step > 1 else ""
        span = high if low == "0" and not steps else f"{low}, {high}{steps}"
        with self.block(f"for {_start(level)} in range({span}):"):
            self._bind(level)
            yield

    def _bind(self, level: Level) -> None:
        """Write what follows from a level's start: a tile's end, the unrolled neighbours."""
        index = level.index
        if level.kind == "tile":
            self.line(f"{index}_hi = min({index}_lo + {level.size}, n_{index})")
        for lane in range(1, level.unroll):
            behind = f"{lane} * span_{index}" if level.apart else str(lane)
            self.line(f"{index}{lane} = min({index} + {behind}, n_{index} - 1)")

    def _vector_loop(self, level: Level, body: Callable[[int], None], n_sums: int = 1) -> None:
        """Write ``body`` for ``n_sums`` vectors at a time, for one, and masked for the rest."""
        index, lanes = level.index, self.lanes
        low, high = bounds(level)
        length = high if low == "0" else f"({high} - {low})"
        self.line(f"{index}_full = {high} - {length} % {lanes}")
        start = low
        if n_sums > 1:
            start = f"{index}_main"
            self.line(f"{start} = {high} - {length} % {lanes * n_sums}")
            with self.block(f"for {index} in range({low}, {start}, {lanes * n_sums}):"):
                for number in range(n_sums):
                    self.shift = number * lanes
                    body(number)
                self.shift = 0
        with self.block(f"for {index} in range({start}, {index}_full, {lanes}):"):
            body(0)
        with self.block(f"if {index}_full < {high}:"):
            self.line(f"{index} = {index}_full")
            self.line(f"n_left = {high} - {index}_full")
            self.rest = "n_left"
            body(0)
            self.rest = None

    def _streamed_loop(self, level: Level, body: Callable[[int], None]) -> None:
        """Write ``body`` for the vectors of whole cache lines, and masked before and after them."""
        index, lanes = level.index, self.lanes
        low, high = bounds(level)
        line = LINE // storage_bytes(self.nest.output.dtype)
        with self.named({index: "" if low == "0" else low}):
            at = self.offset(self.nest.output, 0)
        self.line(f"{index}_line = min({low} + (-(phase + {at}) & {line - 1}), {high})")
        self.line(f"{index}_full = {high} - ({high} - {index}_line) % {line}")

        def masked(start: str, stop: str) -> None:
            with self.block(f"for {index} in range({start}, {stop}, {lanes}):"):
                self.line(f"n_left = {stop} - {index}")
                self.rest = "n_left"
                body(0)
                self.rest = None

        masked(low, f"{index}_line")
        with self.block(f"for {index} in range({index}_line, {index}_full, {lanes}):"):
            self.is_streamed = True
            body(0)
            self.is_streamed = False
        masked(f"{index}_full", high)

    # --- statements ------------------------------------------------------------------------------

    def _level(self, position: int, bound: frozenset[str], loaded: frozenset[int]) -> None:
        """Write the levels from ``position`` on and the statements between them."""
        nest = self.nest
        loaded = self.load_operands(bound, loaded)
        if nest.contracted and position == nest.first_contracted:
            self._for_sums(
                lambda lane: self.line(f"{self.sum(lane)} = {self.zero(self.has_vector_sums)}")
            )
            self._reduce(position, bound, loaded)
            self._for_sums(lambda lane: self.store(self.total(lane), lane))
        elif nest.transposition is not None and position == len(nest.levels) - 2:
            write_transposition(self)
        elif position == len(nest.levels):
            for lane in self.copies:
                self.store(self.product(lane), lane)
        elif nest.vectors is not None and position == len(nest.levels) - 1:
            self._map(nest.levels[position], bound, loaded)
        else:
            level = nest.levels[position]
            with self._loop(level):
                opened = bound if level.kind == "tile" else bound | {level.index}
                self._level(position + 1, opened, loaded)

    def _map(self, level: Level, bound: frozenset[str], loaded: frozenset[int]) -> None:
        def body(number: int) -> None:
            del number
            self.load_operands(bound | {level.index}, loaded)
            for lane in self.copies:
                self.store(self.product(lane), lane)

        is_streamed = self.nest.vectors is not None and self.nest.vectors.is_streamed
        with self.vectors():
            (self._streamed_loop if is_streamed else self._vector_loop)(level, body)

    def _reduce(self, position: int, bound: frozenset[str], loaded: frozenset[int]) -> None:
        """Write the contracted levels and the multiply-add inside them."""
        levels = self.nest.levels
        loaded = self.load_operands(bound, loaded)
        if position == len(levels):
            for lane in self.copies:
                self.accumulate(self.target(lane, 0), lane)
            return
        level = levels[position]
        is_last = position == len(levels) - 1
        if level == self.nest.jammed:
            self._jam(level, bound, loaded)
        elif self.nest.vectors is not None and is_last and level == self.nest.row:
            self._row(level, bound, loaded, (None,))
        elif self.is_blocked and is_last:
            self._block_of_sums(level, bound, loaded)
        else:
            opened = bound if level.kind == "tile" else bound | {level.index}
            with self._loop(level):
                if level == self.nest.row:
                    self.line(row_offset(level))
                self._reduce(position + 1, opened, loaded)

    def _block_of_sums(self, level: Level, bound: frozenset[str], loaded: frozenset[int]) -> None:
        """Write the sums over one block, and add them to the sums over all blocks."""
        n_sums = self.nest.vectors.n_sums if self.nest.vectors else 1
        is_vector = self.has_vector_sums
        for lane in self.copies:
            for number in range(n_sums):
                self.line(f"{self.part(lane, number)} = {self.zero(is_vector)}")

        def body(number: int) -> None:
            self.load_operands(bound | {level.index}, loaded)
            for lane in self.copies:
                self.accumulate(self.target(lane, number), lane)

        if is_vector:
            with self.vectors():
                self._vector_loop(level, body, n_sums)
        else:
            with self._loop(level):
                body(0)
        for lane in self.copies:
            parts = [self.part(lane, number) for number in range(n_sums)]
            self.line(self.added(self.sum(lane), parts))

    def _jam(self, level: Level, bound: frozenset[str], loaded: frozenset[int]) -> None:
        """Write a contracted loop whose row is updated for several points at once."""
        index, row = level.index, self.nest.levels[-1]
        self.line(f"{index}_full = n_{index} - n_{index} % {level.unroll}")
        together = f"span_{index}" if level.apart else f"0, {index}_full, {level.unroll}"
        for count, span in ((level.unroll, together), (1, f"{index}_full, n_{index}")):
            with self.block(f"for {index} in range({span}):"):
                self._row(row, bound | {index}, loaded, tuple(range(count)))

    def _row(
        self,
        row: Level,
        bound: frozenset[str],
        loaded: frozenset[int],
        points: tuple[int | None, ...],
    ) -> None:
        """Write the update of a row of accumulators for these points of the jammed level."""
        known = {}
        for point in points:
            self.point = point
            known[point] = self.load_operands(bound, loaded)

        def body(number: int) -> None:
            del number
            self.line(row_offset(row))
            for lane in self.copies:
                self.line(f"row{lane} = {self.vload('acc', self.row_at(lane))}")
            for point in points:
                self.point = point
                self.load_operands(bound | {row.index}, known[point])
                for lane in self.copies:
                    self.accumulate(f"row{lane}", lane)
            for lane in self.copies:
                self.line(self.vstore("acc", self.row_at(lane), f"row{lane}"))

        with self.vectors():
            self._vector_loop(row, body)
        self.point = None

    def _for_sums(self, statement: Callable[[int], None]) -> None:
        """Write statements for every accumulator: a row of them in scratch, or one a copy."""
        row = self.nest.row
        with ExitStack() as stack:
            if row is not None:
                stack.enter_context(self._loop(row))
                self.line(row_offset(row))
            for lane in self.copies:
                statement(lane)


def bounds(level: Level) -> tuple[str, str]:
    """Return where a level's loop starts and ends."""
    if level.kind == "within":
        return f"{level.index}_lo", f"{level.index}_hi"
    return "0", f"span_{level.index}" if level.apart else f"n_{level.index}"


def row_offset(row: Level) -> str:
    """Return the statement that finds a row's accumulator in scratch."""
    return f"at = acc_0 + {row.index} - {row.index}_lo"


def _step(level: Level) -> int:
    return level.size if level.kind == "tile" else 1 if level.apart else level.unroll


def _start(level: Level) -> str:
    return f"{level.index}_lo" if level.kind == "tile" else level.index


def _length(level: Level) -> str:
    return " * ".join(f"n_{index}" for index in (*level.fused, level.index))


def _counter(level: Level) -> str:
    return level.index if _step(level) == 1 else f"p_{level.index}"


def _count(level: Level) -> str:
    return bounds(level)[1] if _step(level) == 1 else f"count_{level.index}"
