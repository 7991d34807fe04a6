"""CPUs that object code is made for: LLVM's names of them, and what einloom adds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from einloom_compiler.errors import UnsupportedError

#: Levels that code is shipped for: architecture, LLVM's name, bits of a vector, and whether a
#: multiply-add is one instruction. Source: x86-64 psABI, "Micro-architecture levels".
_LEVELS = {
    "x86-64-v2": ("x86_64", "x86-64-v2", 128, False),
    "x86-64-v3": ("x86_64", "x86-64-v3", 256, True),
    "x86-64-v4": ("x86_64", "x86-64-v4", 512, True),
    "aarch64": ("aarch64", "generic", 128, True),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU as LLVM names it.

    Attributes:
        triple: architecture, vendor, system and object format.
        cpu: LLVM's name, such as ``sapphirerapids``, ``x86-64-v3`` or ``generic``.
        features: what is added to or taken from that CPU: ``+avx2,-avx512f``.
        vector_bits: width of the vectors that LLVM's own vectoriser shall use. LLVM prefers 256
            bits on CPUs that have 512, for the sake of old ones that lowered their clock.
        has_fma: whether a multiply-add is one instruction; else it is two, rounded twice, as a
            call of the C library for each lane would take a hundred times as long.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    has_fma: bool


@cache
def host_target() -> Target:
    """Return the CPU of this machine, with the features that are usable here; imports llvmlite."""
    from llvmlite import binding

    from einloom_compiler.schedule.machine import host

    triple, features = binding.get_process_triple(), binding.get_host_cpu_features()
    has_fma = triple.startswith(("aarch64", "arm64")) or features.get("fma", False)
    return Target(
        triple, binding.get_host_cpu_name(), features.flatten(), host().simd_bits, has_fma
    )


def named_target(cpu: str) -> Target:
    """Return a level of CPUs to ship code for.

    Raises:
        UnsupportedError: it is none of ``x86-64-v2``, ``x86-64-v3``, ``x86-64-v4``, ``aarch64``.
    """
    try:
        architecture, name, bits, has_fma = _LEVELS[cpu]
    except KeyError:
        raise UnsupportedError(
            f"no code is made for the CPU level {cpu!r}; known: {', '.join(_LEVELS)}"
        ) from None
    return Target(f"{architecture}-unknown-linux-gnu", name, "", bits, has_fma)
