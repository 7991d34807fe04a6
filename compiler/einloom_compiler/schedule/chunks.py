"""Choose whether and how a sum is split among threads.

A contraction whose parallel range is too short for the cores is split along a contracted index. The
choice depends on the problem and the machine, not on the threads of a call, so that results do not.
"""

from __future__ import annotations

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
