"""Cumulative sums and products: at each place along an axis, of the elements up to it.

Source: NumPy's documentation of ``cumsum`` and ``cumprod``; ``exclusive`` and ``reverse`` are
TensorFlow's.
"""

from __future__ import annotations

from typing import Any, Literal

from einloom.expression import Expression
from einloom.frontends.arguments import wrap_axis
from einloom.frontends.dispatch import frontend
from einloom.functions.pointwise import cast
from einloom.functions.promotion import summed_dtype
from einloom.functions.shaping import flip, getitem, pad, reshape
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.ir import builders


@frontend("functions.cumsum", operands=("x",))
def cumsum(
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    exclusive: bool = False,
    reverse: bool = False,
) -> Any:
    """Return the sum of the elements up to each place along an axis.

    Args:
        x: of any rank; flattened where ``axis`` is None.
        axis: may be negative.
        dtype: dtype of the result, to which x is cast before. Where None, integers narrower than
            64 bits become so wide, as NumPy's do.
        exclusive: whether an element does not count at its own place; the first result is then 0.
        reverse: whether the elements count from the last one on.

    Raises:
        AxisError: x has no such axis.

    >>> import numpy as np
    >>> cumsum(np.array([1.0, 2.0, 3.0])), cumsum(np.array([1, 2, 3]), exclusive=True, reverse=True)
    (array([1., 3., 6.]), array([5, 3, 0]))
    """
    return _scanned(x, "sum", axis, dtype, exclusive, reverse)


@frontend("functions.cumprod", operands=("x",))
def cumprod(
    x: Any,
    axis: int | None = None,
    dtype: Any = None,
    exclusive: bool = False,
    reverse: bool = False,
) -> Any:
    """Return the product of the elements up to each place along an axis.

    Arguments and errors are those of :func:`cumsum`; the product of no element is 1.
    """
    return _scanned(x, "prod", axis, dtype, exclusive, reverse)


def _scanned(
    x: Any,
    kind: Literal["sum", "prod"],
    axis: int | None,
    dtype: Any,
    exclusive: bool,
    reverse: bool,
) -> Any:
    wanted = summed_dtype(x.dtype) if dtype is None else as_dtype(dtype)
    if wanted is not None and wanted != x.dtype:
        x = cast(x, wanted)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    along = wrap_axis(axis, x.ndim, f"cum{kind}")
    if reverse:
        x = flip(x, along)
    if exclusive:
        before = [(1, 0) if number == along else (0, 0) for number in range(x.ndim)]
        kept = (slice(None),) * along
        x = getitem(pad(x, before, float(kind == "prod")), (*kept, slice(None, -1)))
    made = Expression(builders.scan(x.node, kind, along))
    return flip(made, along) if reverse else made
