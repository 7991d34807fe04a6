"""The command line: what it prints, and that bad input gives one message and exit code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import einloom as el
from einloom import cli
from einloom.text.calls import parse

EXAMPLE = Path(__file__).parents[2] / "examples" / "specs.toml"


@dataclass
class Run:
    code: int
    out: str
    err: str


class Invoke:
    """Runs ``main`` in this process as a shell would."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Run:
        with pytest.raises(SystemExit) as exit_:
            cli.main(list(arguments))
        out, err = self._capsys.readouterr()
        code = exit_.value.code
        assert isinstance(code, int)
        return Run(code, out, err)


@pytest.fixture
def einloom(capsys: pytest.CaptureFixture[str]) -> Invoke:
    return Invoke(capsys)


def test_version_and_help(einloom: Invoke) -> None:
    assert einloom("--version").out == f"einloom, version {el.__version__}\n"
    run = einloom("--help")
    assert run.code == 0
    assert "explain" in run.out
    assert "compile" in run.out


@pytest.mark.parametrize(
    ("arguments", "equivalent"),
    [
        (["np.einsum('ij,jk->ik', x[M,3], y[3,N])"], "np.einsum('ij,jk->ik', x[M,3], y[3,N])"),
        (["bij,bjk->bik"], "bij,bjk->bik"),
        (["ij,jk->ik", "M,3", "3,N"], "np.einsum('ij,jk->ik', x[M,3], y[3,N])"),
        (["...ij,...jk", "B,2,3", "3,4"], "np.einsum('...ij,...jk', x[B,2,3], y[3,4])"),
        (["ii", "3,3"], "np.einsum('ii', x[3,3])"),
        (["np.matmul", "B,2,3", "3,4"], "np.matmul(x[B,2,3], y[3,4])"),
        (
            ["np.linalg.multi_dot", "2,3", "3,4", "4,5"],
            "np.linalg.multi_dot([x[2,3],y[3,4],z[4,5]])",
        ),
        (
            ["K.batch_dot", "B,20,1", "B,30,20", "--axes", "1,2", "--version", "2.3.1"],
            "K.batch_dot(x[B,20,1], y[B,30,20], axes=(1, 2), version='2.3.1')",
        ),
        (
            ["keras.layers.Dot", "B,3", "B,3", "--axes=-1", "--set", "normalize=True"],
            "keras.layers.Dot(axes=-1, normalize=True)([x[B,3], y[B,3]])",
        ),
        (
            ["tf.matmul", "2,4,3", "2,4,5", "--set", "transpose_a=True", "--dtype", "float64"],
            "tf.matmul(x[2,4,3,'float64'], y[2,4,5,'float64'], transpose_a=True)",
        ),
        (["np.dot", "()", "3"], "np.dot(x[()], y[3])"),
    ],
)
def test_explain_understands_every_target(
    einloom: Invoke, arguments: list[str], equivalent: str
) -> None:
    run = einloom("explain", "--json", *arguments)
    assert (run.code, run.err) == (0, "")
    assert el.Expression.from_json(run.out) == parse(equivalent)


def test_explain_prints_the_explanation(einloom: Invoke) -> None:
    run = einloom("explain", "K.batch_dot", "10,12,4,5", "10,12,5,8", "--version", "2.2.4")
    expected = parse("K.batch_dot(x[10,12,4,5], y[10,12,5,8], version='2.2.4')").explain()
    assert run.out == expected + "\n"


