"""What there is on this machine, and what it means for einloom: ``einloom doctor``."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import einloom
from einloom.commands.cache import Contents, contents, readable
from einloom.native.build import VARIABLE as NATIVE_VARIABLE
from einloom.native.build import find_compiler, load
from einloom.runtime.threads import VARIABLE, ThreadsError, default_backend, least, limits
from einloom_compiler.codegen.jit import is_jit_disabled
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.schedule.machine import host, named_level
from einloom_compiler.schedule.measuring import ensure_measured
from einloom_compiler.store.folder import cache_folder, cache_path, is_trusted

_PACKAGES = ("numpy", "numba", "llvmlite", "opt_einsum", "sympy")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        value: what was found.
        problem: what it costs and what to do about it; empty where all is well.
    """

    name: str
    value: str
    problem: str = ""


def findings() -> list[Finding]:
    """Look at everything."""
    return [
        Finding("einloom", einloom.__version__),
        Finding("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        *map(_package, _PACKAGES),
        *_cpu(),
        *_threads(),
        _cache(),
        _compiler(),
        _native(),
        *_jit(),
    ]


def as_text(found: list[Finding]) -> str:
    """Return the findings as lines, each problem below its finding."""
    width = max(len(finding.name) for finding in found)
    lines: list[str] = []
    for finding in found:
        mark = "!" if finding.problem else " "
        lines.append(f"{mark} {finding.name:<{width}}  {finding.value}")
        if finding.problem:
            lines.append(f"  {'':<{width}}  {finding.problem}")
    n = sum(1 for finding in found if finding.problem)
    lines += ["", f"{n} problem{'s' if n > 1 else ''} found." if n else "All is well."]
    return "\n".join(lines)


def as_data(found: list[Finding]) -> dict[str, Any]:
    """Return the findings as a JSON object."""
    return {
        "ok": not any(finding.problem for finding in found),
        "findings": [
            {"name": f.name, "value": f.value, "problem": f.problem or None} for f in found
        ],
    }


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", f"einloom needs it: pip install {name}")


def _cpu() -> Iterator[Finding]:
    yield Finding("CPU", _cpu_name())
    try:
        ensure_measured()
        machine = host()
    except UnsupportedError as error:
        yield Finding("SIMD", "unknown", f"every call fails: {error}")
        return
    yield Finding("SIMD", f"vectors of {machine.simd_bits} bits, {machine.n_registers} registers")
    yield Finding(
        "caches",
        f"{machine.l1_bytes >> 10} KiB of L1 and {machine.l2_bytes >> 10} KiB of L2 a core",
    )
    source = "" if machine.is_measured else " (usual values: no cache folder keeps measured ones)"
    if (level := named_level()) is not None:
        source = f" (usual values of {level}, which EINLOOM_MACHINE names)"
    yield Finding("speed", f"{machine.speeds}, a core{source}")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def _threads() -> Iterator[Finding]:
    try:
        found = limits()
    except ThreadsError as error:
        yield Finding("threads", os.environ[VARIABLE], f"every large call fails: {error}")
    else:
        decisive = least(found)
        others = [f"{limit.source}: {limit.threads}" for limit in found if limit is not decisive]
        beside = f" (beside {', '.join(others)})" if others else ""
        yield Finding("threads", f"{decisive.threads}, from {decisive.source}{beside}")
    try:
        backend = default_backend()
    except ThreadsError as error:
        yield Finding("threads backend", "unknown", f"every call fails: {error}")
        return
    if backend == "pool" and load().module is None:
        backend_text = "numba, since the pool is part of the native runtime"
    else:
        backend_text = backend
    yield Finding("threads backend", backend_text)


def _cache() -> Finding:
    path = cache_path()
    if cache_folder() is None:
        reason = "another user could write to it" if path.exists() else "it cannot be made"
        if path.exists() and is_trusted(path.parent) and is_trusted(path):
            reason = "it cannot be used"
        return Finding(
            "cache",
            f"{path}: {reason}",
            "nothing compiled is kept, so every process compiles anew; set EINLOOM_CACHE_DIR to a "
            "folder of your own (chmod 700)",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding(
            "cache",
            f"{path}: read-only",
            "what is there is used, but nothing new is kept; set EINLOOM_CACHE_DIR to a folder of "
            "your own",
        )
    return Finding("cache", f"{path}: private, writable, {_summary(contents())}")


def _summary(found: list[Contents]) -> str:
    n_files = sum(entry.n_files for entry in found)
    return f"{n_files} files of {readable(sum(entry.n_bytes for entry in found))}"


def _compiler() -> Finding:
    command = find_compiler()
    if command is None:
        return Finding("C compiler", "none")  # what follows from it is the native runtime's matter
    try:
        run = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
        first = next(iter(run.stdout.splitlines()), "no version")
    except (OSError, subprocess.TimeoutExpired) as error:
        first = str(error)
    return Finding("C compiler", f"{' '.join(command)}: {first}")


def _native() -> Finding:
    found = load()
    if found.module is not None:
        return Finding("native runtime", f"loaded from {found.path}")
    way_out = (
        f"unset {NATIVE_VARIABLE}"
        if os.environ.get(NATIVE_VARIABLE) == "0"
        else "install a C compiler and Python's headers, or pip install ziglang"
    )
    return Finding(
        "native runtime",
        f"none: {found.reason}",
        "results are the same, but a call takes 15 us instead of 0.2, and threads are Numba's: "
        + way_out,
    )


def _jit() -> Iterator[Finding]:
    if is_jit_disabled():
        yield Finding(
            "NUMBA_DISABLE_JIT",
            "set",
            "kernels run as Python, thousands of times slower; unset it, unless you debug them",
        )
