"""The first call of a program with many kernels: they are compiled side by side, then kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom import functions
from einloom.runtime import first_call
from einloom_compiler.codegen import jit, several

#: Functions of elements with a kernel each: numbers are part of a body.
_COUNT = 9


def _functions(first: int) -> Any:
    x = el.spec("N", dtype="int32", name="x")
    made = (functions.maximum(x * (first + n), x + n) for n in range(_COUNT))
    return el.compile(tuple(made))


def _expected(x: Any, first: int) -> list[Any]:
    return [np.maximum(x * (first + n), x + n) for n in range(_COUNT)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many kernels were compiled together, call by call."""
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(first_call, "available_threads", lambda: 2)
    monkeypatch.setattr(several, "_MOST_PROCESSES", 1)
    counts: list[int] = []
    whole = several.compile_several

    def counted(jobs: Any, *rest: Any) -> Any:
        counts.append(len(jobs))
        return whole(jobs, *rest)

    monkeypatch.setattr(several, "compile_several", counted)
    return counts


def test_many_kernels_are_compiled_together_and_kept(asked: list[int], tmp_path: Path) -> None:
    f, x = _functions(1000), np.arange(-7, 30, dtype=np.int32)
    for found, expected in zip(f(x), _expected(x, 1000), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert asked == [_COUNT]
    assert len(list((tmp_path / "kernels").glob("*.json"))) == _COUNT
    jit.build.cache_clear()  # as in a new process: kernels come from disk
    for found, expected in zip(_functions(1000)(x), _expected(x, 1000), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert asked == [_COUNT]


def test_nothing_is_compiled_where_kernels_run_as_python(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_call, "is_jit_disabled", lambda: True)
    f, x = _functions(3000), np.arange(5, dtype=np.int32)
    launches = f.evaluation([x], *_expected(x, 3000)).recipe.launches
    first_call.compile_missing([launch.bound.kernel for launch in launches])
    assert asked == []
    assert not any(launch.bound.kernel.is_ready for launch in launches)
