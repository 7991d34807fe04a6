"""Cut models from files of anybody's: names that are none, code in odd places, edges of shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.models.writing import (
    archive_bytes,
    called,
    dense_entry,
    functional,
    input_entry,
    sequential,
    simple_weights,
    tensor,
)

import einloom as el
from einloom.aot.naming import identifiers
from einloom.aot.piece_example import example
from einloom.aot.pieces import BuiltPieces, names_of_outside
from einloom.keras.lowering.target import lowered
from einloom.keras.models import ModelRecord, read_model_bytes
from einloom.keras.pieces.described import description, told
from einloom.keras.pieces.plan import Plan
from einloom.keras.pieces.splitting import split
from einloom_compiler.errors import ModelFileError, SpecError, UnsupportedError

KERNEL, BIAS = simple_weights().values()
#: Names that no file of a folder, no identifier and no text of a program should be made of.
NAMES = (
    *("../../evil", "/etc/passwd", "a b; rm -rf", "quote'", '"""', "größe", "class", "a.b", "a-b"),
    *("é" * 4000, "__import__('os')", "{x}", "con", "%s", "\\", "einloom", "0"),
)


def own_entry(name: str, class_name: str = "Evil", **more: Any) -> dict[str, Any]:
    entry = {"module": "my.package", "class_name": class_name, "registered_name": class_name}
    return {**entry, "config": {"name": name, "dtype": "float32", **more}}


def record_with(name: str, class_name: str = "Evil") -> ModelRecord:
    """Return a model whose input, own layer and dense layer bear a name."""
    layers = [
        called(input_entry(f"{name}x", (None, 4))),
        called(own_entry(name, class_name), tensor(f"{name}x")),
        called(dense_entry(f"{name}d", 4), tensor(name)),
    ]
    config = functional(layers, [[f"{name}x", 0, 0]], [[f"{name}d", 0, 0]])
    kernel = np.ones((4, 4), np.float32)
    weights = {"layers/dense/vars/0": kernel, "layers/dense/vars/1": BIAS}
    weights |= {"layers/evil/vars/0": kernel}
    return read_model_bytes(archive_bytes(config, weights))


def program_of(plan: Plan) -> str:
    """Return the example that would stand beside the pieces."""
    described = description(plan, [f"f_{n}" for n in range(len(plan.pieces))])
    json.dumps(described)
    assert told(described)
    names = names_of_outside(plan)
    assert all(len(name.encode()) < 200 for name in names.values())
    for step in described["steps"]:
        if "layer" in step:
            step["weights"] = None
    return example("f", described, names)


