"""Write rows whose accumulators are variables, in vectors along a row or across several.

Sums along a row have several vectors of accumulators; a masked vector takes the elements that fill
none. Maxima keep NaN: what is no number is remembered beside them, since a comparison with NaN
never holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from einloom_compiler.codegen.rows_accumulators import Accumulators
from einloom_compiler.codegen.rows_range import blocked_sums
from einloom_compiler.codegen.rows_values import Scope
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.scalar import Scalar, Value


class RowsWriter(Accumulators):
    """Writes one kernel of rows whose accumulators are variables."""

    #: Reductions whose blocks' sums are being formed.
    _blocked: frozenset[int] = frozenset()

    def write_rows(self) -> None:
        """Write what is done for a row, or a block of rows."""
        if self.nest.is_across:
            self._blocks()
        else:
            self.write_row()

    def _blocks(self) -> None:
        """Write a whole block of rows, and the masked vectors of one that the edge cuts."""
        nest = self.nest
        index, size = nest.vector, nest.lanes * nest.copies
        with self.block(f"if n_{index} - {index}_lo >= {size}:"):
            self.line(f"{index} = {index}_lo")
            self.copies = nest.copies
            self.write_row()
            self.copies = 1
        with (
            self.block("else:"),
            self.block(f"for {index} in range({index}_lo, n_{index}, {nest.lanes}):"),
        ):
            self.line(f"n_left = min(n_{index} - {index}, {nest.lanes})")
            self.rest = "n_left"
            self.write_row()
            self.rest = None

    # --- one row, or a block of rows -------------------------------------------------------------

    def write_row(self) -> None:
        """Write the passes of a row, or of those in work at once, and what is stored."""
        nest = self.nest
        self.row = {}
        stored = nest.stored
        for numbers in nest.passes:
            self._pass(numbers, stored if numbers == nest.passes[-1] else None)
        body = nest.last_body
        running = {number: nest.reductions[number] for number in nest.running}
        self.define_row(body, *(reduction.body for reduction in running.values()))
        for number, reduction in running.items():
            self._begin(number, reduction, self.copies)
        if not nest.stores_points:
            for copy, value in enumerate(self.widened_across(body)):
                self.store(value, copy)
            return

        def point() -> None:
            scope: Scope = {}
            for number, reduction in running.items():
                self._gather(number, reduction, scope)
                reached = tuple(_sum(number, copy) for copy in range(self.copies))
                scope[Value(self.n_inputs + number)] = reached
            names = self.define(body, scope)
            for copy, value in enumerate(self.widened(names, body)):
                self.store(value, copy)

        self._along(point, 1)

    def widened_across(self, body: Scalar) -> tuple[str, ...]:
        """Return the names of a row's result, one a copy across rows."""
        names = self.row[body]
        return self.widened(names, body) if self.nest.is_across else names

    def _along(self, point: Callable[[], None], n_sums: int, blocked: Sequence[int] = ()) -> None:
        """Write loops along the row; ``point`` writes what is inside.

        Args:
            point: it stands for ``self.copies`` vectors, masked ones where ``self.rest`` says so.
            n_sums: most vectors at once along the row.
            blocked: numbers of the reductions that are added up in blocks of the innermost loop.
        """
        nest = self.nest
        outer = [index for index in nest.reduced if index != nest.vector]
        inner = None if self._is_along or not outer else outer.pop()
        with self.nested(outer):
            self.points = tuple(outer)
            if self._is_along:
                self.points = (*outer, str(nest.vector))
                self.vectors(point, n_sums, blocked)
            elif inner is None:
                point()
            else:
                self.points = (*outer, inner)
                with self.blocks_along(inner, f"n_{inner}", 1, n_sums, blocked):
                    point()
            self.points = ()

    @contextmanager
    def blocks_along(
        self, index: str, end: str, step: int, n_sums: int, blocked: Sequence[int]
    ) -> Iterator[None]:
        """Open the loop of ``index`` up to ``end``, in blocks where sums need them."""
        if not blocked:
            span = f"0, {end}, {step}" if step > 1 else end
            with self.block(f"for {index} in range({span}):"):
                yield
            return

        def begin() -> None:
            for number in blocked:
                start = self.start(self.nest.reductions[number])
                for copy in range(n_sums):
                    self.line(f"{_part(number, copy)} = {start}")
            self._blocked = frozenset(blocked)

        def finish() -> None:
            self._blocked = frozenset()
            for number in blocked:
                for copy in range(n_sums):
                    total, part = _sum(number, copy), _part(number, copy)
                    self.line(f"{total} = {total} + {part}")

        with self.in_blocks(index, ("0", end, step), begin, finish):
            yield

    def vectors(self, point: Callable[[], None], n_sums: int, blocked: Sequence[int]) -> None:
        """Write the loop along the row's vectors: several at once, one, the masked rest."""
        index, lanes = str(self.nest.vector), self.nest.lanes
        self.line(f"{index}_full = n_{index} - n_{index} % {lanes}")
        main = f"{index}_main" if n_sums > 1 else f"{index}_full"
        if n_sums > 1:
            self.line(f"{main} = n_{index} - n_{index} % {lanes * n_sums}")
        with self.blocks_along(index, main, lanes * n_sums, n_sums, blocked):
            self.copies = n_sums
            point()
            self.copies = 1
        if n_sums > 1:
            with self.block(f"for {index} in range({main}, {index}_full, {lanes}):"):
                point()
        self.masked_rest(index, f"n_{index}", point)

    # --- reductions ------------------------------------------------------------------------------

    def _pass(self, numbers: tuple[int, ...], stored: Scalar | None) -> None:
        """Write reductions that share one pass along the row, and their results."""
        nest = self.nest
        reductions = {number: nest.reductions[number] for number in numbers}
        self.define_row(*(reduction.body for reduction in reductions.values()))
        n_sums = self.n_sums
        for number, reduction in reductions.items():
            self._begin(number, reduction, n_sums)
            if self.remembers(reduction):
                zero = self.number(0)
                self.line(f"nan{number} = vset{nest.lanes}({zero}) != {zero}")

        def point() -> None:
            scope: Scope = {}
            self._inside()
            for number, reduction in reductions.items():
                self._gather(number, reduction, scope)
            if stored is not None:
                for copy, value in enumerate(scope[stored]):
                    self.store(value, copy)

        self._along(point, n_sums, [n for n in blocked_sums(nest) if n in reductions])
        for number, reduction in reductions.items():
            self.finish(number, reduction, n_sums)

    def _begin(self, number: int, reduction: Reduction, n_sums: int) -> None:
        """Write what a reduction's accumulators start with."""
        start = self.start(reduction)
        for copy in range(n_sums):
            self.line(f"{_sum(number, copy)} = {start}")

    def _gather(self, number: int, reduction: Reduction, scope: Scope) -> None:
        """Write that a reduction takes a point's values, one a copy."""
        names = self.define(reduction.body, scope)
        wide = self.widened(names, reduction.body)
        if not self.is_wide(reduction.body) and self.nest.vector is not None:
            name = self.fresh()
            self.line(f"{name} = {wide[0]}")
            wide = (name,) * self.copies
        for copy, value in enumerate(wide):
            self._accumulate(number, reduction, copy, value)

    @property
    def n_sums(self) -> int:
        """Accumulators of each reduction."""
        return self.nest.copies if self._is_along else self.copies

    @property
    def _is_along(self) -> bool:
        return self.nest.vector in self.nest.reduced

    def remembers(self, reduction: Reduction) -> bool:
        """Say whether NaN is remembered beside a maximum, for all copies at once."""
        return self._is_along and self.keeps_nan(reduction)

    def _inside(self) -> None:
        """Write the mask of a row's last lanes."""
        if self._is_along and self.rest is not None:
            one, zero = self.number(1), self.number(0)
            self.line(f"inside = vset{self.nest.lanes}_masked({one}, {self.rest}) != {zero}")

    def _accumulate(self, number: int, reduction: Reduction, copy: int, value: str) -> None:
        target = _part(number, copy) if number in self._blocked else _sum(number, copy)
        is_masked = self._is_along and self.rest is not None
        if self.remembers(reduction):
            is_nan = f"({value} != {value})"
            is_nan = f"(inside & {is_nan})" if is_masked else is_nan
            self.line(f"nan{number} = nan{number} | {is_nan}")
            step = f"v{reduction.kind}({target}, {value})"
        else:
            step = self.step(reduction, target, value)
        self.line(
            f"{target} = vselect(inside, {step}, {target})" if is_masked else f"{target} = {step}"
        )

    def finish(self, number: int, reduction: Reduction, n_sums: int) -> None:
        """Write a reduction's result from its accumulators."""
        sums = [_sum(number, copy) for copy in range(n_sums)]
        result = Value(self.n_inputs + number)
        if not self._is_along:
            for total in sums:
                self.divide(reduction, total)
            self.row[result] = tuple(sums)
            return
        while len(sums) > 1:
            half = (len(sums) + 1) // 2
            for a, b in zip(sums[: len(sums) - half], sums[half:], strict=True):
                is_extreme = self.remembers(reduction)
                step = f"v{reduction.kind}({a}, {b})" if is_extreme else self.step(reduction, a, b)
                self.line(f"{a} = {step}")
            sums = sums[:half]
        nan = f"nan{number}" if self.remembers(reduction) else None
        self.row[result] = (self.joined(f"r{number}", reduction, sums[0], nan),)

    def joined(self, name: str, reduction: Reduction, total: str, nan: str | None) -> str:
        """Write the reduction of a vector's lanes, NaN where a mask says so; return its name."""
        self.line(f"{name} = {self._lanes_joined(reduction, total)}")
        if reduction.kind == "prod":
            with self.block(f"for lane in range({self.nest.lanes}):"):
                self.line(f"{name} = {self.step(reduction, name, 'acc[acc_0 + lane]')}")
        if nan is not None:
            one, zero = self.number(1), self.number(0)
            self.line(f"n_nan = vsum(vselect({nan}, {one}, {zero}))")
            self.line(f"{name} = vselect(n_nan > {zero}, {self.number(np.nan)}, {name})")
        self.divide(reduction, name)
        return name

    def _lanes_joined(self, reduction: Reduction, total: str) -> str:
        """Return the reduction of a vector's lanes; a product's start, its lanes in scratch."""
        if reduction.kind in ("sum", "mean"):
            return f"vsum({total})"
        if reduction.kind == "prod":
            self.line(f"vstore{self.nest.lanes}(acc, acc_0, {total})")
            return self.number(1)
        return f"v{reduction.kind}_all({total})"


def _sum(number: int, copy: int) -> str:
    return f"sum{number}_{copy}"


def _part(number: int, copy: int) -> str:
    return f"part{number}_{copy}"
