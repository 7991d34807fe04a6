"""What a run ran on: CPU, caches, threads, versions, measured peaks, and foreign load."""

from __future__ import annotations

import functools
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peaks import copy_bandwidth, fma_peak, gemm_rate, vector_bytes

#: The variables that settle threads; a run sets them before anything is imported.
THREAD_VARIABLES = (
    "EINLOOM_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
_FLOATS = ("float32", "float64")


def describe(threads: int, *peaks: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of this machine, with the best of several measurements of its peaks."""
    best: dict[str, Any] = functools.reduce(_best, peaks)
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "vector_bytes": vector_bytes(),
        "caches": caches(),
        "threads": threads,
        "thread_variables": {name: os.environ.get(name, "") for name in THREAD_VARIABLES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        **best,
    }


def measured_peaks(threads: int) -> dict[str, Any]:
    """Measure what this machine can do; takes some seconds.

    FLOP/s are in ``fma`` by dtype (``one`` core, ``all`` threads) and, for comparison, in
    ``blas_gemm``; bytes a second in ``copy``. A run measures before and after its cases: a
    neighbour may keep a core busy at either time.
    """
    return {
        "fma": {
            dtype: {"one": fma_peak(dtype, 1), "all": fma_peak(dtype, threads)} for dtype in _FLOATS
        },
        "blas_gemm": {dtype: gemm_rate(dtype) for dtype in _FLOATS},
        "copy": {"one": copy_bandwidth(1), "all": copy_bandwidth(threads)},
    }


def _best(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the larger one of each pair of numbers in two nested dictionaries."""
    return {
        key: _best(value, second[key]) if isinstance(value, dict) else max(value, second[key])
        for key, value in first.items()
    }


def cpu_name() -> str:
    """Return the CPU's model with LLVM's name of its architecture."""
    import llvmlite.binding as llvm

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model} ({llvm.get_host_cpu_name()})"


def caches() -> dict[str, str]:
    """Return the size of each cache of the first core, as Linux tells it; empty elsewhere."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = ((index / name).read_text().strip() for name in ("level", "type"))
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
        found[f"L{level}{suffix}"] = (index / "size").read_text().strip()
    return found


def peak_of(machine: dict[str, Any], dtype: str) -> float:
    """Return the FLOP/s that a dtype is compared with.

    That of float64 for 8-byte numbers and pairs of them, else of float32; integers and halves,
    which have no FMA of their own here, are compared with floats of their width or the next wider.
    """
    wide = dtype in ("float64", "complex128", "int64")
    return float(machine["fma"]["float64" if wide else "float32"]["all"])


@dataclass(frozen=True)
class CpuTimes:
    """CPU time used so far, in seconds: of all processes, and of this one."""

    wall: float
    busy: float
    own: float

    @staticmethod
    def now() -> CpuTimes:
        """Read the counters; Linux only, zeros elsewhere."""
        stat = Path("/proc/stat")
        busy = 0.0
        if stat.exists():
            user, nice, system, _idle, _wait, *rest = map(
                int, stat.read_text().splitlines()[0].split()[1:]
            )
            busy = (user + nice + system + sum(rest[:2])) / os.sysconf("SC_CLK_TCK")
        return CpuTimes(time.perf_counter(), busy, time.process_time())

    def foreign_share(self, later: CpuTimes, cores: int) -> float:
        """Return the share of all cores' time that other processes used until ``later``."""
        elapsed = (later.wall - self.wall) * cores
        foreign = (later.busy - self.busy) - (later.own - self.own)
        return max(0.0, foreign / elapsed) if elapsed > 0 and self.busy else 0.0
