"""Launch one bound kernel on arrays: addresses, scratch, threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.progress import compiling
from einloom.runtime.threads import available_threads
from einloom_compiler.ir.printer import print_nest
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]

#: Points of a loop nest from which threads are used unasked: about 0.2 ms of work on one core.
PARALLEL_POINTS = 1 << 22
#: Parts a thread, so that an unlucky one does not keep all waiting.
PARTS_PER_THREAD = 4

_scratch = threading.local()

#: Numba's thread pool serves one caller at a time (its ``workqueue`` layer ends the process
#: otherwise) and does not survive a fork (its ``omp`` layer hangs); a busy or lost pool means that
#: the caller runs all ranges itself, with the same result.
_pool = threading.Lock()
_is_forked = False


def _after_fork() -> None:
    global _is_forked
    _is_forked = True


os.register_at_fork(after_in_child=_after_fork)


def _take_pool() -> bool:
    return not _is_forked and _pool.acquire(blocking=False)


def launch(bound: Bound, arrays: Sequence[Array], out: Array, threads: int | None) -> None:
    """Run ``bound`` on ``arrays`` (in the expression's order), writing ``out``.

    ``out`` overlaps no operand. ``threads`` None uses all available ones where the work is large.
    """
    kernel = bound.kernel
    operands = [arrays[position] for position in bound.operands]
    if kernel.is_python:
        kernel.run_python([*operands, out], bound.numbers, total=bound.total)
        return
    wanted = threads
    if wanted is None:
        wanted = available_threads() if bound.points >= PARALLEL_POINTS else 1
    wanted = min(wanted, bound.total)
    if wanted > 1 and not _take_pool():
        wanted = 1
    parts = min(wanted * PARTS_PER_THREAD, bound.total) if wanted > 1 else 1
    addresses = [array.__array_interface__["data"][0] for array in (*operands, out)]
    itemsize = np.dtype(kernel.storages[-1]).itemsize
    scratch = _scratch_address(parts * kernel.nest.scratch_elements * itemsize)
    if wanted <= 1:
        run = _ready(kernel, "serial")
        run(*addresses, *bound.numbers, scratch, 0, 0, bound.total)
        return
    _launch_parallel(bound, addresses, scratch, wanted, parts)


def _launch_parallel(
    bound: Bound, addresses: Sequence[int], scratch: int, threads: int, parts: int
) -> None:
    import numba

    run = _ready(bound.kernel, "parallel")
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        run(*addresses, *bound.numbers, scratch, 0, bound.total, parts)
    finally:
        numba.set_num_threads(before)
        _pool.release()


def _ready(kernel: Any, entry: str) -> Any:
    """Return the kernel's compiled entry, saying so when its first compile takes long."""
    if entry in kernel.__dict__:
        return kernel.__dict__[entry]
    with compiling(print_nest(kernel.nest).splitlines()[-1].strip()):
        return getattr(kernel, entry)


def _scratch_address(n_bytes: int) -> int:
    """Return the address of this thread's scratch memory, 64-byte aligned, grown on demand."""
    if n_bytes == 0:
        return 0
    buffer: Array | None = getattr(_scratch, "buffer", None)
    if buffer is None or buffer.nbytes < n_bytes + 64:
        buffer = np.empty(n_bytes + 64, np.uint8)
        _scratch.buffer = buffer
    address: int = buffer.__array_interface__["data"][0]
    return -(-address // 64) * 64
