"""Launch one bound kernel on arrays: addresses, scratch, threads.

This is what a call without record does, and all calls where there is no native runtime.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.native import load
from einloom.runtime.progress import compiling
from einloom.runtime.threads import Backend, available_threads
from einloom_compiler.codegen.jit import Kernel, is_jit_disabled, serial, spread
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]

#: Predicted seconds on one thread from which threads are used unasked: a sleeping thread takes up
#: to 50 us to wake, an awake one half a microsecond.
PARALLEL_SECONDS = 40e-6
#: Predicted seconds for which a thread that is awake is worth while, of launches too small to wake
#: one; and what a byte costs that another core has written. Measured 2026-11 (2-core Zen 3), alone
#: and shared: four products of one row of 256 with 256 x 256 took 18 and 13 us, of four rows 50 and
#: 29, one of 64 x 64 x 64 6.4 and 5.2, a transposition of 32 kB 2.4 and 3.5.
SHARING_SECONDS = 2.5e-6
HANDOVER_SECONDS = 1.25e-10
#: Predicted seconds from which the GIL is released: giving it up and taking it again costs 0.1 us,
#: and more where another thread is waiting for it.
RELEASING_SECONDS = 5e-6
#: Parts a thread, so that an unlucky one does not keep all waiting. Scratch is the thread's.
PARTS_PER_THREAD = 4

_scratch = threading.local()

#: Numba's thread pool serves one caller at a time (its ``workqueue`` layer ends the process
#: otherwise) and does not survive a fork (its ``omp`` layer hangs); a busy or lost pool means that
#: the caller runs all ranges itself, with the same result.
_numba_pool = threading.Lock()
_is_forked = False


def _after_fork() -> None:
    global _is_forked
    _is_forked = True


os.register_at_fork(after_in_child=_after_fork)


def launch(
    bound: Bound, operands: Sequence[Array], out: Array, threads: int | None, backend: Backend
) -> None:
    """Run ``bound`` on ``operands`` (in the expression's order), writing ``out``.

    ``out`` overlaps no operand. ``threads`` None uses all available ones where the work is large.
    """
    arrays = [*(operands[position] for position in bound.operands), out, *bound.tables]
    if is_jit_disabled():
        bound.kernel.run_python(arrays, bound.numbers, total=bound.total)
        return
    if threads is None:
        threads = available_threads() if is_large(bound) else 1
    threads = min(threads, bound.total)
    addresses = [address_of(array) for array in arrays]
    native = load().module
    if threads <= 1 or (backend == "pool" and native is not None):
        _run(native, bound, addresses, max(1, threads))
    elif _is_forked or not _numba_pool.acquire(blocking=False):
        _run(native, bound, addresses, 1)
    else:
        try:
            _run_by_numba(bound, addresses, threads)
        finally:
            _numba_pool.release()


def is_large(bound: Bound) -> bool:
    """Say whether a launch is worth waking threads for."""
    return bound.seconds >= PARALLEL_SECONDS


def most_awake(seconds: float, written_bytes: int) -> int:
    """Return among how many threads a launch is shared, the caller's included, if they are awake.

    Args:
        seconds: predicted, on one thread.
        written_bytes: of its result.
    """
    return 1 + max(0, int((seconds - HANDOVER_SECONDS * written_bytes) / SHARING_SECONDS))


def entry_of(kernel: Kernel) -> int:
    """Return the entry of a kernel's native code, compiled now if it was never needed."""
    entry = kernel.__dict__.get("entry")
    if entry is None:
        with compiling(kernel.text.title):
            entry = kernel.entry
    return int(entry)


def _run(native: Any, bound: Bound, addresses: list[int], threads: int) -> None:
    """Run in this thread, or with more of the native pool."""
    entry = entry_of(bound.kernel)
    block = _block(addresses, bound, threads)
    if native is None:
        serial(entry)(ctypes.addressof(block), 0, 0, bound.total)
    else:
        step = bound.kernel.text.scratch_elements
        parts = min(threads * PARTS_PER_THREAD, bound.total)
        native.run(entry, ctypes.addressof(block), step, bound.total, parts, threads)


def _run_by_numba(bound: Bound, addresses: list[int], threads: int) -> None:
    import numba

    entry = entry_of(bound.kernel)
    block = _block(addresses, bound, threads)
    with compiling("the parallel launcher"):
        run = spread()
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, _numba_pool_size()))
    try:
        step = bound.kernel.text.scratch_elements
        run(entry, ctypes.addressof(block), step, bound.total, threads)
    finally:
        numba.set_num_threads(before)


def _numba_pool_size() -> int:
    """Return the most threads that Numba's pool can have in this process."""
    from numba.core import config

    return int(vars(config)["NUMBA_NUM_THREADS"])


def _block(addresses: list[int], bound: Bound, threads: int) -> ctypes.Array[ctypes.c_int64]:
    """Return the kernel's arguments as int64 words, with scratch for so many threads."""
    scratch = _scratch_address(threads * bound.kernel.scratch_bytes)
    words = (*addresses, *bound.numbers, scratch)
    return _block_type(len(words))(*words)


@cache
def _block_type(n_words: int) -> type[ctypes.Array[ctypes.c_int64]]:
    return ctypes.c_int64 * n_words


def _scratch_address(n_bytes: int) -> int:
    """Return the address of this thread's scratch memory, 64-byte aligned, grown on demand."""
    if n_bytes == 0:
        return 0
    native = load().module
    if native is not None:
        return int(native.scratch(n_bytes))
    buffer: Array | None = getattr(_scratch, "buffer", None)
    if buffer is None or buffer.nbytes < n_bytes + 64:
        buffer = np.empty(n_bytes + 64, np.uint8)
        _scratch.buffer = buffer
    return -(-address_of(buffer) // 64) * 64


def address_of(array: Array) -> int:
    """Return the address of an array's first element."""
    address: int = array.__array_interface__["data"][0]
    return address
