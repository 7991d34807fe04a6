"""TensorFlow's contractions: calls of ``tf.matmul``, ``tf.einsum`` and the like in, results out.

``import einloom.tensorflow as tf`` stands in for ``import tensorflow as tf``: the front-end
translator gives every call TensorFlow 2's meaning, the optimizer and the Numba code generator turn
it into parallel CPU loops. Tensors of the real TensorFlow come back as such; NumPy arrays, lists
and what the functions below make come back as NumPy arrays with ``.numpy()``; symbolic operands
(:func:`einloom.spec`) give expressions. TensorFlow itself is never imported here.

    >>> import einloom.tensorflow as tf
    >>> tf.matmul(tf.ones((3, 4)), tf.ones((4, 5))).shape
    (3, 5)
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from einloom.expression import Expression
from einloom.frontends.arguments import concrete_shape
from einloom.frontends.arrays import as_numpy
from einloom.frontends.tensorflow_einsum import einsum as einsum
from einloom.frontends.tensorflow_products import matmul as matmul
from einloom.frontends.tensorflow_products import tensordot as tensordot
from einloom.frontends.tensorflow_products import transpose as transpose
from einloom.frontends.tensorflow_scans import cumsum as cumsum
from einloom.frontends.tensorflow_values import as_operand, tf_dtype
from einloom.frontends.values import Tensor, as_tensor
from einloom.frontends.values import Variable as _Variable
from einloom_compiler.errors import ShapeError, SpecError

if TYPE_CHECKING:
    from einloom.tensorflow import keras as keras
    from einloom.tensorflow import linalg as linalg
    from einloom.tensorflow import math as math

__all__ = [
    *("Tensor", "Variable", "cast", "constant", "convert_to_tensor", "cumsum", "einsum", "fill"),
    *("keras", "linalg", "math", "matmul", "ones", "reshape", "tensordot", "transpose", "zeros"),
]

#: ``tf.float32`` and the like, which are NumPy dtypes here.
_DTYPES = (
    *("bfloat16", "bool", "complex64", "complex128", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_SUBMODULES = ("keras", "linalg", "math")


def __getattr__(name: str) -> Any:
    """Return a dtype or import a submodule when it is first asked for."""
    if name in _DTYPES:
        return tf_dtype(name)
    if name in _SUBMODULES:
        return importlib.import_module(f"einloom.tensorflow.{name}")
    raise AttributeError(
        f"module 'einloom.tensorflow' has no attribute {name!r}; it has TensorFlow's contractions "
        "and what snippets need around them; tensors of the real tensorflow are accepted by all"
    )


def __dir__() -> list[str]:
    """List the public names."""
    return sorted((*__all__, *_DTYPES))


def constant(value: Any, dtype: Any = None, shape: Sequence[int] | None = None) -> Tensor:
    """Return a tensor of these values, as ``tf.constant`` does.

    Args:
        value: numbers in nested lists (int32, float32, complex128 or bool by default), or an array.
        dtype: dtype of the tensor.
        shape: shape to arrange the values in; a single value fills it.

    Raises:
        ShapeError: ``value`` has another number of elements than ``shape``.

    Example:
        >>> constant([1, 2, 3, 4, 5, 6], shape=[2, 3]).dtype
        dtype('int32')
    """
    array = convert_to_tensor(value, dtype).copy()
    if shape is None:
        return array
    wanted = concrete_shape(shape, "tf.constant")
    if array.size == 1:
        return as_tensor(np.full(wanted, array.numpy().reshape(()), array.dtype))
    if array.size != prod(wanted):
        raise ShapeError(
            f"a value of shape {array.shape} with {array.size} elements does not fill shape "
            f"{wanted} of {prod(wanted)}"
        )
    return as_tensor(array.reshape(wanted))


def convert_to_tensor(
    value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None
) -> Tensor:
    """Return ``value`` as a tensor, as ``tf.convert_to_tensor`` does; arrays are not copied.

    Args:
        value: numbers in nested lists, an array or a tensor.
        dtype: dtype of the tensor; an array is cast to it.
        dtype_hint: dtype that is taken where the values allow.
        name: ignored.

    Raises:
        DTypeError: ``value`` holds no numbers.
        SpecError: ``value`` is symbolic.
    """
    if isinstance(value, Expression):
        raise SpecError(f"{value} is symbolic and has no values; compile it and pass arrays")
    wanted = dtype if dtype is not None else dtype_hint
    array = as_numpy(as_operand(value, None if wanted is None else tf_dtype(wanted)))
    return as_tensor(array, None if dtype is None else tf_dtype(dtype))


def ones(shape: Any, dtype: Any = "float32", name: str | None = None) -> Tensor:
    """Return a tensor of ones, as ``tf.ones`` does; float32 where no dtype is named."""
    return as_tensor(np.ones(concrete_shape(shape, "tf.ones"), tf_dtype(dtype)))


def zeros(shape: Any, dtype: Any = "float32", name: str | None = None) -> Tensor:
    """Return a tensor of zeros, as ``tf.zeros`` does; float32 where no dtype is named."""
    return as_tensor(np.zeros(concrete_shape(shape, "tf.zeros"), tf_dtype(dtype)))


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """Return a tensor of shape ``dims`` that holds ``value`` everywhere, as ``tf.fill`` does."""
    return constant(value, shape=concrete_shape(dims, "tf.fill"))


def Variable(  # noqa: N802 - TensorFlow's name
    initial_value: Any, trainable: bool | None = None, name: str | None = None, dtype: Any = None
) -> _Variable:
    """Return a tensor that can be assigned to, holding a copy of ``initial_value``.

    Args:
        initial_value: numbers in nested lists, an array or a tensor; its dtype is kept.
        trainable: ignored; nothing is recorded for gradients.
        name: ignored.
        dtype: dtype of the variable.
    """
    return convert_to_tensor(initial_value, dtype).copy().view(_Variable)


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """Return ``x`` in another dtype, as ``tf.cast``: fractions and imaginary parts are dropped."""
    from einloom.frontends.keras_tensors import cast as cast_tensor

    return cast_tensor(x if isinstance(x, Expression) else as_operand(x), tf_dtype(dtype))


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Any:
    """Return the elements in C order under ``shape``, in which one extent may be -1.

    Raises:
        ShapeError: the numbers of elements differ.
    """
    from einloom.frontends.keras_tensors import reshape as reshape_tensor

    return reshape_tensor(tensor if isinstance(tensor, Expression) else as_operand(tensor), shape)
