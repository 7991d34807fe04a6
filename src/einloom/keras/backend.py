"""The classic ``keras.backend``, as Keras 2.2.4 on TensorFlow has it.

In come arrays or symbolic operands, out come tensors (NumPy arrays that also answer to
``.numpy()``) or expressions. ``batch_dot`` takes ``version=`` for the meanings of other releases;
see :func:`einloom.keras.backend_for` to choose one for a whole file.
"""

from einloom.frontends.keras_batch_dot import batch_dot
from einloom.frontends.keras_dot import dot
from einloom.frontends.keras_tensors import (
    cast,
    constant,
    dtype,
    eval,
    expand_dims,
    floatx,
    get_value,
    int_shape,
    ndim,
    ones,
    permute_dimensions,
    placeholder,
    reshape,
    set_floatx,
    shape,
    squeeze,
    transpose,
    variable,
    zeros,
)

__all__ = [
    "batch_dot",
    "cast",
    "constant",
    "dot",
    "dtype",
    "eval",
    "expand_dims",
    "floatx",
    "get_value",
    "int_shape",
    "ndim",
    "ones",
    "permute_dimensions",
    "placeholder",
    "reshape",
    "set_floatx",
    "shape",
    "squeeze",
    "transpose",
    "variable",
    "zeros",
]
