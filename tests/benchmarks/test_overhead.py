"""The benchmark of call overhead runs, and names what it measured."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import overhead


def test_every_call_computes() -> None:
    calls = overhead.calls()
    same = [name for name in calls if "scalar" not in name and "inner" not in name]
    expected = calls["np.matmul"]()
    for name in same:
        if "3 operands" not in name:
            np.testing.assert_allclose(calls[name](), expected)
    np.testing.assert_allclose(calls["el.einsum to a scalar"](), calls["np.einsum to a scalar"]())


def test_it_prints_a_line_or_a_key_a_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["overhead", "--rounds", "1", "--json"])
    overhead.main()
    names = {*overhead.calls(), *(f"a new layout, {each}" for each in overhead.NEW_LAYOUTS)}
    assert set(json.loads(capsys.readouterr().out)) == names
    monkeypatch.setattr(sys, "argv", ["overhead", "--rounds", "1"])
    overhead.main()
    assert "compiled, out=" in capsys.readouterr().out
