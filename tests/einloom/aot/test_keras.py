"""Keras layers, models and their files as libraries, against Keras, with NumPy alone."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import einloom as el
from einloom.aot.building import Built
from einloom.aot.checking import CheckError, tolerance
from einloom.aot.keras_targets import keras_source
from einloom.cli import cli
from einloom_compiler.errors import ShapeError, SpecError, UnsupportedError

keras = pytest.importorskip("keras")
from keras import layers  # noqa: E402  (after the check that there is one)

pytestmark = [pytest.mark.keras, pytest.mark.thinned(3)]
#: Batch sizes at which every library is run.
BATCHES = (1, 2, 7, 32, 100)
#: The level for tests; sizes beyond the range need no code.
OPTIONS: dict[str, Any] = {"cpu": "x86-64-v3", "batch": (0, 100)}


def mlp() -> Any:
    """Return three dense layers, softmax at the end."""
    return keras.Sequential(
        [
            keras.Input((13,), name="pixels"),
            layers.Dense(33, activation="relu"),
            layers.Dense(17, activation="gelu"),
            layers.Dense(5, activation="softmax"),
        ]
    )


def normed() -> Any:
    """Return two normalisations around a dense layer."""
    inputs = keras.Input((9,))
    hidden = layers.Dense(12, activation="tanh")(layers.LayerNormalization()(inputs))
    both = layers.Add()([hidden, layers.Dense(12)(inputs)])
    return keras.Model(inputs, layers.LayerNormalization()(both))


def einsum_dense() -> Any:
    """Return an EinsumDense over two axes."""
    layer = layers.EinsumDense("abc,bcd->ad", output_shape=7, bias_axes="d", activation="silu")
    return keras.Sequential([keras.Input((3, 5)), layer])


def dot() -> Any:
    """Return a Dot of two inputs, and how long one of them is: two outputs."""
    a, b = keras.Input((4, 6), name="a"), keras.Input((5, 6), name="b")
    scores = layers.Dot(axes=2, name="scores")([a, b])
    return keras.Model([a, b], [scores, layers.Dense(3, name="head")(b)])


def pieces() -> Any:
    """Return a lookup, slices of it, and what joins them."""
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    found = layers.Embedding(11, 4)(tokens)
    joined = layers.Concatenate(axis=1)([found[:, 1:], found[:, ::-1]])
    return keras.Model(tokens, layers.Dense(3)(layers.Flatten()(joined)))


MODELS: dict[str, Callable[[], Any]] = {
    "mlp": mlp,
    "normed": normed,
    "einsum_dense": einsum_dense,
    "dot": dot,
    "pieces": pieces,
}


class Case(NamedTuple):
    arrays: list[np.ndarray[Any, Any]]
    expected: list[np.ndarray[Any, Any]]


def made(name: str) -> Any:
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def case_of(model: Any, n: int) -> Case:
    rng = np.random.default_rng(n)
    arrays = []
    for tensor in model.inputs:
        shape = (n, *tensor.shape[1:])
        is_whole = tensor.dtype == "int32"
        found = rng.integers(0, 11, shape) if is_whole else rng.standard_normal(shape)
        arrays.append(found.astype(tensor.dtype))
    results = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    listed = results if isinstance(results, list) else [results]
    return Case(arrays, [keras.ops.convert_to_numpy(result) for result in listed])


def check_alone(built: Any, cases: Sequence[Case], folder: Path) -> None:
    """Run a library where NumPy is all there is, and compare it with Keras."""
    assert isinstance(built, Built)
    packages = folder / "packages"
    packages.mkdir()
    home = Path(np.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (home / name).exists():
            (packages / name).symlink_to(home / name)
    given = {f"i{c}_{n}": a for c, case in enumerate(cases) for n, a in enumerate(case.arrays)}
    np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]
    script = f"""
        import sys
        sys.path[:0] = [{str(packages)!r}, {str(built.folder)!r}]
        import numpy as np
        from {built.name} import {built.name} as f
        given, results = np.load({str(folder / "given.npz")!r}), {{}}
        for case in range({len(cases)}):
            arrays = [given[f"i{{case}}_{{n}}"] for n in range({len(cases[0].arrays)})]
            for threads in (1, 3):
                found = f(*arrays, threads=threads)
                for n, array in enumerate(found if isinstance(found, tuple) else (found,)):
                    results[f"o{{case}}_{{n}}_{{threads}}"] = array
        np.savez({str(folder / "found.npz")!r}, **results)
        assert not any(name.partition(".")[0] in ("einloom", "keras") for name in sys.modules)
    """
    command = [sys.executable, "-I", "-S", "-c", textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    with np.load(folder / "found.npz") as found:
        for number, case in enumerate(cases):
            for output, expected in enumerate(case.expected):
                for threads in (1, 3):
                    got = found[f"o{number}_{output}_{threads}"]
                    np.testing.assert_allclose(
                        got, expected, rtol=2e-5, atol=2e-5 * float(abs(expected).max())
                    )


def test_keras_is_compared_key_by_key() -> None:
    z, a = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    half = layers.Activation("tanh", dtype="float16")(z)
    outputs = {"y": z * 2.0, "b": [a * 3.0, keras.ops.cast(half, "float32")]}
    source = keras_source(keras.Model({"z": z, "a": a}, outputs))
    assert source.outputs[0] == "y"
    assert [source.names[node.name] for node in source.inputs] == ["z", "a"]
    assert source.reference is not None
    ones = np.ones((3, 4), np.float32)
    found = [float(array[0, 0]) for array in source.reference([ones, ones * 10])]
    assert found == pytest.approx([2.0, 30.0, np.tanh(1.0)], rel=1e-3)
    assert [tolerance(root) for root in source.roots] == [2e-5, 2e-5, 2e-3]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_file_that_keras_does_not_load_is_not_compared(tmp_path: Path) -> None:
    x = keras.Input((4,))
    keras.Model(x, keras.ops.cumsum(x, axis=1)).save(tmp_path / "f.h5")
    source = keras_source(str(tmp_path / "f.h5"))
    assert source.reference is not None
    with pytest.raises(CheckError, match="which does not load it: Unknown layer: 'Cumsum'"):
        source.reference([np.ones((2, 4), np.float32)])


@pytest.mark.parametrize("name", MODELS)
def test_a_live_model_computes_at_every_batch_size(name: str, tmp_path: Path) -> None:
    model = made(name)
    built = el.aot.build(model, tmp_path / name, **OPTIONS)
    check_alone(built, [case_of(model, n) for n in BATCHES], tmp_path)


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_computes(name: str, ending: str, tmp_path: Path) -> None:
    model = made(name)
    model.save(tmp_path / f"model.{ending}")
    built = el.aot.build(tmp_path / f"model.{ending}", tmp_path / name, cpu=OPTIONS["cpu"], batch=7)
    check_alone(built, [case_of(model, 7)], tmp_path)
    assert isinstance(built, Built)
    if (name, ending) != ("pieces", "h5"):  # Keras cannot load slices from HDF5
        assert built.check().error < 2e-5
    with pytest.raises(ShapeError, match=r"has extent 8 .* but was declared with 7"):
        el.aot.load(built.folder)(*case_of(model, 8).arrays)


def test_inputs_and_outputs_have_keras_names(tmp_path: Path) -> None:
    model = made("dot")
    built = el.aot.build(el.keras.compile(model), tmp_path / "f", cpu=OPTIONS["cpu"], batch=2)
    assert isinstance(built, Built)
    assert [port["name"] for port in built.manifest["inputs"]] == ["a", "b"]
    assert [port["name"] for port in built.manifest["outputs"]] == ["scores", "head"]
    header = (built.folder / "f.h").read_text(encoding="ascii")
    assert "const float *a, const float *b, float *scores, float *head" in header
    (a, b), expected = case_of(model, 2)
    found = el.aot.load(built.folder)(b=b, a=a)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-5)


def test_a_layer_is_built_for_the_operands_given(tmp_path: Path) -> None:
    layer = layers.Dense(6, activation="relu")
    built = el.aot.build(layer, tmp_path / "f", el.spec(3, 4, name="x"), cpu=OPTIONS["cpu"])
    assert isinstance(built, Built)
    assert built.check().error < 2e-5
    assert built.manifest["symbols"] == []
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(el.aot.load(built.folder)(x), expected, rtol=2e-5)


def test_unnamed_operands_are_called_the_same_in_every_build(tmp_path: Path) -> None:
    layer = layers.Dot(axes=1)
    manifests = []
    for n in range(2):
        operands = [el.spec("B", 7, dtype="float32") for _ in range(2)]
        built = el.aot.build(layer, tmp_path / f"{n}" / "f", *operands, cpu=OPTIONS["cpu"])
        assert isinstance(built, Built)
        manifests.append(built.manifest)
    assert manifests[0] == manifests[1]
    assert [port["name"] for port in manifests[0]["inputs"]] == ["x", "y"]


def test_layers_are_built_apart(tmp_path: Path) -> None:
    model = made("mlp")
    names = tuple(layer.name for layer in model.layers)
    model.save(tmp_path / "model.keras")
    built = el.aot.build(
        tmp_path / "model.keras", tmp_path / "d", layers=names, cpu=OPTIONS["cpu"], batch=4
    )
    assert isinstance(built, tuple)
    case = case_of(model, 4)
    (value,) = case.arrays
    for each in built:
        value = el.aot.load(each.folder)(value)
    assert built[-1].check().against == "Keras"
    np.testing.assert_allclose(value, case.expected[0], rtol=2e-5, atol=1e-6)
    with pytest.raises(SpecError, match="has no layer 'nose'"):
        el.aot.build(tmp_path / "model.keras", tmp_path / "d", layers=("nose",))


def test_an_index_outside_a_table_is_refused(tmp_path: Path) -> None:
    el.aot.build(made("pieces"), tmp_path / "f", cpu=OPTIONS["cpu"], batch=1)
    with pytest.raises(IndexError, match="names no row"):
        el.aot.load(tmp_path / "f")(np.array([[0, 1, 11, 0, 0, 0]], np.int32))


def test_the_command_line_builds_a_saved_model(tmp_path: Path) -> None:
    from click.testing import CliRunner

    model = made("mlp")
    model.save(tmp_path / "model.keras")
    arguments = ["build", str(tmp_path / "model.keras"), "-o", str(tmp_path / "clf")]
    arguments += ["--name", "clf", "--batch", "4", "--cpu", OPTIONS["cpu"], "--check"]
    run = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert run.exit_code == 0
    assert "pixels: float32[4, 13]" in run.output
    assert "1 size on x86-64" in run.output
    assert "against Keras" in run.output
    manifest = json.loads((tmp_path / "clf" / "manifest.json").read_text())
    assert manifest["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": ["4", "13"]}]


def test_what_is_not_covered_is_named(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, name="memory"), layers.Dense(2)])
    with pytest.raises(UnsupportedError, match=r"layer 'memory' .LSTM."):
        el.aot.build(model, tmp_path / "f")
    with pytest.raises(SpecError, match="batch must be positive"):
        el.aot.build(made("mlp"), tmp_path / "f", batch=0)
