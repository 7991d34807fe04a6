"""The demonstration, as ``make demo`` runs it."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from einloom import demo
from einloom.keras import backend as K

EXPECTED = (
    ("K.batch_dot(x, y)", "abij,abjk->abik", "(10, 12, 4, 8)"),
    ("tf.matmul(x, y)", "abij,abjk->abik", "(10, 12, 4, 8)"),
    ("K.dot(x, y)", None, None),
    ("K.dot(x, y)", "ij,jk->ik", "(3, 5)"),
    ("tf.matmul(x, y)", "ij,jk->ik", "(3, 5)"),
    ("K.dot(x, y)", "abr,irk->abik", "(2, 3, 7, 5)"),
    ("K.dot(x, y)", "abcr,ijrk->abcijk", "(1, 2, 3, 8, 7, 5)"),
    ("K.dot(x, y)", "abr,ijrk->abijk", "(1, 2, 8, 7, 5)"),
    ("K.batch_dot(x, y)", "abcij,abcjk->abcik", "(9, 8, 7, 4, 5)"),
    ("tf.matmul(x, y)", "abcij,abcjk->abcik", "(9, 8, 7, 4, 5)"),
)


@pytest.fixture(scope="module")
def output() -> str:
    code = (
        "import sys, runpy\n"
        "try:\n    runpy.run_module('einloom.demo', run_name='__main__')\n"
        "except SystemExit as done:\n    status = done.code\n"
        "loaded = {'tensorflow', 'keras', 'torch', 'jax'} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else status)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout


def test_every_snippet_gives_the_posts_shape_and_numpys_value(output: str) -> None:
    parts = re.split(r"\n\n(?=\d+\. )", output.partition("\n\nThe ambiguous calls again")[0])[1:]
    assert len(parts) == len(EXPECTED)
    for part, (written, equation, shape) in zip(parts, EXPECTED, strict=True):
        assert written in part
        if equation is None:
            assert "refused ShapeError" in part
            assert "Dimensions must be equal, but are 2 and 3" in part
        else:
            assert f"einsum  {equation}\n" in part
            assert f"shape   {shape}\n" in part
            assert "value   equal to NumPy's" in part


def test_ambiguous_calls_warn_and_run_in_the_later_meaning_too(output: str) -> None:
    assert output.count("SemanticsWarning: K.batch_dot") == 2
    later = output.partition("The ambiguous calls again")[2]
    assert "einsum  abij,acjk->abick" in later
    assert "shape   (9, 8, 7, 4, 8, 7, 5)" in later
    assert "2.2.4-theano" in later
    assert "DIFFERS" not in output


def test_specs_are_compiled_and_a_program_is_shown(output: str) -> None:
    assert re.search(r"^  attention_scores +bqhd,bkhd->bhqk", output, re.MULTILINE)
    program = output.partition("for every size:\n")[2].rpartition("\n\n0 of 12 calls differ")[0]
    compile(program, "program", "exec")
    assert "@njit" in program


def test_a_wrong_value_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    broken = demo.Snippet("K.dot(x, y)", K.dot, ((3, 4), (4, 5)), lambda x, y: np.matmul(x, y) + 1)
    assert demo.show("1.", broken) is False
    assert "DIFFERS from NumPy's" in capsys.readouterr().out


def test_a_call_that_fails_or_works_against_expectation_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = demo.Snippet("K.dot(x, y)", K.dot, ((3, 4), (5, 4)), np.matmul)
    accepted = demo.Snippet("K.dot(x, y)", K.dot, ((3, 4), (4, 5)), None)
    assert not demo.show("1.", refused)
    assert not demo.show("2.", accepted)
    assert capsys.readouterr().out.count("WRONG") == 2


def test_the_exit_code_says_that_a_value_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = demo.Snippet("K.dot(x, y)", K.dot, ((3, 4), (4, 5)), lambda x, y: x @ y + 1)
    monkeypatch.setattr(demo, "SNIPPETS", (broken,))
    monkeypatch.setattr(demo, "NEWER", {})
    monkeypatch.setattr(demo, "_show_specs", lambda _: None)
    assert demo.main() == 1
    assert "1 of 1 calls differ" in capsys.readouterr().out
