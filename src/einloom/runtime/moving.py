"""Steps that move elements without computing: copies and fills, by kernels like all else."""

from __future__ import annotations

from typing import Any

import numpy as np

from einloom.runtime.builder import Builder
from einloom.runtime.values import Value
from einloom_compiler.dtypes import dtype_name
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.pipeline import bind
from einloom_compiler.schedule.machine import host


def copy(builder: Builder, source: Value, target: Value) -> None:
    """Append the copy of a value to another of the same shape and dtype, bit for bit."""
    convert(builder, source, target)


def convert(builder: Builder, source: Value, target: Value) -> None:
    """Append the copy of a value to another of the same shape, cast to its dtype."""
    if 0 in target.shape:
        return
    axes = tuple(Index(f"i{axis}") for axis in range(len(target.shape)))
    name = dtype_name(target.dtype)
    given = dtype_name(source.dtype)
    stages = bind(
        EinsumExpr((axes,), axes),
        [source.shape],
        [source.steps],
        target.steps,
        Arithmetics((given,), name, given, (False,)),
        host(),
    )
    builder.stages(stages, (source,), target)


def fill(builder: Builder, number: Any, target: Value) -> None:
    """Append the filling of a value with one number."""
    element = builder.constant(np.asarray(number).astype(target.dtype))
    axes = [(extent, None, 1) for extent in target.shape]
    copy(builder, element.viewed((), axes), target)
