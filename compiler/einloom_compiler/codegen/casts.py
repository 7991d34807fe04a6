"""Conversions between dtypes, as Python expressions of generated source.

Values live in three forms: *memory* (what a pointer reads: uint16 bits for the 16-bit floats, bytes
for bool), *compute* (float32 for the 16-bit floats, 0 or 1 for bool), and casts between the compute
forms of two dtypes, which round and wrap as NumPy's ``astype``. Conversions of 16-bit floats are
primitives of :mod:`.simd`.
"""

from __future__ import annotations

import numpy as np

from einloom_compiler.dtypes import arithmetic


def load(value: str, dtype: str, compute: str) -> str:
    """Return ``value``, read from memory of ``dtype``, in the compute form of ``compute``."""
    if arithmetic(dtype).is_half:
        value = f"float32_from_{dtype}({value})"
        return value if dtype == compute else cast(value, "float32", compute)
    return cast(value, dtype, compute)


def store(value: str, compute: str, dtype: str) -> str:
    """Return ``value``, in the compute form of ``compute``, as memory of ``dtype`` holds it."""
    if arithmetic(dtype).is_half:
        if not arithmetic(compute).is_half:
            value = cast(value, compute, "float32")
        return f"{dtype}_from_float32({value})"
    return cast(value, "float32" if arithmetic(compute).is_half else compute, dtype)


def cast(value: str, source: str, target: str) -> str:
    """Return ``value`` of dtype ``source`` in the compute form of ``target``, halves rounded."""
    if source == target:
        return f"np.uint8({value} != 0)" if target == "bool" else value
    if target == "bool":
        return f"np.uint8({value} != 0)"
    if source == "bool":
        value = f"({value} != 0)"
    kind, wanted = np.dtype(_compute(source)).kind, np.dtype(_compute(target)).kind
    if kind == "c" and wanted != "c":
        value, kind = f"({value}).real", "f"
    if kind == "f" and wanted in "iu":
        value = f"np.int64({value})"
    if arithmetic(target).is_half:
        return f"float32_from_{target}({target}_from_float32(np.float32({value})))"
    return f"np.{_compute(target)}({value})"


def _compute(name: str) -> str:
    return arithmetic(name).compute
