"""Check a result against NumPy in double precision before it is timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.problems import Case

Array = npt.NDArray[Any]

#: Elements that are compared at once, so that no temporary is larger than 32 MiB.
_CHUNK = 1 << 22
#: Bytes of operands and result that one stretch of the reference covers.
_CHUNK_BYTES = 1 << 29


class WrongResultError(AssertionError):
    """A contender's result is not the case's."""


def reference(case: Case, operands: Sequence[Array]) -> Array:
    """Return the result by NumPy in float64, or complex128.

    Integers are exact in it: operands lie in -4..4 and no case sums 2**47 terms. Large cases are
    computed in stretches of the result's first index, so that no whole operand is copied.
    """
    wide = np.dtype(np.complex128 if np.dtype(case.dtype).kind == "c" else np.float64)
    expected = np.empty(case.output_shape, wide)
    first = case.output[:1]
    n_parts = min(-(-case.n_bytes // _CHUNK_BYTES), case.extents[first]) if first else 1
    step = -(-case.extents[first] // n_parts) if first else 1
    for start in range(0, case.extents[first] if first else 1, step):
        stretch = slice(start, start + step)
        parts = [
            operand[tuple(stretch if index == first else slice(None) for index in term)]
            for operand, term in zip(operands, case.terms, strict=True)
        ]
        target = expected[stretch] if first else expected
        np.einsum(case.einsum, *(part.astype(wide) for part in parts), optimize=True, out=target)
    return expected


def tolerance(case: Case) -> float:
    """Return the absolute error that a sum of ``n`` products may have.

    A product is at most 1, or sqrt(2) a factor if complex. The rounding errors of a sequential sum
    of ``n`` such terms, drawn at random, have a standard deviation of about ``eps * n / 4``; four
    times that, and a few roundings of a single term, are allowed.
    """
    dtype = np.dtype(case.dtype)
    if dtype.kind in "iu":
        return 0.0
    n_factors = len(case.terms)
    largest = 2.0 ** (n_factors / 2) if dtype.kind == "c" else 1.0
    return float(np.finfo(dtype).eps * largest * (case.n_terms_of_sum + 4 * n_factors))


def check(case: Case, result: Any, expected: Array) -> float:
    """Return the largest absolute error of ``result``.

    Raises:
        WrongResultError: shape or dtype differ, a value is not finite, or one is off by more than
            :func:`tolerance`.
    """
    array = np.asarray(result)
    if array.shape != expected.shape:
        raise WrongResultError(f"{case.name}: shape {array.shape}, expected {expected.shape}")
    if array.dtype != np.dtype(case.dtype):
        raise WrongResultError(f"{case.name}: dtype {array.dtype}, expected {case.dtype}")
    allowed = tolerance(case)
    flat, wanted = array.reshape(-1), expected.reshape(-1)
    worst = 0.0
    for start in range(0, flat.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        error = np.abs(flat[part].astype(wanted.dtype) - wanted[part]).max()
        if not error <= allowed:
            raise WrongResultError(
                f"{case.name}: off by {error:.3g}, allowed are {allowed:.3g} for sums of "
                f"{case.n_terms_of_sum} terms in {case.dtype}"
            )
        worst = max(worst, float(error))
    return worst
