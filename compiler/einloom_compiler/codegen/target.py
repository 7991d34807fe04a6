"""CPUs that object code is made for: LLVM's names of them, and what einloom adds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

#: LLVM's triple of each architecture; ELF throughout, Linux is the platform.
_TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU as LLVM names it.

    Attributes:
        triple: architecture, vendor, system and object format.
        cpu: LLVM's name, such as ``sapphirerapids``, ``x86-64-v3`` or ``generic``.
        features: what is added to or taken from that CPU: ``+avx2,-avx512f``.
        vector_bits: width of the vectors that LLVM's own vectoriser shall use. LLVM prefers 256
            bits on CPUs that have 512, for the sake of old ones that lowered their clock.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int


@cache
def host_target() -> Target:
    """Return the CPU of this machine, with the features that are usable here; imports llvmlite."""
    from llvmlite import binding

    from einloom_compiler.schedule.machine import host

    features = binding.get_host_cpu_features().flatten()
    return Target(
        binding.get_process_triple(), binding.get_host_cpu_name(), features, host().simd_bits
    )


def named_target(cpu: str, architecture: str = "x86_64") -> Target:
    """Return a CPU by LLVM's name, such as ``x86-64-v3``, or ``generic`` for aarch64."""
    bits = 512 if cpu == "x86-64-v4" else 256 if cpu == "x86-64-v3" else 128
    return Target(_TRIPLES[architecture], cpu, "", bits)
