"""Functions of the classic ``keras.backend`` that repeat, join, pad, look up and count.

Source: ``keras/backend/tensorflow_backend.py`` of Keras 2.2.4.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from einloom import functions as F  # noqa: N812
from einloom.expression import Expression
from einloom.frontends.keras_functions import (
    backend_function,
    dtype_kept,
    elementwise,
    reduction,
)
from einloom.frontends.keras_tensors import floatx
from einloom.frontends.values import as_tensor
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import AxisError, ShapeError, SpecError
from einloom_compiler.extents import parse_extent, text
from einloom_compiler.ir.graph import Iota


@backend_function("tile")
def tile(x: Any, n: int | Sequence[int]) -> Any:
    """Return x repeated as a whole ``n`` times along each axis.

    Raises:
        ShapeError: ``n`` has not one number for each axis.
    """
    times = [n] if isinstance(n, int) else list(n)
    if len(times) != x.ndim:
        raise ShapeError(f"K.tile: n={n} has {len(times)} numbers for {x.ndim} axes; give one each")
    return F.tile(x, times)


@backend_function("repeat")
def repeat(x: Any, n: int) -> Any:
    """Return x (samples, features) as (samples, n, features).

    Raises:
        AxisError: x has another rank.
    """
    if x.ndim != 2:
        raise AxisError(f"K.repeat: x has rank {x.ndim}; it takes 2 axes, repeat_elements any")
    return F.repeat(F.expand_dims(x, 1), n, 1)


@backend_function("repeat_elements")
def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Return x with each element along an axis ``rep`` times."""
    return F.repeat(x, rep, axis)


def arange(start: Any, stop: Any = None, step: int = 1, dtype: Any = "int32") -> Any:
    """Return numbers from ``start`` up to ``stop``, or from 0 to ``start`` where it is alone.

    A symbolic end, an extent of ``K.shape(x)``, gives an expression.

    Raises:
        SpecError: the start or step beside a symbolic end is not 0 or 1.
    """
    first, last = (0, start) if stop is None else (start, stop)
    if _is_number(first) and _is_number(last):
        last = max(0, last) if stop is None else last  # a negative end alone counts nothing
        return as_tensor(np.arange(first, last, step).astype(as_dtype(dtype)))
    extent = parse_extent(last)
    if first != 0 or step != 1:
        raise SpecError(
            f"K.arange to the symbolic {text(extent)} starts at 0 in steps of 1, not at {first} in "
            f"steps of {step}; add and multiply afterwards"
        )
    return Expression(Iota(extent, as_dtype(dtype)))


@backend_function("zeros_like")
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Return zeros of x's shape, and dtype where none is given."""
    return F.full_like(x, 0, dtype)


@backend_function("ones_like")
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Return ones of x's shape, and dtype where none is given."""
    return F.full_like(x, 1, dtype)


def eye(size: int, dtype: Any = None) -> Any:
    """Return the identity matrix; dtype :func:`floatx` where none is named."""
    return as_tensor(np.eye(size, dtype=as_dtype(dtype or floatx())))


@backend_function("one_hot", "indices")
def one_hot(indices: Any, num_classes: int) -> Any:
    """Return float32 rows that are 1 at the index and 0 elsewhere, along a new last axis."""
    return F.one_hot(indices, num_classes)


@backend_function("argmax")
def argmax(x: Any, axis: int = -1) -> Any:
    """Return where the largest element along an axis is, as int64."""
    return F.argmax(x, axis)


@backend_function("argmin")
def argmin(x: Any, axis: int = -1) -> Any:
    """Return where the smallest element along an axis is, as int64."""
    return F.argmin(x, axis)


any = reduction("any", F.any, "Return whether an element along axes is not 0, as bools.")
all = reduction("all", F.all, "Return whether all elements along axes are not 0, as bools.")
std = reduction("std", F.std, casts=True)
prod = reduction("prod", dtype_kept(F.prod))

sin = elementwise("sin", F.sin, "Return the sine.")
cos = elementwise("cos", F.cos, "Return the cosine.")
sign = elementwise("sign", F.sign, "Return 1 where x is positive, -1 where it is negative, else x.")
round = elementwise("round", F.round, "Return the nearest integer, the even one of two.")


@backend_function("flatten")
def flatten(x: Any) -> Any:
    """Return x's elements in C order under one axis."""
    return F.reshape(x, (-1,))


@backend_function("reverse")
def reverse(x: Any, axes: int | Sequence[int]) -> Any:
    """Return x with axes reversed."""
    return F.flip(x, axes if isinstance(axes, int) else tuple(axes))


@backend_function("slice")
def slice(x: Any, start: Sequence[int], size: Sequence[int]) -> Any:
    """Return ``size`` elements along each axis from ``start`` on; -1 for all that follow.

    Raises:
        ShapeError: there is not one start and one size for each axis.
    """
    if len(start) != x.ndim or len(size) != x.ndim:
        raise ShapeError(
            f"K.slice: {len(start)} starts and {len(size)} sizes for {x.ndim} axes of {x.shape}"
        )
    ends = (None if n == -1 else first + n for first, n in zip(start, size, strict=True))
    return F.getitem(x, tuple(map(builtins.slice, start, ends)))


@backend_function("gather", "reference", "indices", keeps_numbers=False)
def gather(reference: Any, indices: Any) -> Any:
    """Return the elements of ``reference`` at these positions of its first axis."""
    return F.take(reference, indices, 0)


@backend_function("bias_add", "x", "bias", keeps_numbers=False)
def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """Return x plus a bias: one for each channel, or one for each position and channel.

    Raises:
        ShapeError: the bias has neither 1 axis nor one less than x.
        SpecError: ``data_format`` is unknown.
    """
    if data_format not in (None, "channels_last", "channels_first"):
        raise SpecError(f"K.bias_add: data_format is {data_format!r}; give channels_last or _first")
    if bias.ndim not in (1, x.ndim - 1):
        raise ShapeError(
            f"K.bias_add: the bias has {bias.ndim} axes; give 1, or {x.ndim - 1} for x of {x.ndim}"
        )
    if data_format == "channels_first" and x.ndim > 2:
        # The bias has its channels last in both formats.
        if bias.ndim == 1:
            bias = F.expand_dims(bias, tuple(range(1, x.ndim - 1)))
        else:
            bias = F.moveaxis(bias, -1, 0)
    return F.add(x, bias)


@backend_function("temporal_padding")
def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Any:
    """Return x (samples, steps, features) with steps of zeros before and after."""
    return F.pad(x, ((0, 0), tuple(padding), (0, 0)))


@backend_function("spatial_2d_padding")
def spatial_2d_padding(
    x: Any,
    padding: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1)),
    data_format: str | None = None,
) -> Any:
    """Return images with rows and columns of zeros around them; channels last where not said."""
    sides = tuple(map(tuple, padding))
    is_first = data_format == "channels_first"
    return F.pad(x, ((0, 0), (0, 0), *sides) if is_first else ((0, 0), *sides, (0, 0)))


def _is_number(bound: Any) -> bool:
    return isinstance(bound, int | float | np.number)
