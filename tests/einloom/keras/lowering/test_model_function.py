"""Inputs of compiled models are given, and cast, as Keras takes and casts them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.keras.compiling import KerasFunction
from einloom.keras.model_function import ModelFunction

pytest.importorskip("keras")
import keras
from keras import layers

pytestmark = pytest.mark.keras

_RNG = np.random.default_rng(3)
_ROWS = _RNG.normal(size=(2, 3))
_TOKENS = np.array([[1, 0, 3], [4, 4, 2]])


@pytest.fixture(scope="module")
def model() -> Any:
    tokens, rows = keras.Input((3,), dtype="int32", name="tokens"), keras.Input((3,), name="rows")
    looked_up = layers.Flatten()(layers.Embedding(5, 2)(tokens))
    return keras.Model([tokens, rows], layers.Concatenate()([looked_up, rows]))


@pytest.fixture(scope="module")
def function(model: Any) -> ModelFunction:
    found = el.keras.compile(model)
    assert isinstance(found, ModelFunction)
    return found


@pytest.mark.parametrize("rows", [_ROWS, _ROWS.astype("f4"), (9 * _ROWS).astype("i8"), _ROWS > 0])
@pytest.mark.parametrize("tokens", [_TOKENS, _TOKENS.astype("u1"), _TOKENS + 0.75])
def test_arrays_of_other_dtypes_are_cast(
    model: Any, function: ModelFunction, tokens: Any, rows: Any
) -> None:
    found = function(tokens, rows)
    np.testing.assert_allclose(found, model([tokens, rows]), rtol=1e-6)
    assert found.dtype == np.float32


def test_inputs_come_one_by_one_in_a_list_or_by_name(model: Any, function: ModelFunction) -> None:
    expected = np.asarray(model([_TOKENS, _ROWS]))
    out = np.empty_like(expected)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: function([_TOKENS, _ROWS]),
        lambda: function({"rows": _ROWS, "tokens": _TOKENS}),
        lambda: function([_TOKENS, _ROWS], out=out),
        lambda: pickle.loads(pickle.dumps(function))(_TOKENS, _ROWS),
        lambda: function(_TOKENS.tolist(), _ROWS.tolist()),
    )
    for call in calls:
        np.testing.assert_allclose(call(), expected, rtol=1e-6)
    tensors = keras.ops.convert_to_tensor(_TOKENS), keras.ops.convert_to_tensor(_ROWS)
    assert type(function(*tensors)) is type(tensors[0])
    assert type(function(list(tensors))) is type(tensors[0])
    with pytest.raises(el.SpecError, match="takes inputs tokens, rows, but rows are given"):
        function({"rows": _ROWS})
    with pytest.raises(el.SpecError, match=r"takes 2 arrays \(tokens, rows\), but 1 given"):
        function([_ROWS])


def test_the_calls_of_either_dtype_do_not_disturb_each_other(function: ModelFunction) -> None:
    tokens, rows = _TOKENS.astype("i4"), _ROWS.astype("f4")
    for _ in range(3):
        plain = function(tokens, rows)
        np.testing.assert_array_equal(plain, function(_TOKENS, rows))
        np.testing.assert_array_equal(plain, function([tokens, rows]))


def test_a_declared_dtype_is_never_cast_to() -> None:
    layer = layers.Dense(2)
    layer.build((None, 3))
    settled = el.keras.compile(layer, el.spec("B", 3, dtype="float64", name="x"))
    assert settled(_ROWS).dtype == np.float32
    with pytest.raises(el.DTypeError, match="declared as float64, which is never cast to"):
        settled(_ROWS.astype("f4"))
    free = el.keras.compile(layer, el.spec("B", 3))
    np.testing.assert_allclose(free(_ROWS), layer(_ROWS), rtol=1e-5)
    np.testing.assert_allclose(free([_ROWS.astype("f4")]), layer(_ROWS), rtol=1e-5)


def test_what_has_no_meaning_in_a_dtype_is_refused(function: ModelFunction) -> None:
    with pytest.raises(el.DTypeError, match=r"input .rows. has dtype complex128.*as float32"):
        function(_TOKENS, _ROWS + 1j)
    with pytest.raises(el.DTypeError, match="input 'tokens' has dtype <U1"):
        function(np.full((2, 3), "a"), _ROWS)


def test_several_outputs_take_inputs_alike() -> None:
    x = keras.Input((3,), name="x")
    model = keras.Model(x, {"a": layers.ReLU()(x), "b": layers.Flatten()(x)})
    f = el.keras.compile(model)
    assert isinstance(f, KerasFunction)
    for given in (_ROWS, [_ROWS], {"x": _ROWS}):
        found, expected = f(given), model(given)
        assert found.keys() == expected.keys()
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
