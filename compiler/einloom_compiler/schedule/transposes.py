"""Choose the schedule of a copy whose contiguous index changes.

Blocks are transposed in registers, within tiles that keep both sides' cache lines in L1. Small
results are written straight. Large ones are gathered in scratch and streamed by whole cache lines:
written straight, a tile's short runs would make every line of the result be read from memory
first, and at strides of a power of two they would evict each other. Measured 2026-11 on a 2-core
AVX-512 machine (float32, 4096 x 4096, one core): straight 4-13 GB/s, streamed 23, plain copy 25.
"""

from __future__ import annotations

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import NamedNest
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.steps import (
    Parallelize,
    Schedule,
    Sink,
    Tile,
    Transpose,
)

#: Edge of the tiles of a copy that is written straight: 32 x 32 float64 of both are 16 kB.
TILE = 32
#: Bytes of a cache line.
LINE = 64
#: Bytes of the source that a streamed tile reads in one run.
SOURCE_BYTES = 256
#: Bytes of the result that it writes in one run: few lines are cut by a tile's ends, or none.
RUN_BYTES = 512
#: The same where the source's rows lie a multiple of ``ALIAS`` apart, and so compete for a few sets
#: of the caches.
SHORT_RUN_BYTES = 128
ALIAS = 4096
#: Numbers of lanes that blocks may have, and how large their words are.
_LANES = (16, 8, 4, 2)


def choose(named: NamedNest, space: IterationSpace, machine: Machine) -> Schedule | None:
    """Return the schedule of a transposed copy, None where the nest is none."""
    nest = named.nest
    source, target = nest.inputs[0], nest.output
    dtypes = {source.dtype, target.dtype, nest.compute}
    is_copy = len(nest.inputs) == 1 and nest.is_plain and not nest.contracted
    if not is_copy or len(dtypes) > 1 or source.is_conjugated or nest.compute == "bool":
        return None
    if source.unit is None or target.unit is None or source.unit == target.unit:
        return None
    if target.unit != nest.levels[-1].index or arithmetic(nest.compute).is_half:
        return None
    across, along = source.unit, target.unit
    numbers = named.numbers
    extents = {index: space.extents[n] for index, n in numbers.items()}
    pitches = {index: space.strides[-1][n] or 0 for index, n in numbers.items()}
    itemsize = np.dtype(nest.compute).itemsize
    lanes = _block_lanes(extents[across], extents[along], itemsize, machine)
    is_masked = itemsize >= 4 or machine.simd_bits == 512
    n_outputs = len(nest.levels)
    moved = 2 * itemsize * _points(space)
    if moved <= machine.l2_bytes:
        size = max(TILE, 2 * lanes)
        tiles = (Tile(across, size), Tile(along, size), Sink(across), Sink(along))
        return (*tiles, Transpose(lanes, is_masked), Parallelize(n_outputs))
    fused = _fused(extents, pitches, across, along)
    pitched = [p for index, p in pitches.items() if index not in (along, *fused)]
    is_aligned = all(pitch * itemsize % LINE == 0 for pitch in pitched)
    is_aliased = (space.strides[0][numbers[along]] or 0) * itemsize % ALIAS == 0 and is_aligned
    pitch = (SHORT_RUN_BYTES if is_aliased else RUN_BYTES) // itemsize
    slack = LINE // itemsize - 1 if is_aligned else 0
    # Along the source's runs the tiles follow each other: the other way round is up to twice as
    # slow where the source's stride is a power of two.
    return (
        *(Tile(along, pitch, slack, fused), Tile(across, SOURCE_BYTES // itemsize)),
        *(Sink(across, "tile"), Sink(across), Sink(along)),
        *(Transpose(lanes, is_masked, pitch), Parallelize(n_outputs - len(fused))),
    )


def _points(space: IterationSpace) -> int:
    points = 1
    for extent in space.extents:
        points *= extent
    return points


def _fused(
    extents: dict[str, int], pitches: dict[str, int], across: str, along: str
) -> tuple[str, ...]:
    """Return the indices that continue runs of the result along ``along``, outermost first."""
    fused: list[str] = []
    length = extents[along]
    while True:
        rest = (i for i in extents if i not in (across, along, *fused) and pitches[i] == length)
        found = next(rest, None)
        if found is None:
            return tuple(fused)
        fused.insert(0, found)
        length *= extents[found]


def _block_lanes(across: int, along: int, itemsize: int, machine: Machine) -> int:
    """Return the edge of the blocks that take the least instructions for these extents."""
    widest = min(16, machine.simd_bits // (8 * itemsize))

    def cost(lanes: int) -> int:
        blocks = -(-across // lanes) * -(-along // lanes)
        # Blocks overlap at the edges; those wider than an extent are masked.
        is_masked = min(across, along) < lanes
        return (2 if is_masked else 1) * blocks * lanes * (lanes.bit_length() + 1)

    return min((lanes for lanes in _LANES if lanes <= widest), key=cost, default=2)
