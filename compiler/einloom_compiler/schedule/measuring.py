"""Measure a machine's speeds once, with NumPy alone, and keep them in the cache folder.

The clock is the system's word. The bandwidth within L2 is that of inner products, beyond the caches
that of copies. Values are rounded to a quarter of a power of two, so that measuring again gives the
same ones unless the machine is busy; of several runs the fastest counts.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.schedule.machine import Machine, described, named_level, this_machine
from einloom_compiler.schedule.processor import clock, identity
from einloom_compiler.store.folder import is_trusted, publish, subfolder

#: Speeds that are kept, in the order of the file.
_BANDWIDTHS = ("cache_bandwidth", "l3_bandwidth", "memory_bandwidth")
_SPEEDS = ("hertz", *_BANDWIDTHS)
#: Bytes of each of two arrays that no cache of one core holds, and how often they are copied.
_LARGE_BYTES = 24 << 20
_COPIES = 10
_PAGE = 4096
#: Elements of float64 arrays whose inner product is read from L2: two arrays are more than any L1
#: and less than any L2, and OpenBLAS takes a second thread from 10,001 elements on.
_SHORT, _LONG = 4992, 9984
_PRODUCTS = 1500
#: Bytes of a cache line: no core reads more than one from L2 in a cycle.
_LINE = 64
#: What is measured, and how: speeds that another release kept, of another meaning, are not read.
_METHOD = 2


def measured_host() -> Machine:
    """Measure the machine this process runs on, keep its speeds, and return it.

    :func:`~.machine.host` returns the same from now on. Of two measurements the faster counts,
    since a busy neighbour only slows copies. Takes 0.1 s.
    """
    before, machine = recalled(described()), measure(described())
    if before.is_measured:
        faster = {name: max(getattr(before, name), getattr(machine, name)) for name in _BANDWIDTHS}
        machine = replace(machine, **faster)
    path = _path(machine)
    if path is not None:
        speeds = {name: getattr(machine, name) for name in _SPEEDS}
        publish(path, json.dumps(speeds, indent=1).encode())
    this_machine.cache_clear()
    return machine


def ensure_measured() -> None:
    """Measure this machine unless its speeds are known, or those of a named level count."""
    if named_level() is None and not this_machine().is_measured:
        measured_host()


def measure(machine: Machine) -> Machine:
    """Return ``machine`` with the speeds of the processor this process runs on."""
    hertz = max(_hertz() or 0.0, machine.hertz)
    memory = _copy_bandwidth(_LARGE_BYTES, _COPIES)
    shared = machine.shared_bytes // 8
    third = _copy_bandwidth(shared, _COPIES) if shared > machine.l2_bytes else memory
    return replace(
        machine,
        hertz=_rounded(hertz),
        cache_bandwidth=_rounded(min(_reading_bandwidth(), _LINE * hertz)),
        l3_bandwidth=_rounded(max(third, memory)),
        memory_bandwidth=_rounded(memory),
        is_measured=True,
    )


def recalled(machine: Machine) -> Machine:
    """Return ``machine`` with the speeds that were measured before, as it is where none were."""
    path = _path(machine)
    if path is None or not is_trusted(path):
        return machine
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        speeds: dict[str, Any] = {name: float(found[name]) for name in _SPEEDS}
    except (OSError, ValueError, KeyError, TypeError):
        return machine
    if not all(0 < speed < float("inf") for speed in speeds.values()):
        return machine
    if 2 * speeds["cache_bandwidth"] < speeds["memory_bandwidth"]:
        return machine  # something else was measured: see _arrays
    return replace(machine, **speeds, is_measured=True)


def _path(machine: Machine) -> Path | None:
    """Return the file of this kind of machine: homes are shared between unlike ones."""
    folder = subfolder("machines")
    if folder is None:
        return None
    sizes = (machine.simd_bits, machine.l1_bytes, machine.l2_bytes, machine.l3_bytes)
    name = sha256(f"{_METHOD} {identity()} {sizes}".encode()).hexdigest()[:32]
    return folder / f"{name}.json"


def _hertz() -> float | None:
    """Return the clock in cycles a second: the highest where it varies, None where unknown.

    Virtual machines tell the nominal clock, below the one that cores run at.
    """
    try:
        top = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text()
        return float(top) * 1e3
    except (OSError, ValueError):
        pass
    return megahertz * 1e6 if (megahertz := clock()) else None


def _reading_bandwidth() -> float:
    """Return the bytes a second that inner products read from L2.

    The difference between two lengths leaves out what a call costs. Copies tell less: they are
    bound by writing, and where their rows lie (55 GB/s read and written on a Zen 3 at 3.7 GHz,
    whose inner products read 95).
    """
    pairs = {n: (np.ones(n), np.ones(n)) for n in (_SHORT, _LONG)}
    fastest = dict.fromkeys(pairs, float("inf"))
    for _ in range(_PRODUCTS):
        for n, (left, right) in pairs.items():  # in turns: the clock may change on the way
            fastest[n] = min(fastest[n], _product_seconds(left, right))
    seconds = fastest[_LONG] - fastest[_SHORT]
    return 2 * 8 * (_LONG - _SHORT) / max(seconds, 1e-9)


def _product_seconds(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    start = time.perf_counter_ns()
    np.dot(left, right)
    return (time.perf_counter_ns() - start) * 1e-9


def _copy_bandwidth(n_bytes: int, copies: int) -> float:
    """Return the bytes a second, read and written, of the fastest copy of so many bytes."""
    source, target = _arrays(n_bytes)
    fastest = float("inf")
    for _ in range(copies):
        start = time.thread_time_ns()
        np.copyto(target, source)
        fastest = min(fastest, (time.thread_time_ns() - start) * 1e-9)
    return 2 * source.nbytes / max(fastest, 1e-9)


def _arrays(n_bytes: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return two arrays of so many bytes whose places in a page lie half a page apart.

    Copies between equal places wait for themselves where they are one instruction for all bytes:
    on Zen 3, 4 GB/s where the target lies 16 bytes further in its page, 62 where half a page
    (sourceware.org, glibc bug 30994).
    """
    n, page, half = n_bytes // 8, _PAGE // 8, _PAGE // 16
    room = np.ones(2 * n + 2 * page)
    first = -n % page
    return room[:n], room[n + first + half :][:n]


def _rounded(speed: float) -> float:
    """Return ``speed`` rounded to a quarter of the power of two below it."""
    unit = 2.0 ** (np.floor(np.log2(speed)) - 2)
    return float(round(speed / unit) * unit)
