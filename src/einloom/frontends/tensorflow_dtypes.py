"""Which dtypes TensorFlow multiplies on CPU.

Source: TensorFlow 2.21, run for every pair of dtypes; ``math_ops.matmul`` for the choice of the
kernel. Dtypes are never promoted; the exceptions are those of its sparse kernel (bfloat16 with
float32 gives float32) and of ``output_type`` (int8 and uint8 give int32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from einloom.frontends.tensorflow_values import tf_dtype, tf_name
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import DTypeError

_FLOATING = ("bfloat16", "float16", "float32", "float64", "complex64", "complex128")
_MATMUL = (*_FLOATING, "int32", "int64")
_BATCHED = (*_MATMUL, "int16")
_EINSUM = _MATMUL
_SPARSE = ("bfloat16", "float32")
_BYTES = ("int8", "uint8")


@dataclass(frozen=True, slots=True)
class Hints:
    """Arguments of ``tf.matmul`` that choose its kernel.

    Attributes:
        a_is_sparse: ``a`` is said to have many zeros.
        b_is_sparse: ``b`` is said to have many zeros.
        output_type: the result's dtype, where named.
    """

    a_is_sparse: bool = False
    b_is_sparse: bool = False
    output_type: Any = None

    @property
    def is_sparse(self) -> bool:
        """Whether either operand is said to be sparse."""
        return self.a_is_sparse or self.b_is_sparse


def matmul_dtype(
    a: AnyDType | None, b: AnyDType | None, is_batched: bool, hints: Hints
) -> AnyDType | None:
    """Return the dtype of a product of matrices; None while an operand's is not settled.

    Args:
        a: the first operand's dtype.
        b: the second operand's dtype.
        is_batched: whether an operand has more than two axes.
        hints: the arguments that choose the kernel.

    Raises:
        DTypeError: TensorFlow has no kernel for these dtypes on CPU.
    """
    wanted = None if hints.output_type is None else tf_dtype(hints.output_type)
    if a is None or b is None:
        return None
    names = a.name, b.name
    if wanted is not None and not wanted == a == b:
        if set(names) <= set(_BYTES) and wanted == np.int32:
            return wanted
        raise DTypeError(
            f"output_type={wanted} is not computed for operands of {tf_name(a)} and {tf_name(b)}: "
            "on CPU, TensorFlow has int32 for int8 and uint8 only; cast an operand or the result"
        )
    if names[0] != names[1]:
        if set(names) == set(_SPARSE) and (hints.is_sparse or not is_batched):
            return np.dtype("float32")
        raise _mixed("matmul", a, b)
    known = _BATCHED if is_batched and not hints.is_sparse else _MATMUL
    if names[0] not in known:
        raise _unknown("matmul", a, known, "output_type=int32 (int8 and uint8)")
    return a


def einsum_dtype(dtypes: list[AnyDType | None]) -> AnyDType | None:
    """Return the common dtype of ``tf.einsum``'s operands; None while one is not settled.

    Raises:
        DTypeError: they differ, or TensorFlow has no kernel for them on CPU.
    """
    settled = [dtype for dtype in dtypes if dtype is not None]
    for dtype in settled:
        if dtype.name != settled[0].name:
            raise _mixed("einsum", settled[0], dtype)
        if dtype.name not in _EINSUM:
            raise _unknown("einsum", dtype, _EINSUM, "a cast")
    return settled[0] if settled and len(settled) == len(dtypes) else None


def _mixed(function: str, a: AnyDType, b: AnyDType) -> DTypeError:
    return DTypeError(
        f"tf.{function} does not promote dtypes: cannot compute it as an input was expected to be "
        f"a {tf_name(a)} tensor but is a {tf_name(b)} tensor; cast one operand to the dtype of the "
        "other (einloom.matmul and einloom.einsum promote as NumPy does)"
    )


def _unknown(function: str, dtype: AnyDType, known: tuple[str, ...], way: str) -> DTypeError:
    return DTypeError(
        f"tf.{function} has no CPU kernel for operands of {tf_name(dtype)}: it is not in the list "
        f"of allowed values: {', '.join(known)}; cast the operands, use {way}, or einloom.matmul"
    )
