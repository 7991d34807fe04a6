"""Cut models as libraries: what a user ships, run where NumPy is all there is."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.aot.pieces import BuiltPieces
from einloom.cli import cli
from einloom_compiler.errors import SpecError, UnsupportedError

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras

#: What a user writes for the layer between the pieces, with the weights that the folder holds.
MEMORY = '''
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def memory(sequence):
    """An LSTM in NumPy."""
    weights = np.load(FOLDER + "/outside/memory.npz")
    kernel, recurrent, bias = (weights[name] for name in weights.files)
    h = c = np.zeros((len(sequence), len(recurrent)), np.float32)
    for x in np.moveaxis(sequence, 1, 0):
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h
'''


def model_with_memory() -> Any:
    """A recurrent layer with a dense branch around it."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4, 3), name="x")
    hidden = L.Dense(5, "tanh", name="hidden")(x)
    memory = L.LSTM(2, name="memory")(hidden)
    around = L.Flatten(name="around")(hidden)
    return keras.Model(x, L.Dense(3, name="head")(L.Concatenate(name="both")([memory, around])))


@pytest.fixture(scope="module")
def model() -> Any:
    return model_with_memory()


@pytest.fixture(scope="module")
def built(model: Any, tmp_path_factory: pytest.TempPathFactory) -> BuiltPieces:
    """The libraries, built from the file by the command line's own function."""
    folder = tmp_path_factory.mktemp("pieces")
    model.save(folder / "model.keras")
    options: dict[str, Any] = {"cpu": "x86-64-v3", "batch": (1, 8)}
    found = el.aot.build(folder / "model.keras", folder / "clf", cut=True, **options)
    assert isinstance(found, BuiltPieces)
    return found


