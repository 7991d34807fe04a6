"""The machine that code is generated for: what schedules need to know of it.

Sizes are read from the system. Speeds are usual ones until they were measured once on this machine
(:mod:`.measuring`: ``einloom doctor`` and ``tune=True`` do it), which takes a tenth of a second;
they are kept in the cache folder and rounded, so that equal machines make equal kernels.

``EINLOOM_MACHINE`` names a CPU level, such as ``x86-64-v3``, whose usual machine is planned for
instead: schedules, and with them the last bits of results, are then the same on unlike nodes.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from einloom_compiler.errors import UnsupportedError
from einloom_compiler.schedule.processor import features

#: The environment variable that names the CPU level whose usual machine is planned for.
VARIABLE = "EINLOOM_MACHINE"
#: Bytes of the third-level cache that a core can count on: others may share it.
_MOST_L3 = 16 << 20
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True, slots=True)
class Machine:
    """A CPU, as far as schedules depend on it.

    Attributes:
        cores: CPUs that this process may run on.
        simd_bits: width of the widest vectors that pay.
        n_registers: number of vector registers.
        l1_bytes: data cache of a core.
        l2_bytes: second-level cache of a core.
        hertz: cycles a second under vector load.
        fma_ports: fused multiply-adds of the widest vectors that a core starts each cycle.
        cache_bandwidth: bytes a second that one core reads from L2.
        memory_bandwidth: bytes a second that one core copies, read and written, beyond all caches.
        l3_bandwidth: the same within the third-level cache.
        l3_bytes: a core's share of the third-level cache; 0 where there is none, or it is unknown.
        is_measured: whether the speeds were measured here.
    """

    cores: int
    simd_bits: int
    n_registers: int
    l1_bytes: int
    l2_bytes: int
    hertz: float = 3.5e9
    fma_ports: int = 2
    cache_bandwidth: float = 90e9
    memory_bandwidth: float = 24e9
    l3_bandwidth: float = 24e9
    l3_bytes: int = 0
    is_measured: bool = False

    def __str__(self) -> str:
        """Print sizes and speeds, one line each."""
        source = "measured" if self.is_measured else "usual ones; einloom doctor measures"
        l3 = f", {self.l3_bytes >> 10} KiB of L3" if self.l3_bytes else ""
        return (
            f"{self.cores} cores, vectors of {self.simd_bits} bits, {self.n_registers} registers\n"
            f"{self.l1_bytes >> 10} KiB of L1, {self.l2_bytes >> 10} KiB of L2{l3} a core\n"
            f"{self.speeds}, a core ({source})"
        )

    @property
    def speeds(self) -> str:
        """The speeds of a core as text, such as ``112 GFLOP/s in float32, 90 GB/s within L2``."""
        return (
            f"{self.flops(4) * 1e-9:.0f} GFLOP/s in float32, "
            f"{self.cache_bandwidth * 1e-9:.0f} GB/s within L2, "
            f"{self.l3_bandwidth * 1e-9:.0f} within L3, {self.memory_bandwidth * 1e-9:.0f} beyond"
        )

    @property
    def shared_bytes(self) -> int:
        """The bytes of third-level cache that all cores of this process share."""
        return self.cores * min(self.l3_bytes, _MOST_L3)

    def flops(self, itemsize: int) -> float:
        """Return the peak of one core in FLOP/s (a multiply-add is 2) for real elements."""
        return 2 * self.fma_ports * self.hertz * self.simd_bits / (8 * itemsize)

    def bandwidth(self, footprint: float) -> float:
        """Return bytes a second for one core that walks through ``footprint`` bytes."""
        if footprint <= self.l2_bytes:
            return self.cache_bandwidth
        return self.l3_bandwidth if footprint <= self.shared_bytes else self.memory_bandwidth


#: The machine that code is made for where it is not the one this process runs on.
_assumed: ContextVar[Machine | None] = ContextVar("assumed", default=None)
#: Vector bits, registers, L1 and L2 bytes of CPUs that code is shipped for: those of common ones of
#: a level (v4: Intel's servers since 2023; v3: between AMD's Zen 3 and Intel's clients; aarch64:
#: Neoverse N1 and V1). Too small an L2 makes products of few rows slow: their weights then seem to
#: come from memory, where packing them costs nothing.
_LEVELS = {
    "x86-64-v2": (128, 16, 32 << 10, 256 << 10),
    "x86-64-v3": (256, 16, 32 << 10, 1 << 20),
    "x86-64-v4": (512, 32, 48 << 10, 2 << 20),
    "aarch64": (128, 32, 64 << 10, 1 << 20),
}
#: Cores that shipped code is planned for: work is shared out for so many, and runs on any number.
_SHIPPED_CORES = 2


def host() -> Machine:
    """Return the machine that code is made for: this one unless another is :func:`assumed`.

    Speeds are measured ones where there are any.
    """
    return _assumed.get() or this_machine()


@contextmanager
def assumed(machine: Machine) -> Iterator[None]:
    """Let :func:`host` be ``machine``, in this thread, within the block."""
    token = _assumed.set(machine)
    try:
        yield
    finally:
        _assumed.reset(token)


def is_assumed() -> bool:
    """Say whether code is being made for another machine, or to be shipped."""
    return _assumed.get() is not None


def named_machine(cpu: str) -> Machine:
    """Return the machine that shipped code of a CPU level is planned for, the same everywhere.

    Raises:
        UnsupportedError: the level is unknown.
    """
    if cpu not in _LEVELS:
        raise UnsupportedError(
            f"no code is made for the CPU level {cpu!r}; known: {', '.join(_LEVELS)}"
        )
    return Machine(_SHIPPED_CORES, *_LEVELS[cpu])


@cache
def this_machine() -> Machine:
    """Return the machine this process runs on, with measured speeds where there are any.

    Where ``EINLOOM_MACHINE`` names a CPU level: a usual one of that level, with as many cores.

    Raises:
        UnsupportedError: the level is unknown, or this CPU runs none of its code.
    """
    from einloom_compiler.schedule.measuring import recalled

    machine = described()
    if (level := named_level()) is None:
        return recalled(machine)
    if level not in _LEVELS or (level == "aarch64") != _is_arm():
        here = [name for name in _LEVELS if (name == "aarch64") == _is_arm()]
        raise UnsupportedError(
            f"{VARIABLE}={level!r} names no CPU level of this machine; unset it, or name one of: "
            + ", ".join(here)
        )
    named = replace(named_machine(level), cores=machine.cores)
    if named.simd_bits > machine.simd_bits:
        raise UnsupportedError(
            f"{VARIABLE}={level!r} has vectors of {named.simd_bits} bits, this CPU of "
            f"{machine.simd_bits}; unset it, or name a lower level"
        )
    return named


def named_level() -> str | None:
    """Return what ``EINLOOM_MACHINE`` says; None where it is unset or empty."""
    return os.environ.get(VARIABLE) or None


def described() -> Machine:
    """Return the machine this process runs on, with usual speeds."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    bits, registers = _simd()
    return Machine(
        cores,
        bits,
        registers,
        _cache_bytes(1, 32 << 10),
        _cache_bytes(2, 512 << 10),
        l3_bytes=_cache_bytes(3, 0),
    )


