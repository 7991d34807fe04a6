"""Calls of layouts seen before: one kernel, launched without checking everything again.

A compiled function's checks depend on shapes, strides and dtypes only. Once a call of one kernel
has passed them, calls of the same layouts skip to the launch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.launch import launch
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]

_KEPT = 1024


class PreparedCalls:
    """The calls of one function that need no more checks.

    ``tag`` is what they depend on besides the arrays, such as subscripts.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._calls: dict[Hashable, tuple[Bound, tuple[int, ...], AnyDType]] = {}

    def run(
        self, arrays: Sequence[Any], out: Any, threads: int | None, tag: Hashable = None
    ) -> Array | None:
        """Return the result of a call seen before, None for any other."""
        key = _key(arrays, out, tag)
        found = self._calls.get(key) if key is not None else None
        if found is None:
            return None
        bound, shape, dtype = found
        if out is None:
            out = np.empty(shape, dtype)
        elif not out.flags.writeable or any(np.may_share_memory(out, array) for array in arrays):
            return None
        launch(bound, arrays, out, threads)
        result: Array = out
        return result

    def keep(
        self,
        arrays: Sequence[Any],
        out: Any,
        bound: Bound,
        result: Array,
        tag: Hashable = None,
    ) -> None:
        """Remember a call that passed all checks: its kernel, and its result's shape and dtype."""
        key = _key(arrays, out, tag)
        if key is not None:
            if len(self._calls) >= _KEPT:
                self._calls.pop(next(iter(self._calls)), None)
            self._calls[key] = bound, result.shape, result.dtype


def _key(arrays: Sequence[Any], out: Any, tag: Hashable) -> Hashable:
    """Return what the checks depend on; None for anything but plain, aligned NumPy arrays."""
    key: list[Hashable] = [tag, out is None]
    for array in arrays if out is None else (*arrays, out):
        if type(array) is not np.ndarray or not array.flags.aligned:
            return None
        key += (array.shape, array.strides, array.dtype)
    return tuple(key)
