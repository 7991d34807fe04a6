"""Files as Keras 2 wrote them, made by hand.

Facts: ``keras/engine/saving.py``, ``sequential.py`` and ``network.py`` of Keras 2.2.4: the class
``Model``, ``batch_input_shape``, nodes as lists, nested models whose first call is number 1, and
(before 2.2.3) the bare list of a Sequential model's layers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.einloom.keras.models.writing import old_file

from einloom.keras.models import TensorRef, flow, read_model_bytes
from einloom.keras.models.kinds import Kind, Unknown, kind_of
from einloom.keras.models.kinds.activation import Activation, Function
from einloom.keras.models.kinds.dense import Dense
from einloom.keras.models.kinds.wrapping import TimeDistributed
from einloom_compiler.errors import ModelFileError


def array(*shape: int) -> npt.NDArray[Any]:
    return np.random.default_rng(sum(shape)).random(shape).astype(np.float32)


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, "trainable": True, **config}}


def dense(name: str, units: int, **config: Any) -> dict[str, Any]:
    return layer("Dense", name, units=units, activation="linear", use_bias=True, **config)


def in_graph(entry: dict[str, Any], *nodes: Any) -> dict[str, Any]:
    return {**entry, "name": entry["config"]["name"], "inbound_nodes": list(nodes)}


FIRST = {
    **dense("dense_1", 4, batch_input_shape=[None, 3], dtype="float32"),
}
WEIGHTS = {
    "dense_1": {"dense_1/kernel:0": array(3, 4), "dense_1/bias:0": array(4)},
    "batch_normalization_1": {
        f"batch_normalization_1/{name}:0": array(4)
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    },
    "activation_1": {},
}
NORM = layer("BatchNormalization", "batch_normalization_1", axis=-1, epsilon=1e-3, momentum=0.99)
HARD = layer("Activation", "activation_1", activation="hard_sigmoid")


@pytest.mark.parametrize("is_bare", [True, False], ids=["before 2.2.3", "2.2.4"])
def test_a_sequential_model(is_bare: bool) -> None:
    layers = [FIRST, NORM, HARD]
    config = layers if is_bare else {"name": "sequential_1", "layers": layers}
    record = read_model_bytes(
        old_file({"class_name": "Sequential", "config": config}, WEIGHTS), "old"
    )
    assert (record.keras_version, record.backend) == ("2.2.4", "tensorflow")
    assert [item.class_name for item in record.layers] == [
        "InputLayer",
        "Dense",
        "BatchNormalization",
        "Activation",
    ]
    assert record.inputs == TensorRef("dense_1_input")
    assert record.outputs == TensorRef("activation_1")
    assert record.layer("dense_1_input").config["batch_input_shape"] == (None, 3)
    np.testing.assert_array_equal(
        record.layer("dense_1").weight("kernel"), WEIGHTS["dense_1"]["dense_1/kernel:0"]
    )
    assert [w.name for w in record.layer("batch_normalization_1").weights] == [
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ]


def test_hard_sigmoid_had_another_slope() -> None:
    file = old_file({"class_name": "Sequential", "config": [FIRST, NORM, HARD]}, WEIGHTS)
    record = read_model_bytes(file)
    kind = kind_of(record.layer("activation_1"), record.keras_version)
    assert kind == Activation(Function("hard_sigmoid", (("slope", 0.2),)))


def functional_config() -> dict[str, Any]:
    inner = {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": [
                in_graph(layer("InputLayer", "input_2", batch_input_shape=[None, 4])),
                in_graph(dense("dense_2", 4), [["input_2", 0, 0, {}]]),
                in_graph({**NORM, "config": {**NORM["config"]}}, [["dense_2", 0, 0, {}]]),
                in_graph(dense("dense_3", 4), [["batch_normalization_1", 0, 0, {}]]),
            ],
            "input_layers": [["input_2", 0, 0]],
            "output_layers": [["dense_3", 0, 0]],
        },
    }
    layers = [
        in_graph(layer("InputLayer", "input_1", batch_input_shape=[None, 3], dtype="float32")),
        in_graph(dense("dense_1", 4), [["input_1", 0, 0, {}]]),
        {**inner, "name": "model_1", "inbound_nodes": [[["dense_1", 0, 0, {}]], [["add", 0, 0]]]},
        in_graph(layer("Add", "add"), [["dense_1", 0, 0, {}], ["model_1", 1, 0, {}]]),
        in_graph(
            layer("Dot", "dot_1", axes=-1, normalize=False),
            [["model_1", 2, 0, {}], ["dense_1", 0, 0, {}]],
        ),
    ]
    config = {"name": "model_2", "layers": layers, "input_layers": [["input_1", 0, 0]]}
    config["output_layers"] = [["dot_1", 0, 0], ["model_1", 2, 0]]
    return {"class_name": "Model", "config": config}


INNER_NAMES = ("dense_2/kernel:0", "dense_2/bias:0")
INNER = {
    "dense_2/kernel:0": array(4, 4),
    "dense_2/bias:0": array(4),
    "batch_normalization_1/gamma:0": np.ones(4, np.float32),
    "batch_normalization_1/beta:0": 2 * np.ones(4, np.float32),
    "dense_3/kernel:0": 3 * array(4, 4),
    "dense_3/bias:0": 3 * array(4),
    "batch_normalization_1/moving_mean:0": 4 * np.ones(4, np.float32),
    "batch_normalization_1/moving_variance:0": 5 * np.ones(4, np.float32),
}


def test_a_functional_model_with_a_nested_one_called_twice() -> None:
    weights = {"dense_1": WEIGHTS["dense_1"], "model_1": INNER}
    record = read_model_bytes(old_file(functional_config(), weights))
    assert record.outputs == (TensorRef("dot_1"), TensorRef("model_1", 1))
    add = record.layer("add")
    assert add.calls[0].args == ((TensorRef("dense_1"), TensorRef("model_1", 0)),)
    inner = record.layer("model_1").model
    assert inner is not None
    held = {f"{x.name}/{w.name}:0": w.array for x in inner.layers for w in x.weights}
    assert held.keys() == INNER.keys()
    for name, value in held.items():
        np.testing.assert_array_equal(value, INNER[name])
    assert isinstance(kind_of(record.layer("dense_1"), "2.2.4"), Dense)


def test_an_untrained_layer_of_a_nested_model_is_listed_last() -> None:
    config = functional_config()
    nested = config["config"]["layers"][2]["config"]
    nested["layers"][1]["config"]["trainable"] = False
    order = [*list(INNER)[2:6], *INNER_NAMES, *list(INNER)[6:]]
    moved = {name: INNER[name] for name in order}
    record = read_model_bytes(old_file(config, {"dense_1": WEIGHTS["dense_1"], "model_1": moved}))
    inner = record.layer("model_1").model
    assert inner is not None
    np.testing.assert_array_equal(
        inner.layer("dense_3").weight("kernel"), INNER["dense_3/kernel:0"]
    )
    np.testing.assert_array_equal(
        inner.layer("dense_2").weight("kernel"), INNER["dense_2/kernel:0"]
    )


def test_a_nested_model_with_a_layer_that_is_not_known() -> None:
    config = functional_config()
    nested = config["config"]["layers"][2]["config"]
    nested["layers"][1] = in_graph(layer("LSTM", "lstm_1"), [["input_2", 0, 0, {}]])
    nested["layers"][2]["inbound_nodes"] = [[["lstm_1", 0, 0, {}]]]
    inner = {"lstm_1/kernel:0": array(4, 16), "lstm_1/recurrent_kernel:0": array(4, 16)}
    inner |= {name: value for name, value in INNER.items() if name not in INNER_NAMES}
    record = read_model_bytes(old_file(config, {"dense_1": WEIGHTS["dense_1"], "model_1": inner}))
    model = record.layer("model_1").model
    assert model is not None
    assert [w.name for w in model.layer("lstm_1").weights] == ["kernel", "recurrent_kernel"]
    assert [w.name for w in model.layer("batch_normalization_1").weights] == [
        *("gamma", "beta"),
        *("moving_mean", "moving_variance"),
    ]
    assert not isinstance(kind_of(model.layer("lstm_1"), "2.2.4"), Kind)


def test_keyword_tensors_and_constants_of_tf_keras() -> None:
    mha = layer("MultiHeadAttention", "mha", num_heads=2, key_dim=3, value_dim=3, use_bias=False)
    op = layer("TFOpLambda", "tf.math.multiply", function="math.multiply")
    layers = [
        in_graph(layer("InputLayer", "q", batch_input_shape=[None, 5, 4])),
        in_graph(layer("InputLayer", "v", batch_input_shape=[None, 6, 4])),
        in_graph(mha, [["q", 0, 0, {"value": ["v", 0, 0], "attention_mask": None}]]),
        in_graph(op, ["mha", 0, 0, {"y": ["_CONSTANT_VALUE", -1, 2.0], "name": None}]),
    ]
    config: dict[str, Any] = {"name": "m", "layers": layers}
    config |= {
        "input_layers": [["q", 0, 0], ["v", 0, 0]],
        "output_layers": [[op["config"]["name"], 0, 0]],
    }
    weights = {
        "mha": {
            "mha/query/kernel:0": array(4, 2, 3),
            "mha/key/kernel:0": array(4, 2, 3),
            "mha/value/kernel:0": array(4, 2, 3),
            "mha/attention_output/kernel:0": array(2, 3, 4),
        }
    }
    record = read_model_bytes(
        old_file({"class_name": "Functional", "config": config}, weights, version="2.2.4-tf")
    )
    (call,) = record.layer("mha").calls
    assert call.args == (TensorRef("q"),)
    assert call.kwargs["value"] == TensorRef("v")
    assert record.layer("tf.math.multiply").calls[0].kwargs["y"] == 2.0
    assert record.layer("mha").weights[3].name == "attention_output/kernel"


def test_many_weight_names_are_split_over_attributes() -> None:
    import io

    import h5py

    content = old_file({"class_name": "Sequential", "config": [FIRST, NORM, HARD]}, WEIGHTS)
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        attributes = file["model_weights/dense_1"].attrs
        names = attributes["weight_names"]
        del attributes["weight_names"]
        attributes["weight_names0"], attributes["weight_names1"] = names[:1], names[1:]
    record = read_model_bytes(stream.getvalue())
    assert [w.name for w in record.layer("dense_1").weights] == ["kernel", "bias"]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "needs 2 weights, but the file holds 0"),
        ({"dense_1/kernel:0": array(3, 4)}, "needs 2 weights, but the file holds 1"),
        (
            {"dense_1/kernel:0": array(3, 5), "dense_1/bias:0": array(4)},
            r"weight 'kernel' of layer 'dense_1' \(Dense\) has shape \(3, 5\).* needs \(3, 4\)",
        ),
        (
            {"dense_1/gamma:0": array(3, 4), "dense_1/beta:0": array(4)},
            "needs the weights kernel, bias, but the file lists dense_1/gamma:0",
        ),
    ],
)
def test_weights_that_do_not_fit(weights: dict[str, Any], words: str) -> None:
    file = old_file({"class_name": "Sequential", "config": [FIRST]}, {"dense_1": weights})
    with pytest.raises(ModelFileError, match=words):
        read_model_bytes(file)


def test_keras_1_is_named() -> None:
    file = old_file({"class_name": "Sequential", "config": [FIRST]}, {}, version="1.2.2")
    with pytest.raises(ModelFileError, match=r"Keras 1\.2\.2 wrote this model.*Keras 2\.2\.4"):
        read_model_bytes(file)


def test_kernels_of_theano_are_turned_round() -> None:
    conv = layer("Conv1D", "c", filters=2, kernel_size=[3], batch_input_shape=[None, 7, 4])
    kernel = array(3, 4, 2)
    weights = {"c": {"c/kernel": kernel, "c/bias": array(2)}}
    config = {"class_name": "Sequential", "config": [conv]}
    for backend, expected in (("theano", kernel[::-1]), ("tensorflow", kernel)):
        record = read_model_bytes(old_file(config, weights, backend=backend))
        np.testing.assert_array_equal(record.layer("c").weight("kernel"), expected)


def test_wrapped_layers_of_keras_2() -> None:
    """Their kernels are turned round, too; masks are known where the layer keeps positions."""
    conv = layer("Conv1D", "c", filters=2, kernel_size=[3])
    kernel = array(3, 4, 2)
    steps = layer("TimeDistributed", "t", layer=conv, batch_input_shape=[None, 5, 7, 4])
    weights = {"t": {"t/kernel": kernel, "t/bias": array(2)}}
    config = {"class_name": "Sequential", "config": [steps]}
    record = read_model_bytes(old_file(config, weights, backend="theano"))
    np.testing.assert_array_equal(record.layer("t").weight("layer/kernel"), kernel[::-1])
    kind = kind_of(record.layer("t"), "2.2.4")
    assert isinstance(kind, TimeDistributed)
    assert not kind.keeps_mask
    for inner, words in (
        (layer("Masking", "m", mask_value=0.0), "gives each step a mask"),
        (layer("Add", "a"), "takes other than one tensor"),
        (layer("GRU", "g", units=2), "it wraps 'g': the layer GRU is not interpreted"),
    ):
        steps["config"]["layer"] = inner
        record = read_model_bytes(old_file(config, {"t": {}}))
        found = kind_of(record.layer("t"), "2.2.4")
        assert isinstance(found, Unknown)
        assert words in found.reason


@pytest.mark.parametrize(
    ("version", "words"), [("2.2.4", "two meanings"), ("2.2.4-tf", "two meanings"), ("2.2.5", None)]
)
def test_the_release_settles_what_dot_means(version: str, words: str | None) -> None:
    dot = layer("Dot", "dot", axes=[3, 2], normalize=False)
    layers = [
        in_graph(layer("InputLayer", "x", batch_input_shape=[10, 12, 4, 5])),
        in_graph(layer("InputLayer", "y", batch_input_shape=[10, 12, 5, 8])),
        in_graph(dot, [["x", 0, 0, {}], ["y", 0, 0, {}]]),
    ]
    config: dict[str, Any] = {"name": "m", "layers": layers}
    config |= {"input_layers": [["x", 0, 0], ["y", 0, 0]], "output_layers": [["dot", 0, 0]]}
    file = old_file({"class_name": "Model", "config": config}, {}, version=version)
    if words is None:
        shapes = flow(read_model_bytes(file)).shapes
        assert shapes[TensorRef("dot")] == (10, 12, 4, 12, 8)
    else:
        with pytest.raises(ModelFileError, match=words):
            read_model_bytes(file)