def _simd() -> tuple[int, int]:
    """Return the width of vectors in bits, and how many registers hold them."""
    if _is_arm():
        return 128, 32
    if features() >= {"avx512f", "avx512dq", "avx512vl"}:
        return 512, 32
    return (256, 16) if features() >= {"avx2", "fma"} else (128, 16)


def _is_arm() -> bool:
    return platform.machine() in ("aarch64", "arm64")


def _cache_bytes(level: int, default: int) -> int:
    """Return a core's share of its data or unified cache of a level, as Linux tells it."""
    for entry in sorted(_CACHES.glob("index*")):
        try:
            found = int((entry / "level").read_text())
            kind = (entry / "type").read_text().strip()
            size = (entry / "size").read_text().strip()
            sharers = (entry / "shared_cpu_list").read_text().strip()
        except (OSError, ValueError):
            continue
        if found == level and kind != "Instruction" and size.endswith("K"):
            share = _count(sharers) if level > 2 else 1  # threads of one core share L1 and L2
            return (int(size[:-1]) << 10) // share
    return default


def _count(cpus: str) -> int:
    """Return how many CPUs a list such as ``0-3,8`` names."""
    total = 0
    for part in cpus.split(","):
        first, dash, last = part.partition("-")
        total += int(last) - int(first) + 1 if dash else 1
    return max(1, total)
