"""Choose how far ahead the operands of small products are prefetched.

A large batch of products that are computed from registers waits for memory: what a product reads is
touched in bursts, and the processor's own prefetching ends at each page. Measured 2026-11 (2-core
Zen 3, two threads), without and with: 16 x 16 products of 31 MB 1.10 and 0.91 ms, 23 x 23 of 127 MB
8.1 and 7.1, 5 x 13 by 13 x 23 of 77 MB 3.4 and 2.9, complex 16 x 16 of 184 MB 12.3 and 9.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from einloom_compiler.ir.tiled import TiledNest
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.schedule.tiled_blocks import Block, numbered

#: Bytes ahead, about: a page.
_DISTANCE = 4096
#: Bytes that a task reads of one operand at least. Measured: 9 x 9 products of float32, 324 bytes,
#: 6.95 and 6.9 ms; where a cache holds all, 0.30 and 0.51.
_LEAST = 512
#: Lines that are prefetched at once at most; more wait for each other. Measured: 8 x 24 by 24 x 8
#: products, one block of 24 lines each, 4.4 and 5.0 ms.
_MOST_LINES = 16


def ahead(block: Block, kept_bytes: float) -> int:
    """Return how many tasks ahead of a block's own are prefetched, 0 where none are.

    Args:
        block: a block of sums.
        kept_bytes: what caches hold from one call to the next; no more than that is not prefetched.
    """
    outline, space = block.outline, block.outline.space
    if any(isinstance(extent, Formula) for extent in space.extents):
        return 0
    tasks = outline.tasks
    if outline.lane is None or outline.is_dot or not outline.contracted:
        return 0  # summed lanes read in the order of memory
    if not tasks or {*outline.rows} & {*tasks}:
        return 0
    size = outline.scale * outline.itemsize
    if size * sum(map(space.n_elements, (*space.strides, *space.extras))) <= kept_bytes:
        return 0
    runs = [_run(block, column) for column in space.strides[:-1] if column[tasks[-1]] is not None]
    largest = size * max(runs, default=0)
    if 0 in runs or largest < _LEAST or _lines(numbered(block).nest) > _MOST_LINES:
        return 0
    return max(1, round(_DISTANCE / largest))


def _run(block: Block, column: Sequence[int | None]) -> int:
    """Return how many elements of an operand a task reads, if the next task's follow; else 0."""
    outline = block.outline
    extents, tasks = outline.space.extents, outline.tasks
    steps = {n: step for n, step in enumerate(column) if step is not None and n not in tasks}
    run = 1
    for number in sorted(steps, key=steps.__getitem__):
        if steps[number] != run or number not in outline.static:
            return 0
        run *= extents[number]
    return run if column[tasks[-1]] == run else 0


def _lines(nest: TiledNest) -> int:
    """Return how many lines a block prefetches."""
    return sum(map(nest.lines_ahead, nest.foreseen))
