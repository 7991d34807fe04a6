"""Dtype rules of the Keras namespaces.

``keras.backend`` never promotes: TensorFlow's MatMul takes two operands of one dtype. ``keras.ops``
promotes along JAX's lattice (source: ``keras/src/backend/common/dtypes.py`` of Keras 3.15.1,
``result_type``, which also narrows uint64 to uint32 and complex128 to complex64).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.errors import DTypeError

#: What TensorFlow 2.21's MatMul computes on CPUs.
MATMUL_DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int32", "int64"),
)
#: BatchMatMulV2 also takes int16.
BATCH_MATMUL_DTYPES = (*MATMUL_DTYPES, "int16")


def common_dtype(
    function: str, x: Expression, y: Expression, allowed: tuple[str, ...]
) -> AnyDType | None:
    """Return the one dtype of both operands, None while one is not settled.

    Raises:
        DTypeError: the dtypes differ, or TensorFlow has no such product.
    """
    for name, operand in (("x", x), ("y", y)):
        if operand.dtype is not None and dtype_name(operand.dtype) not in allowed:
            raise DTypeError(
                f"{function} does not take {name} of dtype {operand.dtype}: TensorFlow computes it "
                f"in {', '.join(allowed)}; cast with K.cast({name}, 'float32')"
            )
    if x.dtype is None or y.dtype is None:
        return None
    if dtype_name(x.dtype) != dtype_name(y.dtype):
        raise DTypeError(
            f"{function} does not mix dtypes: x is {x.dtype} and y is {y.dtype}, and TensorFlow "
            f"promotes neither; pass K.cast(x, '{y.dtype}') or K.cast(y, '{x.dtype}')"
        )
    return as_dtype(dtype_name(x.dtype))


#: Each dtype with those directly above it; ``float`` is a weak type between integers and floats.
_ABOVE = {
    "bool": ("uint8", "int8", "complex64"),
    "uint8": ("int16", "uint16"),
    "uint16": ("int32", "uint32"),
    "uint32": ("int64", "uint64"),
    "uint64": ("float",),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64", "complex64"),
    "float64": ("complex128",),
    "complex64": ("complex128",),
    "complex128": (),
}
_RESOLVED = {"float": "float32", "uint64": "uint32", "complex128": "complex64"}


def keras_result_dtype(*operands: Expression) -> AnyDType | None:
    """Return the dtype that Keras 3 promotes the operands to, None while one is not settled.

    Raises:
        DTypeError: Keras has no promotion for a dtype.
    """
    dtypes: list[AnyDType] = []
    for operand in operands:
        if operand.dtype is None:
            return None
        dtypes.append(operand.dtype)
    return as_dtype(_promoted(tuple(sorted({_keras_name(dtype) for dtype in dtypes}))))


def _keras_name(dtype: np.dtype[Any]) -> str:
    name = dtype_name(dtype)
    if name not in _ABOVE:
        raise DTypeError(
            f"Keras promotes no dtype {dtype}; cast the operand to one of "
            f"{', '.join(name for name in _ABOVE if name != 'float')}"
        )
    return name


@functools.lru_cache(maxsize=512)
def _promoted(names: tuple[str, ...]) -> str:
    common = frozenset.intersection(*map(_bounds, names))
    least = next(name for name in common if common <= _bounds(name))
    return _RESOLVED.get(least, least)


@functools.lru_cache(maxsize=32)
def _bounds(name: str) -> frozenset[str]:
    """Return the dtypes that ``name`` can be promoted to, itself included."""
    return frozenset({name}).union(*map(_bounds, _ABOVE[name]))
