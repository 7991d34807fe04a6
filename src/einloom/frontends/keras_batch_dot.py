"""``K.batch_dot`` in every meaning it had, and what is said where two of them accept a call.

The registered builder takes the release as an explicit argument, so that a recorded call always
carries its meaning; :func:`batch_dot` resolves the default before.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

from einloom.expression import Ambiguity, Expression, spec
from einloom.frontends.arrays import as_numpy
from einloom.frontends.dispatch import REGISTRY, frontend, warn
from einloom.frontends.keras_batch_dot_first_axis import first_axis_batch_dot, theano_batch_dot
from einloom.frontends.keras_batch_dot_matmul import matmul_batch_dot
from einloom.frontends.keras_dtypes import BATCH_MATMUL_DTYPES, MATMUL_DTYPES, common_dtype
from einloom.frontends.keras_tensors import keras_numbers
from einloom.frontends.keras_versions import (
    DEFAULT_VERSION,
    REPRESENTATIVES,
    Meaning,
    Release,
    release,
)
from einloom.frontends.letters import letters, shape_text
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import EinloomError, ShapeError, SpecError
from einloom_compiler.ir.graph import Contraction, Reshape

#: The environment variable that names the release for every call that names none.
VERSION_VARIABLE = "EINLOOM_KERAS_VERSION"


def meaning_of(x: Expression, y: Expression, axes: Any, version: Release) -> Expression:
    """Return the product of symbolic operands as Keras ``version`` computes it.

    Raises:
        DTypeError: the operands' dtypes differ, or TensorFlow multiplies no such matrices.
        ShapeError, AxisError: ranks, extents or axes do not fit.
    """
    is_batched = version.meaning is Meaning.FIRST_AXIS
    allowed = BATCH_MATMUL_DTYPES if is_batched else MATMUL_DTYPES
    dtype = common_dtype("K.batch_dot", x, y, allowed)
    match version.meaning:
        case Meaning.MATMUL:
            return matmul_batch_dot(x, y, axes, dtype, version)
        case Meaning.FIRST_AXIS:
            return first_axis_batch_dot(x, y, axes, dtype)
        case Meaning.THEANO:
            return theano_batch_dot(x, y, axes, dtype, version)


@frontend("keras.backend.batch_dot", operands=("x", "y"), convert=keras_numbers, finish=as_tensor)
def _versioned_batch_dot(x: Any, y: Any, axes: Any = None, version: str = DEFAULT_VERSION) -> Any:
    """Return :func:`meaning_of`; where it raises, say which release accepts the call."""
    chosen = release(version)
    try:
        return meaning_of(x, y, axes, chosen)
    except ShapeError as error:
        ways_out = [
            f"version='{name}' accepts this call: {_described(other)}"
            for name, other in _alternatives(x, y, axes, chosen)
        ]
        if not ways_out:
            raise
        raise type(error)(f"{error}. {'; '.join(ways_out)}") from None


def _alternatives(
    x: Expression, y: Expression, axes: Any, chosen: Release
) -> list[tuple[str, Expression]]:
    """Return the other meanings that accept the call, by the release that stands for each."""
    found = []
    for name in REPRESENTATIVES:
        if release(name).meaning is chosen.meaning and chosen.settles_axes:
            continue
        try:
            found.append((name, meaning_of(x, y, axes, release(name))))
        except EinloomError:
            continue
    return found


def _described(expression: Expression) -> str:
    return f"{expression.equation}, giving {shape_text(expression.shape)}"


def _signature(expression: Expression) -> object:
    """Return what two expressions of one call share exactly when they mean the same."""
    node = expression.node
    while isinstance(node, Reshape):
        node = node.operand
    assert isinstance(node, Contraction)
    order = dict.fromkeys(index for term in node.einsum.terms for index in term)
    name_of = dict(zip(order, letters(len(order)), strict=True))
    terms = (*node.einsum.terms, node.einsum.output)
    written = tuple("".join(name_of[index] for index in term) for term in terms)
    return written, node.conjugated, expression.shape


def ambiguity_of(x: Expression, y: Expression, axes: Any) -> Ambiguity | None:
    """Return the ambiguity of a call that names no release.

    It is there where the release that is the default, and Keras 2.2.5 and later, both accept the
    operands and differ in the result's shape or values.
    """
    meanings = []
    for name in REPRESENTATIVES[:2]:
        try:
            meanings.append(meaning_of(x, y, axes, release(name)))
        except EinloomError:
            return None
    old, new = meanings
    if _signature(old) == _signature(new):
        return None
    return Ambiguity(
        f"K.batch_dot on shapes {shape_text(x.shape)} and {shape_text(y.shape)} has two meanings: "
        f"{_described(old)} in Keras 2.2.4 and before (used here), but {_described(new)} from "
        "Keras 2.2.5 and TensorFlow 2.0 on. Settle it with version='2.2.4' or version='2.2.5', or "
        "for a whole file with `from einloom.keras.v2_2 import backend as K` or "
        "`from einloom.keras.v2_3 import backend as K`."
        + (_conjugation(old) if old.equation == new.equation else "")
    )


def _conjugation(old: Expression) -> str:
    node = old.node
    while isinstance(node, Reshape):
        node = node.operand
    conjugated = getattr(node, "conjugated", ())
    names = [name for name, is_one in zip("xy", conjugated, strict=True) if is_one]
    return f" Keras 2.2.4 conjugates {' and '.join(names)} here." if names else ""


@functools.lru_cache(maxsize=1024)
def _array_ambiguity(
    x: tuple[tuple[int, ...], Any], y: tuple[tuple[int, ...], Any], axes: Any
) -> Ambiguity | None:
    return ambiguity_of(spec(x[0], dtype=x[1], name="x"), spec(y[0], dtype=y[1], name="y"), axes)


def batch_dot(x: Any, y: Any, axes: Any = None, version: str | None = None) -> Any:
    """Return the batchwise dot product, as a release of Keras computes it.

    The function changed its meaning in Keras 2.2.5 (and tf.keras in TensorFlow 2.0)::

        version="2.2.4"         (10, 12, 4, 5) . (10, 12, 5, 8) -> (10, 12, 4, 8)
                                abij,abjk->abik      all leading axes are batch
        version="2.2.5"         (10, 12, 4, 5) . (10, 12, 5, 8) -> (10, 12, 4, 12, 8)
                                abij,acjk->abick     only the first axis is batch
        version="2.2.4-theano"  as 2.2.5, with other defaults, and axis 0 transposes its operand

    Up to 2.2.4 on TensorFlow, ``axes`` was only read as "is it the last axis?", swapped axes are
    adjoints (complex operands are conjugated), and the default axes of two matrices need x's
    transpose to have y's shape. A product of rank 1 gets a trailing 1.

    Args:
        x: array or symbolic operand of rank 2 or more.
        y: array or symbolic operand of rank 2 or more, of x's dtype.
        axes: axis of x and axis of y to contract: a pair, an int for both, or None.
        version: a Keras release such as ``2.2.4`` or ``2.3.1``. The environment variable
            ``EINLOOM_KERAS_VERSION`` where None; ``2.2.4`` where that is not set.

    Warns:
        SemanticsWarning: no release is named, and the two meanings differ on these operands.
            (Symbolic operands: compiling raises AmbiguousMeaningError.)

    Raises:
        ShapeError, AxisError: ranks, extents or axes do not fit; the message names a release that
            accepts them, where there is one.
        DTypeError: the dtypes differ, or TensorFlow multiplies no such matrices.
        SpecError: ``version`` is no Keras release.

    Example:
        >>> import numpy as np
        >>> x, y = np.ones((10, 12, 4, 5)), np.ones((10, 12, 5, 8))
        >>> batch_dot(x, y, version="2.2.4").shape, batch_dot(x, y, version="2.3.1").shape
        ((10, 12, 4, 8), (10, 12, 4, 12, 8))
    """
    named = version if version is not None else _environment_version()
    result = _versioned_batch_dot(x, y, axes, DEFAULT_VERSION if named is None else named)
    if named is not None:
        return result
    if isinstance(result, Expression):
        assert result.call is not None
        operands = result.call.arguments
        ambiguity = ambiguity_of(operands["x"], operands["y"], axes)
        return dataclasses.replace(result, ambiguity=ambiguity or result.ambiguity)
    x, y = map(as_numpy, keras_numbers((x, y)))
    key = tuple(axes) if isinstance(axes, list) else axes
    ambiguity = _array_ambiguity((x.shape, x.dtype), (y.shape, y.dtype), key)
    if ambiguity is not None:
        warn(ambiguity)
    return result


# A text or a document may leave the version out; it gets the default, and its ambiguity, as a call.
REGISTRY["keras.backend.batch_dot"] = batch_dot


def _environment_version() -> str | None:
    named = os.environ.get(VERSION_VARIABLE)
    if not named:
        return None
    try:
        release(named)
    except EinloomError as error:
        raise SpecError(f"environment variable {VERSION_VARIABLE}: {error}") from None
    return named
