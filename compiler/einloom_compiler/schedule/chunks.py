"""Choose whether and how a sum is split among threads.

A contraction whose parallel range is too short for the cores is split along a contracted index. The
choice depends on the problem and the machine, not on the threads of a call, so that results do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.schedule import streams
from einloom_compiler.schedule.machine import Machine

#: Tasks a core from which an unsplit range keeps all of them busy.
TASKS = 2
#: Chunks a core: enough to even out what other processes take.
CHUNKS = 4
#: Predicted seconds of the shortest chunk that is worth handing to a thread.
CHUNK_SECONDS = 25e-6

#: Bytes of the one row of a sum over rows: a page, so that memory is read in long runs. Measured
#: 2026-11 (2-core AVX-512, float32 4096 x 4096): 26 GB/s, and 17 with runs of 1 kB.
ROW_BYTES = 4096
#: The same of an operand that no L2 holds, half of an L1. Measured 2026-11 (2-core Zen 3, two
#: threads, float32, by chunks of rows): 4096 x 4096 took 2.7 ms, and 3.4 with rows of 4 kB; 8192 x
#: 2048 2.7 and 3.7 ms; 768 x 3072 0.09 and 0.12 ms.
WIDE_ROW_BYTES = 16 << 10


def choose(
    space: IterationSpace,
    seconds: float,
    total: int,
    moved_bytes: int,
    itemsize: int,
    machine: Machine,
) -> tuple[int, int] | None:
    """Return the contracted index to split and the number of chunks, None where it does not pay.

    Args:
        space: the contraction.
        seconds: its predicted time on one thread.
        total: length of its parallel range, unsplit.
        moved_bytes: of all operands and the output.
        itemsize: bytes of one element of the partial result.
        machine: the target.
    """
    contracted = range(space.n_output, len(space.extents))
    wanted = min(CHUNKS * machine.cores, int(seconds / CHUNK_SECONDS))
    if machine.cores == 1 or total >= TASKS * machine.cores or not contracted or wanted < 2:
        return None
    if moved_bytes > streams.CACHES * machine.l2_bytes and streams.is_along_sum(space):
        wanted *= streams.STREAMS  # so many are computed together
    n_outputs = prod(space.extents[: space.n_output])
    most = int(streams.PARTIAL_SHARE * moved_bytes) // max(1, 2 * itemsize * n_outputs)
    wanted = min(wanted, most)

    def reach(number: int) -> tuple[bool, int, int]:
        steps = (abs(column[number] or 0) for column in space.strides[:-1])
        return space.extents[number] >= wanted, max(steps), number

    number = max(contracted, key=reach)
    wanted = min(wanted, space.extents[number])
    if wanted < 2:
        return None
    divisors = (n for n in range(wanted, wanted // 2, -1) if space.extents[number] % n == 0)
    return number, int(next(divisors, wanted))


def row_bytes(space: IterationSpace, last: int, itemsizes: Sequence[int], machine: Machine) -> int:
    """Return the bytes of the one row of accumulators of a reduction over rows, at most.

    Rows of a large operand are walked through whole where there are enough tasks besides, or enough
    rows for chunks of them to be tasks.

    Args:
        space: the reduction.
        last: the output index that rows run along.
        itemsizes: bytes of an element of each operand.
        machine: the target.
    """
    if streams.largest(space, itemsizes)[1] <= machine.l2_bytes:
        return ROW_BYTES
    others = prod(space.extents[n] for n in range(space.n_output) if n != last)
    rows = prod(space.extents[space.n_output :])
    has_tasks = others >= TASKS * machine.cores
    has_chunks = streams.PARTIAL_SHARE / 2 * rows >= CHUNKS * machine.cores
    return WIDE_ROW_BYTES if has_tasks or has_chunks else ROW_BYTES
