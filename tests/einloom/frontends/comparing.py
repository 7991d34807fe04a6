"""How results of front ends are compared with those of the real functions."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same(got: Any, want: Any) -> None:
    """Compare kind (NumPy's arrays and scalars, or tensors), dtype, shape and every element."""
    assert type(got) is type(want)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    values = [value.numpy() if hasattr(value, "numpy") else value for value in (got, want)]
    np.testing.assert_array_equal(*values)
