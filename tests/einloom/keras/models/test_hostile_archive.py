"""Archives and configurations that are broken, lie, hold code, or make no model."""

from __future__ import annotations

import base64
import io
import marshal
import os
import pickle
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.einloom.keras.models.writing import (
    archive_bytes,
    called,
    dense_entry,
    functional,
    hdf5_bytes,
    input_entry,
    old_file,
    sequential,
    simple_config,
    simple_weights,
    tensor,
)

from einloom.keras.models import TensorRef, flow, limits, read_model, read_model_bytes
from einloom.keras.models.documents import frozen, read_json
from einloom_compiler.errors import EinloomError, ModelFileError, UnsupportedError


def refused(content: bytes, words: str) -> None:
    with pytest.raises(ModelFileError, match=words) as caught:
        read_model_bytes(content, "'m.keras'")
    assert isinstance(caught.value, EinloomError)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 1000


def test_the_honest_file_is_read() -> None:
    record = read_model_bytes(archive_bytes())
    assert (
        record.layer("d").weight("bias").tolist()
        == simple_weights()["layers/dense/vars/1"].tolist()
    )
    assert read_model_bytes(archive_bytes(compression=zipfile.ZIP_DEFLATED)) == record


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither a .keras archive nor an HDF5 file: it begins with b''"),
        (b"PK\x03\x04", "broken zip file"),
        (b"GIF89a" + bytes(100), "neither"),
        (b"\x89HDF\r\n\x1a\n", "broken HDF5 file"),
        (archive_bytes()[:300], "broken zip file"),
        (archive_bytes(without=["metadata.json"]), "no member 'metadata.json'"),
        (archive_bytes(without=["config.json"]), "no member 'config.json'"),
        (archive_bytes(without=["model.weights.h5"]), "no member 'model.weights.h5'"),
        (
            archive_bytes(without=["model.weights.h5"], extra={"model.weights.npz": b""}),
            "weights as an npz file",
        ),
        (archive_bytes(weights=b"no HDF5"), "broken HDF5 file"),
        (archive_bytes(extra={"../evil": b""}), "'../evil' of 'm.keras' has a name that leads out"),
        (archive_bytes(extra={"/etc/passwd": b""}), "leads out"),
        (archive_bytes(extra={"a\\..\\b": b""}), "leads out"),
        (archive_bytes(extra={"C:/evil": b""}), "leads out"),
        (archive_bytes(extra={"assets/state.pkl": b""}), "is a pickle"),
        (archive_bytes(extra={"assets/run.py": b""}), "Python code"),
        (archive_bytes(compression=zipfile.ZIP_BZIP2), "compressed by method 12"),
        (archive_bytes(version=None), "keras_version must be a text, not None"),
        (archive_bytes(version="latest"), "version 'latest' is none"),
        (archive_bytes(version="1.0.0"), r"Keras 1\.0\.0 wrote this model"),
        (hdf5_bytes({"a": simple_weights()["layers/dense/vars/1"]}), "holds no model_config"),
    ],
)
def test_no_model(content: bytes, words: str) -> None:
    refused(content, words)


