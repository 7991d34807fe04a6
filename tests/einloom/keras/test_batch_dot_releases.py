"""``K.batch_dot`` against golden rows for the Keras releases that cannot be installed any more.

The rows of ``tests/golden/keras_batch_dot.jsonl`` come from literal transcriptions to NumPy of what
the releases' backends do (below), never from einloom. ``--update-golden`` writes them anew.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import einloom as el
from einloom.keras import backend as K

Array = np.ndarray[Any, np.dtype[Any]]
Golden = Callable[[str, str], None]

GOLDEN = "keras_batch_dot.jsonl"
ROWS_FILE = Path(__file__).parents[2] / "golden" / GOLDEN


class RejectedError(Exception):
    """The release's backend raises on this call."""


# --- the TensorFlow 1.13 operations that the releases call ----------------------------------------


def tf_multiply(x: Array, y: Array) -> Array:
    try:
        return x * y
    except ValueError as error:
        raise RejectedError(str(error)) from None


def tf_matmul(x: Array, y: Array, *, adjoint_a: bool, adjoint_b: bool) -> Array:
    if adjoint_a:
        x = np.conj(np.swapaxes(x, -1, -2))
    if adjoint_b:
        y = np.conj(np.swapaxes(y, -1, -2))
    if x.ndim != y.ndim or x.shape[:-2] != y.shape[:-2] or x.shape[-1] != y.shape[-2]:
        raise RejectedError(f"{x.shape} {y.shape}")
    return np.asarray(np.matmul(x, y))


def tf_squeeze(x: Array, axes: list[int]) -> Array:
    if any(axis >= x.ndim or x.shape[axis] != 1 for axis in axes):
        raise RejectedError(f"squeeze {axes} of {x.shape}")
    return np.squeeze(x, tuple(axes))


# --- the releases --------------------------------------------------------------------------------


def tensorflow_backend(
    x: Array, y: Array, axes: Any, *, settles_axes: bool, pads_ranks: bool
) -> Array:
    """Transcribe tensorflow_backend.py: 2.2.4 with both flags, before 2.1.6 and 2.0.4 without."""
    if isinstance(axes, int):
        axes = (axes, axes)
    x_ndim, y_ndim, diff = x.ndim, y.ndim, 0
    if axes is None and settles_axes:
        axes = [x_ndim - 1, y_ndim - 2]
    if pads_ranks and x_ndim > y_ndim:
        diff = x_ndim - y_ndim
        y = y.reshape(y.shape + (1,) * diff)
    elif pads_ranks and y_ndim > x_ndim:
        diff = y_ndim - x_ndim
        x = x.reshape(x.shape + (1,) * diff)
    if x.ndim == 2 and y.ndim == 2:
        if axes is None:
            raise RejectedError("'NoneType' object is not subscriptable")
        if axes[0] == axes[1]:
            product, axis = tf_multiply(x, y), axes[0]
        else:
            product, axis = tf_multiply(x.T, y), axes[1]
        if not -2 <= axis <= 1:
            raise RejectedError(f"reduction axis {axis}")
        out = np.asarray(product.sum(axis))
    else:
        adjoint_x = axes is not None and axes[0] != x.ndim - 1
        adjoint_y = axes is not None and axes[1] == y.ndim - 1
        out = tf_matmul(x, y, adjoint_a=adjoint_x, adjoint_b=adjoint_y)
    if diff:
        first = x_ndim + y_ndim - 3 if x_ndim > y_ndim else x_ndim - 1
        out = tf_squeeze(out, list(range(first, first + diff)))
    return np.expand_dims(out, 1) if out.ndim == 1 else out


def theano_backend(x: Array, y: Array, axes: Any, *, transposes: bool) -> Array:
    """Transcribe theano_backend.py: 2.2.4, before 2.1.6 without ``transposes``."""
    pair = [axes, axes] if isinstance(axes, int) else [x.ndim - 1, y.ndim - 2]
    if isinstance(axes, list | tuple):
        pair = list(axes)
    if transposes and pair[0] == 0:
        x, pair[0] = x.T, x.ndim - 1
    if transposes and pair[1] == 0:
        y, pair[1] = y.T, y.ndim - 1
    # T.batched_tensordot: a tensordot for each member of the batch; negative axes do not work.
    if not (0 < pair[0] < x.ndim and 0 < pair[1] < y.ndim) or len(x) != len(y):
        raise RejectedError(f"batched_tensordot {x.shape} {y.shape} {pair}")
    if x.shape[pair[0]] != y.shape[pair[1]]:
        raise RejectedError(f"batched_tensordot {x.shape} {y.shape} {pair}")
    members = [
        np.tensordot(a, b, ([pair[0] - 1], [pair[1] - 1])) for a, b in zip(x, y, strict=True)
    ]
    out = np.array(members)
    return np.expand_dims(out, 1) if out.ndim == 1 else out


