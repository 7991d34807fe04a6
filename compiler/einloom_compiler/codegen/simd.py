"""SIMD primitives of generated kernels, and their plain-Python twins.

A vector holds ``W`` lanes of one dtype; un-jitted it is a NumPy array of W elements. Each name ends
in its number of lanes, since generated source is written for one target::

    v = vload16(x, at)              lanes x[at], x[at + 1], ...
    v = vload16_masked(x, at, n)    the same for lanes below n, zero in the others
    vstore16(x, at, v)              and vstore16_masked(x, at, v, n)
    v = vset16(value)               every lane is value
    c = vfma(a, b, c)               a * b + c, rounded once in floating point
    c = vadd(a, c)                  a + c
    vtranspose16(y, to, pitch, x, at, stride)
                                    a block of W x W: y[to + k * pitch + c] = x[at + c * stride + k]

and those of :mod:`.simd_elementwise`, which work lane by lane on scalars and vectors alike, and of
:mod:`.blocks`, whose names begin with b, which work on blocks of vectors.

Compiled, they are LLVM vector instructions (:mod:`.simd_lowering`); this module imports NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from einloom_compiler.codegen import blocks
from einloom_compiler.codegen.simd_elementwise import ELEMENTWISE

#: Numbers of lanes that have primitives: 128 to 512 bits of 32- and 64-bit elements.
WIDTHS = (2, 4, 8, 16)


def vfma(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, lane by lane."""
    return a * b + c


def vadd(a: Any, b: Any) -> Any:
    """Return ``a + b``, lane by lane."""
    return a + b


def _make_load(width: int) -> Any:
    def vload(pointer: Any, at: int) -> Any:
        return np.array([pointer[at + lane] for lane in range(width)])

    return vload


def _make_masked_load(width: int) -> Any:
    def vload_masked(pointer: Any, at: int, n: int) -> Any:
        lanes = [pointer[at + lane] if lane < n else 0 for lane in range(width)]
        return np.array(lanes) if n <= 0 else np.array(lanes, type(lanes[0]))

    return vload_masked


def _make_store(width: int) -> Any:
    def vstore(pointer: Any, at: int, vector: Any) -> None:
        for lane in range(width):
            pointer[at + lane] = vector[lane]

    return vstore


def _make_masked_store(width: int) -> Any:
    def vstore_masked(pointer: Any, at: int, vector: Any, n: int) -> None:
        for lane in range(min(width, max(n, 0))):
            pointer[at + lane] = vector[lane]

    return vstore_masked


def _make_set(width: int) -> Any:
    def vset(value: Any) -> Any:
        return np.full(width, value)

    return vset


def _make_transpose(width: int) -> Any:
    def vtranspose(target: Any, to: int, pitch: int, source: Any, at: int, stride: int) -> None:
        for column in range(width):
            for k in range(width):
                target[to + k * pitch + column] = source[at + column * stride + k]

    return vtranspose


#: Every primitive by name; those that depend on a number of lanes, for each of :data:`WIDTHS`.
PRIMITIVES: dict[str, Any] = {"vfma": vfma, "vadd": vadd} | ELEMENTWISE
for _width in WIDTHS:
    PRIMITIVES |= {
        f"vload{_width}": _make_load(_width),
        f"vload{_width}_masked": _make_masked_load(_width),
        f"vstore{_width}": _make_store(_width),
        f"vstore{_width}_masked": _make_masked_store(_width),
        f"vset{_width}": _make_set(_width),
        f"vtranspose{_width}": _make_transpose(_width),
    }
for _name, _function in PRIMITIVES.items():
    _function.__name__ = _function.__qualname__ = _name
PRIMITIVES |= blocks.PRIMITIVES
globals().update(PRIMITIVES)


def __getattr__(name: str) -> Any:
    """Say which primitives exist, for names that are none."""
    raise AttributeError(f"no SIMD primitive {name!r}; there are {', '.join(PRIMITIVES)}")