def test_two_members_of_one_name() -> None:
    stream = io.BytesIO(archive_bytes())
    with zipfile.ZipFile(stream, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("config.json", "{}")
    refused(stream.getvalue(), "two members of the name 'config.json'")


def test_a_decompression_bomb() -> None:
    bomb = {"assets/zeros": bytes(2 * limits.COMPRESSION_FLOOR_BYTES)}
    refused(archive_bytes(compression=zipfile.ZIP_DEFLATED, extra=bomb), "a decompression bomb")


def test_too_many_members() -> None:
    extra = {f"assets/{n}": b"" for n in range(limits.MAX_ARCHIVE_MEMBERS)}
    refused(archive_bytes(extra=extra), "members; at most 10000 are read")


def test_a_member_whose_declared_size_is_another() -> None:
    content = bytearray(archive_bytes())
    # Both sizes of config.json in the central directory, 24 bytes into its header.
    start = content.rindex(b"PK\x01\x02", 0, content.rindex(b"config.json"))
    size = int.from_bytes(content[start + 24 : start + 28], "little")
    for offset in (20, 24):
        content[start + offset : start + offset + 4] = (size - 10).to_bytes(4, "little")
    refused(bytes(content), "broken zip file")


def test_an_encrypted_member() -> None:
    content = bytearray(archive_bytes())
    start = content.rindex(b"PK\x01\x02", 0, content.rindex(b"config.json"))
    content[start + 8] |= 1
    refused(bytes(content), "is encrypted")


def test_a_symlink_in_an_archive_is_a_member_like_others(tmp_path: Path) -> None:
    stream = io.BytesIO(archive_bytes())
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(stream, "a") as zipped:
        zipped.writestr(link, "/etc/passwd")
    path = tmp_path / "model.keras"
    path.write_bytes(stream.getvalue())
    read_model(path)
    assert [item.name for item in tmp_path.iterdir()] == ["model.keras"]


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive_bytes()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UnsupportedError, match=r"einloom\[keras-files\]"):
        read_model_bytes(content)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder, such as TensorFlow's SavedModel"):
        read_model(tmp_path)
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(ModelFileError, match="is no regular file"):
        read_model(tmp_path / "pipe.keras")
    with pytest.raises(ModelFileError, match=r"cannot read .*nowhere\.keras: No such file"):
        read_model(tmp_path / "nowhere.keras")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "nested more deeply|no JSON"),
        ("[" * 101 + "]" * 101, "nested more deeply than 100 levels"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "nested more deeply than 100 levels"),
        ('{"a": 1, "a": 2}', "key 'a' twice"),
        ('{"a": ' + "1" * 5000 + "}", "no JSON"),
        ("[" + " " * limits.MAX_JSON_BYTES + "]", "config.json .* bytes; at most"),
        ("\udcff".encode("utf-8", "surrogatepass").decode("latin-1"), "no JSON"),
        ("[]", "the model's configuration must be an object, not a list|must be an object"),
        ("{}", "a model's class_name must be a text, not None"),
        ({"class_name": 3}, "class_name must be a text, not 3"),
        ({"class_name": "MyModel", "config": {}}, "class 'MyModel' of its own, whose calls"),
        ({"class_name": "Sequential", "config": 3}, "must be an object, not 3"),
        ({"class_name": "Sequential", "config": {"layers": 3}}, "layers of .* must be a list"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "has no layers"),
        ({"class_name": "Sequential", "config": {"layers": ["Dense"]}}, "must be an object, not"),
        (sequential(input_entry("x", (None, 3)), dense_entry("", 4)), "'', which is no name"),
        (sequential(input_entry("x", (None, 3)), dense_entry("a\n", 4)), "which is no name"),
        (sequential(dense_entry("d", 4), dense_entry("d", 4)), "two layers of the name 'd'"),
        (sequential(dense_entry("d", -4)), r"'d' \(Dense\): units must be a whole number"),
        (sequential(dense_entry("d", 2**40)), "units must be a whole number from 1 to"),
        (sequential(dense_entry("d", True)), "units must be a whole number"),
        (sequential(dense_entry("d", 4, use_bias="yes")), "use_bias must be true or false"),
        (sequential(dense_entry("d", 4, dtype=[1])), "the dtype of layer 'd' must be an object"),
        (
            sequential(input_entry("x", (None, 3)), input_entry("y", (None, 3))),
            "an InputLayer after its first",
        ),
        (sequential(input_entry("x", [None, "3"]), dense_entry("d", 4)), "batch_shape must be a"),  # type: ignore[list-item]
        (
            sequential(input_entry("x", (None, 5)), dense_entry("d", 4)),
            r"\(3, 4\).* needs \(5, 4\)",
        ),
        (sequential(input_entry("x", (4,)), dense_entry("d", 4)), "Dense takes rank 2 or more"),
    ],
)
def test_configurations_that_make_no_model(config: Any, words: str) -> None:
    refused(archive_bytes(config), words)


def graph(*layers: dict[str, Any], outputs: Any = None, inputs: Any = None) -> bytes:
    x = called(input_entry("x", (None, 3)))
    inputs = [["x", 0, 0]] if inputs is None else inputs
    outputs = [["d", 0, 0]] if outputs is None else outputs
    return archive_bytes(functional([x, *layers], inputs, outputs))


D = called(dense_entry("d", 4), tensor("x"))


