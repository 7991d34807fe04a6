"""The tiled nest: blocks of the output kept in registers, nothing packed.

Grammar::

    TiledNest = (inputs: Access+, output: Access, compute: dtype name, tasks: name*, rows: Rows*,
                 lanes: Lanes | None, contracted: name*, static: (name, extent)*,
                 splits_edge: bool, is_streamed: bool, epilogue: Scalar, extras: Access*,
                 joins_rows: bool, ahead: int)
    Rows      = (index: name, count: int)
    Lanes     = (index: name, width: int, vectors: int)

A block holds ``count`` points of each row index, all unrolled, and ``vectors`` vectors along the
lane index. It is summed over loops through the contracted indices in their order and then stored.
The lane index is the output's, or the last contracted one: then the lanes of each accumulator are
added up at the end. A complex number is two real lanes. Without lanes, a block is made of scalars.

The parallel range runs through the blocks along ``tasks``, the last index fastest. A row or output
lane index that is no task has a static extent; its blocks are loops within a task, the last of
which starts early instead of being cut. Along a task, rows beyond the extent are computed as copies
of the last row and lanes beyond it are masked.

A nest that joins its rows sums nothing, and runs through one row index along a task and short lanes
within it as through one run, in which the output is contiguous: a block is as many rows as a vector
has lanes, in as many vectors as a row has points. Operands without the lanes' index have each
element repeated along the run, those without the row's recur; the last block is masked.

While a task is computed, what the task ``ahead`` tasks later reads is prefetched, of the operands
that follow each other from task to task, in as many parts as the task has blocks.

A streamed nest writes its output as one run from task to task: blocks are gathered in scratch, of
which whole cache lines are written past the caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.printer import print_access, print_epilogue
from einloom_compiler.ir.scalar import SUM, Scalar

#: Bytes that are streamed at once, at least.
STREAM_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Rows:
    """An output index whose neighbouring points are computed together.

    Attributes:
        index: the index.
        count: points a block.
    """

    index: str
    count: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """The index along which vectors lie.

    Attributes:
        index: the index.
        width: real lanes of a vector.
        vectors: vectors a block.
    """

    index: str
    width: int
    vectors: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One vector of a block.

    Attributes:
        offset: of its first lane from the block's, in real lanes.
        width: real lanes; 1 for a scalar.
        valid: lanes that hold elements, where that is static.
    """

    offset: int
    width: int
    valid: int


