"""einloom doctor and einloom cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from einloom import cli
from einloom.commands import doctor
from einloom.native import Native
from einloom.native.build import load
from einloom_compiler.schedule import machine
from einloom_compiler.schedule.machine import this_machine
from einloom_compiler.store import folder

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def invoke(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(list(arguments))
        code = exit_.value.code
        assert isinstance(code, int)
        return code, capsys.readouterr().out

    return invoke


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Name an empty folder, for which the speeds that this process has measured do not count."""
    path = tmp_path / "cache"
    monkeypatch.delenv("EINLOOM_MACHINE")
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(path))
    this_machine.cache_clear()
    yield path
    this_machine.cache_clear()


def _found(text: str) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(text)["findings"]}


def test_all_is_well(run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "load", lambda: Native(object(), path=Path("module.so")))  # type: ignore[arg-type]
    code, text = run("doctor")
    assert code == 0
    assert text.endswith("All is well.\n")
    for name in ("Python", "numpy", "numba", "llvmlite", "CPU", "SIMD", "threads", "C compiler"):
        assert any(line.split("  ")[1].strip() == name for line in text.splitlines() if line), name
    assert f"{cache}: private, writable, 1 file" in text  # the measured speeds
    assert "loaded from module.so" in text


def test_json_says_the_same(run: Run, cache: Path) -> None:
    code, text = run("doctor", "--json")
    data = json.loads(text)
    assert data["ok"] == (code == 0)
    found = _found(text)
    assert ("loaded from" in found["native runtime"]["value"]) == (load().module is not None)


def test_without_native_runtime_it_says_what_that_costs(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EINLOOM_NATIVE", raising=False)
    monkeypatch.setattr(doctor, "load", lambda: Native(None, "there is no C compiler"))
    monkeypatch.setattr(doctor, "find_compiler", lambda: None)
    code, text = run("doctor", "--json")
    assert code == cli.PROBLEM
    found = _found(text)
    assert found["C compiler"]["value"] == "none"
    assert found["native runtime"]["value"] == "none: there is no C compiler"
    assert "install a C compiler" in found["native runtime"]["problem"]
    assert found["threads backend"]["value"].startswith("numba, since")
    monkeypatch.setenv("EINLOOM_NATIVE", "0")
    assert "unset EINLOOM_NATIVE" in run("doctor")[1]


def test_it_says_where_the_number_of_threads_comes_from(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EINLOOM_NUM_THREADS", "5")
    assert _found(run("doctor", "--json")[1])["threads"]["value"] == "5, from EINLOOM_NUM_THREADS"
    monkeypatch.setenv("EINLOOM_NUM_THREADS", "none")
    monkeypatch.setenv("EINLOOM_THREADS_BACKEND", "tbb")
    code, text = run("doctor", "--json")
    assert code == cli.PROBLEM
    found = _found(text)
    assert "every large call fails" in found["threads"]["problem"]
    assert "every call fails" in found["threads backend"]["problem"]


def test_it_says_which_machine_is_planned_for(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_is_arm", lambda: False)
    monkeypatch.setenv("EINLOOM_MACHINE", "x86-64-v2")
    assert "usual values of x86-64-v2, which EINLOOM_MACHINE names" in run("doctor")[1]
    monkeypatch.setenv("EINLOOM_MACHINE", "x86-64-v9")
    this_machine.cache_clear()
    code, text = run("doctor", "--json")
    assert code == cli.PROBLEM
    assert "every call fails: EINLOOM_MACHINE='x86-64-v9'" in _found(text)["SIMD"]["problem"]


def test_a_cache_that_cannot_be_used_is_a_problem(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    code, text = run("doctor", "--json")
    assert code == cli.PROBLEM
    assert "another user could write to it" in _found(text)["cache"]["value"]
    cache.chmod(0o700)
    (cache / "file").write_text("")
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(cache / "file" / "below"))
    assert "it cannot be made" in _found(run("doctor", "--json")[1])["cache"]["value"]


def test_kernels_as_python_are_a_problem(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "is_jit_disabled", lambda: True)
    code, text = run("doctor")
    assert code == cli.PROBLEM
    assert "NUMBA_DISABLE_JIT" in text


def test_the_cache_is_shown_and_cleared(run: Run, cache: Path) -> None:
    assert run("cache", "path") == (0, f"{cache}\n")
    assert run("cache", "info") == (0, f"{cache}\n  empty\n")
    kernels = folder.subfolder("kernels")
    assert kernels is not None
    (kernels / "deep").mkdir()
    (kernels / "deep" / "one.so").write_bytes(bytes(2048))
    (kernels / "two.so").write_bytes(bytes(1024))
    foreign = cache / "documents"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    assert run("cache", "info") == (0, f"{cache}\n  kernels  2 files, 3.0 KiB\n")
    assert run("cache", "clear") == (0, "2 files deleted\n")
    assert run("cache", "info") == (0, f"{cache}\n  kernels  0 files, 0 bytes\n")
    assert (foreign / "thesis.tex").exists()
    assert folder.subfolder("kernels") == kernels
    assert folder.subfolders() == [kernels]
