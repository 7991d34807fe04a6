"""Dtypes of results: NumPy's promotion, with Python numbers that take the arrays' dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom_compiler.dtypes import AnyDType, as_dtype

_HALVES = ("float16", "bfloat16")


def promoted(*operands: Any, beside: Sequence[Any] = ()) -> AnyDType | None:
    """Return the common dtype of expressions and Python numbers; None while one is not settled.

    Source: NEP 50. What NumPy does not promote: bfloat16 keeps itself beside Python floats, and is
    float32 together with float16.

    Args:
        operands: that the dtype is made of.
        beside: operands that have no part in it, but must be settled.
    """
    given = [operand for operand in (*operands, *beside) if isinstance(operand, Expression)]
    if any(operand.dtype is None for operand in given):
        return None
    dtypes = [operand.dtype for operand in operands if isinstance(operand, Expression)]
    numbers = [operand for operand in operands if not isinstance(operand, Expression)]
    names = {dtype.name for dtype in dtypes if dtype is not None}
    if names >= set(_HALVES):
        dtypes = [as_dtype("float32") if d is not None and d.name in _HALVES else d for d in dtypes]
    if not dtypes:
        return np.result_type(*(np.asarray(number) for number in numbers))
    arrays: Any = np.result_type(*(dtype for dtype in dtypes if dtype is not None))
    if arrays.name == "bfloat16":
        is_complex = any(isinstance(number, complex) for number in numbers)
        return np.dtype("complex64") if is_complex else arrays
    return np.result_type(arrays, *numbers)


def inexact(dtype: AnyDType | None) -> AnyDType | None:
    """Return the float that NumPy's functions compute integers of this dtype in: exp, sqrt, tanh.

    8 bits are float16, 16 bits float32, others float64; floats and complex numbers stay.
    """
    if dtype is None or dtype.kind not in "biu":
        return dtype
    return np.result_type(dtype, np.float16)


def quotient_dtype(*operands: Any) -> AnyDType | None:
    """Return the dtype of a true quotient or a mean: float64 for integers."""
    dtype = promoted(*operands)
    return np.dtype("float64") if dtype is not None and dtype.kind in "biu" else dtype


def summed_dtype(dtype: AnyDType | None) -> AnyDType | None:
    """Return the dtype of sums and products: integers narrower than the platform's are widened."""
    if dtype is None or dtype.kind not in "biu":
        return dtype
    return np.result_type(dtype, np.uint if dtype.kind == "u" else np.int_)