def first_axis(x: Array, y: Array, axes: Any) -> Array:
    """Transcribe Keras 2.2.5's rule, one member of the batch at a time."""
    if x.shape[0] != y.shape[0]:
        raise RejectedError("different batch sizes")
    default = (x.ndim - 1, y.ndim - 1 if y.ndim == 2 else y.ndim - 2)
    pair = (axes, axes) if isinstance(axes, int) else axes or default
    wrapped = [a + n if a < 0 else a for a, n in zip(pair, (x.ndim, y.ndim), strict=True)]
    if 0 in wrapped or any(a >= n for a, n in zip(wrapped, (x.ndim, y.ndim), strict=True)):
        raise RejectedError(f"axes {wrapped}")
    if x.shape[wrapped[0]] != y.shape[wrapped[1]]:
        raise RejectedError(f"{x.shape} {y.shape} {wrapped}")
    members = [
        np.tensordot(a, b, ([wrapped[0] - 1], [wrapped[1] - 1])) for a, b in zip(x, y, strict=True)
    ]
    out = np.array(members)
    return np.expand_dims(out, 1) if out.ndim == 1 else out


RELEASES: dict[str, Callable[[Array, Array, Any], Array]] = {
    "2.2.4": lambda x, y, a: tensorflow_backend(x, y, a, settles_axes=True, pads_ranks=True),
    "2.1.5": lambda x, y, a: tensorflow_backend(x, y, a, settles_axes=False, pads_ranks=True),
    "1.2.2": lambda x, y, a: tensorflow_backend(x, y, a, settles_axes=False, pads_ranks=False),
    "2.2.4-theano": lambda x, y, a: theano_backend(x, y, a, transposes=True),
    "2.1.5-theano": lambda x, y, a: theano_backend(x, y, a, transposes=False),
    "2.3.1": first_axis,
}

