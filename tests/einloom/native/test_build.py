"""The native runtime is compiled once, is loaded only if it can be trusted, and may be missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from einloom.native import build
from einloom.native.build import Native, compile_command, find_compiler, load

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder that holds the module: the compiler takes two seconds."""
    folder = tmp_path_factory.mktemp("whole") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EINLOOM_CACHE_DIR", str(folder))
        patch.delenv("EINLOOM_NATIVE", raising=False)
        assert _load().module is not None
    return folder


@pytest.fixture
def built(whole: Path, fresh: Path) -> Path:
    """Put the module into an empty cache folder; return its path."""
    shutil.copytree(whole, fresh.parent)
    (path,) = fresh.glob("*.so")
    assert _load().path == path
    return path


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give an empty cache folder; ``load.__wrapped__`` looks at it without what was loaded."""
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EINLOOM_NATIVE", raising=False)
    return tmp_path / "cache" / "native"


def _load() -> Native:
    found = load.__wrapped__()
    assert isinstance(found, Native)
    return found


def _compilers(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the only compiler be this shell script."""
    folder.mkdir()
    compiler = folder / "cc"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.delenv("CC", raising=False)
    return compiler


@needs_compiler
def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    compiler = find_compiler()
    assert compiler is not None
    command = compile_command(compiler, tmp_path / "module.so")
    run = subprocess.run(
        [*command, "-Wall", "-Wextra", "-Werror"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@needs_compiler
def test_it_is_compiled_once_and_then_loaded(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_compiler()
    assert real is not None
    log = tmp_path / "log"
    _compilers(tmp_path / "bin", f'echo run >> {log}; exec {" ".join(real)} "$@"', monkeypatch)
    for _ in range(3):
        found = _load()
        assert found.module is not None, found.reason
        assert found.path is not None
        assert found.path.parent == fresh
    assert log.read_text() == "run\n"


@needs_compiler
def test_what_was_built_serves_when_the_compiler_has_gone(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    assert _load().path == built
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path / "other"))
    assert "there is no C compiler" in _load().reason


def test_a_compiler_that_fails_is_asked_once(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    _compilers(
        tmp_path / "bin", f"echo run >> {log}; echo 'x.c:1: error: broken' >&2; exit 1", monkeypatch
    )
    for _ in range(2):
        found = _load()
        assert found.module is None
        assert found.reason.endswith("fails: x.c:1: error: broken")
    assert log.read_text() == "run\n"


@needs_compiler
def test_a_file_that_others_could_have_written_is_not_loaded(built: Path) -> None:
    built.chmod(0o666)
    found = _load()
    assert found.module is None
    assert "another user" in found.reason


@needs_compiler
def test_a_file_that_is_no_module_is_no_crash(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path / "other"))
    broken = tmp_path / "other" / "native" / built.name
    broken.parent.mkdir(mode=0o700, parents=True)
    broken.parent.parent.chmod(0o700)
    broken.write_bytes(b"no shared object")
    broken.chmod(0o600)
    assert "cannot be loaded" in _load().reason


def test_it_can_be_turned_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EINLOOM_NATIVE", "0")
    assert _load() == Native(None, "EINLOOM_NATIVE=0 turns it off")
    assert not fresh.exists()


def test_without_a_cache_folder_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EINLOOM_NATIVE", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path / "file"))
    assert "no cache folder" in _load().reason


SAME = """
import sys
import numpy as np, einloom as el
rng = np.random.default_rng(3)
x, y, z = rng.random((5, 4)), rng.random((4, 6)), rng.random((6, 2))
f = el.compile("ij,jk,kl->il", *(el.spec(*a.shape) for a in (x, y, z)))
out = np.empty((5, 2))

def further():
    big = rng.random((300, 200))
    return [
        el.einsum("ij,jk->ki", x, y, order="C"), el.einsum("ij,ij->", x, x),
        el.einsum("ij,jk->ik", x, y, out=np.empty((5, 6))), el.matmul(big, big.T),
        el.tensordot(x, y, axes=1), el.dot(x, y), el.vdot(x.T, x.T),
        el.einsum("ij,jk->ik", x[::-1, ::2], y[1::2]), el.kron(x, y),
    ]

for _ in range(3):
    results = [
        f(x, y, z), f(x, y, z, out=out), f(x, y, z, threads=2), el.einsum("ij,jk->ik", x, y)
    ]
    if "further" in sys.argv:
        results += further()
print(*(np.asarray(r).tobytes().hex() + str(type(r)) for r in results), sep="\\n")
"""


def _results(native: str, backend: str, *further: str) -> list[str]:
    environment = {
        **os.environ,
        "EINLOOM_NATIVE": native,
        "EINLOOM_THREADS_BACKEND": backend,
        "EINLOOM_NUM_THREADS": "2",
    }
    run = subprocess.run(
        [sys.executable, "-c", SAME, *further],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    return run.stdout.splitlines()


def test_results_are_the_same_without_it() -> None:
    results = _results("1", "pool", "further")
    assert len(results) == 13
    assert _results("0", "pool", "further") == results
    assert _results("1", "numba") == results[:4]
