"""The progress line of a slow first compile."""

import io
import sys
import time

import pytest

from einloom.runtime import progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    return stream


def test_a_slow_compile_says_one_line_on_a_terminal(terminal: _Terminal) -> None:
    with progress.compiling("ij,jk->ik"):
        time.sleep(0.2)
    assert terminal.getvalue() == "einloom: compiling ij,jk->ik (once a process)\n"


def test_a_quick_compile_says_nothing(
    terminal: _Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    with progress.compiling("ij,jk->ik"):
        pass
    assert terminal.getvalue() == ""


def test_nothing_is_said_where_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.compiling("ij,jk->ik"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_failing_compile_cancels_the_line(terminal: _Terminal) -> None:
    monkey = progress.PATIENCE
    assert monkey == 0.01
    with pytest.raises(RuntimeError), progress.compiling("ij,jk->ik"):
        raise RuntimeError
    time.sleep(0.05)
    assert terminal.getvalue() == ""
