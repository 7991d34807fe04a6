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


# --- parts and blocks of vectors ------------------------------------------------------------------


def part_storage(dtype: str) -> str:
    """Return the dtype of memory that holds ``dtype``, complex numbers as pairs of reals.

    >>> part_storage("complex64"), part_storage("float16")
    ('float32', 'uint16')
    """
    if dtype.startswith("complex"):
        return f"float{int(dtype.removeprefix('complex')) // 2}"
    return arithmetic(dtype).storage


def parts(pointer: str, at: str, dtype: str, compute: str, is_conjugated: bool) -> list[str]:
    """Return the element at ``at`` in the compute form of ``compute``: one part, or two if complex.

    ``pointer`` points to what :func:`part_storage` says.
    """
    if not compute.startswith("complex"):
        return [load(f"{pointer}[{at}]", dtype, compute)]
    real = part_storage(compute)
    if not dtype.startswith("complex"):
        return [load(f"{pointer}[{at}]", dtype, real), f"np.{real}(0)"]
    re, im = f"np.{real}({pointer}[{at}])", f"np.{real}({pointer}[{at} + 1])"
    return [re, f"-{im}" if is_conjugated else im]


def has_block(dtype: str, compute: str) -> bool:
    """Say whether blocks of vectors of ``dtype`` are converted for ``compute`` whole."""
    if "bool" in (dtype, compute) or (arithmetic(compute).is_half and dtype != compute):
        return False
    source, target = np.dtype(_compute(dtype)).kind, np.dtype(_compute(compute)).kind
    return (source == "c") == (target == "c") and not (source == "f" and target in "iu")


def block_load(block: str, dtype: str, compute: str, element: str) -> str:
    """Return a block read from memory of ``dtype``, cast to ``compute``, as packed elements."""
    real = part_storage(dtype)
    if arithmetic(dtype).is_half:
        block, real = f"bfrom_{dtype}({block})", "float32"
    narrow = part_storage(compute) if not arithmetic(compute).is_half else "float32"
    if real != narrow:
        block, real = f"bcast({block}, np.{narrow}(0))", narrow
    if real != element:
        block = f"bcast({block}, np.{element}(0))"
    return block


def block_store(block: str, dtype: str, element: str) -> str:
    """Return a block of sums as memory of ``dtype``, the compute dtype, holds it."""
    real = part_storage(dtype)
    if arithmetic(dtype).is_half:
        return f"bto_{dtype}({block})"
    return f"bcast({block}, np.{real}(0))" if real != element else block
