"""Primitives that work lane by lane on vectors and just so on scalars, as plain Python.

Source written with them and with operators is compiled for scalars, where LLVM's loop vectoriser
widens it, and for SIMD vectors; and it runs on NumPy arrays and scalars. Where a vector and a
scalar of its dtype meet, the scalar stands for every lane::

    c = vmuladd(a, b, c)    a * b + c; rounded once where the CPU can do so, else twice
    v = vselect(m, a, b)    a in the lanes where m holds, else b
    v = vmax(a, b)          b in the lanes where it is greater, else a: a NaN in a stays
    v = vmin(a, b)          b in the lanes where it is less, else a
    v = vabs(a)             |a|; the least integer stays, as in NumPy
    v = vsqrt(a)            rounded correctly
    v = vround(a)           the nearest integer, ties to even, as a float
    v = vcopysign(a, s)     |a| with the sign of s
    v = vpow(a, b)          a to the power of b, by the C library's function, lane by lane
    v = vsin(a)             the sine, and vcos(a) the cosine, by the C library's functions
    i = vbits(a)            the bits of a float as a signed integer of its width
    v = vfloat(i)           the float of these bits
    i = vshl(i, n)          shifted left by n bits, and vshr(i, n) right, zeros coming in
    i = vand(i, j)          bit by bit, and vor(i, j); vplus(i, j) and vminus(i, j) wrap around
    v = vwrap(a, like)      a in the dtype of like, integers wrapped around
    s = vmax_all(v)         the greatest lane of a vector, and vmin_all(v)

Comparisons of vectors give masks, which ``&``, ``|`` and ``~`` combine. ``vwide()`` asks that loops
of the function it stands in be vectorised at the full width of the CPU's registers, which LLVM
does not do on its own for the first CPUs that have AVX-512; it does nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_INTEGERS = {4: np.int32, 8: np.int64}
_FLOATS = {4: np.float32, 8: np.float64}


def vmuladd(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, rounded once where the CPU can do so."""
    return a * b + c


def vselect(mask: Any, a: Any, b: Any) -> Any:
    """Return ``a`` where ``mask`` holds, else ``b``."""
    return np.where(mask, a, b)[()]


def vmax(a: Any, b: Any) -> Any:
    """Return ``b`` where it is greater, else ``a``."""
    return np.where(b > a, b, a)[()]


def vmin(a: Any, b: Any) -> Any:
    """Return ``b`` where it is less, else ``a``."""
    return np.where(b < a, b, a)[()]


def vabs(a: Any) -> Any:
    """Return the absolute values."""
    return np.abs(a)


def vsqrt(a: Any) -> Any:
    """Return the square roots."""
    return np.sqrt(a)


def vround(a: Any) -> Any:
    """Return the nearest integers, ties to even, as floats."""
    return np.rint(a)


def vcopysign(a: Any, sign: Any) -> Any:
    """Return the absolute values of ``a`` with the signs of ``sign``."""
    return np.copysign(a, sign)


def vpow(a: Any, b: Any) -> Any:
    """Return ``a`` to the power of ``b``."""
    return np.power(a, b)


def vsin(a: Any) -> Any:
    """Return the sines."""
    return np.sin(a)


def vcos(a: Any) -> Any:
    """Return the cosines."""
    return np.cos(a)


def vbits(a: Any) -> Any:
    """Return the bits of floats as signed integers."""
    value = np.asarray(a)
    return value.view(_INTEGERS[value.itemsize])[()]


def vfloat(i: Any) -> Any:
    """Return the floats that have these bits."""
    value = np.asarray(i)
    return value.view(_FLOATS[value.itemsize])[()]


def vshl(i: Any, n: int) -> Any:
    """Return integers shifted left by ``n`` bits."""
    return np.left_shift(i, np.asarray(i).dtype.type(n))


def vshr(i: Any, n: int) -> Any:
    """Return integers shifted right by ``n`` bits, zeros coming in."""
    value = np.asarray(i)
    unsigned = np.dtype(f"u{value.itemsize}")
    return (value.view(unsigned) >> unsigned.type(n)).view(value.dtype)[()]


def vand(i: Any, j: Any) -> Any:
    """Return the bits set in both integers."""
    return i & j


def vor(i: Any, j: Any) -> Any:
    """Return the bits set in either integer."""
    return i | j


def vplus(i: Any, j: Any) -> Any:
    """Return sums of integers in their own dtype, wrapped around."""
    return np.add(i, j)


def vminus(i: Any, j: Any) -> Any:
    """Return differences of integers in their own dtype, wrapped around."""
    return np.subtract(i, j)


def vwrap(a: Any, like: Any) -> Any:
    """Return ``a`` in the dtype of ``like``."""
    return np.asarray(a).astype(np.asarray(like).dtype)[()]


def vmax_all(v: Any) -> Any:
    """Return the greatest lane: the upper half against the lower one until one is left."""
    return _halved(vmax, v)


def vmin_all(v: Any) -> Any:
    """Return the least lane: the upper half against the lower one until one is left."""
    return _halved(vmin, v)


def vwide() -> None:
    """Ask for loops of full-width vectors in the function that this stands in."""


def _halved(function: Any, v: Any) -> Any:
    while len(v) > 1:
        v = function(v[: len(v) // 2], v[len(v) // 2 :])
    return v[0]


#: The primitives by name.
ELEMENTWISE: dict[str, Any] = {
    function.__name__: function
    for function in (
        *(vmuladd, vselect, vmax, vmin, vabs, vsqrt, vround, vcopysign, vpow, vsin, vcos),
        *(vbits, vfloat, vshl, vshr, vand, vor, vplus, vminus, vwrap),
        *(vmax_all, vmin_all, vwide),
    )
}
