"""The CPU levels of a library: their names, and what is known of each."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from einloom.aot.lowering import Cpu
from einloom_compiler.aot.library import Processor
from einloom_compiler.codegen.target import host_target, named_target
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.schedule import processor
from einloom_compiler.schedule.machine import named_machine, this_machine

#: CPU levels of a library where none are named, by architecture.
DEFAULTS = {
    "x86_64": ("x86-64-v2", "x86-64-v3", "x86-64-v4"),
    "aarch64": ("aarch64",),
}
#: psABI level that each level needs; 0 where the architecture has but one.
_REQUIRED = {"x86-64-v2": 2, "x86-64-v3": 3, "x86-64-v4": 4}
#: Flags of Linux that tell the psABI level of this machine, the highest first.
_FLAGS = ((4, {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}), (3, {"avx2", "fma"}))


@dataclass(frozen=True, slots=True)
class Cpus:
    """What code is made for.

    Attributes:
        architecture: of all of it.
        levels: by name, the most demanding last.
    """

    architecture: str
    levels: Mapping[str, Cpu]


def host_architecture() -> str:
    """Return the architecture of this machine, ``x86_64`` or ``aarch64``."""
    return "aarch64" if platform.machine() in ("aarch64", "arm64") else "x86_64"


def cpus_of(names: Sequence[str] | str | None) -> Cpus:
    """Return what code is made for.

    Args:
        names: CPU levels, ``native`` for this machine's; all levels of this architecture where
            None.

    Raises:
        UnsupportedError: a level is unknown, or they are of several architectures.
    """
    if names is None:
        names = DEFAULTS[host_architecture()]
    wanted = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    if not wanted:
        raise UnsupportedError("cpu= names no CPU level; leave it out for all usual ones")
    # "native" is tried first where it is given, so it comes last.
    ordered = sorted(wanted, key=lambda name: (name == "native", name))
    levels = {name: _native() if name == "native" else _named(name) for name in ordered}
    found = sorted({cpu.target.triple.partition("-")[0] for cpu in levels.values()})
    architectures = [name.replace("arm64", "aarch64") for name in found]
    if len(architectures) > 1:
        raise UnsupportedError(
            f"one library is for one architecture, but {', '.join(wanted)} are of "
            f"{' and '.join(architectures)}; build one folder for each"
        )
    return Cpus(architectures[0], levels)


def _named(name: str) -> Cpu:
    needs = Processor(_REQUIRED.get(name, 0))
    return Cpu(named_target(name), named_machine(name), needs)


def _native() -> Cpu:
    """Return this machine's CPU; its code runs on the same model only."""
    described = processor.description()
    if host_architecture() != "x86_64":
        return Cpu(host_target(), this_machine(), Processor())
    features = processor.features()
    level = next((level for level, flags in _FLAGS if flags <= features), 2)
    needs = Processor(
        level,
        described.get("vendor_id", ""),
        int(described.get("cpu family", 0)),
        int(described.get("model", 0)),
    )
    return Cpu(host_target(), this_machine(), needs)