SHAPES = (
    # rank 2
    ((3, 4), (3, 4)),
    ((3, 4), (4, 3)),
    ((3, 3), (3, 3)),
    ((3, 4), (3, 1)),
    ((1, 4), (3, 4)),
    # ranks 2 and 3
    ((2, 3), (2, 3, 5)),
    ((2, 3), (2, 5, 3)),
    ((2, 1), (2, 1, 4)),
    ((2, 4, 3), (2, 3)),
    ((2, 4, 1), (2, 4)),
    ((2, 3, 3), (2, 3)),
    # rank 3
    ((2, 3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 3, 5)),
    ((2, 3, 4), (2, 5, 4)),
    ((3, 4, 5), (3, 4, 5)),
    ((2, 4, 1), (2, 3, 4)),
    ((1, 3, 4), (2, 4, 5)),
    # higher ranks
    ((2, 3, 4), (2, 3, 4, 5)),
    ((2, 3, 4), (2, 5, 4, 6)),
    ((2, 1, 1), (2, 1, 1, 3)),
    ((1, 2, 1), (1, 2, 1, 4)),
    ((2, 1), (2, 1, 1, 3)),
    ((2, 3, 4, 5), (2, 5)),
    ((2, 3, 4, 5), (2, 5, 6)),
    ((2, 3, 4, 5), (2, 3, 5, 4)),
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 1, 3, 4), (2, 2, 4, 3)),
    ((2, 3, 2, 4, 2), (2, 3, 2, 2, 4)),
)
AXES = (None, 0, 1, 2, 3, -1, (0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (-1, 1), (-1, -2))


def operand(shape: tuple[int, ...], dtype: str, shift: int) -> Array:
    """Return small integers, so that every sum is exact in any order."""
    values = (np.arange(np.prod(shape)) * 7 + shift) % 11 - 5.0
    if dtype == "complex128":
        values = values + 1j * ((np.arange(values.size) * 3 + shift) % 5 - 2)
    return values.reshape(shape).astype(dtype)


def fingerprint(values: Array) -> list[int]:
    """Return the sum of the elements, each times its place, as real and imaginary integers."""
    total = complex(np.dot(values.ravel(), np.arange(1.0, values.size + 1)))
    return [round(total.real), round(total.imag)]


def computed_rows() -> Iterator[dict[str, Any]]:
    """Yield for each pair of operands what a release accepts: axes to (shape, fingerprint)."""
    cases = itertools.product(RELEASES, SHAPES, ("float64", "complex128"))
    for version, (x_shape, y_shape), dtype in cases:
        if dtype == "complex128" and (len(x_shape) + len(y_shape)) % 2:
            continue  # equal ranks show all there is to see about conjugation
        x, y = operand(x_shape, dtype, 1), operand(y_shape, dtype, 4)
        accepted: dict[str, Any] = {}
        for axes in AXES:
            try:
                out = RELEASES[version](x, y, axes)
            except RejectedError:
                continue
            accepted[str(axes)] = (out.shape, fingerprint(out))
        yield {
            "version": version,
            "x": x_shape,
            "y": y_shape,
            "dtype": dtype,
            "accepted": accepted,
        }


def test_golden_rows_are_those_of_the_transcribed_releases(golden: Golden) -> None:
    golden(GOLDEN, "\n".join(json.dumps(row) for row in computed_rows()))


class Row(NamedTuple):
    """One call, and the shape and fingerprint of its result, None where it is rejected."""

    x: tuple[int, ...]
    y: tuple[int, ...]
    axes: Any
    dtype: str
    result: list[Any] | None


def golden_rows(version: str) -> Iterator[Row]:
    for line in ROWS_FILE.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["version"] == version:
            for axes in AXES:
                result = entry["accepted"].get(str(axes))
                yield Row(tuple(entry["x"]), tuple(entry["y"]), axes, entry["dtype"], result)


def specs(row: Row) -> tuple[el.Expression, el.Expression]:
    return el.spec(row.x, dtype=row.dtype, name="x"), el.spec(row.y, dtype=row.dtype, name="y")


def arrays(row: Row) -> tuple[Array, Array]:
    return operand(row.x, row.dtype, 1), operand(row.y, row.dtype, 4)


def meaning_in_numpy(expression: el.Expression, x: Array, y: Array) -> Array:
    """Return the value of the expression's equation, by NumPy."""
    node: Any = expression.node
    while not hasattr(node, "conjugated"):
        node = node.operand
    operands = [a.conj() if flag else a for a, flag in zip((x, y), node.conjugated, strict=True)]
    return np.asarray(np.einsum(expression.equation, *operands)).reshape(expression.shape)


@pytest.mark.parametrize("version", RELEASES)
def test_every_golden_row_has_its_shape_and_values(version: str) -> None:
    wrong = []
    rows = list(golden_rows(version))
    for row in rows:
        try:
            expression = K.batch_dot(*specs(row), row.axes, version=version)
        except el.ShapeError:
            got = None
        else:
            out = meaning_in_numpy(expression, *arrays(row))
            got = [list(out.shape), fingerprint(out)]
        if got != row.result:
            wrong.append((row, got))
    assert len(rows) > 500
    assert not wrong


@pytest.mark.parametrize("version", ["2.2.4", "2.2.4-theano", "2.3.1"])
def test_generated_code_gives_the_golden_values_at_rank_three(version: str) -> None:
    checked = 0
    for row in golden_rows(version):
        if row.result is None or len(row.x) + len(row.y) != 6 or row.dtype != "complex128":
            continue
        out = K.batch_dot(*arrays(row), row.axes, version=version)
        assert [list(out.shape), fingerprint(out)] == row.result, row
        checked += 1
    assert checked >= 10


def test_releases_of_one_meaning_agree_on_every_row() -> None:
    for row in golden_rows("2.2.4"):
        equations = set()
        for version in ("2.2.4", "2.2.0", "2.1.6-tensorflow"):
            try:
                equations.add(K.batch_dot(*specs(row), row.axes, version=version).equation)
            except el.ShapeError:
                equations.add("rejected")
        assert len(equations) == 1, row
        assert (equations == {"rejected"}) == (row.result is None), row
