"""How many threads a call may use, and whose they are."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from einloom_compiler.errors import EinloomError

#: Whose threads: the native runtime's pool, or Numba's, by ``prange`` as the printed source shows.
Backend = Literal["pool", "numba"]

#: The number of threads, where a call or a function names none.
VARIABLE = "EINLOOM_NUM_THREADS"
#: The backend, where a function names none.
BACKEND_VARIABLE = "EINLOOM_THREADS_BACKEND"
#: Limits that other programs set; OpenMP's may be a list, one number a nesting level.
_LIMITS = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")
#: Seconds after which affinity and quota are read again: both may change while a process runs.
_FRESH = 1.0


class ThreadsError(EinloomError, ValueError):
    """A number of threads is not a positive integer, or a backend is unknown."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What bounds the number of threads, and where that comes from."""

    source: str
    threads: int


def available_threads() -> int:
    """Return how many threads large work gets where the call names no number.

    That is EINLOOM_NUM_THREADS, or else the least of :func:`limits`.

    Raises:
        ThreadsError: EINLOOM_NUM_THREADS is not a positive integer.
    """
    return least(limits()).threads


def least(found: Iterable[Limit]) -> Limit:
    """Return the limit that decides."""
    return min(found, key=lambda limit: limit.threads)


def limits() -> tuple[Limit, ...]:
    """Return what bounds the number of threads: EINLOOM_NUM_THREADS alone where it is set.

    Otherwise CPU affinity, the CPU quota of the control group (rounded up), OMP_NUM_THREADS and
    SLURM_CPUS_PER_TASK, as far as they are set. Variables of others that hold no positive integer
    are passed over, as their own programs do.

    Raises:
        ThreadsError: EINLOOM_NUM_THREADS is not a positive integer.
    """
    asked = os.environ.get(VARIABLE)
    if asked is not None:
        return (Limit(VARIABLE, checked_threads(asked, VARIABLE)),)
    found = list(_system_limits())
    for name in _LIMITS:
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            found.append(Limit(name, int(text)))
    return tuple(found)


_read_at = -math.inf
_read: tuple[Limit, ...] = ()


def _system_limits() -> tuple[Limit, ...]:
    """Return the limits of affinity and control group, read again once a second at most."""
    global _read, _read_at
    now = time.monotonic()
    if now - _read_at > _FRESH:
        affinity = getattr(os, "sched_getaffinity", None)
        cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
        quota = cgroup_cpus()
        found = [Limit("CPU affinity" if affinity else "number of CPUs", cpus)]
        if quota is not None:
            found.append(Limit("CPU quota of the control group", max(1, math.ceil(quota))))
        _read, _read_at = tuple(found), now
    return _read


def cgroup_cpus(root: Path = Path("/")) -> float | None:
    """Return the CPU quota of this process's control group in CPUs, None where there is none.

    A group is bounded by those around it, so the least quota on the way up counts. In a container
    the path that the kernel names may lie outside of what is mounted; the mounted root counts then.

    Args:
        root: where ``proc`` and ``sys`` are mounted.

    Source: Linux kernel documentation, "Control Group v2" (cpu.max) and "CFS Bandwidth Control"
    (cpu.cfs_quota_us, cpu.cfs_period_us).
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
            read = _quota_v2
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, "cpu")]
            read = _quota_v1
        else:
            continue
        for mount in mounts:
            quotas += [q for folder in _upwards(mount, path) if (q := read(folder)) is not None]
    return min(quotas, default=None)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Give the folder of a group and those of the groups around it."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for n in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:n])


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def checked_threads(value: object, name: str = "threads") -> int:
    """Return ``value`` as a number of threads.

    Raises:
        ThreadsError: it is not a positive integer.
    """
    try:
        number = int(str(value)) if not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise ThreadsError(f"{name} must be a positive integer, not {value!r}")
    return number


def default_backend() -> Backend:
    """Return EINLOOM_THREADS_BACKEND, ``pool`` where it is not set.

    Raises:
        ThreadsError: it is no backend.
    """
    return checked_backend(os.environ.get(BACKEND_VARIABLE, "pool"), BACKEND_VARIABLE)


def checked_backend(value: object, name: str = "threads_backend") -> Backend:
    """Return ``value`` as a backend.

    Raises:
        ThreadsError: it is none.
    """
    if value not in get_args(Backend):
        names = " or ".join(map(repr, get_args(Backend)))
        raise ThreadsError(f"{name} must be {names}, not {value!r}")
    return cast("Backend", value)
