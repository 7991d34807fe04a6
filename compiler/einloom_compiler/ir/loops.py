"""The loop nest: a perfect nest of loops around one multiply-add, over strided pointers.

Grammar::

    LoopNest = (inputs: Access+, output: Access, contracted: name*, compute: dtype name,
                levels: Level+, n_parallel: int, epilogue: Map*)
    Access   = (name, dtype name, indices: name*, unit: name | None, is_conjugated)
    Level    = (index, kind: "range" | "tile" | "within", size: int, unroll: int)

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

from einloom_compiler.ir.graph import Map

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
    """

    name: str
    dtype: str
    indices: tuple[str, ...]
    unit: str | None = None
    is_conjugated: bool = False

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
        unroll: how many neighbouring points are computed together (unroll and jam).
    """

    index: str
    kind: Kind = "range"
    size: int = 0
    unroll: int = 1

    def count(self, extent: int) -> int:
        """Return the number of iterations of a ``range`` or ``tile`` level at this extent."""
        step = self.size if self.kind == "tile" else self.unroll
        return -(-extent // step)


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
        epilogue: maps applied to each sum before it is stored.
        transpose_lanes: where not 0, the two innermost levels, along which the input and the output
            are contiguous, are copied in transposed blocks of so many lanes squared.
    """

    inputs: tuple[Access, ...]
    output: Access
    contracted: tuple[str, ...]
    compute: str
    levels: tuple[Level, ...]
    n_parallel: int = 0
    epilogue: tuple[Map, ...] = ()
    transpose_lanes: int = 0

    @property
    def indices(self) -> tuple[str, ...]:
        """Index names in the order of their outermost level."""
        return tuple(dict.fromkeys(level.index for level in self.levels))

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
        """The level that is unrolled and jammed, if any."""
        return next((level for level in self.levels if level.unroll > 1), None)

    @property
    def scratch_elements(self) -> int:
        """How many accumulators of the compute dtype each range needs in scratch."""
        if self.row is None:
            return 0
        return self.row.size * (self.unrolled.unroll if self.unrolled else 1)

    def parallel_extent(self, extents: Sequence[int]) -> int:
        """Return the length of the parallel range; ``extents`` in the order of ``indices``."""
        by_index = dict(zip(self.indices, extents, strict=True))
        return prod(level.count(by_index[level.index]) for level in self.levels[: self.n_parallel])
