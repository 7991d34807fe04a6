"""The contenders: in comes a case with its operands, out goes a call that is ready to be timed.

Each is used as its own documentation advises, with the same threads and dtype, its operands
already in its own kind of array. A library that would answer a transpose by a view is made to
write it out in C order, so that all do the same work.
"""

from __future__ import annotations

from benchmarks.peers.base import (
    AbsentError,
    Peer,
    Prepared,
    SkippedCaseError,
    UnsupportedCaseError,
)
from benchmarks.peers.einloom_peers import Einloom, EinloomCall
from benchmarks.peers.frameworks import Jax, PyTorch, TensorFlow, Xla
from benchmarks.peers.loops import NumbaLoops
from benchmarks.peers.numpy_peers import (
    NumPy,
    NumPyMatmul,
    NumPyOut,
    NumPyPlain,
    OptEinsum,
    Sesum,
)

#: All contenders, einloom first.
PEERS: tuple[type[Peer], ...] = (
    *(Einloom, EinloomCall),
    *(NumPy, NumPyOut, NumPyPlain, NumPyMatmul, OptEinsum, Sesum),
    *(PyTorch, Jax, TensorFlow, Xla, NumbaLoops),
)

__all__ = [
    "PEERS",
    "AbsentError",
    "Peer",
    "Prepared",
    "SkippedCaseError",
    "UnsupportedCaseError",
]
