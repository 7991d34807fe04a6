"""The loop nest: a perfect nest of loops around one multiply-add, over strided pointers.

Grammar::

    LoopNest = (inputs: Access+, output: Access, contracted: name*, compute: dtype name,
                levels: Level+, n_parallel: int, epilogue: Scalar, vectors: Vectors | None,
                transposition: Transposition | None, extras: Access*)
    Access   = (name, dtype name, indices: name*, unit: name | None, is_conjugated, has_start)
    Level    = (index, kind: "range" | "tile" | "within", size: int, unroll: int, slack: int,
                fused: name*, apart: bool)

Levels are listed from the outermost to the innermost. A ``range`` level runs through an index; a
``tile`` level steps through it by ``size`` and a later ``within`` level runs through one tile, so
that ``index == tile_start + offset``. The first ``n_parallel`` levels are flattened into the one
range ``[lo, hi)`` that a caller may split among threads. Where accumulators live is derived: above
the first contracted level, one for each point of the output levels inside it (they must be
``within`` levels, so that their number is bounded).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from einloom_compiler.ir.scalar import SUM, Scalar

Kind = Literal["range", "tile", "within"]


@dataclass(frozen=True, slots=True)
class Access:
    """One strided operand of a loop nest.

    Attributes:
        name: its pointer's name in generated code.
        dtype: name of the dtype in memory.
        indices: the loop indices it depends on; each has a run-time stride in elements.
        unit: the index whose stride is known to be 1, if any.
        is_conjugated: whether values are conjugated on load.
        has_start: whether the first element meant lies a run-time number of elements behind the
            pointer.
    """

    name: str
    dtype: str
    indices: tuple[str, ...]
    unit: str | None = None
    is_conjugated: bool = False
    has_start: bool = False

    @property
    def strided(self) -> tuple[str, ...]:
        """The indices whose strides are arguments of the kernel."""
        return tuple(index for index in self.indices if index != self.unit)


@dataclass(frozen=True, slots=True)
class Level:
    """One loop.

    Attributes:
        index: the loop index.
        kind: a whole range, the tiles of one, or the points within a tile.
        size: tile extent for ``tile`` and ``within``, else 0.
        unroll: how many points are computed together (unroll and jam).
        slack: where not 0, tiles start at cache lines of the output, which lie up to so many
            elements before multiples of ``size``; the first tile is cut short accordingly.
        fused: indices, outermost first, that a tile level of a streamed copy runs through as one
            with its own: the output is contiguous along all of them.
        apart: whether points computed together are as far apart as they can be, each in a part of
            its own of the range, instead of neighbours.
    """

    index: str
    kind: Kind = "range"
    size: int = 0
    unroll: int = 1
    slack: int = 0
    fused: tuple[str, ...] = ()
    apart: bool = False

    def count(self, extent: int) -> int:
        """Return the number of iterations of a ``range`` or ``tile`` level at this extent."""
        step = self.size if self.kind == "tile" else self.unroll
        return -(-(extent + self.slack) // step)


@dataclass(frozen=True, slots=True)
class Vectors:
    """How the innermost level runs through memory: whole vectors, then a masked one.

    Attributes:
        lanes: elements of a vector.
        n_sums: accumulators of a sum along the innermost level, each a vector.
        is_streamed: whether whole cache lines of the output are written past the caches.
    """

    lanes: int
    n_sums: int = 1
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class Transposition:
    """How the two innermost levels, contiguous in the input and in the output, are copied.

    Attributes:
        lanes: they are copied in blocks of so many rows and columns, through vector registers.
        is_masked: whether blocks at edges are masked vectors, too, instead of loops.
        pitch: where not 0, blocks are gathered in rows of so many elements of scratch, one for each
            point of the input's contiguous level, and the rows then streamed to the output.
        ahead: how many elements of the input's runs are prefetched before they are copied.
    """

    lanes: int
    is_masked: bool
    pitch: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class LoopNest:
    """A perfect loop nest; see the module's grammar.

    Attributes:
        inputs: operands, read only.
        output: the operand written, each element once.
        contracted: indices that are summed over.
        compute: name of the dtype that products and sums are formed in.
        levels: loops, outermost first.
        n_parallel: how many leading levels form the parallel range.
        epilogue: what is computed from each sum, ``Value(0)``, and the elements of extras,
            ``Value(1 + n)``, before it is stored.
        vectors: the innermost loop's vectors; None leaves it to LLVM to find some.
        transposition: for a copy whose two innermost levels are transposed in registers.
        extras: further operands of the epilogue, read only; of output indices.
    """

    inputs: tuple[Access, ...]
    output: Access
    contracted: tuple[str, ...]
    compute: str
    levels: tuple[Level, ...]
    n_parallel: int = 0
    epilogue: Scalar = SUM
    vectors: Vectors | None = None
    transposition: Transposition | None = None
    extras: tuple[Access, ...] = ()

    @property
    def accesses(self) -> tuple[Access, ...]:
        """Everything that the kernel has a pointer to, in that order."""
        return (*self.inputs, *self.extras, self.output)

    @property
    def is_plain(self) -> bool:
        """Whether sums are stored as they are."""
        return self.epilogue is SUM

    @property
    def indices(self) -> tuple[str, ...]:
        """Index names in the order of their outermost level."""
        names = (name for level in self.levels for name in (*level.fused, level.index))
        return tuple(dict.fromkeys(names))

    @property
    def first_contracted(self) -> int:
        """Position of the first contracted level; ``len(levels)`` where nothing is summed."""
        for position, level in enumerate(self.levels):
            if level.index in self.contracted:
                return position
        return len(self.levels)

    @property
    def row(self) -> Level | None:
        """The output level inside the contracted ones; its points have accumulators in scratch."""
        inner = self.levels[self.first_contracted :]
        return next((level for level in inner if level.index not in self.contracted), None)

    @property
    def unrolled(self) -> Level | None:
        """The output level that is unrolled and jammed, if any."""
        return self._unrolled(is_summed=False)

    @property
    def jammed(self) -> Level | None:
        """The contracted level of which several points update a row together, if any."""
        return self._unrolled(is_summed=True)

    def _unrolled(self, is_summed: bool) -> Level | None:
        found = (level for level in self.levels if level.unroll > 1)
        return next((e for e in found if (e.index in self.contracted) == is_summed), None)

    @property
    def scratch_elements(self) -> int:
        """How many elements of the compute dtype each range needs in scratch."""
        if self.transposition is not None:
            return self.transposition.pitch * self.levels[-2].size
        if self.row is None:
            return 0
        return self.row.size * (self.unrolled.unroll if self.unrolled else 1)

    def parallel_extent(self, extents: Sequence[int]) -> int:
        """Return the length of the parallel range; ``extents`` in the order of ``indices``."""
        by_index = dict(zip(self.indices, extents, strict=True))
        return prod(
            level.count(prod(by_index[index] for index in (*level.fused, level.index)))
            for level in self.levels[: self.n_parallel]
        )