@pytest.mark.parametrize("name", NAMES)
def test_names_become_literals_and_identifiers(name: str) -> None:
    plan = split(record_with(name))
    assert [step.path for step in plan.outside] == [name]
    compile(program_of(plan), "example.py", "exec")
    for made in identifiers([name, f"{name}x", name]):
        assert made.isidentifier()


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    home = tmp_path / "a" / "f"
    built = el.aot.build(record_with("../../evil"), home, cut=True, cpu="native", batch=1)
    assert isinstance(built, BuiltPieces)
    assert [path.name for path in tmp_path.rglob("*evil*")] == ["x______evil.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    (found,) = built.load().join({"../../evil": lambda x: x})(np.ones((1, 4), np.float32))
    expected = np.maximum(np.ones((1, 4)) @ np.ones((4, 4)) + BIAS, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with np.load(home / "outside" / "x______evil.npz") as weights:
        assert list(weights) == ["vars/0"]


@pytest.mark.parametrize(
    "name", ["../f", "a/b", "", ".", "f\n", "ö", "class", "input", "1f", "a b"]
)
def test_names_of_libraries_are_identifiers(name: str, tmp_path: Path) -> None:
    for settings in ({"cut": True}, {}):
        with pytest.raises(SpecError, match="must be an identifier"):
            el.aot.build(record_with("own"), tmp_path / "g", name=name, **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_class_names_are_printable() -> None:
    with pytest.raises(ModelFileError, match=r"class_name is .* which is no name"):
        record_with("own", "Evil\nimport os")


LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wEAAA", "defaults": None}}
X = input_entry("x", (None, 3))


@pytest.mark.parametrize(
    "config",
    [
        {**sequential(X, dense_entry("d", 4)), "compile_config": {"loss": LAMBDA}},
        functional(
            [called(X), called(dense_entry("d", 4), tensor("x"), extra=LAMBDA)],
            [["x", 0, 0]],
            [["d", 0, 0]],
        ),
        sequential(X, {**sequential(X, dense_entry("d", 4)), "build_config": LAMBDA}),
    ],
)
def test_code_beside_layers_is_refused(config: Any) -> None:
    content = archive_bytes(config)
    with pytest.raises(ModelFileError, match="holds Python code"):
        read_model_bytes(content, leaves_out_code=True)


def test_code_in_a_layer_is_left_out() -> None:
    entry = dense_entry("mine", 4, activation=LAMBDA)
    kernel, bias = np.ones((3, 4), np.float32), np.ones(4, np.float32)
    weights = {"layers/dense/vars/0": kernel, "layers/dense/vars/1": bias}
    within = {f"layers/sequential/{path}": array for path, array in weights.items()}
    content = archive_bytes(sequential(X, sequential(X, entry)), within)
    with pytest.raises(ModelFileError, match="layer 'mine' holds Python code"):
        read_model_bytes(content)
    record = read_model_bytes(content, leaves_out_code=True)
    inner = record.layers[1].model
    assert inner is not None
    layer = inner.layer("mine")
    assert layer.origin == "code"
    assert "activation" not in layer.config
    assert [weight.name for weight in layer.weights] == ["vars/0", "vars/1"]


@pytest.mark.parametrize(
    "shape", [[None, 2**40], [None, -1], [None, "3"], [None, 1.5], [None] * 40]
)
def test_stated_shapes_are_checked(shape: Any) -> None:
    behind = {**dense_entry("d", 4), "build_config": {"input_shape": shape}}
    with pytest.raises(ModelFileError, match="has the shape"):
        read_model_bytes(archive_bytes(sequential(X, own_entry("own"), behind)))


def test_stated_shapes_must_fit_the_weights_behind() -> None:
    behind = {**dense_entry("d", 4), "build_config": {"input_shape": [None, 7]}}
    with pytest.raises(ModelFileError, match=r"\(3, 4\).* needs \(7, 4\)"):
        read_model_bytes(archive_bytes(sequential(X, own_entry("own"), behind)))
    behind["build_config"] = {"input_shape": [[None, 3], [None, 3]]}
    record = read_model_bytes(archive_bytes(sequential(X, own_entry("own"), behind)))
    with pytest.raises(UnsupportedError, match="shape of what layer 'own' gives is not known"):
        split(record)
    assert len(split(record, given={"own": (None, 3)}).pieces) == 1


def test_recurrent_layers_with_odd_configurations_have_no_shape() -> None:
    for config in ({"units": -1}, {"units": True}, {"units": 2**40}, {"units": "3"}, {}):
        lstm = {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "m", **config}}
        both = {"module": "keras.layers", "class_name": "Bidirectional", "config": {"name": "m"}}
        both["config"]["layer"] = {"class_name": "LSTM", "config": config}  # type: ignore[index]
        for entry in (lstm, both):
            model = sequential(input_entry("x", (None, 5, 3)), entry, dense_entry("d", 4))
            with pytest.raises(UnsupportedError, match="shape of what layer 'm' gives"):
                split(read_model_bytes(archive_bytes(model)))


def test_an_output_that_no_layer_gives_is_refused() -> None:
    layers = [called(X), called(dense_entry("d", 4), tensor("x"))]
    layers.append(called(dense_entry("e", 4), tensor("d", 0, 3)))
    kernel = np.ones((4, 4), np.float32)
    weights = {**simple_weights(), "layers/dense_1/vars/0": kernel, "layers/dense_1/vars/1": BIAS}
    content = archive_bytes(functional(layers, [["x", 0, 0]], [["e", 0, 0]]), weights)
    with pytest.raises(ModelFileError, match="needs an output that no call of a layer gives"):
        split(read_model_bytes(content))


def test_a_sparse_input_is_named() -> None:
    sparse = input_entry("x", (None, 3))
    sparse["config"]["sparse"] = True
    with pytest.raises(UnsupportedError, match="input 'x' of 'model'"):
        split(read_model_bytes(archive_bytes(sequential(sparse, dense_entry("d", 4)))))


def test_a_bidirectional_layer_of_nothing_known_has_no_shape() -> None:
    inners: tuple[Any, ...] = ({}, {"class_name": []}, {"class_name": {}, "config": {}}, 3)
    for inner in inners:
        both = {"module": "keras.layers", "class_name": "Bidirectional"}
        entry = {**both, "config": {"name": "m", "layer": inner}}
        model = sequential(input_entry("x", (None, 5, 3)), entry, dense_entry("d", 4))
        with pytest.raises(UnsupportedError, match="shape of what layer 'm' gives"):
            split(read_model_bytes(archive_bytes(model)))


@pytest.mark.parametrize(
    ("class_name", "argument"),
    [
        ("GetItem", {"class_name": "__slice__"}),
        ("GetItem", {"class_name": "__slice__", "config": {"step": 0}}),
        (
            "Add",
            {"class_name": "__numpy__", "config": {"value": [[1], [2, 3]], "dtype": "float32"}},
        ),
        ("Add", {"class_name": "__numpy__", "config": {}}),
        ("Reshape", "no shape"),
    ],
)
def test_malformed_settings_of_an_operation_name_it(class_name: str, argument: Any) -> None:
    config = {"name": "op", "newshape": argument}
    entry = {"module": "keras.src.ops.numpy", "class_name": class_name, "config": config}
    layers = [called(X), called(entry, tensor("x"), argument)]
    record = read_model_bytes(archive_bytes(functional(layers, [["x", 0, 0]], [["op", 0, 0]]), {}))
    with pytest.raises(UnsupportedError, match=r"'op' \(\w+\) of model 'model' cannot be compiled"):
        lowered(record)
    assert [step.path for step in split(record).outside] == ["op"]
