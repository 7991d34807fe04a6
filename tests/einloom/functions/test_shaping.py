"""Views, joins, pads and lookups against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import einloom as el
from einloom import functions as F

_X = np.arange(24.0).reshape(2, 3, 4)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_basic_index(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=5))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=True))
    expected = x[key]
    np.testing.assert_array_equal(F.getitem(x, key), expected)
    assert el.spec(shape)[key].shape == expected.shape


def test_views_and_copies_are_numpys() -> None:
    for found, expected in (
        (F.reshape(_X, (4, -1)), _X.reshape(4, -1)),
        (F.reshape(_X, -1), _X.reshape(-1)),
        (F.permute(_X, (2, 0, 1)), _X.transpose(2, 0, 1)),
        (F.permute(_X), _X.T),
        (F.swapaxes(_X, 0, -1), _X.swapaxes(0, -1)),
        (F.expand_dims(_X, (0, -1)), np.expand_dims(_X, (0, -1))),
        (F.squeeze(_X[:1]), _X[0]),
        (F.flip(_X, 1), np.flip(_X, 1)),
        (F.broadcast_to(_X[:, :1], (5, 2, 3, 4)), np.broadcast_to(_X[:, :1], (5, 2, 3, 4))),
        (F.concatenate([_X, _X.astype("i4")], axis=-1), np.concatenate([_X, _X], -1)),
        (F.stack([_X, _X + 1], axis=1), np.stack([_X, _X + 1], 1)),
        (
            F.pad(_X, ((0, 0), (1, 2), (0, 3)), -1),
            np.pad(_X, ((0, 0), (1, 2), (0, 3)), constant_values=-1),
        ),
        (F.pad(_X, 1), np.pad(_X, 1)),
        (F.take(_X, np.array([[2, 0]]), axis=1), np.take(_X, [[2, 0]], axis=1)),
        (F.flatten(_X), _X.ravel()),
    ):
        np.testing.assert_array_equal(found, expected)
        assert np.asarray(found).dtype == expected.dtype
    for found, expected in zip(F.split(_X, 3, axis=1), np.split(_X, 3, axis=1), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(F.split(_X, [1, 3], axis=2), np.split(_X, [1, 3], 2), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_slices_of_symbolic_axes_are_checked_at_each_call() -> None:
    x = el.spec("N", 4, name="x", dtype="float64")
    f = el.compile((x[:3], x[-1], x[1:], x[::-1]))
    for n in (3, 5):
        given = np.arange(4.0 * n).reshape(n, 4)
        first, last, rest, flipped = f(given)
        np.testing.assert_array_equal(first, given[:3])
        np.testing.assert_array_equal(last, given[-1])
        np.testing.assert_array_equal(rest, given[1:])
        np.testing.assert_array_equal(flipped, given[::-1])
    with pytest.raises(el.ShapeError, match=r"elements 0 to 2 of axis 0, which has extent 2"):
        f(np.ones((2, 4)))
    with pytest.raises(el.UnsupportedError, match="step 2 of the symbolic extent N"):
        x[::2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.reshape(_X, (5, -1)), el.ShapeError, r"24 is no multiple of 5"),
        (lambda: F.permute(_X, (0, 0, 1)), IndexError, "no order of 3 axes"),
        (lambda: F.squeeze(_X, 0), el.ShapeError, "axis 0 has extent 2, not 1"),
        (lambda: F.getitem(_X, 2), IndexError, "index 2 is out of bounds for axis 0 of extent 2"),
        (lambda: F.getitem(_X, (0, 0, 0, 0)), IndexError, "4 indices, but x has rank 3"),
        (lambda: F.getitem(_X, "a"), el.UnsupportedError, "take for arrays"),
        (lambda: F.concatenate([_X, _X[0]]), el.ShapeError, "rank 2, operand 0 has rank 3"),
        (lambda: F.concatenate([_X, _X[:, :2]]), el.ShapeError, "extents 3 and 2 differ"),
        (lambda: F.concatenate([]), el.SpecError, "at least one array"),
        (lambda: F.take(_X, np.array([2])), IndexError, "index 2, .*extent 2"),
        (lambda: F.take(_X, np.array([0.0])), TypeError, "indices must be integers"),
        (lambda: F.broadcast_to(_X, (3, 4)), el.ShapeError, "does not broadcast to"),
        (lambda: F.split(_X, 2, axis=1), el.ShapeError, "no 2 equal parts"),
    ],
)
def test_mistakes_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
