"""The variants of one CPU level: recipes as steps of shipped code, with what they share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.aot.shipped.calls import parsed, value
from einloom.runtime import recipe as recipes
from einloom.runtime.launch import HANDOVER_SECONDS, PARALLEL_SECONDS, SHARING_SECONDS
from einloom.runtime.lookups import Gather
from einloom.runtime.values import c_layout
from einloom_compiler.aot import library as ir
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.dtypes import dtype_name
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.lowering.formula import formula_text
from einloom_compiler.lowering.prepacking import Packing

Array = npt.NDArray[Any]


#: Least and largest size of each symbol.
Box = tuple[Mapping[str, int], Mapping[str, int]]


#: Work that takes so much less than what threads are woken for lets others have Python's lock.
LONG = 8


class Constants:
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


class LevelBuilder:
    """The variants of one CPU level in the making."""

    def __init__(
        self,
        cpu: str,
        processor: ir.Processor,
        constants: Constants,
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
        points, handover = int(bound.points), HANDOVER_SECONDS * int(step.written_bytes)
        least = _points_in(PARALLEL_SECONDS, points, bound.seconds)
        each = _points_in(SHARING_SECONDS, points, bound.seconds - handover)
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
            shared_points=shared(bound.points, max(1, each), box),
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


def shared(points: int, each: int, box: Box) -> int:
    """Return ``each``; NEVER where no size of a cell has so many points."""
    most = value(parsed(formula_text(points)), box[1])
    return each if most >= each else ir.NEVER


def _points_in(duration: float, points: int, seconds: float) -> int:
    """Return how many points take so long, as a power of the square root of two.

    Rounded, so that cells whose predictions hardly differ share their variants.
    """
    if seconds <= 0 or points <= 0:
        return ir.NEVER
    return int(2 ** min(62.0, round(2 * math.log2(points * duration / seconds)) / 2))


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
