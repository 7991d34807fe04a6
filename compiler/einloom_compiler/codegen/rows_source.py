"""Print a nest of rows as Python source that Numba compiles and Python runs.

The kernel's parameters are in the order of :mod:`.numba_source`. Sums along a row have several
vectors of accumulators; a masked vector takes the elements that fill none. Maxima keep NaN: what is
no number is remembered beside them, since a comparison with NaN never holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.rows_values import RowsValues, Scope
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.rows import RowsNest, print_rows
from einloom_compiler.ir.scalar import Scalar, Value


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
    """Return the elements of scratch that the lanes of a product need to be multiplied."""
    has_product = any(reduction.kind == "prod" for reduction in nest.reductions)
    return nest.lanes if has_product and nest.vector in nest.reduced else 0


def print_functions(nest: RowsNest, name: str = "kernel") -> list[str]:
    """Return the kernel called ``name`` and its launcher."""
    kernel = f"@njit({OPTIONS})\n" + RowsWriter(nest).write(name)
    return [kernel, print_split(name, parameters(nest)[:-3], scratch_elements(nest))]


def print_rows_text(nest: RowsNest) -> KernelText:
    """Return the module of one kernel of rows."""
    accesses = (*nest.inputs, nest.output)
    return KernelText(
        title=print_rows(nest).splitlines()[-1].strip(),
        source=print_module("\n\n".join(print_functions(nest))),
        pointers=tuple((access.name, arithmetic(access.dtype).storage) for access in accesses),
        numbers=parameters(nest)[len(accesses) : -4],
        scratch_elements=scratch_elements(nest),
        scratch_dtype=arithmetic(nest.compute).compute,
    )


#: Steps of the innermost loop whose sum is formed apart, so that rounding grows with the number of
#: blocks and their length instead of their product.
_BLOCK = 128


class RowsWriter(RowsValues):
    """Writes one kernel of rows."""

    #: Reductions whose blocks' sums are being formed.
    _blocked: frozenset[int] = frozenset()

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
                    if i in nest.kept and i != nest.vector
                ]
                self.line(f"{access.name}_at = {' + '.join(steps) or '0'}")
            if not nest.is_across:
                self._row()
            else:
                self._blocks()
        return "\n".join(self.lines) + "\n"

    # --- loops over rows -------------------------------------------------------------------------

    @contextmanager
    def _rows(self) -> Iterator[None]:
        """Open the range [lo, hi) of rows, or of blocks of them."""
        nest = self.nest
        if nest.is_across:
            size = nest.lanes * nest.copies
            self.line(f"n_blocks = (n_{nest.vector} + {size - 1}) // {size}")
        others = [index for index in nest.kept if index != nest.vector]
        if len(others) == 1 and not nest.is_across:
            with self.block(f"for {others[0]} in range(lo, hi):"):
                yield
            return
        with self.block("for p in range(lo, hi):"):
            rest = "p"
            if nest.is_across:
                self.line(f"{nest.vector}_lo = p % n_blocks * {size}")
                if others:
                    self.line("p_rows = p // n_blocks")
                rest = "p_rows"
            for position, index in reversed(list(enumerate(others))):
                self.line(f"{index} = {rest} % n_{index}" if position else f"{index} = {rest}")
                if position:
                    self.line(f"p{position} = {rest} // n_{index}")
                rest = f"p{position}"
            yield

    def _blocks(self) -> None:
        """Write a whole block of rows, and the masked vectors of one that the edge cuts."""
        nest = self.nest
        index, size = nest.vector, nest.lanes * nest.copies
        with self.block(f"if n_{index} - {index}_lo >= {size}:"):
            self.line(f"{index} = {index}_lo")
            self.copies = nest.copies
            self._row()
            self.copies = 1
        with (
            self.block("else:"),
            self.block(f"for {index} in range({index}_lo, n_{index}, {nest.lanes}):"),
        ):
            self.line(f"n_left = min(n_{index} - {index}, {nest.lanes})")
            self.rest = "n_left"
            self._row()
            self.rest = None

    # --- one row, or a block of rows -------------------------------------------------------------

    def _row(self) -> None:
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
        with self._nested(outer):
            self.points = tuple(outer)
            if self._is_along:
                self.points = (*outer, str(nest.vector))
                self._vectors(point, n_sums, blocked)
            elif inner is None:
                point()
            else:
                self.points = (*outer, inner)
                with self._blocks_along(inner, f"n_{inner}", 1, n_sums, blocked):
                    point()
            self.points = ()

    @contextmanager
    def _nested(self, loops: list[str]) -> Iterator[None]:
        if not loops:
            yield
            return
        with self.block(f"for {loops[0]} in range(n_{loops[0]}):"), self._nested(loops[1:]):
            yield

    @contextmanager
    def _blocks_along(
        self, index: str, end: str, step: int, n_sums: int, blocked: Sequence[int]
    ) -> Iterator[None]:
        """Open the loop of ``index`` up to ``end``, in blocks where sums need them."""
        steps = f", {step}" if step > 1 else ""
        if not blocked:
            span = f"0, {end}{steps}" if steps else end
            with self.block(f"for {index} in range({span}):"):
                yield
            return
        with self.block(f"for {index}_lo in range(0, {end}, {_BLOCK * step}):"):
            self.line(f"{index}_hi = min({index}_lo + {_BLOCK * step}, {end})")
            for number in blocked:
                start = self._start(self.nest.reductions[number])
                for copy in range(n_sums):
                    self.line(f"{_part(number, copy)} = {start}")
            self._blocked = frozenset(blocked)
            with self.block(f"for {index} in range({index}_lo, {index}_hi{steps}):"):
                yield
            self._blocked = frozenset()
            for number in blocked:
                for copy in range(n_sums):
                    total, part = _sum(number, copy), _part(number, copy)
                    self.line(f"{total} = {total} + {part}")

    def _vectors(self, point: Callable[[], None], n_sums: int, blocked: Sequence[int]) -> None:
        """Write the loop along the row's vectors: several at once, one, the masked rest."""
        index, lanes = str(self.nest.vector), self.nest.lanes
        self.line(f"{index}_full = n_{index} - n_{index} % {lanes}")
        main = f"{index}_main" if n_sums > 1 else f"{index}_full"
        if n_sums > 1:
            self.line(f"{main} = n_{index} - n_{index} % {lanes * n_sums}")
        with self._blocks_along(index, main, lanes * n_sums, n_sums, blocked):
            self.copies = n_sums
            point()
            self.copies = 1
        if n_sums > 1:
            with self.block(f"for {index} in range({main}, {index}_full, {lanes}):"):
                point()
        with self.block(f"if {index}_full < n_{index}:"):
            self.line(f"{index} = {index}_full")
            self.line(f"n_left = n_{index} - {index}_full")
            self.rest = "n_left"
            point()
            self.rest = None

    # --- reductions ------------------------------------------------------------------------------

    def _pass(self, numbers: tuple[int, ...], stored: Scalar | None) -> None:
        """Write reductions that share one pass along the row, and their results."""
        nest = self.nest
        reductions = {number: nest.reductions[number] for number in numbers}
        self.define_row(*(reduction.body for reduction in reductions.values()))
        n_sums = nest.copies if nest.vector in nest.reduced else self.copies
        for number, reduction in reductions.items():
            self._begin(number, reduction, n_sums)
            if self._remembers(reduction):
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

        is_exact = np.dtype(self.compute).kind not in "fc"
        sums = () if is_exact else (n for n, r in reductions.items() if r.kind in ("sum", "mean"))
        self._along(point, n_sums, tuple(sums))
        for number, reduction in reductions.items():
            self._finish(number, reduction, n_sums)

    def _begin(self, number: int, reduction: Reduction, n_sums: int) -> None:
        """Write what a reduction's accumulators start with."""
        start = self._start(reduction)
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
    def _is_along(self) -> bool:
        return self.nest.vector in self.nest.reduced

    def _remembers(self, reduction: Reduction) -> bool:
        """Say whether NaN is remembered beside a maximum, for all copies at once."""
        is_float = np.dtype(self.compute).kind == "f"
        return is_float and self._is_along and reduction.kind in ("max", "min")

    def _inside(self) -> None:
        """Write the mask of a row's last lanes."""
        if self._is_along and self.rest is not None:
            one, zero = self.number(1), self.number(0)
            self.line(f"inside = vset{self.nest.lanes}_masked({one}, {self.rest}) != {zero}")

    def _accumulate(self, number: int, reduction: Reduction, copy: int, value: str) -> None:
        target = _part(number, copy) if number in self._blocked else _sum(number, copy)
        is_masked = self._is_along and self.rest is not None
        if self._remembers(reduction):
            is_nan = f"({value} != {value})"
            is_nan = f"(inside & {is_nan})" if is_masked else is_nan
            self.line(f"nan{number} = nan{number} | {is_nan}")
            step = f"v{reduction.kind}({target}, {value})"
        else:
            step = self._step(reduction, target, value)
        self.line(
            f"{target} = vselect(inside, {step}, {target})" if is_masked else f"{target} = {step}"
        )

    def _step(self, reduction: Reduction, total: str, value: str) -> str:
        """Return a total with one more value."""
        kind = np.dtype(self.compute).kind
        if self.nest.compute == "bool":
            return f"v{'max' if reduction.kind in ('sum', 'max') else 'min'}({total}, {value})"
        if kind == "f" and reduction.kind in ("max", "min"):
            sign = ">" if reduction.kind == "max" else "<"
            return f"vselect(({value} {sign} {total}) | ({value} != {value}), {value}, {total})"
        if kind in "iu" and reduction.kind in ("max", "min"):
            return f"v{reduction.kind}({total}, {value})"
        if kind in "iu":
            is_sum = reduction.kind == "sum"
            product = f"vwrap({total} * {value}, {self.number(0)})"
            return f"vplus({total}, {value})" if is_sum else product
        return f"{total} {'*' if reduction.kind == 'prod' else '+'} {value}"

    def _start(self, reduction: Reduction) -> str:
        """Return what an accumulator starts with."""
        start = self._identity(reduction)
        return start if self.nest.vector is None else f"vset{self.nest.lanes}({start})"

    def _identity(self, reduction: Reduction) -> str:
        kind = np.dtype(self.compute).kind
        if self.nest.compute == "bool":
            return self.number(reduction.kind in ("prod", "min"))
        if reduction.kind == "prod":
            return self.number(1)
        if reduction.kind in ("sum", "mean"):
            return self.number(0)
        is_max = reduction.kind == "max"
        if kind == "f":
            return self.number(-np.inf if is_max else np.inf)
        info = np.iinfo(self.compute)
        return self.number(info.min if is_max else info.max)

    def _finish(self, number: int, reduction: Reduction, n_sums: int) -> None:
        """Write a reduction's result from its accumulators."""
        nest = self.nest
        sums = [_sum(number, copy) for copy in range(n_sums)]
        result = Value(self.n_inputs + number)
        if not self._is_along:
            for total in sums:
                self._divide(reduction, total)
            self.row[result] = tuple(sums)
            return
        while len(sums) > 1:
            half = (len(sums) + 1) // 2
            for a, b in zip(sums[: len(sums) - half], sums[half:], strict=True):
                is_extreme = self._remembers(reduction)
                step = f"v{reduction.kind}({a}, {b})" if is_extreme else self._step(reduction, a, b)
                self.line(f"{a} = {step}")
            sums = sums[:half]
        name = f"r{number}"
        self.line(f"{name} = {self._lanes_joined(reduction, sums[0])}")
        if reduction.kind == "prod":
            with self.block(f"for lane in range({nest.lanes}):"):
                self.line(f"{name} = {self._step(reduction, name, 'acc[acc_0 + lane]')}")
        if self._remembers(reduction):
            one, zero = self.number(1), self.number(0)
            self.line(f"n_nan = vsum(vselect(nan{number}, {one}, {zero}))")
            self.line(f"{name} = vselect(n_nan > {zero}, {self.number(np.nan)}, {name})")
        self._divide(reduction, name)
        self.row[result] = (name,)

    def _lanes_joined(self, reduction: Reduction, total: str) -> str:
        """Return the reduction of a vector's lanes; a product's start, its lanes in scratch."""
        if reduction.kind in ("sum", "mean"):
            return f"vsum({total})"
        if reduction.kind == "prod":
            self.line(f"vstore{self.nest.lanes}(acc, acc_0, {total})")
            return self.number(1)
        return f"v{reduction.kind}_all({total})"

    def _divide(self, reduction: Reduction, total: str) -> None:
        if reduction.kind == "mean":
            count = " * ".join(f"n_{index}" for index in self.nest.reduced) or "1"
            self.line(f"{total} = {total} / np.{self.compute}({count})")


def _sum(number: int, copy: int) -> str:
    return f"sum{number}_{copy}"


def _part(number: int, copy: int) -> str:
    return f"part{number}_{copy}"
