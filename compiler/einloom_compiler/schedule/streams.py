"""Choose sums that read a large operand as several streams at once.

A processor prefetches each of a few streams that lie pages apart, and few bytes of one stream or of
neighbouring rows ahead. So points that are computed together each run through a part of their own
of a range, where neighbours would be near each other in memory.

Measured 2026-11 on a 2-core Zen 3, two threads, 67 MB of float32: ``abc->ac`` of 256 cubed took
5.6 ms by four neighbouring rows, 2.2 ms by four that are 64 rows apart. Sums of rows of 256
elements took 3.5 and 2.2 ms, one row at a time 2.5 ms; those of 4096 1.9 ms, one at a time 2.7 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.schedule.machine import Machine

#: Points computed together. Eight were as fast as four, and twelve slower.
STREAMS = 4
#: The same where one operand is read element by element. Measured 2026-11 (2-core Zen 3, two
#: threads), by 4, 8 and 16 streams: ``bii->b`` of 46 MB of float32 2.17, 2.15 and 2.17 ms, of 41 MB
#: of float64 1.21, 0.92 and 0.84 (medians); every other element of 67 MB 2.51, 2.38 and 5.83. Two
#: such operands took 1.2 ms by 4 and 1.65 by 8.
ELEMENT_STREAMS = 8
#: Share of the time that memory takes where it is read so.
SHARE = 0.8
#: Vector accumulators of each sum along a stream.
SUMS = 2
#: Bytes from one stream to the next, from which neighbours are far enough from each other.
GAP = 16 << 10
#: Bytes of a cache line.
LINE = 64
#: Bytes between the streams' parts at least: a page.
_PAGE = 4096
#: Of so many points of an output index, one may be read again for parts that are shorter.
_REPEATED = 8
#: Second-level caches that an operand fills at least whose sums are formed together: those of 4 MB
#: took as long one at a time, and those of 1 MB in rows of 64 bytes 0.7 of the time.
CACHES = 8
#: The partial result is written and read; it may take so much of what the sum moves.
PARTIAL_SHARE = 0.1


def largest(space: IterationSpace, itemsizes: Sequence[int]) -> tuple[int, int]:
    """Return which operand has the most bytes, those of all lines it touches, and how many.

    Args:
        space: the contraction's indices.
        itemsizes: bytes of an element of each operand.
    """

    def touched(column: Sequence[int | None], itemsize: int) -> int:
        steps = (abs(step) for step in column if step)
        return space.n_elements(column) * min(itemsize * min(steps, default=1), LINE)

    sizes = [touched(*each) for each in zip(space.strides, itemsizes, strict=False)]
    number = max(range(len(sizes)), key=sizes.__getitem__)
    return number, sizes[number]


def lie_apart(
    space: IterationSpace, number: int, itemsizes: Sequence[int], machine: Machine
) -> bool:
    """Say whether points of an index that are computed together should lie apart.

    Args:
        space: the contraction's indices.
        number: the index.
        itemsizes: bytes of an element of each operand.
        machine: the target.
    """
    operand, size = largest(space, itemsizes)
    step = itemsizes[operand] * abs(space.strides[operand][number] or 0)
    extent = space.extents[number]
    is_even = number >= space.n_output or _is_even(extent)
    return size > machine.l2_bytes and step < GAP and extent // STREAMS * step >= _PAGE and is_even


def _is_even(extent: int, n_streams: int = STREAMS) -> bool:
    """Say whether an index has parts of about equal length: the last point is read for the rest."""
    return -extent % n_streams * _REPEATED <= extent


def kept_index(
    space: IterationSpace, itemsizes: Sequence[int], machine: Machine, n_streams: int = STREAMS
) -> int | None:
    """Return the output index of which several sums are best formed together, as streams.

    None where the operand is not large, or has no index that reaches far.

    Args:
        space: the contraction's indices.
        itemsizes: bytes of an element of each operand.
        machine: the target.
        n_streams: how many sums.
    """
    operand, size = largest(space, itemsizes)
    if size <= CACHES * machine.l2_bytes:
        return None

    def reach(number: int) -> int:
        step = itemsizes[operand] * abs(space.strides[operand][number] or 0)
        return step * (space.extents[number] // n_streams)

    found = [n for n in range(space.n_output) if _is_even(space.extents[n], n_streams)]
    number = max(found, key=reach, default=None)
    return number if number is not None and reach(number) >= _PAGE else None


def is_along_sum(space: IterationSpace) -> bool:
    """Say whether a sum runs along all operands' memory, so that chunks of it are streams."""
    return all(
        1 in column[space.n_output :] and None not in column[: space.n_output]
        for column in space.strides[:-1]
    )


def outer_sum(
    space: IterationSpace, itemsize: int, moved_bytes: int, machine: Machine
) -> int | None:
    """Return the contracted index that is best summed last, so that memory is read in its order.

    That is the outermost one in memory, where outputs lie between it and short runs of the others,
    as in ``abc->b``: partial sums over runs are formed in the order of memory. None where there is
    none, or the partial result is not small.
    """
    if len(space.strides) != 2 or moved_bytes <= machine.l2_bytes:
        return None
    steps = [abs(step or 0) for step in space.strides[0]]
    kept = [n for n in range(space.n_output) if steps[n]]
    summed = [n for n in range(space.n_output, len(steps)) if steps[n] and space.extents[n] > 1]
    if not kept or len(summed) < 2:
        return None
    number = max(summed, key=steps.__getitem__)
    inner = [n for n in summed if n != number]
    run = prod(space.extents[n] for n in inner)
    is_run = (
        min(steps[n] for n in inner) == 1 and max(steps[n] * space.extents[n] for n in inner) == run
    )
    is_between = run <= min(steps[n] for n in kept) and max(steps[n] for n in kept) < steps[number]
    n_partial = prod(space.extents[: space.n_output]) * space.extents[number]
    is_small = 2 * itemsize * n_partial <= PARTIAL_SHARE * moved_bytes
    return number if is_run and is_between and run * itemsize < GAP and is_small else None