def merged(*refs: dict[str, Any]) -> dict[str, Any]:
    entry = {"module": "keras.layers", "class_name": "Add", "config": {"name": "add"}}
    return called(entry, list(refs))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (graph(called(dense_entry("d", 4), tensor("y"))), "a layer 'y', which the model does not"),
        (graph(called(dense_entry("d", 4), tensor("x", 1))), "call 1 of layer 'x', which has 1"),
        (graph(called(dense_entry("d", 4), tensor("x", 0, 1))), "output 1 of layer 'x'"),
        (graph(called(dense_entry("d", 4), tensor("x", -1))), "names call -1"),
        (graph(called(dense_entry("d", 4), 3.0)), "is called without a tensor"),
        (graph(D, outputs=[["d", 1, 0]]), "outputs of model 'model' names call 1"),
        (graph(D, outputs=[["e", 0, 0]]), "names a layer 'e'"),
        (graph(D, outputs=[]), "has no outputs"),
        (graph(D, outputs=3), "output_layers of model 'model' must be lists"),
        (graph(D, inputs=[["d", 0, 0]]), "input d of model 'model' is no InputLayer"),
        (graph(D, inputs=[]), "has no inputs"),
        (graph({**D, "inbound_nodes": 3}), "inbound_nodes of layer 'd' must be a list"),
        (graph({**D, "inbound_nodes": [3]}), "a node in inbound_nodes of layer 'd' must be a list"),
        (graph({**D, "inbound_nodes": [{"args": 3}]}), "args in .* must be a list"),
        (graph({**D, "inbound_nodes": [[["x", 0]]]}), "has 2 parts; expected 3 or 4"),
        (graph(D, {**D, "name": "d"}), "two layers of the name 'd'"),
        (
            graph(called(dense_entry("d", 4), tensor("d"))),
            "the layers of model 'model' form a ring",
        ),
        (
            graph(called(dense_entry("d", 4), tensor("add")), merged(tensor("x"), tensor("d"))),
            "waits for its own output: the layers of model 'model' form a ring",
        ),
        (
            graph(called(input_entry("y", (None, 3))), merged(tensor("y"), tensor("d")), D),
            "takes 'y', which is none of the inputs",
        ),
        (
            graph(D, merged(tensor("x"), tensor("d"))),
            "layer 'add': add of shapes .*extents 3 and 4 differ",
        ),
    ],
)
def test_connections_that_make_no_model(content: bytes, words: str) -> None:
    refused(content, words)


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = simple_config()
    for _ in range(depth):
        inner = sequential(input_entry("x", (None, 3)), inner)
    return inner


def test_models_nested_too_deeply() -> None:
    refused(archive_bytes(nested(limits.MAX_MODEL_DEPTH)), "nested more deeply than 12 levels")


def test_layers_wrapped_too_deeply_or_in_nothing() -> None:
    def steps(inner: Any) -> dict[str, Any]:
        outer = dense_entry("t", 2)
        return {**outer, "class_name": "TimeDistributed", "config": {"name": "t", "layer": inner}}

    def model(layer: dict[str, Any]) -> bytes:
        return archive_bytes(sequential(input_entry("x", (None, 3, 4)), layer))

    inner = dense_entry("d", 2)
    for _ in range(limits.MAX_MODEL_DEPTH + 1):
        inner = steps(inner)
    refused(model(inner), "wrapped more deeply than 12 levels")
    refused(model(steps(3)), "the layer in 't' must be an object")


