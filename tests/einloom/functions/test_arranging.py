"""Repetitions, shifts, triangles, one-hot rows, positions and logical reductions against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom import functions as F

_X = np.random.default_rng(2).standard_normal((3, 4, 5)).astype("float32")


def _same(found: Any, expected: Any) -> None:
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(found, expected)


def test_repetitions_and_shifts_are_numpys() -> None:
    _same(F.repeat(_X, 3, 1), np.repeat(_X, 3, 1))
    _same(F.repeat(_X, 2), np.repeat(_X, 2))
    for reps in (2, (2, 1, 3), (2, 1, 1, 3), (0, 1)):
        _same(F.tile(_X, reps), np.tile(_X, reps))
    _same(F.roll(_X, 2, 1), np.roll(_X, 2, 1))
    _same(F.roll(_X, -7), np.roll(_X, -7))
    _same(F.roll(_X, (1, -2), (0, 2)), np.roll(_X, (1, -2), (0, 2)))
    _same(F.moveaxis(_X, (0, 1), (1, 2)), np.moveaxis(_X, (0, 1), (1, 2)))
    with pytest.raises(el.SpecError, match="repeats is -1"):
        F.repeat(_X, -1)
    with pytest.raises(el.ShapeError, match="2 shifts for 3 axes"):
        F.roll(_X, (1, 2), (0, 1, 2))


def test_rolls_of_a_symbolic_axis_are_checked_at_the_call() -> None:
    f = F.roll(el.spec("N", dtype="float32"), 2, 0).compile()
    _same(f(_X[0, 0]), np.roll(_X[0, 0], 2))
    with pytest.raises(el.ShapeError):
        f(_X[0, 0, :1])


def test_triangles_and_rows_by_position() -> None:
    for k in (-1, 0, 2):
        _same(F.tril(_X, k), np.tril(_X, k))
        _same(F.triu(_X, k), np.triu(_X, k))
    _same(F.one_hot(np.array([1, 3, 9, -1]), 4), np.eye(10, 4, dtype="f4")[[1, 3, 9, 9]])
    _same(F.zeros_like(_X, "int16"), np.zeros_like(_X, "int16"))
    _same(F.ones_like(_X > 0), np.ones_like(_X > 0))
    with pytest.raises(el.DTypeError, match="indices must be integers"):
        F.one_hot(_X, 3)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint64", "bool"])
def test_positions_of_extremes(dtype: str) -> None:
    x = (40 * _X).astype(dtype)
    if dtype.startswith("float"):
        x[1, 2, 3] = x[1, 2, 4] = x[0, 0, 0] = np.nan
        x[2, 0] = -np.inf
    for name in ("argmax", "argmin"):
        _same(getattr(F, name)(x), getattr(np, name)(x))
        for axis in (0, -1):
            found = getattr(F, name)(x, axis, keepdims=True)
            _same(found, getattr(np, name)(x, axis, keepdims=True))


def test_positions_need_elements_and_an_order() -> None:
    with pytest.raises(el.ShapeError, match="has extent 0"):
        F.argmax(_X[:0], 0)
    with pytest.raises(el.DTypeError, match="complex64 numbers have no order"):
        F.argmin(_X.astype("complex64"))


def test_any_and_all_also_of_nothing() -> None:
    for x in (_X > 1, _X.astype("int8"), _X[:, :0], np.zeros((2, 3, 0), bool)):
        for axis in (None, 1, (0, 2)):
            for keepdims in (False, True):
                _same(F.any(x, axis, keepdims), np.any(x, axis=axis, keepdims=keepdims))
                _same(F.all(x, axis, keepdims), np.all(x, axis=axis, keepdims=keepdims))


def test_rounding_signs_and_bools() -> None:
    x = np.array([-0.5, 0.5, 1.5, -0.0, 2.5, -3.7, np.nan, np.inf, 1e30], "float32")
    for name, function in (("floor", np.floor), ("ceil", np.ceil), ("round", np.rint)):
        _same(getattr(F, name)(x), function(x))
        assert (np.signbit(getattr(F, name)(x)) == np.signbit(function(x)))[:6].all()
    _same(F.sign(x), np.sign(x))
    _same(F.sign(np.array([-3, 0, 7], "int8")), np.array([-1, 0, 1], "int8"))
    _same(F.floor(np.array([-3, 7])), np.array([-3, 7]))
    _same(F.isnan(x), np.isnan(x))

    def logic(x: Any) -> Any:
        return ~((x > 0) & (x < 1)) | (x > 2) ^ True

    _same(el.jit(logic)(_X), logic(_X))
    with pytest.raises(el.DTypeError, match="& is supported of bools only, not of float32"):
        el.jit(lambda x: x & x)(_X)
    np.testing.assert_allclose(F.std(_X, 1), _X.std(1), rtol=1e-6)
