"""The library IR: what a shipped library does at every size, on every CPU level.

Grammar::

    Library  = (name, inputs: Port*, outputs: Port+, symbols: Symbol*, checks: Check*,
                constants: Constant*, levels: Level+)
    Port     = (name, dtype, shape: Number*)
    Symbol   = (name, input, axis, least, most, bounds: int*)
    Check    = (left: Number, right: Number, text, relation: "==" | ">=")
    Level    = (cpu, needs: Processor, kernels: KernelText*, packed: Packed*, variants: Variant*,
                choice: (int | None)+)
    Packed   = (constant, packing: Packing, dtype)
    Variant  = (buffers: Buffer*, steps: Step*)
    Buffer   = (n_bytes: Number, room)
    Step     = Launch(kernel, operands: Place+, target: Place, tables, numbers: Number*,
                      total: Number, points: Number, parallel_points, long_points,
                      shared_points)
             | Gather(table: Place, indices: Place, target: Place, dtype, extent: Number,
                      count: Number, row_bytes: Number)
             | Positions(target: Place, count: Number)
    Place    = (kind: "input" | "output" | "constant" | "packed" | "buffer", number, offset: Number)
    Number   = int | Formula of the symbols' names

The sizes of each symbol are cut at its ``bounds`` into ranges; a cell is one range of each, and
``choice`` says for each cell which variant serves it, the last symbol's range running fastest.
Constants are there once, in their own layout; a level's packed ones are made of them when the
library is loaded on a CPU of that level. Where there is one level, :mod:`.built_in` puts those in
the constants' places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Literal

from einloom_compiler.codegen.text import KernelText
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.lowering.tables import Table

#: An integer, or a :class:`~einloom_compiler.lowering.formula.Formula` of symbols.
Number = int
#: A number of points that no size has.
NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output, in C order unless a call gives strides.

    Attributes:
        name: what callers say; an identifier.
        dtype: its dtype's name.
        shape: extents.
    """

    name: str
    dtype: str
    shape: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbolic extent, an argument of every call.

    Attributes:
        name: as declared.
        input: the input that shows its value first.
        axis: the axis of that input which has this extent alone.
        least: smallest value allowed.
        most: largest value allowed, None for no bound.
        bounds: where its values are cut into ranges, ascending.
    """

    name: str
    input: int
    axis: int
    least: int = 0
    most: int | None = None
    bounds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A relation of extents that must hold at a call.

    Attributes:
        left: one side.
        right: the other.
        text: the relation and its reason, for people.
        relation: of left to right.
    """

    left: Number
    right: Number
    text: str
    relation: Literal["==", ">="] = "=="


@dataclass(frozen=True, slots=True)
class Constant:
    """Values that are the same at all calls.

    Attributes:
        contents: the bytes.
        start: where the first element is; 0 unless strides are negative.
    """

    contents: bytes = field(repr=False)
    start: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value's first element is.

    Attributes:
        kind: what it is a part of.
        number: which of them.
        offset: bytes from its first element.
    """

    kind: Literal["input", "output", "constant", "packed", "buffer"]
    number: int
    offset: Number = 0


@dataclass(frozen=True, slots=True)
class Launch:
    """Run a kernel.

    Attributes:
        kernel: its number in the level.
        operands: what its pointers point to, in their order.
        target: what it writes.
        tables: what else it reads.
        numbers: its integers.
        total: length of its parallel range.
        points: of its loop nest, a measure of the work.
        parallel_points: from how many on threads are worth waking, unasked; :data:`NEVER` and 0
            where none or all sizes are.
        long_points: from how many on others may want what the caller holds meanwhile.
        shared_points: for how many each an awake thread takes part; :data:`NEVER` where none does.
    """

    kernel: int
    operands: tuple[Place, ...]
    target: Place
    tables: tuple[Table, ...]
    numbers: tuple[Number, ...]
    total: Number
    points: Number
    parallel_points: int
    long_points: int
    shared_points: int


@dataclass(frozen=True, slots=True)
class Gather:
    """Copy the rows of a table that indices name, all in C order; fails where one names none.

    Attributes:
        table: rows.
        indices: integers.
        target: the copies.
        dtype: the indices' dtype name.
        extent: number of rows of the table.
        count: number of indices.
        row_bytes: of one row.
    """

    table: Place
    indices: Place
    target: Place
    dtype: str
    extent: Number
    count: Number
    row_bytes: Number


@dataclass(frozen=True, slots=True)
class Positions:
    """Write 0, 1, 2, ... as ``count`` integers of 64 bits."""

    target: Place
    count: Number


Step = Launch | Gather | Positions


def read_by(step: Step) -> tuple[Place, ...]:
    """Return where a step reads."""
    match step:
        case Launch():
            return step.operands
        case Gather():
            return step.table, step.indices
    return ()


@dataclass(frozen=True, slots=True)
class Buffer:
    """An intermediate.

    Attributes:
        n_bytes: its size.
        room: the piece of workspace it lies in; buffers that are never needed at once share one.
    """

    n_bytes: Number
    room: int


@dataclass(frozen=True, slots=True)
class Variant:
    """The steps that serve some sizes."""

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Processor:
    """Which CPUs run the code of a level.

    Attributes:
        level: the psABI level of x86-64 that they have at least; 0 for other architectures.
        vendor: the one vendor whose CPUs do, as CPUID names it; empty for all.
        family: the one family of that vendor.
        model: the one model of that family.
    """

    level: int = 0
    vendor: str = ""
    family: int = 0
    model: int = 0


@dataclass(frozen=True, slots=True)
class Packed:
    """A constant as kernels of a level read it.

    Attributes:
        constant: its number.
        packing: how it is packed; all numbers are plain.
        dtype: the constant's dtype name.
    """

    constant: int
    packing: Packing
    dtype: str


@dataclass(frozen=True, slots=True)
class Level:
    """What runs on CPUs of one level.

    Attributes:
        cpu: the level's name.
        needs: the CPUs that it may run on.
        kernels: printed kernels.
        packed: constants as kernels read them.
        variants: different ones only.
        choice: number of the variant of each cell; None where no size of the cell is legal.
    """

    cpu: str
    needs: Processor
    kernels: tuple[KernelText, ...] = field(repr=False)
    packed: tuple[Packed, ...]
    variants: tuple[Variant, ...]
    choice: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """A function as it is shipped.

    Attributes:
        name: a C identifier.
        inputs: in the order of calls.
        outputs: in the order of calls.
        symbols: symbolic extents, in the order of calls.
        checks: what must hold at a call.
        constants: values inside.
        levels: CPU levels, the most demanding last.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    symbols: tuple[Symbol, ...]
    checks: tuple[Check, ...]
    constants: tuple[Constant, ...]
    levels: tuple[Level, ...]

    @property
    def n_cells(self) -> int:
        """How many cells the sizes are cut into."""
        return prod(len(symbol.bounds) + 1 for symbol in self.symbols)
