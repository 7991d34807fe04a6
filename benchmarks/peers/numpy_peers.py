"""NumPy, and libraries that compute through NumPy arrays: opt_einsum and sesum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.base import (
    Array,
    Peer,
    Prepared,
    SkippedCaseError,
    UnsupportedCaseError,
    is_view,
)
from benchmarks.peers.matmul_by_hand import matmul_by_hand
from benchmarks.problems import Case
from benchmarks.timing import spelled

#: Points a second that einsum's own loops were seen to reach at worst, over dtypes and strides.
_PLAIN_POINTS = 2e8


def _new_out(case: Case) -> Array:
    return np.empty(case.output_shape, case.dtype)


class NumPy(Peer):
    """numpy.einsum as its documentation recommends it; it allocates its result."""

    name = "numpy"
    module = distribution = "numpy"
    setting = "einsum(optimize=True)"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``np.einsum(optimize=True)``; a result in another order is copied."""
        return Prepared(_contiguous(spelled(np.einsum, case.einsum, *operands, optimize=True)))


class NumPyOut(Peer):
    """numpy.einsum that writes to ``out=``: no allocation, but a copy of what BLAS computed."""

    name = "numpy-out"
    module = distribution = "numpy"
    setting = "einsum(optimize=True, out=)"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``np.einsum(optimize=True, out=)``; a view is copied to ``out``."""
        out = _new_out(case)
        if is_view(case):
            return Prepared(spelled(_copy_view, case.einsum, operands[0], out))
        return Prepared(spelled(np.einsum, case.einsum, *operands, optimize=True, out=out))


class NumPyPlain(Peer):
    """numpy.einsum without an order: its own loops, for two operands and for many."""

    name = "numpy-plain"
    module = distribution = "numpy"
    setting = "einsum(optimize=False, out=)"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``np.einsum(optimize=False)``."""
        seconds = case.n_points * len(case.terms) / 2 / _PLAIN_POINTS
        if seconds > self.longest_plain:
            raise SkippedCaseError(
                f"its loops over all points would take more than {self.longest_plain:g} s"
            )
        out = _new_out(case)
        if is_view(case):
            return Prepared(spelled(_copy_view, case.einsum, operands[0], out))
        return Prepared(spelled(np.einsum, case.einsum, *operands, out=out))


class NumPyMatmul(Peer):
    """numpy.matmul as an experienced person would call it, where the case is a matrix product."""

    name = "numpy-matmul"
    module = distribution = "numpy"
    setting = "matmul by hand"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``np.matmul`` of views."""
        if len(case.terms) != 2 or set(case.layouts) != {"C"}:
            raise UnsupportedCaseError("not a product of two operands in C order")
        found = matmul_by_hand(case)
        if found is None:
            raise UnsupportedCaseError("not a batched matrix product of views")
        out = _new_out(case)
        first, second = operands
        arguments = found.arguments(first, second, out)
        return Prepared(spelled(np.matmul, *arguments[:2], out=arguments[2]), lambda _: out)


class OptEinsum(Peer):
    """opt_einsum's compiled expression on the NumPy backend."""

    name = "opt_einsum"
    module = distribution = "opt_einsum"
    setting = "contract_expression"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return a ``contract_expression``; a result in another order is copied."""
        import opt_einsum

        expression = opt_einsum.contract_expression(case.einsum, *case.shapes, optimize="auto")
        return Prepared(_contiguous(spelled(expression, *operands)))


class Sesum(Peer):
    """sesum, a C++ einsum; the path is computed beforehand."""

    name = "sesum"
    module = distribution = "sesum"

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return ``sesum.sesum`` with a given path; a result in another order is copied."""
        import sesum

        if case.dtype == "float16":
            raise UnsupportedCaseError("has no float16")
        path = sesum.compute_path(case.einsum, *operands, minimize="flops", threads=self.threads)[0]
        call = spelled(sesum.sesum, case.einsum, *operands, path=path, dtype=np.dtype(case.dtype))
        return Prepared(_contiguous(call))


def _copy_view(einsum: str, operand: Array, out: Array) -> Array:
    np.copyto(out, np.einsum(einsum, operand))
    return out


def _contiguous(call: Any) -> Any:
    def evaluate() -> Array:
        # Not ascontiguousarray, which makes a number an array of one.
        return np.asarray(call(), order="C")

    return evaluate
