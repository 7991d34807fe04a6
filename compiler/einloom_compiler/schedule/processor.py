"""The processor this process runs on, read without LLVM: what identifies it, and its features.

On Linux ``/proc/cpuinfo`` tells; its first block only is read, as the kernel takes time to compose
those of many cores. Elsewhere llvmlite is asked.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
#: Lines that tell unlike processors apart, on x86 and on ARM. Not the clock, which changes.
_IDENTIFYING = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "Features"),
)


@cache
def identity() -> str:
    """Return a text that differs between processors that may need different code.

    Home folders are shared between unlike nodes, so whatever is kept on disk bears it in its key.
    """
    described = _described()
    lines = [f"{name}: {described[name]}" for name in _IDENTIFYING if name in described]
    return "\n".join([platform.machine(), *lines])


@cache
def features() -> frozenset[str]:
    """Return the names of the instruction sets that are usable here, such as ``avx512f``.

    They are Linux's names; LLVM's are the same for those that schedules ask for.
    """
    described = _described()
    return frozenset((described.get("flags") or described.get("Features") or "").split())


def clock() -> float | None:
    """Return the clock that Linux tells, in megahertz; None where it tells none."""
    try:
        return float(_described().get("cpu MHz", ""))
    except ValueError:
        return None


def description() -> Mapping[str, str]:
    """Return what ``/proc/cpuinfo`` tells of the first processor, or the like from LLVM."""
    return _described()


@cache
def _described() -> dict[str, str]:
    """Return the first processor's block of ``/proc/cpuinfo``, or the like from LLVM."""
    found: dict[str, str] = {}
    try:
        with _CPUINFO.open() as lines:
            for line in lines:
                if not line.strip() and found:
                    break
                name, _, value = line.partition(":")
                found[name.strip()] = value.strip()
    except OSError:
        pass
    if "flags" in found or "Features" in found:
        return found
    from llvmlite import binding

    enabled = sorted(name for name, is_on in binding.get_host_cpu_features().items() if is_on)
    return {"model name": binding.get_host_cpu_name(), "flags": " ".join(enabled)}
