"""Register blocks of the tiled family, in an iteration space's numbers, and the nests they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.tiled import Lanes, Rows, TiledNest
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics, loop_name
from einloom_compiler.schedule.machine import Machine

#: Compute dtypes whose real lanes have 4 bytes.
_NARROW = ("float32", "int32", "uint32", "complex64")


def real_bytes(compute: str) -> int:
    """Return the bytes of a real lane of this compute dtype."""
    return 4 if compute in _NARROW else 8


class Outline:
    """What is blocked, whatever the sizes of the blocks; it does not change.

    Attributes:
        space: the contraction's indices.
        arithmetics: its dtypes and maps.
        machine: the target.
        lane: number of the lane index, None for scalars.
        rows: numbers of the row indices.
        static: numbers of the indices whose extents may be constants of the kernel.
        tasks: numbers of the output indices of the parallel range, slowest first.
        is_dot: whether the lanes are summed.
        contracted: numbers of the summed indices, outermost loop first.
        order: numbers of all indices: tasks, rows within a task, summed ones, lanes within a task.
        scale: real lanes of one element.
        itemsize: bytes of a real lane.
        sums: accumulators of each vector: products of complex numbers have two.
        is_streamed: whether the output is written past the caches, as one run.
        joins_rows: whether vectors lie along rows and lanes as along one index.
    """

    __slots__ = (
        *("space", "arithmetics", "machine", "lane", "rows", "static", "tasks", "is_dot"),
        *("contracted", "order", "scale", "itemsize", "sums", "is_streamed", "joins_rows"),
    )

    def __init__(
        self,
        space: IterationSpace,
        arithmetics: Arithmetics,
        machine: Machine,
        lane: int | None,
        rows: tuple[int, ...],
        static: frozenset[int],
        *,
        is_streamed: bool = False,
        joins_rows: bool = False,
    ) -> None:
        """Take the attributes that are not derived."""
        self.space, self.arithmetics, self.machine = space, arithmetics, machine
        self.lane, self.rows, self.static = lane, rows, static
        self.is_streamed, self.joins_rows = is_streamed, joins_rows
        blocked = {*rows, lane}
        tasks = [n for n in range(space.n_output) if n not in blocked or n not in static]
        if len(tasks) > 1:
            key = _task_key(space)
            tasks.sort(key=(lambda n: -abs(space.strides[-1][n] or 0)) if is_streamed else key)
        self.tasks = tuple(tasks)
        summed = [n for n in range(space.n_output, len(space.extents)) if n != lane]
        if len(summed) > 1:
            summed.sort(key=lambda n: -max(abs(column[n] or 0) for column in space.strides))
        self.is_dot = lane is not None and lane >= space.n_output
        if lane is not None and self.is_dot:
            summed.append(lane)
        self.contracted = tuple(summed)
        inner = () if lane is None else (lane,)
        self.order = tuple(dict.fromkeys((*tasks, *rows, *summed, *inner)))
        self.scale = 2 if arithmetics.compute.startswith("complex") else 1
        self.itemsize = real_bytes(arithmetics.compute)
        self.sums = 2 if self.scale == 2 and len(space.strides) == 3 else 1

    @property
    def constants(self) -> tuple[int, ...]:
        """Numbers of the indices whose extents are constants of the kernel."""
        blocked, n_output = {*self.rows, self.lane}, self.space.n_output
        return tuple(n for n in self.order if n in self.static and (n in blocked or n >= n_output))

    @property
    def is_one_run(self) -> bool:
        """Whether the blocks, task by task, write the output's memory from its start to its end."""
        space, lane, tasks = self.space, self.lane, self.tasks
        if lane is None or self.is_dot or {*self.rows} & {*tasks}:
            return False
        column = space.strides[-1]
        inner = [n for n in range(space.n_output) if n not in tasks]
        inner.sort(key=lambda n: column[n] or 0)
        length = 1
        for number in (*inner, *reversed(tasks)):
            if column[number] != length:
                return False
            length *= space.extents[number]
        return True

    def unit(self, column: Sequence[int | None]) -> int | None:
        """Return the index along which an access is contiguous: the lanes' where that is one."""
        lane = self.lane
        if lane is not None and column[lane] == 1:
            return lane
        found = (number for number in reversed(self.order) if column[number] == 1)
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Block:
    """A register block.

    Attributes:
        outline: what is blocked.
        width: real lanes of a vector.
        vectors: vectors a row.
        counts: points of each of the outline's rows.
        ahead: how many tasks before it is needed memory is prefetched, 0 where it is not.
    """

    outline: Outline
    width: int
    vectors: int
    counts: tuple[int, ...]
    ahead: int = 0


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
        rows=tuple(
            Rows(names[n], count) for n, count in zip(outline.rows, block.counts, strict=True)
        ),
        lanes=None if lane is None else Lanes(names[lane], block.width, block.vectors),
        contracted=tuple(names[n] for n in outline.contracted),
        static=tuple((names[n], int(space.extents[n])) for n in outline.constants),
        splits_edge=outline.machine.simd_bits < 512,
        is_streamed=outline.is_streamed,
        epilogue=how.epilogue,
        extras=tuple(
            access(f"e{position}", column, False) for position, column in enumerate(space.extras)
        ),
        joins_rows=outline.joins_rows,
        ahead=block.ahead,
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