@dataclass(frozen=True, slots=True)
class TiledNest:
    """A register-blocked nest; see the module's grammar.

    Attributes:
        inputs: operands, read only.
        output: the operand written, each element at least once.
        compute: dtype of products and sums, also that of every operand in memory.
        tasks: output indices of the parallel range, slowest first.
        rows: unrolled output indices.
        lanes: the vector index, None for scalars.
        contracted: summed indices, outermost loop first.
        static: indices whose extents the kernel is made for.
        splits_edge: whether blocks without masked lanes have a body of their own; for targets where
            masks cost registers or time.
        is_streamed: whether blocks are gathered in scratch and written past the caches.
        epilogue: what is computed from each sum, ``Value(0)``, and the elements of extras,
            ``Value(1 + n)``, before it is stored.
        extras: further operands of the epilogue, read only; of output indices.
        joins_rows: whether vectors lie along rows and lanes as along one index.
        ahead: how many tasks before it is needed memory is prefetched, 0 where it is not.
    """

    inputs: tuple[Access, ...]
    output: Access
    compute: str
    tasks: tuple[str, ...]
    rows: tuple[Rows, ...]
    lanes: Lanes | None
    contracted: tuple[str, ...]
    static: tuple[tuple[str, int], ...]
    splits_edge: bool = False
    is_streamed: bool = False
    epilogue: Scalar = SUM
    extras: tuple[Access, ...] = ()
    joins_rows: bool = False
    ahead: int = 0

    def __str__(self) -> str:
        """Print the blocking in one line."""
        rows = "".join(f"{rows.index}={rows.count}, " for rows in self.rows)
        lanes = "scalars"
        if self.lanes:
            kind = "summed lanes" if self.is_dot else "lanes"
            lanes = f"{kind} {self.lanes.index}={self.lanes.vectors}x{self.lanes.width}"
        static = "".join(f", {index} is {extent}" for index, extent in self.static)
        tasks = "".join(self.tasks) or "none"
        streamed = ", joined" if self.joins_rows else ""
        streamed += ", streamed" if self.is_streamed else ""
        streamed += f", {self.ahead} ahead" if self.ahead else ""
        sums = "".join(self.contracted)
        return f"Tiled({rows}{lanes}, tasks={tasks}, sums={sums}{static}{streamed})"

    @property
    def indices(self) -> tuple[str, ...]:
        """Every index: tasks, rows and lanes within a task, contracted."""
        lanes = (self.lanes.index,) if self.lanes else ()
        rows = (rows.index for rows in self.rows)
        return tuple(dict.fromkeys((*self.tasks, *rows, *self.contracted, *lanes)))

    @property
    def run_time(self) -> tuple[str, ...]:
        """The indices whose extents are arguments of the kernel."""
        static = dict(self.static)
        return tuple(index for index in self.indices if index not in static)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Everything that the kernel has a pointer to, in that order."""
        return (*self.inputs, *self.extras, self.output)

    @property
    def is_plain(self) -> bool:
        """Whether sums are stored as they are."""
        return self.epilogue is SUM

    @property
    def is_dot(self) -> bool:
        """Whether the lanes are summed."""
        return self.lanes is not None and self.lanes.index in self.contracted

    @property
    def is_complex(self) -> bool:
        """Whether elements are pairs of real lanes."""
        return arithmetic(self.compute).compute.startswith("complex")

    @property
    def scale(self) -> int:
        """Real lanes of one element."""
        return 2 if self.is_complex else 1

    @property
    def element(self) -> str:
        """Dtype of a real lane."""
        compute = arithmetic(self.compute).compute
        return {"complex64": "float32", "complex128": "float64"}.get(compute, compute)

    @property
    def itemsize(self) -> int:
        """Bytes of a real lane."""
        return 8 if self.element.endswith("64") else 4

    def block(self, index: str) -> int:
        """Return how many points of ``index`` a block holds."""
        if self.lanes and index == self.lanes.index:
            return self.lanes.width * self.lanes.vectors // self.scale
        return next((rows.count for rows in self.rows if rows.index == index), 1)

    @property
    def run(self) -> int:
        """Real elements of the output that a task writes at most."""
        static = dict(self.static)
        inner = [i for i in self.output.indices if i not in self.tasks]
        last = self.lanes.index if self.lanes else ""
        block = self.block(last) if last in self.tasks else 1
        return self.scale * block * prod(static[index] for index in inner)

    @property
    def foreseen(self) -> tuple[Access, ...]:
        """The inputs of which each task reads a part of its own, of static extents."""
        known = {*self.tasks, *dict(self.static)}
        return tuple(
            access
            for access in self.inputs
            if {*self.tasks[-1:]} & {*access.indices} and known.issuperset(access.indices)
        )

    def task_elements(self, access: Access) -> int:
        """Return how many real elements of a foreseen input a task reads."""
        static = dict(self.static)
        return self.scale * prod(static[i] for i in access.indices if i not in self.tasks)

    def lines_ahead(self, access: Access) -> int:
        """Return how many cache lines of a foreseen input are prefetched in each block."""
        lines = -(-self.task_elements(access) * self.itemsize // 64)
        return -(-lines // self.blocks_a_task)

    @property
    def blocks_a_task(self) -> int:
        """How many blocks a task computes."""
        inner = {*self.indices} - {*self.tasks, *self.contracted}
        return prod(-(-extent // self.block(i)) for i, extent in self.static if i in inner)

    @property
    def scratch_elements(self) -> int:
        """Real elements of scratch: what waits to be streamed, a task's run, a vector beyond it."""
        if not self.is_streamed or self.lanes is None:
            return 0
        line = 64 // self.itemsize
        needed = self.stream_elements + self.run + self.lanes.width * self.lanes.vectors
        return -(-needed // line) * line

    @property
    def stream_elements(self) -> int:
        """Real elements from which those that wait are streamed."""
        return STREAM_BYTES // self.itemsize

    def counts(self, extents: Mapping[str, int]) -> tuple[int, ...]:
        """Return the number of blocks along each task."""
        return tuple(-(-extents[index] // self.block(index)) for index in self.tasks)

    def parallel_extent(self, extents: Mapping[str, int]) -> int:
        """Return the length of the parallel range."""
        return prod(self.counts(extents))

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The vectors of one block along the lanes."""
        lanes = self.lanes
        if lanes is None:
            return (Piece(0, self.scale, self.scale),)
        static = dict(self.static).get(lanes.index)
        whole = tuple(
            Piece(v * lanes.width, lanes.width, lanes.width) for v in range(lanes.vectors)
        )
        if static is None or static >= self.block(lanes.index):
            return whole
        return pieces(self.scale * static, lanes.width, 16 // self.itemsize, self.splits_edge)


def pieces(n_lanes: int, width: int, least: int, is_cut: bool) -> tuple[Piece, ...]:
    """Return the vectors that hold ``n_lanes`` real lanes.

    Args:
        n_lanes: real lanes.
        width: lanes of the widest vector.
        least: lanes of the narrowest vector that is no scalar.
        is_cut: whether the last lanes are cut into narrower vectors and scalars, where masks are
            dear; otherwise the last vector is the narrowest that holds them all, masked.
    """
    found: list[Piece] = []
    offset = 0
    while offset < n_lanes:
        left = n_lanes - offset
        if is_cut:
            size = min(width, 1 << (left.bit_length() - 1))
        else:
            size = 1 if left == 1 else min(width, max(least, 1 << (left - 1).bit_length()))
        found.append(Piece(offset, size, min(size, left)))
        offset += size
    return tuple(found)


def print_tiled(nest: TiledNest) -> str:
    """Return the nest as indented pseudo code, loops outermost first."""
    static = dict(nest.static)
    lines: list[str] = []

    def loop(kind: str, index: str, block: int) -> None:
        extent = f" below {static[index]}" if index in static else ""
        by = f" by {block}" if block > 1 else ""
        lines.append(f"{'  ' * len(lines)}{kind} {index}{extent}{by}:")

    for index in nest.tasks:
        loop("parallel", index, nest.block(index))
    for index in nest.indices:
        if index not in nest.tasks and index not in nest.contracted:
            loop("blocks", index, nest.block(index))
    for index in nest.contracted:
        loop("sum", index, nest.block(index))
    factors = " * ".join(map(print_access, nest.inputs))
    maps = print_epilogue(nest.epilogue, list(map(print_access, nest.extras)))
    assign = "+=" if nest.contracted else "="
    body = f"{print_access(nest.output)} {assign} {factors}{maps}  in {nest.compute}"
    return "\n".join([*lines, "  " * len(lines) + body])
