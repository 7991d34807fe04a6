"""SIMD primitives of generated kernels, and their plain-Python twins.

A vector holds ``W`` lanes of one dtype; un-jitted it is a NumPy array of W elements. Each name ends
in its number of lanes, since generated source is written for one target::

    v = vload16(x, at)              lanes x[at], x[at + 1], ...
    v = vload16_masked(x, at, n)    the same for lanes below n, zero in the others
    vstore16(x, at, v)              and vstore16_masked(x, at, v, n)
    vstore16_streamed(x, at, v)     past the caches; x + at is at a multiple of the vector's bytes
    v = vset16(value)               every lane is value
    v = vset16_masked(value, n)     the same for lanes below n, zero in the others
    c = vfma(a, b, c)               a * b + c, rounded once in floating point
    c = vadd(a, c)                  a + c; and vmul(a, b)
    v = vgather16(x, at, stride)    lanes x[at], x[at + stride], ...
    v = vgather16_masked(x, at, stride, n)
    vscatter16(x, at, stride, v)    and vscatter16_masked(x, at, stride, v, n)
    s = vsum(v)                     the sum of all lanes, as a scalar, added up in halves
    s = vsum_even(v)                that of lanes 0, 2, ..., and vsum_odd(v)
    v = vpair16(x, y)               lanes x, y, x, y, ...
    v = vswap(v)                    lanes 1, 0, 3, 2, ...
    v = vdup_even(v)                lanes 0, 0, 2, 2, ..., and vdup_odd(v)
    v = vrepeat(v, n, k)            vector k of all lanes, n times each: 0, 0, 0, 1, ... for n = 3
    v = vcycle(v, n, k)             vector k of the first n lanes in turn: 0, 1, 2, 0, ...; n and k
                                    are literals
    c = vconj(a)                    complex conjugates
    f = float32_from_float16(h)     and the like for bfloat16 and back; of scalars, too
    vtranspose16(y, to, pitch, x, at, stride)
                                    a block of W x W: y[to + k * pitch + c] = x[at + c * stride + k]
    vtranspose16_masked(y, to, pitch, x, at, stride, n_c, n_k)
                                    its part where c < n_c and k < n_k
    vstream(y, to, x, at, n)        y[to + k] = x[at + k] for k < n, past the caches
    vfence()                        what was streamed is seen by whoever sees later stores
    n = vphase(y)                   how many elements y lies behind the start of a cache line

and those of :mod:`.simd_elementwise`, which work lane by lane on scalars and vectors alike, and of
:mod:`.blocks`, whose names begin with b, which work on blocks of vectors. A lane may be complex; it
then is two words of the machine's vector.

Compiled, they are LLVM vector instructions (:mod:`.simd_lowering` and its neighbours); this module
imports NumPy only.
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


def vmul(a: Any, b: Any) -> Any:
    """Return ``a * b``, lane by lane."""
    return a * b


def vsum(a: Any) -> Any:
    """Return the sum of all lanes: the upper half is added to the lower one until one is left."""
    while len(a) > 1:
        a = a[: len(a) // 2] + a[len(a) // 2 :]
    return a[0]


def vsum_even(a: Any) -> Any:
    """Return the sum of the lanes 0, 2, ...: the real parts of complex pairs."""
    return vsum(a[0::2])


def vsum_odd(a: Any) -> Any:
    """Return the sum of the lanes 1, 3, ...: the imaginary parts of complex pairs."""
    return vsum(a[1::2])


def vswap(a: Any) -> Any:
    """Return each pair of lanes with its two lanes exchanged."""
    return a.reshape(-1, 2)[:, ::-1].reshape(-1)


def vdup_even(a: Any) -> Any:
    """Return each pair of lanes with its first lane in both."""
    return np.repeat(a[0::2], 2)


def vdup_odd(a: Any) -> Any:
    """Return each pair of lanes with its second lane in both."""
    return np.repeat(a[1::2], 2)


def vrepeat(a: Any, n: int, k: int) -> Any:
    """Return vector ``k`` of those that hold every lane ``n`` times."""
    return np.repeat(a, n)[k * len(a) : (k + 1) * len(a)]


def vcycle(a: Any, n: int, k: int) -> Any:
    """Return vector ``k`` of those that hold the first ``n`` lanes in turn."""
    return a[(k * len(a) + np.arange(len(a))) % n]


def _make_pair(width: int) -> Any:
    def vpair(even: Any, odd: Any) -> Any:
        return np.array([even, odd] * (width // 2))

    return vpair


def _make_gather(width: int) -> Any:
    def vgather(pointer: Any, at: int, stride: int) -> Any:
        return np.array([pointer[at + lane * stride] for lane in range(width)])

    return vgather


def _make_masked_gather(width: int) -> Any:
    def vgather_masked(pointer: Any, at: int, stride: int, n: int) -> Any:
        lanes = [pointer[at + lane * stride] if lane < n else 0 for lane in range(width)]
        return np.array(lanes) if n <= 0 else np.array(lanes, type(lanes[0]))

    return vgather_masked


def _make_scatter(width: int) -> Any:
    def vscatter(pointer: Any, at: int, stride: int, vector: Any) -> None:
        for lane in range(width):
            pointer[at + lane * stride] = vector[lane]

    return vscatter


def _make_masked_scatter(width: int) -> Any:
    def vscatter_masked(pointer: Any, at: int, stride: int, vector: Any, n: int) -> None:
        for lane in range(min(width, max(n, 0))):
            pointer[at + lane * stride] = vector[lane]

    return vscatter_masked


def vconj(a: Any) -> Any:
    """Return the complex conjugate of each lane."""
    return np.conjugate(a)


def float32_from_float16(bits: Any) -> Any:
    """Return the float32 of IEEE half bits (uint16); a scalar or a vector."""
    return np.asarray(bits, np.uint16).view(np.float16).astype(np.float32)[()]


def float16_from_float32(value: Any) -> Any:
    """Return the IEEE half bits (uint16) nearest to a float32, ties to even."""
    return np.asarray(value, np.float32).astype(np.float16).view(np.uint16)[()]


def float32_from_bfloat16(bits: Any) -> Any:
    """Return the float32 whose upper half is these bits (uint16)."""
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)[()]


def bfloat16_from_float32(value: Any) -> Any:
    """Return the upper half (uint16) of a float32, rounded to nearest, ties to even."""
    word = np.asarray(value, np.float32).view(np.uint32)
    rounded = word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))
    is_nan = (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    bits = np.where(is_nan, word | np.uint32(0x400000), rounded) >> np.uint32(16)
    return bits.astype(np.uint16)[()]


def vstream(target: Any, to: int, source: Any, at: int, n: int) -> None:
    """Copy ``n`` elements; compiled, whole cache lines are written past the caches."""
    for k in range(n):
        target[to + k] = source[at + k]


def vfence() -> None:
    """Order streamed stores before later ones; un-jitted, all stores are in order."""


def vphase(pointer: Any) -> int:
    """Return how many elements ``pointer`` lies behind a cache line's start; un-jitted, none."""
    del pointer
    return 0


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


