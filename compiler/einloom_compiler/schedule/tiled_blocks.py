"""Register blocks of the tiled family, in an iteration space's numbers, and the nests they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.tiled import Lanes, Rows, TiledNest
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics, loop_name
from einloom_compiler.schedule.machine import Machine

#: Compute dtypes whose real lanes have 4 bytes.
_NARROW = ("float32", "int32", "uint32", "complex64")


@dataclass(frozen=True)
class Outline:
    """What is blocked, whatever the sizes of the blocks.

    Attributes:
        space: the contraction's indices.
        arithmetics: its dtypes and maps.
        machine: the target.
        lane: number of the lane index, None for scalars.
        rows: numbers of the row indices.
        static: numbers of the indices whose extents may be constants of the kernel.
    """

    space: IterationSpace
    arithmetics: Arithmetics
    machine: Machine
    lane: int | None
    rows: tuple[int, ...]
    static: frozenset[int]

    @cached_property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the output indices of the parallel range, slowest first."""
        blocked = {*self.rows, self.lane}
        found = [
            n for n in range(self.space.n_output) if n not in blocked or n not in self.static
        ]
        if len(found) > 1:
            found.sort(key=_task_key(self.space))
        return tuple(found)

    @cached_property
    def contracted(self) -> tuple[int, ...]:
        """Numbers of the summed indices, outermost loop first."""
        space, lane = self.space, self.lane
        found = [n for n in range(space.n_output, len(space.extents)) if n != lane]
        if len(found) > 1:
            found.sort(key=lambda n: -max(abs(column[n] or 0) for column in space.strides))
        return (*found, lane) if lane is not None and self.is_dot else tuple(found)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Numbers of all indices: tasks, rows within a task, summed ones, lanes within a task."""
        inner = () if self.lane is None else (self.lane,)
        return tuple(dict.fromkeys((*self.tasks, *self.rows, *self.contracted, *inner)))

    @cached_property
    def constants(self) -> tuple[int, ...]:
        """Numbers of the indices whose extents are constants of the kernel."""
        blocked, n_output = {*self.rows, self.lane}, self.space.n_output
        return tuple(
            n for n in self.order if n in self.static and (n in blocked or n >= n_output)
        )

    @cached_property
    def is_dot(self) -> bool:
        """Whether the lanes are summed."""
        return self.lane is not None and self.lane >= self.space.n_output

    @cached_property
    def scale(self) -> int:
        """Real lanes of one element."""
        return 2 if self.arithmetics.compute.startswith("complex") else 1

    @cached_property
    def itemsize(self) -> int:
        """Bytes of a real lane."""
        return 4 if self.arithmetics.compute in _NARROW else 8

    @cached_property
    def sums(self) -> int:
        """Accumulators of each vector: products of complex numbers have two."""
        return 2 if self.scale == 2 and len(self.space.strides) == 3 else 1

    def unit(self, column: Sequence[int | None]) -> int | None:
        """Return the index along which an access is contiguous: the lanes' where that is one."""
        lane = self.lane
        if lane is not None and column[lane] == 1:
            return lane
        return next((n for n in reversed(self.order) if column[n] == 1), None)


@dataclass(frozen=True, slots=True)
class Block:
    """A register block.

    Attributes:
        outline: what is blocked.
        width: real lanes of a vector.
        vectors: vectors a row.
        counts: points of each of the outline's rows.
    """

    outline: Outline
    width: int
    vectors: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NumberedNest:
    """A tiled nest and what its names stand for.

    Attributes:
        nest: the nest.
        order: the iteration space's number of each of the nest's indices.
        operands: which operand each of the nest's inputs is.
    """

    nest: TiledNest
    order: tuple[int, ...]
    operands: tuple[int, ...]

    def __str__(self) -> str:
        """Print the blocking."""
        return str(self.nest)


def numbered(block: Block) -> NumberedNest:
    """Return the nest of a block."""
    outline = block.outline
    space, how, lane, order = outline.space, outline.arithmetics, outline.lane, outline.order
    names = {number: loop_name(position) for position, number in enumerate(order)}

    def access(name: str, column: Sequence[int | None], is_conjugated: bool) -> Access:
        used = tuple(names[number] for number in order if column[number] is not None)
        unit = outline.unit(column)
        return Access(name, how.compute, used, None if unit is None else names[unit], is_conjugated)

    found = [
        access("", column, conjugated)
        for column, conjugated in zip(space.strides[:-1], how.conjugated, strict=True)
    ]
    operands = sorted(
        range(len(found)),
        key=lambda n: (found[n].indices, found[n].unit or "", found[n].is_conjugated),
    )
    nest = TiledNest(
        inputs=tuple(
            Access(f"x{position}", how.compute, x.indices, x.unit, x.is_conjugated)
            for position, x in enumerate(found[n] for n in operands)
        ),
        output=access("out", space.strides[-1], False),
        compute=how.compute,
        tasks=tuple(names[n] for n in outline.tasks),
        rows=tuple(Rows(names[n], count) for n, count in zip(outline.rows, block.counts, strict=True)),
        lanes=None if lane is None else Lanes(names[lane], block.width, block.vectors),
        contracted=tuple(names[n] for n in outline.contracted),
        static=tuple((names[n], int(space.extents[n])) for n in outline.constants),
        splits_edge=outline.machine.simd_bits < 512,
        epilogue=how.epilogue,
        extras=tuple(
            access(f"e{position}", column, False) for position, column in enumerate(space.extras)
        ),
    )
    return NumberedNest(nest, order, tuple(operands))


def _task_key(space: IterationSpace) -> Callable[[int], tuple[int, int, int]]:
    """Return the key that sorts output indices: the largest access is walked through in order."""
    columns = space.strides

    def elements(column: Sequence[int | None]) -> int:
        return prod(
            extent for extent, step in zip(space.extents, column, strict=True) if step is not None
        )

    largest = max(columns, key=elements)
    return lambda n: (-abs(largest[n] or 0), -abs(columns[-1][n] or 0), n)
