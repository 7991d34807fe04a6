"""Print rows whose accumulators lie in scratch: reductions along an outer axis of memory.

Neighbouring rows are computed together, a few kilobytes of them, so that memory is read in long
runs. Several points enter their accumulators together: a total is loaded and stored once for all of
them. A later pass, and what is stored, read the totals from scratch::

    for r in ...:                               a pass along the rows, four points at once
        for i in range(i_lo, i_full, 8):        the block's rows, which are neighbours
            r0 = vload8(acc, acc_at + i)
            r0 = r0 + (x[r, i] + x[r + 1, i] + ...)
            vstore8(acc, acc_at + i, r0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from einloom_compiler.codegen.rows_accumulators import Accumulators
from einloom_compiler.codegen.rows_range import blocked_sums
from einloom_compiler.codegen.rows_values import Scope
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.scalar import Number, Scalar, Value


class ScratchWriter(Accumulators):
    """Writes one kernel of rows whose accumulators lie in scratch."""

    #: Reductions whose blocks' sums are being formed.
    _blocked: Sequence[int] = ()

    def write_rows(self) -> None:
        """Write what is done for a block of rows."""
        nest, index = self.nest, self._index
        self.line(f"{index}_hi = min({index}_lo + {nest.row}, n_{index})")
        if nest.lanes > 1:
            self.line(f"{index}_full = {index}_hi - ({index}_hi - {index}_lo) % {nest.lanes}")
        self.line(f"acc_at = acc_0 - {index}_lo")
        stored = nest.stored
        for numbers in nest.passes:
            self._pass(numbers, stored if numbers == nest.passes[-1] else None)
        if nest.stores_points:
            self._along(self._store_point)
        else:
            self._over_rows(self._store_row)

    # --- values ----------------------------------------------------------------------------------

    def is_copied(self, part: Scalar) -> bool:
        """Say whether a part differs between points of a row."""
        return not self.is_row(part)

    def offset(self, access: Access, copy: int) -> str:
        """Return the element offset of an access at the loops that are open."""
        parts = [f"{access.name}_at"]
        for index in access.indices:
            is_last = index in self.points and index == self.nest.reduced[-1]
            if index in self.points or index == self._index:
                name = f"{index}_{copy}" if is_last and self.copies > 1 else index
                parts.append(name if index == access.unit else f"{name} * {access.name}_{index}")
        return " + ".join(parts)

    @property
    def _index(self) -> str:
        return self.nest.kept[-1]

    def _known(self, *bodies: Scalar) -> None:
        """Write the parts of bodies that are one for a whole row, totals from scratch first."""
        copies, self.copies = self.copies, 1
        self.row = {}
        for body in bodies:
            for part in self._order(body):
                if isinstance(part, Value) and part not in self.row and self._is_total(part):
                    name = self.fresh()
                    self.line(f"{name} = {self._total(part.position - self.n_inputs)}")
                    self.row[part] = (name,)
        self.define_row(*bodies)
        self.copies = copies

    def _is_total(self, value: Value) -> bool:
        return 0 <= value.position - self.n_inputs < len(self.nest.reductions)

    def _vectors(self, names: tuple[str, ...], body: Scalar) -> tuple[str, ...]:
        """Return a value's names as one for each point, vectors where rows are walked in them."""
        names = names if len(names) == self.copies else names * self.copies
        if self.nest.vector is None or self.is_wide(body):
            return names
        return tuple(f"vset{self.nest.lanes}({name})" for name in names)

    # --- accumulators ----------------------------------------------------------------------------

    def _place(self, number: int) -> str:
        """Return where a reduction's totals lie, or those of its block."""
        if number in self._blocked:
            number = len(self.nest.reductions) + blocked_sums(self.nest).index(number)
        shift = f"{number * self.nest.row} + " if number else ""
        return f"acc_at + {shift}{self._index}"

    def _total(self, number: int) -> str:
        """Return a reduction's totals of the rows in work."""
        at, lanes = self._place(number), self.nest.lanes
        return f"acc[{at}]" if self.nest.vector is None else f"vload{lanes}(acc, {at})"

    def _keep(self, number: int, total: str) -> None:
        """Write the store of a reduction's totals: whole vectors, since a row of scratch is."""
        at, lanes = self._place(number), self.nest.lanes
        is_scalar = self.nest.vector is None
        self.line(f"acc[{at}] = {total}" if is_scalar else f"vstore{lanes}(acc, {at}, {total})")

    # --- passes ----------------------------------------------------------------------------------

    def _pass(self, numbers: Sequence[int], stored: Scalar | None) -> None:
        """Write reductions that share one pass along the rows."""
        reductions = {number: self.nest.reductions[number] for number in numbers}
        bodies = [reduction.body for reduction in reductions.values()]

        def start() -> None:
            for number, reduction in reductions.items():
                self._keep(number, self.start(reduction))

        def point() -> None:
            self._known(*bodies)
            scope: Scope = {}
            for number, reduction in reductions.items():
                self._accumulate(number, reduction, scope)
            if stored is not None:
                for copy, value in enumerate(scope[stored]):
                    self.store(value, copy)

        means = {n: reduction for n, reduction in reductions.items() if reduction.kind == "mean"}

        def finish() -> None:
            for number, reduction in means.items():
                total = f"r{number}"
                self.line(f"{total} = {self._total(number)}")
                self.divide(reduction, total)
                self._keep(number, total)

        self._over_totals(start)
        self._along(point, [n for n in blocked_sums(self.nest) if n in reductions])
        if means:
            self._over_totals(finish)

    def _accumulate(self, number: int, reduction: Reduction, scope: Scope) -> None:
        """Write how the points in work enter a total: joined among themselves first."""
        values = self._vectors(self.define(reduction.body, scope), reduction.body)
        total = f"r{number}"
        self.line(f"{total} = {self._total(number)}")
        if not self.keeps_nan(reduction) or len(values) == 1:
            joined = self._joined(values, lambda a, b: self.step(reduction, a, b))
            self.line(f"{total} = {self.step(reduction, total, joined)}")
        else:
            # One comparison for two values, where each would have its own by steps.
            greatest = self._joined(values, lambda a, b: f"v{reduction.kind}({a}, {b})")
            pairs = zip(values[::2], values[1::2], strict=False)
            nans = [f"({a} != {a}) | ({b} != {b})" for a, b in pairs]
            nans += [f"({value} != {value})" for value in values[len(values) // 2 * 2 :]]
            nan, is_nan = self.widened((self.number(np.nan),), Number(np.nan))[0], self.fresh()
            self.line(f"{is_nan} = {' | '.join(nans)}")
            self.line(f"{total} = v{reduction.kind}({total}, {greatest})")
            self.line(f"{total} = vselect({is_nan}, {nan}, {total})")
        self._keep(number, total)

    def _joined(self, values: Sequence[str], step: Callable[[str, str], str]) -> str:
        """Write the steps that make one of several values, in halves; return its name."""
        while len(values) > 1:
            half = (len(values) + 1) // 2
            joined = []
            for a, b in zip(values[: len(values) - half], values[half:], strict=True):
                joined.append(self.fresh())
                self.line(f"{joined[-1]} = {step(a, b)}")
            values = [*joined, *values[len(values) - half : half]]
        return values[0]

    def _store_row(self) -> None:
        body = self.nest.last_body
        self._known(body)
        self.store(self._vectors(self.row[body], body)[0], 0)

    def _store_point(self) -> None:
        body = self.nest.last_body
        self._known(body)
        for copy, value in enumerate(self._vectors(self.define(body, {}), body)):
            self.store(value, copy)

    # --- loops -----------------------------------------------------------------------------------

    def _over_rows(self, point: Callable[[], None]) -> None:
        """Write the loop over the block's rows: vectors, and a masked one for the rest."""
        index, lanes = self._index, self.nest.lanes
        if lanes == 1:
            with self.block(f"for {index} in range({index}_lo, {index}_hi):"):
                point()
            return
        with self.block(f"for {index} in range({index}_lo, {index}_full, {lanes}):"):
            point()
        self.masked_rest(index, f"{index}_hi", point)

    def _over_totals(self, step: Callable[[], None]) -> None:
        """Write the loop over the block's totals alone: a row of scratch is whole vectors."""
        index, lanes = self._index, self.nest.lanes
        steps = f", {lanes}" if lanes > 1 else ""
        with self.block(f"for {index} in range({index}_lo, {index}_hi{steps}):"):
            step()

    def _along(self, point: Callable[[], None], blocked: Sequence[int] = ()) -> None:
        """Write the loops along the rows, several points of the last index at once.

        Args:
            point: it stands for ``self.copies`` points, and masked vectors where ``self.rest`` says
                so.
            blocked: numbers of the reductions that are added up in blocks of the last index.
        """
        *outer, last = self.nest.reduced
        copies = self.nest.copies
        with self.nested(outer):
            if copies > 1:
                self.line(f"{last}_main = n_{last} - n_{last} % {copies}")
                step, end, apart = copies, f"{last}_main", "1"
                if self.nest.is_apart:
                    self.line(f"{last}_part = {last}_main // {copies}")
                    step, end, apart = 1, f"{last}_part", f"{last}_part"
                with self._blocks_of(f"{last}_0", "0", end, step, blocked):
                    for copy in range(1, copies):
                        self.line(f"{last}_{copy} = {last}_{copy - 1} + {apart}")
                    self.copies = copies
                    self._inner(point)
                    self.copies = 1
            first = f"{last}_main" if copies > 1 else "0"
            rest = () if copies > 1 else blocked
            with self._blocks_of(last, first, f"n_{last}", 1, rest):
                self._inner(point)

    def _inner(self, point: Callable[[], None]) -> None:
        self.points = self.nest.reduced
        self._over_rows(point)
        self.points = ()

    @contextmanager
    def _blocks_of(
        self, index: str, first: str, end: str, step: int, blocked: Sequence[int]
    ) -> Iterator[None]:
        """Open the loop of ``index`` from ``first`` to ``end``, in blocks where sums need them."""
        if not blocked:
            steps = f", {step}" if step > 1 else ""
            with self.block(f"for {index} in range({first}, {end}{steps}):"):
                yield
            return

        def start() -> None:
            for number in blocked:
                self._keep(number, self.start(self.nest.reductions[number]))

        def finish() -> None:
            for number in blocked:
                self.line(f"part = {self._total(number)}")
                self._blocked = ()
                self.line(f"total = {self._total(number)}")
                self._keep(number, "total + part")
                self._blocked = blocked

        def begin() -> None:
            self._blocked = blocked
            self._over_totals(start)

        def end_block() -> None:
            self._over_totals(finish)
            self._blocked = ()

        with self.in_blocks(index, (first, end, step), begin, end_block):
            yield
