"""Choose blocks whose vectors lie along rows and short lanes as along one index.

All that a map such as ``bi,bif->bif`` is contiguous along may be f, which is shorter than a vector.
Measured 2026-11 (2-core Zen 3, two threads, float32): a million rows of three, 28 MB in all, took
1.2 ms row by row and 0.86 so, two thousand 3.7 and 1.5 us. Large results that can be streamed are
better so: two million rows of twelve took 10.1 ms, joined and not streamed 11.5.
"""

from __future__ import annotations

from math import prod

from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.tiled_blocks import Block, Outline, real_bytes

#: Points of a row at most: a block has so many vectors, all unrolled, twice.
MOST = 16


def joined(space: IterationSpace, arithmetics: Arithmetics, machine: Machine) -> Block | None:
    """Return the block of a map along whose rows and lanes vectors can lie, if there is one.

    Rows that are a whole number of vectors long do without.
    """
    output = space.strides[-1]
    lane = next((n for n, step in enumerate(output) if step == 1), None)
    if lane is None or lane in space.open or is_open(space.extents[lane]):
        return None
    if not 1 < space.extents[lane] <= MOST:
        return None
    extent = int(space.extents[lane])
    width = machine.simd_bits // (8 * real_bytes(arithmetics.compute))
    row = next((n for n, step in enumerate(output) if step == extent and n != lane), None)
    if row is None or extent % width == 0 or space.extents[row] < width:
        return None
    outline = Outline(space, arithmetics, machine, lane, (row,), frozenset({lane}), joins_rows=True)
    return Block(outline, width, extent, (width,)) if is_run(outline) else None


def is_run(outline: Outline) -> bool:
    """Say whether vectors can lie along an outline's row and lanes.

    They can in a map of reals where memory that has both is contiguous along both, and what has the
    lanes alone is one vector at most.
    """
    space, lane = outline.space, outline.lane
    if len(outline.rows) != 1 or lane not in outline.static or outline.scale > 1:
        return False
    if len(space.extents) > space.n_output or lane is None or lane in outline.rows:
        return False
    (row,) = outline.rows
    extent = space.extents[lane]
    width = outline.machine.simd_bits // (8 * outline.itemsize)
    if row in outline.static or space.strides[-1][lane] is None or space.strides[-1][row] is None:
        return False
    with_lanes = [c for c in (*space.strides, *space.extras) if c[lane] is not None]
    return all(
        column[lane] == 1 and (extent <= width if column[row] is None else column[row] == extent)
        for column in with_lanes
    )


def cycles(block: Block) -> float:
    """Return the predicted cycles of one thread where every operand is in the first-level cache."""
    outline = block.outline
    space, machine, lane = outline.space, outline.machine, outline.lane
    (row,) = outline.rows
    inputs = (*space.strides[:-1], *space.extras)
    n_whole = sum(lane is not None and None not in (c[lane], c[row]) for c in inputs)
    n_spread = len(inputs) - n_whole
    n_multiplies = len(space.strides) - 2
    each = max(1.0, n_whole / 2, n_multiplies / machine.fma_ports, n_spread)
    n_blocks = prod(int(space.extents[n]) for n in outline.tasks if n != row)
    n_blocks *= -(-int(space.extents[row]) // block.width)
    # Of what is spread, a load a block; and the loops.
    return n_blocks * (block.vectors * each + n_spread / 2 + 4 + len(outline.tasks))