def run_alone(program: str, folder: Path) -> str:
    """Run a program where NumPy and ``folder`` are all that can be imported."""
    packages = folder / "packages"
    packages.mkdir()
    home = Path(np.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (home / name).exists():
            (packages / name).symlink_to(home / name)
    head = f"import sys\nsys.path[:0] = [{str(packages)!r}]\n"
    command = [sys.executable, "-I", "-S", "-c", head + program]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def batch(n: int) -> Any:
    return np.random.default_rng(n).standard_normal((n, 4, 3)).astype(np.float32)


def program(home: Path, folder: Path) -> str:
    """Return what joins the pieces with the function for the layer, and writes the results."""
    return textwrap.dedent(f"""
        sys.path.insert(0, {str(home.parent if home.name == "clf" else home)!r})
        FOLDER = {str(folder)!r}
        {textwrap.indent(MEMORY, "        ").strip()}
        from clf import clf
        joined = clf.join({{"memory": memory}})
        for n in (1, 7):
            np.save({str(home)!r} + f"/y{{n}}.npy", joined(np.load({str(home)!r} + f"/x{{n}}.npy")))
        assert not any(m.partition(".")[0] in ("einloom", "keras") for m in sys.modules)
    """)


def test_pieces_joined_with_a_users_function_are_the_model(
    model: Any, built: BuiltPieces, tmp_path: Path
) -> None:
    for n in (1, 7):
        np.save(tmp_path / f"x{n}.npy", batch(n))
    text = program(tmp_path, built.folder).replace(
        f"sys.path.insert(0, {str(tmp_path)!r})", f"sys.path.insert(0, {str(built.folder)!r})"
    )
    run_alone(text, tmp_path)
    for n in (1, 7):
        found = np.load(tmp_path / f"y{n}.npy")
        np.testing.assert_allclose(found, np.asarray(model(batch(n))), rtol=2e-5, atol=1e-6)


def test_the_manifest_says_how_the_pieces_connect(built: BuiltPieces) -> None:
    manifest = json.loads((built.folder / "pieces.json").read_text(encoding="utf-8"))
    assert manifest == built.manifest
    first, memory, last = manifest["steps"]
    assert (first["piece"], first["takes"], first["layers"]) == ("clf_0", ["x"], ["hidden"])
    assert first["gives"] == ["hidden"]
    assert (memory["layer"], memory["class"]) == ("memory", "LSTM")
    assert memory["args"] == [{"value": "hidden"}]
    assert memory["gives"] == [{"output": 0, "value": "memory"}]
    assert (memory["config"]["units"], memory["weights"]) == (2, "outside/memory.npz")
    assert (last["piece"], last["gives"]) == ("clf_1", ["head"])
    assert set(last["takes"]) == {"hidden", "memory"}
    assert manifest["outputs"] == {"value": "head"}
    assert manifest["values"]["memory"] == {"dtype": "float32", "shape": ["B", "2"]}
    assert set(manifest["files"]) == {
        path.relative_to(built.folder).as_posix()
        for path in built.folder.rglob("*")
        if path.is_file() and path.name != "pieces.json" and path.suffix not in (".whl", ".pyc")
    }


def test_the_check_holds_pieces_and_model_against_keras(built: BuiltPieces) -> None:
    found = built.check()
    assert len(found.pieces) == 2
    assert found.joined is not None
    assert found.joined < 2e-5


def test_the_example_names_what_to_write(built: BuiltPieces, tmp_path: Path) -> None:
    text = (built.folder / "example.py").read_text(encoding="utf-8")
    assert "def memory(hidden):" in text
    assert "hidden float32[B, 4, 5]" in text
    start = text.index("    weights = ")
    end = text.index("\n\n", start)
    filled = text[:start] + "    return np.zeros((len(hidden), 2), np.float32)" + text[end:]
    run = f"sys.path.insert(0, {str(built.folder)!r})\n__name__ = '__main__'\n{filled}"
    assert run_alone(run, tmp_path).startswith("[[")
    with pytest.raises(NotImplementedError, match="compute layer 'memory' here"):
        sys.path.insert(0, str(built.folder))
        try:
            folder = {"__name__": "example"}
            exec(text.replace("outside/", f"{built.folder}/outside/"), folder)
            folder["model"](batch(1))  # type: ignore[operator]
        finally:
            sys.path.remove(str(built.folder))
            sys.modules.pop("clf", None)


def test_a_wheel_holds_all_pieces(model: Any, built: BuiltPieces, tmp_path: Path) -> None:
    wheel = built.wheel("1.2")
    assert wheel.name.startswith("clf-1.2-py3-none-manylinux_2_")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    for n in (1, 7):
        np.save(tmp_path / f"x{n}.npy", batch(n))
    run_alone(program(tmp_path, tmp_path / "clf"), tmp_path)
    found = np.load(tmp_path / "y7.npy")
    np.testing.assert_allclose(found, np.asarray(model(batch(7))), rtol=2e-5, atol=1e-6)


def test_folders_of_pieces_are_loaded_with_einlooms_errors(model: Any, built: BuiltPieces) -> None:
    joined = el.aot.load_pieces(built.folder)
    function = model.get_layer("memory")
    found = joined.join({"memory": lambda t: np.asarray(function(t))})
    np.testing.assert_allclose(found(batch(3)), np.asarray(model(batch(3))), rtol=2e-5, atol=1e-6)
    with pytest.raises(el.ShapeError, match="outside the declared range 1 to 8"):
        found(batch(9))
    with pytest.raises(SpecError, match=r"use einloom\.aot\.load_pieces"):
        el.aot.load(built.folder)
    with pytest.raises(SpecError, match=r"is no folder that einloom\.aot\.build wrote"):
        el.aot.load_pieces(built.folder / "clf_0")


def test_the_command_line_cuts(model: Any, tmp_path: Path) -> None:
    from click.testing import CliRunner

    sequential = keras.Sequential([keras.Input((2, 3)), L.Dense(2), L.GRU(2, name="gru")])
    sequential.save(tmp_path / "model.keras")
    arguments = ["build", str(tmp_path / "model.keras"), "-o", str(tmp_path / "dist" / "clf")]
    refused = CliRunner().invoke(cli, arguments)
    assert isinstance(refused.exception, UnsupportedError)  # what main() prints, with exit code 2
    assert "'gru' (GRU)" in str(refused.exception)
    assert "einloom build --cut" in str(refused.exception)
    arguments += ["--cut", "--cpu", "x86-64-v3", "--batch", "2", "--check"]
    run = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert run.exit_code == 0
    assert "gru (GRU)" in run.output
    assert "Joined, the pieces differ from Keras by" in run.output
    assert "Yours to compute: gru." in run.output
    assert (tmp_path / "dist" / "clf" / "clf_0" / "libclf_0.so").is_file()
    wrong = CliRunner().invoke(cli, [*arguments, "--cut-shape", "gru"])
    assert "--cut-shape 'gru' must be a layer and what it gives" in str(wrong.exception)


def test_what_cannot_be_cut_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cut=True"):
        el.aot.build(model, tmp_path / "f")
    with pytest.raises(SpecError, match="cut is for whole Keras models"):
        el.aot.build("bi,ij->bj", tmp_path / "f", (2, 3), (3, 4), cut=True)
    with pytest.raises(SpecError, match="cut is for whole Keras models"):
        el.aot.build(model, tmp_path / "f", layers=("hidden",), cut=True)
    with pytest.raises(SpecError, match="'T' is no symbol of"):
        el.aot.build(model, tmp_path / "f", cut=True, ranges={"T": (1, 2)})
    with pytest.raises(SpecError, match="'nose' gives, which is not among"):
        el.aot.build(model, tmp_path / "f", cut={"nose": (None, 3)})
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "mine").write_text("")
    with pytest.raises(SpecError, match="no build of einloom wrote it"):
        el.aot.build(model, tmp_path / "f", cut=True)
