"""Real models of the installed Keras 3: their files and the live objects give one record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.models.comparing import without_backend

import einloom as el
from einloom.keras.models import ModelRecord, TensorRef, flow, read_model, record_from_keras
from einloom.keras.models.kinds import Unknown
from einloom.keras.models.record import references
from einloom_compiler.errors import ModelFileError, ShapeError, UnsupportedError
from einloom_compiler.extents import replaced, symbol

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras


def mlp() -> Any:
    return keras.Sequential(
        [keras.Input((6,)), L.Dense(8, "relu"), L.Dropout(0.5), L.Dense(3, "softmax")], name="mlp"
    )


def text() -> Any:
    layers = [L.Embedding(11, 4, mask_zero=True), L.Conv1D(5, 2), L.GlobalMaxPooling1D()]
    model = keras.Sequential([*layers, L.LeakyReLU(0.1), L.Dense(2, activation=L.ReLU(6.0))])
    model.build((None, 7))
    return model


def wrapping() -> Any:
    """Layers around layers, with weights of both kinds."""
    x = keras.Input((3, 8, 2))
    y = L.TimeDistributed(L.BatchNormalization(), name="steps")(
        L.TimeDistributed(L.Conv1D(4, 3))(x)
    )
    y = L.TimeDistributed(L.TimeDistributed(L.Dense(2, trainable=False)))(y)
    y = keras.src.applications.convnext.LayerScale(0.5, 2)(y)
    y = L.SpectralNormalization(L.Conv2D(3, 2, trainable=False))(y)
    return keras.Model(x, L.TimeDistributed(L.SpectralNormalization(L.Conv1D(3, 2)))(y))


def several() -> Any:
    """Shared layers, two inputs, named outputs, masks and keyword arguments."""
    a, b = keras.Input((5, 8), name="a"), keras.Input((6, 8), name="b")
    shared = L.Dense(8, name="shared")
    x, y = shared(a), shared(b)
    z = L.MultiHeadAttention(2, 4, name="mha")(x, y, use_causal_mask=True)
    w = L.MultiHeadAttention(2, 4, use_gate=True)(query=x, value=y, key=b)
    v = L.GroupQueryAttention(4, 4, 2)(z, y)
    u = L.Attention(use_scale=True)([w, y, b])
    merged = L.Concatenate()([z, w, v, u, L.AdditiveAttention()([x, y])])
    normed = L.BatchNormalization()(L.RMSNormalization()(L.LayerNormalization()(merged)))
    out = L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", activation="gelu")(normed)
    return keras.Model([a, b], {"second": out, "first": L.Flatten()(z)}, name="several")


def nesting() -> Any:
    """A nested model called three times, one of whose layers the outer model calls, too."""
    inner_input = keras.Input((4,))
    shared = L.Dense(4, name="shared")
    inner = keras.Model(inner_input, L.Dense(4)(shared(inner_input)), name="inner")
    a, b = keras.Input((4,)), keras.Input((4,))
    total = shared(L.Add()([inner(a), inner(b)]))
    branch = keras.Sequential([L.Dense(4), L.BatchNormalization(), L.Activation("tanh")])
    outer = keras.Model([a, b], [inner(total), branch(total)], name="outer")
    x = keras.Input((4,), name="x")
    first, second = outer([x, L.Dense(4)(x)])
    return keras.Model(x, L.Subtract()([second, first]), name="nesting")


def half_known() -> Any:
    """An operation without a layer, a recurrent layer, an untrained one."""
    x = keras.Input((5, 4))
    y = L.Bidirectional(L.LSTM(3))(x * 2.0)
    frozen = L.Dense(3, trainable=False)
    return keras.Model(x, [L.Dense(2)(frozen(y)), L.Dense(2)(y)], name="half")


def half_precision() -> Any:
    layers = [keras.Input((6,)), L.Dense(3, dtype="bfloat16"), L.Dense(2, dtype="mixed_float16")]
    return keras.Sequential(layers)


MODELS = [mlp, text, wrapping, several, nesting, half_known, half_precision]


def saved(model: Any, folder: Path, suffix: str) -> ModelRecord:
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(w.shape).astype(w.dtype) for w in model.get_weights()])
    path = folder / f"model{suffix}"
    model.save(path)
    return read_model(path)


@pytest.mark.parametrize("make", MODELS)
def test_archives(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    record = saved(model, tmp_path, ".keras")
    live = record_from_keras(model)
    assert without_names(record) == without_names(live)
    if make is not half_known:  # weights of a recurrent layer have other names in the archive
        assert record == live
    assert record.keras_version == keras.__version__


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("make", [m for m in MODELS if m is not half_precision])
def test_hdf5_files(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    record = saved(model, tmp_path, ".h5")
    assert record.backend == keras.backend.backend()
    assert without_backend(record) == record_from_keras(model)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_operations_with_a_dtype_of_their_own_are_no_layers(tmp_path: Path) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.ops.cast(keras.ops.cumsum(x, axis=1), "float16"))
    origins = [layer.origin for layer in saved(model, tmp_path, ".h5").layers]
    assert origins == ["layer", "operation", "operation"]


def without_names(model: ModelRecord) -> Any:
    """Return a record with the weights of layers that are not known as a sorted list of bytes."""
    layers = []
    for layer in model.layers:
        inner = without_names(layer.model) if layer.model else None
        values = sorted((w.shape, w.array.tobytes()) for w in layer.weights)
        layers.append((dataclasses.replace(layer, weights=(), model=None), values, inner))
    return dataclasses.replace(model, layers=()), layers


@pytest.mark.parametrize("make", [mlp, text, wrapping, several, nesting])
def test_shapes_through_the_model_are_those_of_its_results(make: Callable[[], Any]) -> None:
    model = make()
    record = record_from_keras(model)
    zeros = [np.zeros((3, *tensor.shape[1:]), np.float32) for tensor in model.inputs]
    results = model(zeros if len(zeros) > 1 else zeros[0])
    shapes = flow(record).shapes
    named = record.outputs if isinstance(record.outputs, Mapping) else {"": record.outputs}
    for name, ref in named.items():
        result = results[name] if isinstance(results, dict) else results
        assert isinstance(ref, TensorRef)
        found = tuple(replaced(extent, {"batch": 3}) for extent in shapes[ref])
        assert found == tuple(result.shape)


def test_what_stands_behind_an_unknown_layer_is_as_the_file_states() -> None:
    record = record_from_keras(half_known())
    state = flow(record)
    unknown = {name for name, kind in state.kinds.items() if isinstance(kind, Unknown)}
    assert len(unknown) == 2
    recurrent = next(name for name in unknown if "bidirectional" in name)
    assert state.shapes[TensorRef(recurrent)] == (symbol("batch"), 6)
    first = next(references(record.outputs))
    assert state.shapes[first] == (symbol("batch"), 2)


def test_calls_keep_their_arguments() -> None:
    record = record_from_keras(several())
    (call,) = record.layer("mha").calls
    assert call.args == (TensorRef("shared"), TensorRef("shared", 1))
    assert call.kwargs["use_causal_mask"] is True
    assert isinstance(record.outputs, Mapping)
    assert list(record.outputs) == ["second", "first"]
    assert record.inputs == (TensorRef("a"), TensorRef("b"))


def test_a_layer_alone_is_a_model_of_one_call() -> None:
    layer = L.Dense(3, name="d")
    with pytest.raises(UnsupportedError, match=r"'d' was never built.*give the shapes"):
        record_from_keras(layer)
    record = record_from_keras(layer, el.spec("B", 5))
    assert [item.name for item in record.layers] == ["input_0", "d"]
    assert record == record_from_keras(layer, (None, 5))
    np.testing.assert_array_equal(record.layer("d").weight("kernel"), layer.kernel.numpy())
    again = record_from_keras(layer)  # built for these shapes
    assert again.layer("d") == record.layer("d")


def test_layers_of_several_inputs_are_built_from_specs() -> None:
    record = record_from_keras(L.MultiHeadAttention(2, 3), (None, 5, 4), (None, 6, 4))
    assert record.layers[-1].calls[0].args == (TensorRef("input_0"), TensorRef("input_1"))
    record = record_from_keras(L.Attention(use_scale=True), (None, 5, 4), (None, 6, 4))
    assert record.layers[-1].calls[0].args == ((TensorRef("input_0"), TensorRef("input_1")),)
    assert record.layers[-1].weight("scale").shape == ()


def test_a_sequential_model_is_built_from_specs() -> None:
    model = keras.Sequential([L.Dense(3), L.Dense(2)], name="late")
    with pytest.raises(UnsupportedError, match="'late' was never built"):
        record_from_keras(model)
    record = record_from_keras(model, el.spec("B", 4))
    assert record.layers[1].weight("kernel").shape == (4, 3)
    with pytest.raises(ShapeError, match="cannot take inputs of shape"):
        record_from_keras(L.Dense(3), (2,))
    with pytest.raises(ShapeError, match=r"does not fit an input of shape \(2, 3, 4\)"):
        record_from_keras(L.EinsumDense("ab,bc->ac", 3), (2, 3, 4))


def test_weights_are_copies() -> None:
    layer = L.Dense(3)
    record = record_from_keras(layer, (2, 4))
    before = record.layers[-1].weight("kernel").copy()
    layer.kernel.assign(layer.kernel * 0 + 7)
    np.testing.assert_array_equal(record.layers[-1].weight("kernel"), before)
    with pytest.raises(ValueError, match="read-only"):
        record.layers[-1].weight("kernel")[0, 0] = 1


def test_an_adapted_layer_gives_its_merged_kernel(tmp_path: Path) -> None:
    model = mlp()
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones(model.layers[0].lora_kernel_b.shape))
    record = record_from_keras(model)
    merged = model.layers[0].kernel
    np.testing.assert_allclose(record.layers[1].weight("kernel"), merged, rtol=1e-6)


@keras.saving.register_keras_serializable(package="mine")
class Doubled(L.Dense):  # type: ignore[misc, name-defined]
    def call(self, inputs: Any) -> Any:
        return 2 * super().call(inputs)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_somebody_elses_layer_is_kept_as_a_record(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), Doubled(3, name="twice")])
    live = record_from_keras(model)
    for suffix in (".keras", ".h5"):
        record = saved(model, tmp_path, suffix)
        layer = record.layer("twice")
        assert (layer.class_name, layer.origin) == ("mine>Doubled", "custom")
        assert dataclasses.replace(layer, weights=()) == dataclasses.replace(
            live.layer("twice"), weights=()
        )
        assert [w.shape for w in layer.weights] == [(4, 3), (3,)]


class Own(keras.Model):  # type: ignore[misc, name-defined]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = L.Dense(3)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


@pytest.mark.filterwarnings("ignore:.*lambda.*")
def test_python_code_is_refused(tmp_path: Path) -> None:
    model = Own(name="own")
    model(np.zeros((2, 4), np.float32))
    model.save(tmp_path / "own.keras")
    with pytest.raises(ModelFileError, match="class 'Own' of its own, whose calls are Python code"):
        read_model(tmp_path / "own.keras")
    with pytest.raises(UnsupportedError, match="class 'Own' of its own"):
        record_from_keras(model)
    coded = keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x + 1, name="evil")])
    coded.save(tmp_path / "coded.keras")
    with pytest.raises(ModelFileError, match="layer 'evil' holds Python code"):
        read_model(tmp_path / "coded.keras")
    with pytest.raises(UnsupportedError, match="layer 'evil' holds Python code"):
        record_from_keras(coded)


@pytest.mark.parametrize("target", [3, "model", np.zeros(3), lambda x: x])
def test_what_is_no_keras_object(target: Any) -> None:
    with pytest.raises(UnsupportedError, match="is no layer or model of Keras 3"):
        record_from_keras(target)


def test_a_quantized_layer_is_not_known(tmp_path: Path) -> None:
    model = mlp()
    model.quantize("int8")
    record = saved_as_is(model, tmp_path)
    kind = flow(record).kinds[record.layers[1].name]
    assert isinstance(kind, Unknown)
    assert "quantized" in kind.reason


def saved_as_is(model: Any, folder: Path) -> ModelRecord:
    model.save(folder / "model.keras")
    return read_model(folder / "model.keras")
