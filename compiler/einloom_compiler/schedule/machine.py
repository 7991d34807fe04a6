"""The machine that code is generated for: what schedules need to know of it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from einloom_compiler.schedule.processor import features

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
        memory_bandwidth: bytes a second that one core copies, read and written, beyond its caches.
    """

    cores: int
    simd_bits: int
    n_registers: int
    l1_bytes: int
    l2_bytes: int
    hertz: float = 2.5e9
    fma_ports: int = 2
    cache_bandwidth: float = 60e9
    memory_bandwidth: float = 12e9

    def flops(self, itemsize: int) -> float:
        """Return the peak of one core in FLOP/s (a multiply-add is 2) for real elements."""
        return 2 * self.fma_ports * self.hertz * self.simd_bits / (8 * itemsize)

    def bandwidth(self, footprint: float) -> float:
        """Return bytes a second for one core that walks through ``footprint`` bytes."""
        if footprint <= self.l2_bytes:
            return self.cache_bandwidth
        return self.memory_bandwidth


@cache
def host() -> Machine:
    """Return the machine this process runs on."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    bits, registers = _simd()
    return Machine(cores, bits, registers, _cache_bytes(1, 32 << 10), _cache_bytes(2, 512 << 10))


def _simd() -> tuple[int, int]:
    """Return the width of vectors in bits, and how many registers hold them."""
    if platform.machine() in ("aarch64", "arm64"):
        return 128, 32
    if features() >= {"avx512f", "avx512dq", "avx512vl"}:
        return 512, 32
    return (256, 16) if features() >= {"avx2", "fma"} else (128, 16)


def _cache_bytes(level: int, default: int) -> int:
    """Return the size of a core's data or unified cache of a level, as Linux tells it."""
    for entry in sorted(_CACHES.glob("index*")):
        try:
            found = int((entry / "level").read_text())
            kind = (entry / "type").read_text().strip()
            size = (entry / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if found == level and kind != "Instruction" and size.endswith("K"):
            return int(size[:-1]) << 10
    return default
