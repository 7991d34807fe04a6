"""einloom itself: the compiled function that writes to ``out=``, and a plain call of einsum."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence

import numpy as np

from benchmarks.peers.base import Array, Peer, Prepared, is_view
from benchmarks.problems import Case
from benchmarks.results import CALL, COMPILED, Memory
from benchmarks.timing import spelled


class Einloom(Peer):
    """A function compiled for the case."""

    name = COMPILED
    module = distribution = "einloom"
    setting = "compile, out="

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return the compiled function; its kernels are compiled by the first call."""
        import einloom as el

        specs = [el.spec(shape, dtype=case.dtype) for shape in case.shapes]
        function = el.compile(case.einsum, *specs)
        out = np.empty(case.output_shape, case.dtype)
        return Prepared(spelled(function, *operands, out=out))


class EinloomCall(Peer):
    """einloom.einsum, which allocates its result; a view is copied to ``out``."""

    name = CALL
    module = distribution = "einloom"
    setting = "einsum"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``einloom.einsum``."""
        import einloom as el

        if is_view(case):
            out = np.empty(case.output_shape, case.dtype)
            return Prepared(spelled(el.einsum, case.einsum, *operands, out=out))
        return Prepared(spelled(el.einsum, case.einsum, *operands, order="C"))


def measured_memory(case: Case, operands: Sequence[Array]) -> Memory:
    """Return what a warm call of the compiled function allocates, and the plan's prediction.

    NumPy reports its allocations to tracemalloc. The measured call runs in a thread of its own, so
    that scratch memory, which each thread keeps, counts too.
    """
    import einloom as el
    from einloom.runtime.threads import available_threads

    function = el.compile(case.einsum, *(el.spec(s, dtype=case.dtype) for s in case.shapes))
    out = np.empty(case.output_shape, case.dtype)
    function(*operands, out=out)
    peaks: list[int] = []

    def call() -> None:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function(*operands, out=out)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)

    tracemalloc.start()
    try:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    finally:
        tracemalloc.stop()
    predicted = function.plan_for(*case.shapes).memory_bytes(available_threads())
    return Memory(measured=peaks[0], predicted=predicted)
