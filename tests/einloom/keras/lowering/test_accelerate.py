"""A live model whose covered layers run compiled: where they do, where not, and undoing it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import assert_close, randomized

import einloom as el
from einloom_compiler.errors import UnsupportedError

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
L = keras.layers

pytestmark = [
    pytest.mark.keras,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="uses TensorFlow's tape"),
]


def _model() -> Any:
    inner = keras.Sequential([keras.Input((6,)), L.Dense(6, "tanh", name="inner")])
    x = keras.Input((6,))
    y = L.LayerNormalization(name="norm")(inner(L.Dense(6, "relu", name="first")(x)))
    return randomized(keras.Model(x, L.Dense(2, name="last")(L.Dropout(0.5)(y))))


def _floats(*shape: int) -> Any:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def test_inference_runs_compiled_at_any_batch_until_undone() -> None:
    model = _model()
    expected = {batch: np.asarray(model(_floats(batch, 6))) for batch in (1, 3)}
    with el.keras.accelerate(model) as acceleration:
        assert set(acceleration.layers) == {"first", "inner", "norm", "last"}
        for batch, wanted in expected.items():
            result = model(_floats(batch, 6))
            assert tf.is_tensor(result)
            assert_close(np.asarray(result), wanted)
        assert set(acceleration.n_compiled_calls.values()) == {2}
    assert "call" not in vars(model.get_layer("first"))
    assert_close(np.asarray(model(_floats(3, 6))), expected[3])


def test_new_weights_are_seen() -> None:
    model = _model()
    x = _floats(3, 6)
    with el.keras.accelerate(model):
        model(x)
        model.set_weights([weight * 0.5 for weight in model.get_weights()])
        result = np.asarray(model(x))
    assert_close(result, np.asarray(model(x)))


def test_gradients_graphs_and_training_are_left_to_keras() -> None:
    model = _model()
    x = tf.constant(_floats(3, 6))
    with el.keras.accelerate(model) as acceleration:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        assert all(g is not None for g in tape.gradient(loss, model.trainable_variables))
        graph = tf.function(lambda t: model(t))(x)
        assert not any(acceleration.n_compiled_calls.values())
        assert_close(np.asarray(model(x)), np.asarray(graph))
        assert all(acceleration.n_compiled_calls.values())
        model.compile("sgd", "mse")
        model.fit(_floats(3, 6), _floats(3, 2), verbose=0)
        after = np.asarray(model(x))
    assert_close(after, np.asarray(model(x)))


def test_masked_sequences_run_compiled() -> None:
    """Each position that is padded counts as in Keras, for this layer and for those behind it."""
    ids, other = (keras.Input((None,), dtype="int32") for _ in range(2))
    embed = L.Embedding(9, 6, mask_zero=True)
    x, y = embed(ids), embed(other)
    z = L.LayerNormalization(name="norm")(L.MultiHeadAttention(2, 3, name="self")(x, x))
    z = L.MultiHeadAttention(2, 3, name="cross")(z, y, use_causal_mask=True)
    z = L.GroupQueryAttention(2, 2, 1, name="groups", dropout=0.1)(z, z)
    pooled = L.GlobalAveragePooling1D()(L.Dense(3, name="last")(z))
    model = randomized(keras.Model([ids, other], [z, pooled]))
    rng = np.random.default_rng(0)
    calls = [
        [rng.integers(0, 4, (batch, n)).astype(np.int32) for n in lengths]
        for batch, lengths in ((2, (5, 4)), (1, (3, 6)), (3, (5, 4)))
    ]
    expected = [model(arrays) for arrays in calls]
    with el.keras.accelerate(model) as acceleration:
        for arrays, wanted in zip(calls, expected, strict=True):
            for found, want in zip(model(arrays), wanted, strict=True):
                assert_close(np.asarray(found), np.asarray(want))
        assert set(acceleration.n_compiled_calls.values()) == {3}


def test_masks_that_are_given_run_compiled() -> None:
    layer = L.MultiHeadAttention(2, 3)
    x, y = tf.constant(_floats(2, 3, 4)), tf.constant(_floats(2, 5, 4))
    layer(x, y)
    randomized(layer)
    mask = np.random.default_rng(0).random((2, 3, 5)) < 0.6
    padding = tf.constant([[True, True, False], [True, False, False]])

    def called() -> list[Any]:
        keras.src.backend.set_keras_mask(x, padding)
        results = [
            layer(x, y, attention_mask=mask),
            layer(x, y, attention_mask=mask[:1], return_attention_scores=True)[1],
            layer(x, y, value_mask=mask[:, 0]),
            layer(x, value=y),
        ]
        return [np.asarray(result) for result in results]

    expected = called()
    with el.keras.accelerate(layer) as acceleration:
        for found, wanted in zip(called(), expected, strict=True):
            assert_close(found, wanted)
        assert acceleration.n_compiled_calls == {layer.name: 3}


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="is no live layer or model"):
        el.keras.accelerate("model.keras")