def test_explain_reads_a_document_from_a_file_and_from_stdin(
    einloom: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "product.json"
    path.write_text(einloom("explain", "np.matmul", "2,3", "3,4", "--json").out)
    from_file = einloom("explain", str(path))
    with path.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        from_stdin = einloom("explain", "-")
    assert from_file == from_stdin
    assert "np.matmul" in from_file.out


def test_explain_writes_a_page(einloom: Invoke, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run = einloom("explain", "ij,jk->ik", "--html", str(page), "--code")
    assert (run.code, run.out) == (0, "")
    assert "<h1>ij,jk-&gt;ik</h1>" in page.read_text()
    assert "def run(x, y)" in page.read_text()


def test_compile_prints_a_row_for_each_spec(einloom: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "specs.toml"
    path.write_text(
        "[[spec]]\nname = 'product'\ncall = 'ij,jk->ik (x[B, 3], y[3, 4])'\ndtype = 'float32'\n"
        "[[spec]]\nname = 'guarded'\ncall = 'ij,jk->ik (x[B, C], y[D, 8])'\ndtype = 'float32'\n"
    )
    run = einloom("compile", str(path))
    assert (run.code, run.err) == (0, "")
    lines = run.out.splitlines()
    assert lines[0].split() == ["name", "einsum", "shape", "FLOPs", "compiled", "in"]
    assert lines[2].split()[:5] == ["product", "ij,jk->ik", "(B,", "4)", "24*B"]
    assert lines[3].split()[:2] == ["guarded", "ij,jk->ik"]


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    pytest.importorskip("h5py")
    from tests.einloom.keras.models.writing import archive_bytes

    path = tmp_path / "model.keras"
    path.write_bytes(archive_bytes())
    return path


def test_model_prints_the_layers(einloom: Invoke, saved_model: Path) -> None:
    run = einloom("model", str(saved_model))
    assert (run.code, run.err) == (0, "")
    first, *lines = run.out.splitlines()
    assert first == ("model (Sequential), Keras 3.15.1, 16 parameters; 2 of 2 layers are known")
    assert lines[:2] == ["  input x (batch, 3) float32", "  output d (batch, 4)"]
    assert lines[-1].split() == [
        *("d", "Dense", "(batch,", "4)", "16"),
        *("kernel", "(3,", "4),", "bias", "(4,)", "x"),
    ]


def test_model_prints_json(einloom: Invoke, saved_model: Path) -> None:
    document = json.loads(einloom("model", str(saved_model), "--json").out)
    assert document["keras_version"] == "3.15.1"
    assert document["inputs"] == [{"layer": "x", "call": 0, "output": 0, "shape": ["batch", 3]}]
    (_, dense) = document["layers"]
    assert (dense["name"], dense["known"], dense["output_shape"]) == ("d", True, ["batch", 4])
    assert dense["weights"][0] == {"name": "kernel", "shape": [3, 4], "dtype": "float32"}
    assert dense["config"]["units"] == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model", "nowhere.keras"], ["cannot read nowhere.keras: No such file"]),
        (["model", str(EXAMPLE)], ["ModelFileError", "neither a .keras archive nor an HDF5 file"]),
        (["explain", "K.dot(x[3,4], y[4,5]"], ["SpecError", "never closed", "^"]),
        (["explain", "K.dot", "3,4,5,2", "2,5,3,7"], ["ShapeError", "are 2 and 3"]),
        (["explain", "K.dott", "3,4", "4,5"], ["did you mean K.dot"]),
        (["explain", "batch_dot", "3,4,5", "3,5,6"], ["two meanings"]),
        (["explain", "K.batch_dot", "3,4,5", "3,5,6", "--version", "nope"], ["SpecError", "nope"]),
        (["explain", "np.matmul", "3,x y"], ["'3,x y' is not a shape"]),
        (["explain", "np.matmul", "3,4", "4,5", "--dtype", "float33"], ["DTypeError", "float33"]),
        (["explain", "np.matmul", "3,4", "4,5", "--set", "axes"], ["NAME=VALUE"]),
        (["explain", "np.tensordot", "3,4", "4,5", "--axes", "(("], ["axes='((' is no value"]),
        (["explain", "np.matmul", "3,4", "4,5", "--set", "foo=1"], ["does not take", "foo"]),
        (["explain", "np.matmul(x[3,4], y[4,5])", "3,4"], ["states its operands' shapes"]),
        (["explain", "np.matmul(x[3,4], y[4,5])", "--axes", "1"], ["axes=1 needs a function's"]),
        (["explain", "ij,jk->ik", "3,4", "4,5", "--axes", "1"], ["an equation takes no axes"]),
        (["explain", "ij,jk->iz", "3,4", "4,5"], ["SubscriptError", "'z'"]),
        (["explain", "nowhere.json"], ["cannot read nowhere.json: No such file"]),
        (["explain", "ij->", "--html", "/nowhere/page.html"], ["cannot write /nowhere/page.html"]),
        (["explain"], ["Missing argument 'TARGET'"]),
        (["explain", "ij->", "--colour"], ["No such option"]),
        (["compile", "nowhere.toml"], ["cannot read the specs file nowhere.toml"]),
        (["explode"], ["No such command"]),
    ],
)
def test_bad_input_gives_one_message_and_exit_code_2(
    einloom: Invoke, arguments: list[str], words: list[str]
) -> None:
    run = einloom(*arguments)
    assert run.code == 2
    assert run.out == ""
    assert "Traceback" not in run.err
    for word in words:
        assert word in run.err


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("K.batch_dot(x[10, 12, 4, 5], y[10, 12, 5, 8])", "AmbiguousMeaningError.*version"),
        ("ij->(x[3, 3)", "spec 1 .a.: "),
        ("i->(x[B - 1000])", "found no small extents"),
        ("i,j->(x[99999999999999], y[3])", "do not fit into memory"),
    ],
)
def test_a_spec_that_cannot_be_compiled_is_named(
    einloom: Invoke, tmp_path: Path, call: str, words: str
) -> None:
    path = tmp_path / "specs.toml"
    path.write_text(f"[[spec]]\nname = 'a'\ncall = '{call}'\ndtype = 'float32'\n")
    run = einloom("compile", str(path))
    assert (run.code, run.out) == (2, "")
    assert re.search(words, run.err)


