"""Choose the schedule of a copy whose contiguous index changes.

Blocks are transposed in registers, within tiles that keep both sides' cache lines in L1. Small
results are written straight. Large ones are gathered in scratch and streamed by whole cache lines:
written straight, a tile's short runs would make every line of the result be read from memory
first, and at strides of a power of two they would evict each other. Measured 2026-11 on a 2-core
AVX-512 machine (float32, 4096 x 4096, one core): straight 4-13 GB/s, streamed 23, plain copy 25.
Memory likes long runs on both sides, so streamed tiles fill a good part of an L2. Measured 2026-12
on a 2-core Zen 3, two threads, plain copy 34: 4096 x 4096 by tiles of 256 bytes of the source by
128 of the result 11 GB/s, of 2 kB by 256 bytes 19, prefetched 22; the best of 60 shapes written in
C, prefetched, 20 to 27 from run to run.
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
#: Bytes of the source that a streamed tile reads in one run, the least and the most, and of the
#: result that it writes in one.
SOURCE_BYTES, RUN_BYTES = (256, 2048), (LINE, 4096)
#: A streamed tile fills an L2 divided by this at most.
L2_SHARE = 3
#: Bytes of a run that are prefetched before they are needed: runs end before the processor's own
#: prefetching has caught up with them.
AHEAD_BYTES = 256
#: Streamed tiles a core, at least.
TASKS = 8
#: Numbers of lanes that blocks may have, the fewest first: of two that take as many instructions
#: the smaller one reads and writes less twice. Measured 2026-12 (Zen 3, two threads):
#: ``abcdef->fbdcae`` with runs of 10 and 20 float32 4.6 ms by 4 lanes, 5.0 by 8.
_LANES = (2, 4, 8, 16)


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
    width, length = _streamed_tile(extents[across], moved, itemsize, machine)
    slack = LINE // itemsize - 1 if is_aligned else 0
    # Along the source's runs the tiles follow each other: the other way round is up to twice as
    # slow where the source's stride is a power of two.
    return (
        *(Tile(along, length, slack, fused), Tile(across, width)),
        *(Sink(across, "tile"), Sink(across), Sink(along)),
        Transpose(lanes, is_masked, length + LINE // itemsize, AHEAD_BYTES // itemsize),
        Parallelize(n_outputs - len(fused)),
    )


def _streamed_tile(extent: int, moved: int, itemsize: int, machine: Machine) -> tuple[int, int]:
    """Return a streamed tile's elements along the source's runs and along the result's.

    Both are powers of two, so that many extents share a kernel.
    """
    least, most = (size // itemsize for size in SOURCE_BYTES)
    width = min(most, max(least, 1 << (extent - 1).bit_length()))
    tile = min(machine.l2_bytes // L2_SHARE, moved // (2 * TASKS * machine.cores))
    least, most = (size // itemsize for size in RUN_BYTES)
    length = min(most, max(least, tile // (itemsize * min(extent, width))))
    return width, 1 << (length.bit_length() - 1)


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
