"""Operands whose products are exact: small integers in any dtype, in any memory layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]


class Operands:
    """Makes arrays of small integers, so that sums of products are exact in every dtype."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, shape: tuple[int, ...], dtype: Any = "float64", layout: str = "C") -> Array:
        """Return an array of ``shape`` whose memory is laid out as ``layout`` says."""
        if layout == "broadcast":
            return np.broadcast_to(self(shape[1:], dtype), shape)
        wanted = np.dtype(dtype)
        low = 0 if wanted.kind in "bu" else -3
        values: Array = self._rng.integers(low, 4, shape)
        if wanted.kind == "c":
            values = values + 1j * self._rng.integers(-3, 4, shape)
        if wanted.kind == "b":
            values = values > 1
        array = values.astype(wanted)
        match layout:
            case "C":
                return array
            case "F":
                return np.asfortranarray(array)
            case "reversed":
                return array[(slice(None, None, -1),) * array.ndim]
            case "strided":
                wide = np.zeros([2 * extent for extent in shape], wanted)
                wide[(slice(None, None, 2),) * array.ndim] = array
                return wide[(slice(None, None, 2),) * array.ndim]
        raise ValueError(layout)


@pytest.fixture
def operands() -> Operands:
    """Return a maker of exact operands with a fixed seed."""
    return Operands(20_24)