def _make_masked_set(width: int) -> Any:
    def vset_masked(value: Any, n: int) -> Any:
        return np.where(np.arange(width) < n, value, type(value)(0))

    return vset_masked


def _make_transpose(width: int) -> Any:
    def vtranspose(target: Any, to: int, pitch: int, source: Any, at: int, stride: int) -> None:
        for column in range(width):
            for k in range(width):
                target[to + k * pitch + column] = source[at + column * stride + k]

    return vtranspose


def _make_masked_transpose(width: int) -> Any:
    def vtranspose_masked(
        target: Any, to: int, pitch: int, source: Any, at: int, stride: int, n_c: int, n_k: int
    ) -> None:
        for column in range(min(width, n_c)):
            for k in range(min(width, n_k)):
                target[to + k * pitch + column] = source[at + column * stride + k]

    return vtranspose_masked


#: Every primitive by name; those that depend on a number of lanes, for each of :data:`WIDTHS`.
PRIMITIVES: dict[str, Any] = {
    function.__name__: function
    for function in (
        *(vfma, vadd, vmul, vconj, vsum, vsum_even, vsum_odd, vswap, vdup_even, vdup_odd),
        *(vrepeat, vcycle),
        *(vstream, vfence, vphase),
        *(float32_from_float16, float16_from_float32),
        *(float32_from_bfloat16, bfloat16_from_float32),
    )
} | ELEMENTWISE
for _width in WIDTHS:
    PRIMITIVES |= {
        f"vload{_width}": _make_load(_width),
        f"vload{_width}_masked": _make_masked_load(_width),
        f"vstore{_width}": _make_store(_width),
        f"vstore{_width}_masked": _make_masked_store(_width),
        f"vstore{_width}_streamed": _make_store(_width),
        f"vset{_width}": _make_set(_width),
        f"vpair{_width}": _make_pair(_width),
        f"vgather{_width}": _make_gather(_width),
        f"vgather{_width}_masked": _make_masked_gather(_width),
        f"vscatter{_width}": _make_scatter(_width),
        f"vscatter{_width}_masked": _make_masked_scatter(_width),
        f"vset{_width}_masked": _make_masked_set(_width),
        f"vtranspose{_width}": _make_transpose(_width),
        f"vtranspose{_width}_masked": _make_masked_transpose(_width),
    }
for _name, _function in PRIMITIVES.items():
    _function.__name__ = _function.__qualname__ = _name
PRIMITIVES |= blocks.PRIMITIVES
globals().update(PRIMITIVES)


def __getattr__(name: str) -> Any:
    """Say which primitives exist, for names that are none."""
    raise AttributeError(f"no SIMD primitive {name!r}; there are {', '.join(PRIMITIVES)}")
