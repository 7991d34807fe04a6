"""Files of tf.keras, where tf_keras is installed: both of its formats give one record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.models.comparing import without_backend

from einloom.keras.models import TensorRef, read_model
from einloom.keras.models.kinds import Unknown, kind_of

keras = pytest.importorskip("tf_keras")
L = keras.layers

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]


def functional() -> Any:
    inner_input = keras.Input((4, 6))
    shared = L.Dense(6, name="shared")
    inner = keras.Model(inner_input, L.LayerNormalization()(shared(inner_input)), name="inner")
    a, b = keras.Input((4, 6), name="a"), keras.Input((4, 6), name="b")
    x, y = inner(a), inner(b)
    z = shared(L.Add()([x, y]))
    branch = [L.Dense(6, activation="relu", trainable=False), L.BatchNormalization(), L.Dense(6)]
    z = keras.Sequential(branch, name="branch")(z)
    z = L.MultiHeadAttention(2, 3, name="mha")(z, y, key=x)
    z = L.Attention(use_scale=True)([z, y]) * 2.0
    return keras.Model([a, b], [z, inner(z)])


def sequential() -> Any:
    layers = [L.Embedding(10, 4, input_length=5), L.Conv1D(3, 2, activation="hard_sigmoid")]
    return keras.Sequential([*layers, L.ReLU(6.0), L.LeakyReLU(0.1), L.Flatten(), L.Dense(3)])


@pytest.mark.parametrize("make", [functional, sequential])
def test_both_formats_agree(make: Any, tmp_path: Path) -> None:
    model = make()
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(w.shape).astype(w.dtype) for w in model.get_weights()])
    records = []
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        records.append(read_model(tmp_path / f"model{suffix}"))
    archive, file = records
    assert file.backend == "tensorflow"
    assert archive.keras_version == keras.__version__
    assert archive == without_backend(file)
    for layer in archive.layers:
        kind = kind_of(layer, archive.keras_version)
        is_operation = layer.class_name == "TFOpLambda"
        assert isinstance(kind, Unknown) == (is_operation or layer.model is not None)


def test_calls_of_nested_models_count_from_zero(tmp_path: Path) -> None:
    model = functional()
    model.save(tmp_path / "model.keras")
    record = read_model(tmp_path / "model.keras")
    (call,) = record.layer("mha").calls
    assert call.args == (TensorRef("branch"),)
    assert (call.kwargs["value"], call.kwargs["key"]) == (TensorRef("inner", 1), TensorRef("inner"))
    assert record.outputs[1] == TensorRef("inner", 2)  # type: ignore[index]
    np.testing.assert_array_equal(
        record.layer("mha").weight("value/kernel"), model.get_layer("mha").get_weights()[4]
    )