def test_nested_models_that_call_each_other_exponentially_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each level calls the next one on two inputs of different widths, so that no shape repeats."""
    monkeypatch.setattr("einloom.keras.models.dataflow.MAX_CALLS", 200)
    identity = {"module": "keras.layers", "class_name": "Identity", "config": {"name": "d"}}
    model = functional(
        [called(input_entry("x", (None, 3))), called(identity, tensor("x"))],
        [["x", 0, 0]],
        [["d", 0, 0]],
    )
    for level in range(8):
        wide = {"module": "keras.layers", "class_name": "Concatenate", "config": {"axis": -1}}
        wide["config"] = {"name": "wide", "axis": -1}
        inner = {**model, "name": "inner", "config": {**model["config"], "name": "inner"}}
        inner["inbound_nodes"] = [
            {"args": [tensor("x")], "kwargs": {}},
            {"args": [tensor("wide")], "kwargs": {}},
        ]
        layers = [
            called(input_entry("x", (None, 3))),
            called(wide, [tensor("x")] * (level + 2)),
            inner,
        ]
        model = functional(layers, [["x", 0, 0]], [["inner", 2, 0]])
    refused(archive_bytes(model), "amount to more than 200 calls")


BYTE_CODE = base64.encodebytes(marshal.dumps((lambda x: x + 1).__code__)).decode()
PICKLE = base64.b64encode(pickle.dumps({"x": list(range(100))})).decode()
LAMBDA = {"class_name": "__lambda__", "config": {"value": {"code": BYTE_CODE, "defaults": None}}}


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil"}},
        {"class_name": "Lambda", "config": {"name": "evil", "function_type": "lambda"}},
        dense_entry("evil", 4, activation=LAMBDA),
        dense_entry("evil", 4, kernel_initializer=LAMBDA),
        dense_entry("evil", 4, activation={"class_name": "function", "config": BYTE_CODE}),
        dense_entry("evil", 4, activation={"class_name": "function", "config": PICKLE}),
        dense_entry("evil", 4, bias_initializer={"function_type": "lambda"}),
    ],
)
def test_code_is_refused_by_name(entry: dict[str, Any]) -> None:
    words = "layer 'evil' holds Python code .*never run here"
    refused(archive_bytes(sequential(input_entry("x", (None, 3)), entry)), words)
    legacy = {"class_name": "Sequential", "config": {"name": "m", "layers": [entry]}}
    refused(old_file(legacy, {}), words)
    refused(archive_bytes(sequential(sequential(entry))), words)


@pytest.mark.parametrize(
    "entry",
    [
        {
            "module": "my.package",
            "class_name": "Dense",
            "registered_name": "my>Dense",
            "config": {"name": "d", "units": "as I like", "code": "import os"},
        },
        {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "d", "units": None}},
        {"module": "builtins", "class_name": "exec", "config": {"name": "d"}},
    ],
)
def test_layers_that_are_not_known_are_kept_as_records(entry: dict[str, Any]) -> None:
    config = sequential(input_entry("x", (None, 3)), entry)
    weights = {f"layers/{entry['class_name'].lower()}/inner/vars/{n}": [n] for n in (10, 2, 0)}
    record = read_model_bytes(
        archive_bytes(config, {path: simple_weights()["layers/dense/vars/1"] for path in weights})
    )
    layer = record.layer("d")
    assert layer.config == frozen(entry["config"])
    assert [w.name for w in layer.weights] == ["inner/vars/0", "inner/vars/2", "inner/vars/10"]


def test_json_values_are_immutable() -> None:
    value = read_json('{"a": [1, {"b": null}]}', "text")
    assert value == {"a": (1, {"b": None})}
    with pytest.raises(TypeError):
        value["a"] = 1  # type: ignore[index]
    with pytest.raises(ModelFileError, match="holds a bytes"):
        frozen({"a": b""})
    with pytest.raises(ModelFileError, match="the key 1"):
        frozen({1: 2})


def squaring(n_steps: int, length: int | None) -> bytes:
    """Return a model whose layers square the length of a sequence, step by step."""

    def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
        config = {"name": name, "trainable": True, **config}
        return {"module": "keras.layers", "class_name": class_name, "config": config}

    layers = [called(input_entry("x", (None, length, 1)))]
    last = "x"
    for n in range(n_steps):
        pooled, product, flat, column = (f"{word}_{n}" for word in ("p", "d", "f", "c"))
        pool = {"pool_size": 3, "strides": 1, "padding": "valid"}
        layers += [
            called(layer("MaxPooling1D", pooled, **pool), tensor(last)),
            called(layer("Dot", product, axes=[2, 2]), [tensor(pooled), tensor(pooled)]),
            called(layer("Flatten", flat), tensor(product)),
            called(layer("Reshape", column, target_shape=[-1, 1]), tensor(flat)),
        ]
        last = column
    return archive_bytes(functional(layers, [["x", 0, 0]], [[last, 0, 0]]), {})


def test_extents_that_grow_without_bound_become_symbols() -> None:
    record = read_model_bytes(squaring(30, None))
    shapes = flow(record).shapes
    assert max(len(str(extent)) for shape in shapes.values() for extent in shape) < 200
    assert str(shapes[TensorRef("f_0")][1]) == "(x_1 - 2)**2"


def test_extents_that_no_machine_can_hold() -> None:
    refused(squaring(30, 1000), "an axis of more than 2..62 elements")
