"""Conversions between dtypes, as Python expressions of generated source.

Values live in three forms: *memory* (what a pointer reads: uint16 bits for the 16-bit floats, bytes
for bool), *compute* (float32 for the 16-bit floats, 0 or 1 for bool), and casts between the compute
forms of two dtypes, which round and wrap as NumPy's ``astype``.
"""

from __future__ import annotations

import numpy as np

from einloom_compiler.dtypes import arithmetic

#: Helper functions that generated source defines where it uses them; plain integer arithmetic, so
#: that Numba vectorises them. Rounding is to nearest, ties to even (IEEE 754, section 4.3.1).
HELPERS = {
    "float32_from_float16": '''\
@njit
def float32_from_float16(bits):
    """Return the float32 of IEEE half bits: rebias the exponent by a multiplication."""
    magnitude = np.uint32(bits & np.uint16(0x7FFF)) << np.uint32(13)
    scaled = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    if magnitude >= np.uint32(0x0F800000):
        scaled = np.uint32(magnitude | np.uint32(0x7F800000)).view(np.float32)
    return -scaled if bits & np.uint16(0x8000) else scaled
''',
    "float16_from_float32": '''\
@njit
def float16_from_float32(value):
    """Return the IEEE half bits nearest to a float32."""
    word = np.float32(value).view(np.uint32)
    sign = (word >> np.uint32(16)) & np.uint32(0x8000)
    word = word & np.uint32(0x7FFFFFFF)
    if word > np.uint32(0x7F800000):
        half = np.uint32(0x7E00)
    elif word >= np.uint32(0x477FF000):
        half = np.uint32(0x7C00)
    elif word < np.uint32(0x38800000):
        shifted = np.uint32(word).view(np.float32) + np.float32(0.5)
        half = np.uint32(np.float32(shifted).view(np.uint32) - np.uint32(0x3F000000))
    else:
        odd = (word >> np.uint32(13)) & np.uint32(1)
        half = (word - np.uint32(0x38000000) + np.uint32(0xFFF) + odd) >> np.uint32(13)
    return np.uint16(sign | half)
''',
    "float32_from_bfloat16": '''\
@njit
def float32_from_bfloat16(bits):
    """Return the float32 whose upper half is these bits."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)
''',
    "bfloat16_from_float32": '''\
@njit
def bfloat16_from_float32(value):
    """Return the upper half of a float32, rounded to nearest."""
    word = np.float32(value).view(np.uint32)
    if (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
        return np.uint16((word >> np.uint32(16)) | np.uint32(0x40))
    odd = (word >> np.uint32(16)) & np.uint32(1)
    return np.uint16((word + np.uint32(0x7FFF) + odd) >> np.uint32(16))
''',
}


def helpers_in(source: str) -> list[str]:
    """Return the text of the helpers that ``source`` calls, in a fixed order."""
    return [text for name, text in HELPERS.items() if f"{name}(" in source]


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