def test_a_bug_in_einloom_is_told_apart_from_bad_input(
    einloom: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    from einloom_compiler.errors import InternalCompilerError

    def broken(*_: object) -> None:
        raise InternalCompilerError("order", "an invariant is broken")

    monkeypatch.setattr("einloom.commands.target.expression_of", broken)
    run = einloom("explain", "ij->")
    assert run.code == 1
    assert "please report" in run.err


def test_the_module_runs_in_a_shell_whose_encoding_lacks_a_character() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "einloom", "explain", "ij,jk->ik", "2,3", "3,4"]
    run = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert r"\u03a3_j x[i,j] · y[j,k]" in run.stdout.decode("latin-1")
    bad = subprocess.run([*command[:-1], "9,9"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert "Traceback" not in bad.stderr


def test_json_of_the_example_specs_is_accepted_where_a_call_is(einloom: Invoke) -> None:
    document = einloom(
        "explain", "np.einsum('bqhd,bkhd->bhqk', q[B,T,8,64], k[B,S,8,64])", "--json"
    )
    assert json.loads(document.out)["derived"]["equation"] == "bqhd,bkhd->bhqk"
    assert el.compile(document.out.strip()).equation == "bqhd,bkhd->bhqk"


def test_the_json_of_an_ambiguous_call_comes_with_a_warning_on_stderr(einloom: Invoke) -> None:
    run = einloom("explain", "K.batch_dot", "10,12,4,5", "10,12,5,8", "--json")
    assert run.code == 0
    assert json.loads(run.out)["derived"]["equation"] == "abij,abjk->abik"
    assert "SemanticsWarning" in run.err
    assert "version='2.2.5'" in run.err
    settled = einloom("explain", "K.batch_dot", "2,3,4,5", "2,3,5,6", "--json", "--version=2.3.1")
    assert settled.err == ""
