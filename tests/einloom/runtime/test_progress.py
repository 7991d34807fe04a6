"""The progress line of a slow first compile."""

import io
import sys
import time
from collections.abc import Callable

import pytest

from einloom.runtime import progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], _Terminal]:
    """Make stderr a terminal, from within the test: pytest sets its own before each phase."""

    def install(patience: float) -> _Terminal:
        stream = _Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "PATIENCE", patience)
        return stream

    return install


def test_a_slow_compile_says_one_line_on_a_terminal(
    terminal: Callable[[float], _Terminal],
) -> None:
    stream = terminal(0.01)
    with progress.compiling("ij,jk->ik"):
        time.sleep(0.3)
    assert stream.getvalue() == "einloom: compiling ij,jk->ik ...\n"


def test_a_quick_compile_says_nothing(terminal: Callable[[float], _Terminal]) -> None:
    stream = terminal(60.0)
    with progress.compiling("ij,jk->ik"):
        pass
    assert stream.getvalue() == ""


def test_nothing_is_said_where_stderr_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with progress.compiling("ij,jk->ik"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_failing_compile_cancels_the_line(terminal: Callable[[float], _Terminal]) -> None:
    stream = terminal(0.2)
    with pytest.raises(RuntimeError), progress.compiling("ij,jk->ik"):
        raise RuntimeError
    time.sleep(0.4)
    assert stream.getvalue() == ""
