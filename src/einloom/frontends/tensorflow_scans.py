"""``tf.cumsum``, which is ``tf.math.cumsum``, and ``tf.math.cumprod``.

Source: TensorFlow 2.21's documentation, and its behaviour on CPU for dtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einloom import functions as F  # noqa: N812
from einloom.frontends.dispatch import frontend
from einloom.frontends.tensorflow_values import converted
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import DTypeError


@frontend("tensorflow.cumsum", operands=("x",), convert=converted, finish=as_tensor)
def cumsum(
    x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Any:
    """Return the sum of the elements up to each place along an axis, in x's dtype.

    Args:
        x: of rank 1 or more.
        axis: may be negative.
        exclusive: whether an element does not count at its own place.
        reverse: whether the elements count from the last one on.
        name: ignored.

    Raises:
        AxisError: x has no such axis.
        DTypeError: x is of bools, which TensorFlow does not scan.
    """
    return _scanned(F.cumsum, x, axis, exclusive, reverse)


@frontend("tensorflow.math.cumprod", operands=("x",), convert=converted, finish=as_tensor)
def cumprod(
    x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Any:
    """Return the product of the elements up to each place, as :func:`cumsum` does the sum."""
    return _scanned(F.cumprod, x, axis, exclusive, reverse)


def _scanned(
    function: Callable[..., Any], x: Any, axis: int, exclusive: bool, reverse: bool
) -> Any:
    if x.dtype is not None and x.dtype.kind == "b":
        raise DTypeError("tf.cumsum and tf.math.cumprod take no bools; cast x to a number first")
    return function(x, axis, x.dtype, exclusive, reverse)
