"""The diff of generated source between two revisions."""

import subprocess
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

from benchmarks import replay
from einloom_compiler.families import tiled

ROOT = Path(__file__).parents[2]


def test_every_case_has_order_schedule_and_source() -> None:
    texts = replay.generated((), ("tiny-3op",))
    assert set(texts) == {"tiny-3op"}
    assert "def run(x, y, z):" in texts["tiny-3op"]
    assert "def run" not in replay.generated((), ("tiny-3op",), only_schedules=True)["tiny-3op"]


def test_equal_texts_have_no_difference() -> None:
    assert replay.difference("a\nb", "a\nb", "case") == []
    assert "-b" in replay.difference("a\nb", "a\nc", "case")


def test_a_change_is_shown_and_sets_the_exit_code() -> None:
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("no git checkout to compare with")
    printed = [{"one": "x = 1", "two": "y = 2"}, {"one": "x = 1", "two": "y = 3"}]
    with mock.patch.object(replay, "printed_by", side_effect=printed):
        result = CliRunner().invoke(replay.main, [])
    assert result.exit_code == replay.DIFFERENT
    assert "+y = 3" in result.output
    assert "x = 1" not in result.output


def test_another_process_prints_what_this_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled, "_STATIC", {})  # those of a process that has done nothing before
    texts = replay.printed_by(ROOT, ["--case=tiny-3x3"])
    assert texts == replay.generated((), ("tiny-3x3",))
