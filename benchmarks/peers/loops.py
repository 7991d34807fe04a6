"""Plain Numba loops, as a careful person would write them for each case."""

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
)
from benchmarks.problems import Case
from benchmarks.timing import spelled

#: Points a second that plain loops were seen to reach at worst on one core.
_LOOP_POINTS = 5e8
#: Points from which the outermost loop is parallel: below, starting threads costs more.
_PARALLEL_POINTS = 200_000


class NumbaLoops(Peer):
    """One loop for each index: parallel outside, over contiguous elements inside."""

    name = "numba-loops"
    module = distribution = "numba"
    setting = "njit(parallel=True, fastmath=True)"

    def set_up(self) -> None:
        """Set the threads."""
        import numba

        numba.set_num_threads(self.threads)

    def prepare(self, case: Case, operands: Sequence[Array]) -> Prepared:
        """Return the jitted loops; they are compiled by the first call."""
        import numba

        if case.dtype == "float16":
            raise UnsupportedCaseError("Numba computes no float16 on CPUs")
        seconds = case.n_points / _LOOP_POINTS / self.threads
        if seconds > self.longest_plain:
            raise SkippedCaseError(
                f"one nest over all points would take more than {self.longest_plain:g} s"
            )
        source = loops_source(case)
        is_parallel = case.n_points >= _PARALLEL_POINTS and "prange" in source
        names: dict[str, Any] = {"prange": numba.prange}
        exec(source, names)
        loops = numba.njit(parallel=is_parallel, fastmath=True)(names["loops"])
        out = np.empty(case.output_shape, case.dtype)
        zero = np.dtype(case.dtype).type(0)
        return Prepared(spelled(loops, *operands, out, zero), lambda _: out)


def loops_source(case: Case) -> str:
    """Return the loops as Python source.

    The result's last index runs innermost where an operand has it last too, so that elements are
    loaded and stored next to each other; otherwise sums are kept in a scalar.
    """
    operands = [f"x{number}" for number in range(len(case.terms))]
    extents = {
        index: f"{name}.shape[{axis}]"
        for name, term in zip(operands, case.terms, strict=True)
        for axis, index in enumerate(term)
    }
    product = " * ".join(
        f"{name}[{', '.join(term)}]" if term else f"{name}[()]"
        for name, term in zip(operands, case.terms, strict=True)
    )
    target = f"out[{', '.join(case.output)}]" if case.output else "out[()]"
    lines = [f"def loops({', '.join(operands)}, out, zero):"]
    last = case.output[-1:]
    is_row = bool(case.contracted and last) and any(term.endswith(last) for term in case.terms)
    outer = case.output[:-1] if is_row else case.output

    def loop(indices: str, depth: int) -> int:
        for index in indices:
            span = "prange" if depth == 1 else "range"
            lines.append(f"{'    ' * depth}for {index} in {span}({extents[index]}):")
            depth += 1
        return depth

    if is_row and not outer:
        # One row is the whole result, and every turn of the loop over it adds to it: serial.
        depth = loop(last, 1)
        lines.append(f"{'    ' * depth}{target} = zero")
        depth = loop(last, loop(case.contracted, 1))
        lines.append(f"{'    ' * depth}{target} += {product}")
        return "\n".join(lines).replace("prange", "range")
    depth = loop(outer, 1)
    if is_row:
        inner = loop(last, depth)
        lines.append(f"{'    ' * inner}{target} = zero")
        inner = loop(last, loop(case.contracted, depth))
        lines.append(f"{'    ' * inner}{target} += {product}")
    elif case.contracted:
        lines.append(f"{'    ' * depth}total = zero")
        inner = loop(case.contracted, depth)
        lines.append(f"{'    ' * inner}total += {product}")
        lines.append(f"{'    ' * depth}{target} = total")
    else:
        lines.append(f"{'    ' * depth}{target} = {product}")
    return "\n".join(lines)
