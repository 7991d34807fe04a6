"""Graphs to libraries: recipes at every cell of sizes, for each CPU level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy.typing as npt

from einloom.aot.levels import Box, Constants, LevelBuilder
from einloom.aot.symbols import bound_symbols, checks_of, representative, unified
from einloom.runtime import recipe as recipes
from einloom.runtime.choices import Choices
from einloom.runtime.program import Program
from einloom_compiler.aot import library as ir
from einloom_compiler.aot.built_in import pack_built_in
from einloom_compiler.aot.verify import verify_library
from einloom_compiler.codegen.target import Target
from einloom_compiler.dtypes import AnyDType, dtype_name
from einloom_compiler.errors import InternalCompilerError, ShapeError
from einloom_compiler.extents import evaluate
from einloom_compiler.families.few import few_kernels
from einloom_compiler.ir.graph import Input, Node, Shape
from einloom_compiler.ir.shapes import Guard, guards
from einloom_compiler.order.search import Optimize
from einloom_compiler.schedule.machine import Machine, assumed

Array = npt.NDArray[Any]
#: Called after each plan of a cell: how many are done, and how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Cpu:
    """A level of CPUs that code is made for.

    Attributes:
        target: in LLVM's words.
        machine: what schedules need to know.
        processor: which CPUs run it.
    """

    target: Target
    machine: Machine
    processor: ir.Processor


@dataclass(frozen=True, slots=True)
class Source:
    """What a library is made from.

    Attributes:
        roots: the graph of each output, with settled dtypes.
        outputs: the outputs' names.
        inputs: in the order of calls: all that the graphs use, and perhaps more.
        names: what each input is called, by the name of its node.
        equation: what people are told that it computes.
        optimize: how orders are chosen.
        choices: ranges of symbols, and schedules.
        reference: Keras's inference, where checks compare with that and not with the same graphs
            compiled here; it takes and gives lists of arrays.
    """

    roots: tuple[Node, ...]
    outputs: tuple[str, ...]
    inputs: tuple[Input, ...]
    names: Mapping[str, str]
    equation: str
    optimize: Optimize
    choices: Choices
    reference: Callable[[Sequence[Array]], Sequence[Array]] | None = None

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Equations of extents that must hold."""
        return guards(*self.roots)

    def program(self) -> Program:
        """Return the graphs ready to be planned."""
        return Program(self.roots, self.names, self.optimize, self.choices, inputs=self.inputs)


def lower(
    name: str, source: Source, cpus: Mapping[str, Cpu], progress: Progress | None = None
) -> ir.Library:
    """Return the library of a function.

    Args:
        name: the library's.
        source: the function.
        cpus: the CPU levels by name.
        progress: called after each plan of a cell.

    Raises:
        UnsupportedError: a symbol is no axis of any input by itself, or a guard cannot be planned.
        ShapeError: there are no legal sizes.
    """
    program = source.program()
    symbols = bound_symbols(source.inputs, source.choices.ranges, source.roots)
    constants = Constants()
    cells = list(product(*(_ranges(symbol) for symbol in symbols)))
    open_sizes = {symbol.name: representative(symbol, n) for n, symbol in enumerate(symbols)}
    outputs = tuple(
        _port(name, shape, dtype, open_sizes)
        for name, shape, dtype in zip(source.outputs, program.shapes, program.dtypes, strict=True)
    )
    levels, done, n_plans = [], 0, 2 * len(cells) * len(cpus)

    def planned() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, n_plans)

    for cpu, facts in cpus.items():
        level = LevelBuilder(cpu, facts.processor, constants)
        with assumed(facts.machine), few_kernels() as kernels:
            drafts = []
            for cell in cells:
                drafts.append(kernels.draft(partial(_recipe_at, program, symbols, cell)))
                planned()
            kernels.settle()
            for cell, draft in zip(cells, drafts, strict=True):
                level.add(kernels.final(draft), _box(symbols, cell))
                planned()
        if all(number is None for number in level.choice):
            raise ShapeError(f"{name}: no size of its symbols is legal; look at guards and ranges")
        levels.append(level.level())
    library = pack_built_in(
        ir.Library(
            name=name,
            inputs=tuple(
                _port(source.names[node.name], node.shape, node.dtype, open_sizes)
                for node in source.inputs
            ),
            outputs=outputs,
            symbols=symbols,
            checks=checks_of(source.roots, open_sizes),
            constants=constants.found(),
            levels=tuple(levels),
        )
    )
    verify_library(library)
    return library


def _port(name: str, shape: Shape, dtype: AnyDType | None, sizes: Mapping[str, int]) -> ir.Port:
    if dtype is None:
        raise InternalCompilerError("aot", f"the dtype of {name} is not settled")
    return ir.Port(name, dtype_name(dtype), tuple(evaluate(extent, sizes) for extent in shape))


def _ranges(symbol: ir.Symbol) -> Iterator[tuple[int, int | None]]:
    """Yield the ranges that a symbol's bounds cut: least and one more than the largest value."""
    starts = (0, *symbol.bounds)
    yield from zip(starts, (*symbol.bounds, None), strict=True)


def _recipe_at(
    program: Program,
    symbols: Sequence[ir.Symbol],
    cell: Sequence[tuple[int, int | None]],
) -> recipes.Recipe | None:
    """Return the recipe that serves a cell, None where no size of it is legal.

    Its least sizes settle how kernels are chosen; where an extent is negative at these, or a slice
    leaves its axis, larger ones do.
    """
    for symbol, (start, stop) in zip(symbols, cell, strict=True):
        if symbol.most is not None and start > symbol.most:
            return None
        if stop is not None and stop <= symbol.least:
            return None
    for sizes in _tried(symbols, cell):
        named = {symbol.name: size for symbol, size in zip(symbols, sizes, strict=True)}
        settled = unified(program.signature.guards, named)
        if settled is None:
            return None
        try:
            return program.recipe_at(settled, is_shipped=True)
        except ShapeError:
            continue
    return None


def _tried(
    symbols: Sequence[ir.Symbol], cell: Sequence[tuple[int, int | None]]
) -> Iterator[tuple[int, ...]]:
    """Yield sizes of a cell, most of them open: the least, larger ones, then the only one."""
    seen: set[tuple[int, ...]] = set()
    for turn in range(4):
        sizes: list[int] = []
        for number, (symbol, (start, stop)) in enumerate(zip(symbols, cell, strict=True)):
            last = 4 * start if stop is None else stop - 1
            size = min((start, start + 1, (start + last) // 2, last)[turn], last)
            # Indices of extent 0 and 1 are no loops; other sizes share kernels.
            is_special = start < 2 and stop == start + 1
            sizes.append(start if is_special else representative(symbol, number, size))
        plain = tuple(map(int, sizes))  # open ones are equal at all sizes
        if plain not in seen:
            yield tuple(sizes)
        seen.add(plain)
    if all(stop == start + 1 for start, stop in cell):
        yield tuple(start for start, _ in cell)


def _box(symbols: Sequence[ir.Symbol], cell: Sequence[tuple[int, int | None]]) -> Box:
    """Return the least and largest legal sizes of a cell."""
    least, most = {}, {}
    for symbol, (start, stop) in zip(symbols, cell, strict=True):
        ends = [end for end in (symbol.most, stop and stop - 1) if end is not None]
        least[symbol.name] = max(start, symbol.least)
        most[symbol.name] = min(ends, default=ir.NEVER)
    return least, most


__all__ = ["Source", "lower"]
