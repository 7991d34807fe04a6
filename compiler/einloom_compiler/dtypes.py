"""Dtypes: what generated code stores, computes in and accumulates in.

The core's one rule for each dtype: float16 and bfloat16 are stored as 16 bits and computed and
accumulated in float32; integers keep their own width and wrap around as NumPy's do; bool multiplies
by ``and`` and adds by ``or``. A front end that wants a wider sum casts the operands first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, cast

import numpy as np

from einloom_compiler.errors import DTypeError

AnyDType = np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a kernel treats one dtype.

    Attributes:
        name: NumPy's name of the dtype (``bfloat16`` is ml_dtypes').
        storage: dtype of the bits in memory, as the pointer sees them.
        compute: dtype that products and sums are formed in.
    """

    name: str
    storage: str
    compute: str

    @property
    def is_half(self) -> bool:
        """Whether loads and stores convert 16-bit floating-point values."""
        return self.name in ("float16", "bfloat16")


_SAME = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
)
_ARITHMETIC = {name: Arithmetic(name, name, name) for name in _SAME}
_ARITHMETIC["bool"] = Arithmetic("bool", "uint8", "uint8")
_ARITHMETIC["float16"] = Arithmetic("float16", "uint16", "float32")
_ARITHMETIC["bfloat16"] = Arithmetic("bfloat16", "uint16", "float32")


@lru_cache(maxsize=256)
def dtype_name(dtype: AnyDType) -> str:
    """Return the canonical name of ``dtype``; platform aliases such as longlong map to int64."""
    if dtype.kind in "iu":
        return f"{'u' if dtype.kind == 'u' else ''}int{8 * dtype.itemsize}"
    return dtype.name


def is_floating(dtype: AnyDType) -> bool:
    """Say whether a dtype holds real numbers: bfloat16 has a kind of its own."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def has_kernel(dtype: AnyDType) -> bool:
    """Say whether code is generated for ``dtype``; not for object and long double."""
    return dtype_name(dtype) in _ARITHMETIC


def arithmetic(name: str) -> Arithmetic:
    """Return how kernels treat the dtype called ``name``.

    Raises:
        DTypeError: no kernel computes in it.
    """
    try:
        return _ARITHMETIC[name]
    except KeyError:
        raise DTypeError(
            f"no kernel is generated for dtype {name}; cast to one of {', '.join(_ARITHMETIC)}"
        ) from None


@cache
def storage_bytes(name: str) -> int:
    """Return the bytes of one element in memory of the dtype called ``name``."""
    return np.dtype(arithmetic(name).storage).itemsize


@cache
def compute_bytes(name: str) -> int:
    """Return the bytes of one element as it is computed with, of the dtype called ``name``."""
    return np.dtype(arithmetic(name).compute).itemsize


def as_dtype(source: object) -> AnyDType:
    """Return the NumPy dtype meant by ``source``: a dtype, a type, or a name (bfloat16 included).

    Raises:
        DTypeError: ``source`` names none.
    """
    if isinstance(source, np.dtype):
        return source
    if source is None:
        raise DTypeError("None is not a dtype; name one, such as 'float32'")
    if source == "bfloat16":
        return _bfloat16()
    try:
        found: AnyDType = np.dtype(cast("Any", source))
    except TypeError:
        raise DTypeError(f"{source!r} is not a dtype; name one, such as 'float32'") from None
    return found


def _bfloat16() -> AnyDType:
    try:
        import ml_dtypes
    except ImportError:
        raise DTypeError(
            "dtype bfloat16 needs the ml_dtypes package: pip install ml_dtypes"
        ) from None
    bfloat16: AnyDType = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
