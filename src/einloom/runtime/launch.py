"""Launch one bound kernel on arrays: addresses, scratch, threads."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.progress import compiling
from einloom.runtime.threads import available_threads
from einloom_compiler.codegen.jit import Kernel, is_jit_disabled, serial, spread
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]

#: Points of a loop nest from which threads are used unasked: about 0.2 ms of work on one core.
PARALLEL_POINTS = 1 << 22
#: Parts a thread, so that an unlucky one does not keep all waiting; one where each part needs much
#: scratch (the packed family's blocks), since their memory adds up.
PARTS_PER_THREAD = 4
_MUCH_SCRATCH = 1 << 16

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


def launch(bound: Bound, arrays: Sequence[Array], out: Array, threads: int | None) -> None:
    """Run ``bound`` on ``arrays`` (in the expression's order), writing ``out``.

    ``out`` overlaps no operand. ``threads`` None uses all available ones where the work is large.
    """
    operands = [arrays[position] for position in bound.operands]
    if is_jit_disabled():
        bound.kernel.run_python([*operands, out, *bound.tables], bound.numbers, total=bound.total)
        return
    if threads is None:
        threads = available_threads() if bound.points >= PARALLEL_POINTS else 1
    kernel = bound.kernel
    entry = kernel.__dict__.get("entry") or _compiled(kernel)
    arrays = (*operands, out, *bound.tables)
    addresses = [array.__array_interface__["data"][0] for array in arrays]
    if threads > 1 and bound.total > 1 and not _is_forked and _pool.acquire(blocking=False):
        try:
            _launch_parallel(bound, entry, addresses, min(threads, bound.total))
        finally:
            _pool.release()
        return
    block = _block(addresses, bound, _scratch_address(kernel.scratch_bytes))
    serial(entry)(ctypes.addressof(block), 0, 0, bound.total)


def _block(addresses: list[int], bound: Bound, scratch: int) -> ctypes.Array[ctypes.c_int64]:
    """Return the kernel's arguments as int64 words."""
    words = (*addresses, *bound.numbers, scratch)
    return _block_type(len(words))(*words)


@cache
def _block_type(n_words: int) -> type[ctypes.Array[ctypes.c_int64]]:
    return ctypes.c_int64 * n_words


def _launch_parallel(bound: Bound, entry: int, addresses: list[int], threads: int) -> None:
    import numba

    parts = min(n_parts(bound.kernel.scratch_bytes, threads), bound.total)
    block = _block(addresses, bound, _scratch_address(parts * bound.kernel.scratch_bytes))
    step = bound.kernel.text.scratch_elements
    with compiling("the parallel launcher"):
        run = spread()
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, _pool_size()))
    try:
        run(entry, ctypes.addressof(block), step, bound.total, parts)
    finally:
        numba.set_num_threads(before)


def n_parts(scratch_bytes: int, threads: int) -> int:
    """Return how many parts, each with its own scratch, ``threads`` threads make of a launch."""
    return threads if scratch_bytes > _MUCH_SCRATCH else threads * PARTS_PER_THREAD


def _pool_size() -> int:
    """Return the most threads that Numba's pool can have in this process."""
    from numba.core import config

    return int(vars(config)["NUMBA_NUM_THREADS"])


def _compiled(kernel: Kernel) -> int:
    """Return the entry of a kernel's native code, compiled now."""
    with compiling(kernel.text.title):
        return kernel.entry


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
