"""Graphs to libraries: recipes at every cell of sizes, for each CPU level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.aot.shipped import parsed, value
from einloom.aot.symbols import bound_symbols, checks_of, representative, unified
from einloom.runtime import recipe as recipes
from einloom.runtime.choices import Choices
from einloom.runtime.launch import PARALLEL_SECONDS
from einloom.runtime.lookups import Gather
from einloom.runtime.program import Program
from einloom.runtime.values import c_layout
from einloom_compiler.aot import library as ir
from einloom_compiler.aot.verify import verify_library
from einloom_compiler.codegen.target import Target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.dtypes import AnyDType, dtype_name
from einloom_compiler.errors import InternalCompilerError, ShapeError
from einloom_compiler.extents import evaluate
from einloom_compiler.families import few_kernels
from einloom_compiler.ir.graph import Input, Node, Shape
from einloom_compiler.ir.shapes import Guard, guards
from einloom_compiler.lowering.formula import formula_text
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.order.search import Optimize
from einloom_compiler.schedule.machine import Machine, assumed

Array = npt.NDArray[Any]
#: Called after each cell: cells done, cells in all.
Progress = Callable[[int, int], None]
#: Least and largest size of each symbol.
Box = tuple[Mapping[str, int], Mapping[str, int]]
#: Work that takes so much less than what threads are woken for lets others have Python's lock.
LONG = 8


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
        reference: what checks compare with, in place of the same graphs compiled here; it takes
            and gives lists of arrays.
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
        progress: called after each cell.

    Raises:
        UnsupportedError: a symbol is no axis of any input by itself, or a guard cannot be planned.
        ShapeError: there are no legal sizes.
    """
    program = source.program()
    symbols = bound_symbols(source.inputs, source.choices.ranges, source.roots)
    constants = _Constants()
    cells = list(product(*(_ranges(symbol) for symbol in symbols)))
    open_sizes = {symbol.name: representative(symbol, n) for n, symbol in enumerate(symbols)}
    outputs = tuple(
        _port(name, shape, dtype, open_sizes)
        for name, shape, dtype in zip(source.outputs, program.shapes, program.dtypes, strict=True)
    )
    levels, done = [], 0
    for cpu, facts in cpus.items():
        level = _LevelBuilder(cpu, facts.processor, constants)
        with assumed(facts.machine), few_kernels():
            for cell in cells:
                level.add(_recipe_at(program, symbols, cell), _box(symbols, cell))
                done += 1
                if progress is not None:
                    progress(done, len(cells) * len(cpus))
        if all(number is None for number in level.choice):
            raise ShapeError(f"{name}: no size of its symbols is legal; look at guards and ranges")
        levels.append(level.level())
    library = ir.Library(
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


class _Constants:
    """The arrays of recipes as bytes, each once."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._kept: list[Array] = []  # so that no identity is used twice
        self._found: list[ir.Constant] = []

    def number(self, array: Array) -> int:
        """Return the number of an array's constant."""
        key = id(array)
        if key not in self._numbers:
            self._kept.append(array)
            self._numbers[key] = len(self._found)
            self._found.append(_in_memory(array))
        return self._numbers[key]

    def found(self) -> tuple[ir.Constant, ...]:
        """Return the constants so far."""
        return tuple(self._found)


def _in_memory(array: Array) -> ir.Constant:
    """Return the array's memory with its strides, without what lies between its elements."""
    if array.size == 0:
        return ir.Constant(b"")
    reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
    start = -sum(step for step in reach if step < 0)
    size = start + sum(step for step in reach if step > 0) + array.itemsize
    buffer = bytearray(size)
    target = np.ndarray(array.shape, array.dtype, buffer, start, array.strides)
    target[...] = array
    return ir.Constant(bytes(buffer), start)


class _LevelBuilder:
    """The variants of one CPU level in the making."""

    def __init__(
        self,
        cpu: str,
        processor: ir.Processor,
        constants: _Constants,
    ) -> None:
        self.cpu = cpu
        self.processor = processor
        self.constants = constants
        self.kernels: dict[KernelText, int] = {}
        self.variants: dict[ir.Variant, int] = {}
        self.choice: list[int | None] = []
        self.packed: dict[ir.Packed, int] = {}

    def add(self, recipe: recipes.Recipe | None, box: Box) -> None:
        """Append the next cell's recipe; ``box`` holds the cell's sizes."""
        if recipe is None:
            self.choice.append(None)
            return
        variant = self._variant(recipe, box)
        self.choice.append(self.variants.setdefault(variant, len(self.variants)))

    def level(self) -> ir.Level:
        """Return what was built."""
        return ir.Level(
            self.cpu,
            self.processor,
            tuple(self.kernels),
            tuple(self.packed),
            tuple(self.variants),
            tuple(self.choice),
        )

    def _variant(self, recipe: recipes.Recipe, box: Box) -> ir.Variant:
        first = recipe.first_buffer
        lives = [recipe.life(first + number) for number in range(len(recipe.buffers))]
        buffers = tuple(
            ir.Buffer(_n_bytes(shape, dtype.itemsize), room)
            for (shape, dtype), room in zip(recipe.buffers, _rooms(lives), strict=True)
        )
        steps = tuple(self._step(recipe, step, box) for step in recipe.steps)
        return ir.Variant(buffers, steps)

    def _step(self, recipe: recipes.Recipe, step: recipes.Step, box: Box) -> ir.Step:
        if isinstance(step, Gather):
            return self._gather(recipe, step)
        if isinstance(step, recipes.Positions):
            target = self._place(recipe, step.target.slot, step.target.offset)
            return ir.Positions(target, _n_bytes(step.target.shape, 1))
        bound = step.bound
        *offsets, target_offset = step.offsets or (0,) * (len(step.operands) + 1)
        kernel = self.kernels.setdefault(bound.kernel.text, len(self.kernels))
        least = _parallel_points(int(bound.points), bound.seconds)
        return ir.Launch(
            kernel=kernel,
            operands=tuple(
                self._place(recipe, step.operands[position], offsets[position])
                for position in bound.operands
            ),
            target=self._place(recipe, step.target, target_offset),
            tables=bound.built_tables,
            numbers=tuple(bound.numbers),
            total=bound.total,
            points=bound.points,
            parallel_points=decided(bound.points, least, box),
            long_points=decided(bound.points, least // LONG, box),
        )

    def _gather(self, recipe: recipes.Recipe, step: Gather) -> ir.Gather:
        values = (step.table, step.indices, step.target)
        if any(value.layout != c_layout(value.shape, value.dtype) for value in values):
            raise InternalCompilerError("aot", "a lookup is not of arrays in C order", str(step))
        table, indices, target = (self._place(recipe, v.slot, v.offset) for v in values)
        extent, *row = step.table.shape
        return ir.Gather(
            table=table,
            indices=indices,
            target=target,
            dtype=dtype_name(step.indices.dtype),
            extent=extent,
            count=_n_bytes(step.indices.shape, 1),
            row_bytes=_n_bytes(row, step.table.dtype.itemsize),
        )

    def _packed(self, recipe: recipes.Recipe, slot: int, packing: Packing) -> int:
        """Return the number of a packed constant."""
        array = recipe.constants[-1 - slot]
        number = self.constants.number(array)
        packed = ir.Packed(number, packing.plain(), dtype_name(array.dtype))
        return self.packed.setdefault(packed, len(self.packed))

    def _place(self, recipe: recipes.Recipe, slot: int, offset: int = 0) -> ir.Place:
        if (origin := recipe.packed.get(slot)) is not None:
            return ir.Place("packed", self._packed(recipe, *origin), offset)
        if slot < 0:
            array = recipe.constants[-1 - slot]
            number = self.constants.number(array)
            return ir.Place("constant", number, offset)
        if slot < recipe.n_inputs:
            return ir.Place("input", slot, offset)
        if slot < recipe.first_buffer:
            return ir.Place("output", slot - recipe.n_inputs, offset)
        return ir.Place("buffer", slot - recipe.first_buffer, offset)


def _box(symbols: Sequence[ir.Symbol], cell: Sequence[tuple[int, int | None]]) -> Box:
    """Return the least and largest legal sizes of a cell."""
    least, most = {}, {}
    for symbol, (start, stop) in zip(symbols, cell, strict=True):
        ends = [end for end in (symbol.most, stop and stop - 1) if end is not None]
        least[symbol.name] = max(start, symbol.least)
        most[symbol.name] = min(ends, default=ir.NEVER)
    return least, most


def decided(points: int, least: int, box: Box) -> int:
    """Return ``least``; 0 where all sizes of a cell have as many points, NEVER where none has.

    Cells that differ in nothing else share their code. Numbers of points grow with all sizes.

    >>> from einloom_compiler.lowering.formula import open_symbol
    >>> points = open_symbol(4, "B", 0) * 100
    >>> [decided(points, n, ({"B": 4}, {"B": 7})) == n for n in (300, 500, 800)]
    [False, True, False]
    """
    low, high = (value(parsed(formula_text(points)), sizes) for sizes in box)
    return 0 if low >= least else least if high >= least else ir.NEVER


def _parallel_points(points: int, seconds: float) -> int:
    """Return from how many points on threads pay, as a power of the square root of two.

    Rounded, so that cells whose predictions hardly differ share their variants.
    """
    if seconds <= 0 or points <= 0:
        return ir.NEVER
    return int(2 ** min(62.0, round(2 * math.log2(points * PARALLEL_SECONDS / seconds)) / 2))


def _n_bytes(shape: Sequence[int], itemsize: int) -> int:
    count = itemsize
    for extent in shape:
        count = count * extent
    return count


def _rooms(lives: Sequence[range]) -> list[int]:
    """Return the room of each buffer: the first that is free during its life."""
    rooms: list[list[range]] = []
    found = []
    for life in lives:
        room = next(
            (
                number
                for number, others in enumerate(rooms)
                if all(o.stop <= life.start or life.stop <= o.start for o in others)
            ),
            len(rooms),
        )
        if room == len(rooms):
            rooms.append([])
        rooms[room].append(life)
        found.append(room)
    return found


__all__ = ["Source", "lower"]
