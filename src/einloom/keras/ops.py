"""``keras.ops`` of Keras 3: products, scans. In come arrays or specs, out tensors or expressions.

See :mod:`einloom.frontends.keras_ops` for the rules that hold for all of them.
"""

from einloom.frontends.keras_ops import (
    cumprod,
    cumsum,
    dot,
    einsum,
    inner,
    matmul,
    outer,
    tensordot,
    vdot,
)

__all__ = [
    "cumprod",
    "cumsum",
    "dot",
    "einsum",
    "inner",
    "matmul",
    "outer",
    "tensordot",
    "vdot",
]
