"""Functions of ``keras.backend`` against NumPy, and attention as it was written with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.frontends.values import Tensor
from einloom.keras import backend as K

_X = np.random.default_rng(2).normal(size=(3, 4, 5)).astype("float32")


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def test_functions_are_kerass() -> None:
    for found, expected in (
        (K.exp(_X), np.exp(_X)),
        (K.sqrt(_X), np.sqrt(np.maximum(_X, 0))),
        (K.hard_sigmoid(_X), np.clip(0.2 * _X + 0.5, 0, 1)),
        (K.softmax(_X, axis=1), _softmax(_X, 1)),
        (K.relu(_X, alpha=0.1, max_value=0.5), np.where(_X > 0, np.minimum(_X, 0.5), 0.1 * _X)),
        (K.sum(_X, axis=[0, 2], keepdims=True), _X.sum((0, 2), keepdims=True)),
        (K.mean(_X > 0, axis=1), (_X > 0).mean(1)),
        (K.max(_X, axis=-1), _X.max(-1)),
        (K.concatenate([_X, _X], axis=1), np.concatenate([_X, _X], 1)),
        (K.stack([_X, _X]), np.stack([_X, _X])),
        (K.pow(_X, 2), _X**2),
        (K.clip(_X, -1, 1), np.clip(_X, -1, 1)),
        (K.switch(_X[:, 0, 0] > 0, _X, -_X), np.where(_X[:, :1, :1] > 0, _X, -_X)),
        (K.l2_normalize(_X, axis=-1), _X / np.linalg.norm(_X, axis=-1, keepdims=True)),
        (K.batch_flatten(_X), _X.reshape(3, 20)),
        (K.sum(np.ones(3, "int32")), np.int32(3)),
    ):
        assert isinstance(found, Tensor)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert K.sum(np.ones(3, "int32")).dtype == np.int32


def test_an_attention_layer_of_those_years_is_one_function() -> None:
    def attention(x: Any, w: Any, b: Any, u: Any, mask: Any) -> Any:
        uit = K.tanh(K.dot(x, w) + b)
        ait = K.squeeze(K.dot(uit, K.expand_dims(u)), axis=-1)
        a = K.exp(ait)
        a = a * K.cast(mask, K.floatx())
        a = a / (K.sum(a, axis=1, keepdims=True) + K.epsilon())
        return K.sum(x * K.expand_dims(a), axis=1)

    rng = np.random.default_rng(3)
    jitted = el.jit(attention)
    for n, steps in ((2, 5), (3, 6), (4, 7)):
        x = rng.normal(size=(n, steps, 4)).astype("float32")
        w, b, u = (rng.normal(size=s).astype("float32") for s in ((4, 6), (6,), (6,)))
        mask = rng.random((n, steps)) > 0.3
        a = np.exp(np.tanh(x @ w + b) @ u) * mask
        a = a / (a.sum(1, keepdims=True) + 1e-7)
        expected = (x * a[..., None]).sum(1)
        np.testing.assert_allclose(jitted(x, w, b, u, mask), expected, rtol=2e-4, atol=1e-5)


def test_scaled_dot_products_with_batch_dot() -> None:
    def attention(q: Any, k: Any, v: Any) -> Any:
        scores = K.batch_dot(q, k, axes=(2, 2), version="2.3.1") / 2.0
        return K.batch_dot(K.softmax(scores), v, axes=(2, 1), version="2.3.1")

    q, k, v = (_X[:, :n, :4].copy() for n in (3, 4, 4))
    expected = _softmax(q @ k.swapaxes(1, 2) / 2) @ v
    found = el.jit(attention)(q, k, v)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_arrays_are_repeated_padded_and_counted_as_keras_does() -> None:
    legacy = pytest.importorskip("keras.src.legacy.backend")
    tensor = pytest.importorskip("tensorflow").constant
    x, flat, i = _X, _X[:, 0], np.array([[2, 0], [1, 1]], "int32")
    image, bias = _X.reshape(1, 3, 4, 5), _X[0, 0]
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("tile", (x, (1, 2, 3)), {}),
        ("repeat", (flat, 3), {}),
        ("repeat_elements", (x, 2, 1), {}),
        ("arange", (5,), {}),
        ("arange", (2, 9, 3), {"dtype": "float32"}),
        ("arange", (-4,), {}),
        ("zeros_like", (x,), {}),
        ("ones_like", (x, "int32"), {}),
        ("eye", (3,), {}),
        ("one_hot", (i, 4), {}),
        ("any", (x > 1,), {"axis": 1}),
        ("all", (x,), {"axis": [0, 2], "keepdims": True}),
        ("argmax", (x,), {}),
        ("argmin", (x,), {"axis": 0}),
        ("std", (x,), {"axis": [0, 1]}),
        ("prod", (i,), {"axis": -1}),
        ("cumsum", (x,), {"axis": -2}),
        ("cumprod", (i,), {}),
        ("sign", (x,), {}),
        ("sin", (9 * x,), {}),
        ("cos", (9 * x,), {}),
        ("round", (4 * x,), {}),
        ("flatten", (x,), {}),
        ("reverse", (x, [0, 2]), {}),
        ("gather", (flat, i), {}),
        ("bias_add", (x, bias), {}),
        ("bias_add", (image, _X[0, :3, 0]), {"data_format": "channels_first"}),
        ("bias_add", (x, _X[0]), {}),
        ("temporal_padding", (x,), {"padding": (1, 2)}),
        ("spatial_2d_padding", (image,), {"padding": ((1, 0), (2, 1))}),
        ("spatial_2d_padding", (image,), {"data_format": "channels_first"}),
        ("pow", (2.0, x), {}),
        ("batch_normalization", (x, x[0, 0], x[1, 1] ** 2, bias, None), {}),
        ("exp", (x,), {}),
        ("softmax", (x,), {}),
        ("hard_sigmoid", (x,), {}),
        ("l2_normalize", (x,), {"axis": -1}),
        ("var", (x,), {"axis": 1}),
        ("elu", (x, 0.5), {}),
        ("relu", (x,), {"alpha": 0.1, "max_value": 0.5}),
    ]
    for name, arguments, options in calls:
        found = getattr(K, name)(*arguments, **options)
        given = (tensor(a) if isinstance(a, np.ndarray) else a for a in arguments)
        expected = getattr(legacy, name)(*given, **options).numpy()
        assert found.dtype == expected.dtype, name
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_one_side_of_a_phase_is_taken() -> None:
    def dropped() -> Any:
        raise AssertionError("dropouts are for training")

    assert K.learning_phase() == 0
    assert K.in_train_phase(dropped, lambda: 1) == 1
    assert K.in_train_phase(2, dropped, training=True) == 2
    assert K.in_test_phase(3, dropped) == 3
    assert K.stop_gradient(_X) is _X
    with pytest.raises(el.SpecError, match="give True, False or None"):
        K.in_train_phase(1, 2, training=3)


def test_functions_that_keras_3_has_no_more() -> None:
    mean, var, beta, gamma = (np.abs(_X[0, :, n]) for n in range(4))
    found = K.batch_normalization(_X, mean, var, beta, gamma, axis=1, epsilon=0.1)
    m, v, b, g = (each[:, None] for each in (mean, var, beta, gamma))
    np.testing.assert_allclose(found, (_X - m) / np.sqrt(v + 0.1) * g + b, rtol=1e-5)
    np.testing.assert_array_equal(K.slice(_X, [0, 1, 2], [-1, 2, 3]), _X[:, 1:3, 2:])
    np.testing.assert_array_equal(K.identity(_X), _X)
    x = K.placeholder((None, 4, 5))
    assert K.batch_normalization(x, mean, var, None, None, axis=1).shape == x.shape
    with pytest.raises(el.ShapeError, match="1 starts and 3 sizes for 3 axes"):
        K.slice(x, [0], [1, 1, 1])


def test_numbers_take_the_dtype_of_powers() -> None:
    frequencies = 1.0 / K.pow(10000.0, 2 * K.arange(4, dtype="float32") / 8)
    assert frequencies.dtype == np.float32
    assert K.cast_to_floatx([1, 2]).dtype == np.float32


def test_positions_of_a_symbolic_length_are_numbered() -> None:
    x = K.placeholder((None, 4), name="x")
    positions = K.expand_dims(K.arange(K.shape(x)[0], dtype="float32"), 1)
    f = (x + positions).compile()
    values = np.ones((3, 4), "float32")
    np.testing.assert_array_equal(f(values), values + np.arange(3)[:, None])
    with pytest.raises(el.SpecError, match="starts at 0 in steps of 1"):
        K.arange(1, K.shape(x)[0])
    with pytest.raises(el.ShapeError, match="has 2 numbers for 3 axes"):
        K.tile(_X, (1, 2))
