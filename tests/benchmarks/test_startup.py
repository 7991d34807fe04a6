"""The benchmark of first results runs its processes cold and warm."""

import subprocess

import pytest
from click.testing import CliRunner

from benchmarks import startup


def test_the_table_has_a_row_for_each_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "CASES", dict(list(startup.CASES.items())[:2]))
    result = CliRunner().invoke(startup.main, ["--rounds", "1"])
    assert result.exit_code == 0, result.output
    rows = result.output.splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| import numpy",
        "| el.einsum, a 3 x 3 product",
    ]


def test_a_process_that_fails_is_not_a_number() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        startup.milliseconds("raise SystemExit(3)", "/nonexistent")
