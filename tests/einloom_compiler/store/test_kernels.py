"""Kernels on disk: what is trusted, what survives damage, and many processes at once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from einloom_compiler.codegen.jit import Kernel, serial
from einloom_compiler.codegen.printing import print_text
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.schedule import processor
from einloom_compiler.store import eviction, folder, kernels, linking, loading

NEST = LoopNest(
    inputs=(Access("x0", "float64", ("i", "k"), "k"), Access("x1", "float64", ("k",), "k")),
    output=Access("out", "float64", ("i",), "i"),
    contracted=("k",),
    compute="float64",
    levels=(Level("i"), Level("k")),
    n_parallel=1,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache; return the folder of its kernels."""
    monkeypatch.setenv(folder.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / kernels.FOLDER


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the symbol of each kernel that is compiled."""
    recorded: list[str] = []
    original = Kernel._compile

    def compile_and_record(self: Kernel) -> object:
        recorded.append(self.symbol)
        return original(self)

    monkeypatch.setattr(Kernel, "_compile", compile_and_record)
    return recorded


def _fresh() -> Kernel:
    """Return a kernel that this process has not loaded."""
    return Kernel(NEST, print_text(NEST))


def _check(kernel: Kernel) -> None:
    """Run the kernel on a matrix and a vector."""
    x, y, out = np.arange(12.0).reshape(3, 4), np.arange(4.0), np.empty(3)
    pointers = [array.__array_interface__["data"][0] for array in (x, y, out)]
    block = np.array([*pointers, 3, 4, 4, 0], np.int64)
    serial(kernel.entry)(block.ctypes.data, 0, 0, 3)
    np.testing.assert_array_equal(out, x @ y)


def _files(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.iterdir() if not path.name.startswith("."))


def test_a_kernel_is_compiled_once_and_then_found(cache: Path, compiles: list[str]) -> None:
    for _ in range(3):
        _check(_fresh())
    assert len(compiles) == 1
    assert _files(cache) == [".json", ".so" if linking.linker() else ".o"]
    (note,) = cache.glob("*.json")
    described = json.loads(note.read_text())
    assert described["symbol"] == compiles[0]
    assert set(described["versions"]) == {"codegen", "numba", "llvmlite"}


def _replace(path: Path, contents: bytes) -> None:
    """Put another file in the place of one that this process may have mapped."""
    other = path.with_name("other")
    other.write_bytes(contents)
    other.replace(path)


def _truncate(path: Path) -> None:
    _replace(path, path.read_bytes()[:100])


def _flip_a_bit(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    _replace(path, bytes(contents))


def _empty(path: Path) -> None:
    _replace(path, b"")


def _write_foreign_text(path: Path) -> None:
    _replace(path, b"[1, 2, 3]")


@pytest.mark.parametrize("pattern", ["*.json", "*o"])
@pytest.mark.parametrize(
    "damage", [_truncate, _flip_a_bit, _empty, _write_foreign_text, Path.unlink]
)
def test_a_damaged_entry_is_compiled_again_and_replaced(
    damage: Callable[[Path], None], pattern: str, cache: Path, compiles: list[str]
) -> None:
    _check(_fresh())
    (path,) = (p for p in cache.glob(pattern) if p.suffix in (".json", ".so", ".o"))
    if damage is _flip_a_bit and pattern == "*.json":
        # Any field of the note but these two may be anything.
        described = json.loads(path.read_text())
        path.write_text(json.dumps({**described, "sha256": "0" * 64}))
    else:
        damage(path)
    _check(_fresh())
    assert len(compiles) == 2
    _check(_fresh())
    assert len(compiles) == 2


def test_an_entry_of_another_kernel_is_not_run(cache: Path, compiles: list[str]) -> None:
    _check(_fresh())
    (note,) = cache.glob("*.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "symbol": "einloom_other"}))
    _check(_fresh())
    assert len(compiles) == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
def test_nothing_is_loaded_from_where_others_can_write(cache: Path, compiles: list[str]) -> None:
    _check(_fresh())
    cache.chmod(0o777)
    _check(_fresh())
    cache.chmod(0o700)
    (code,) = (p for p in cache.iterdir() if p.suffix in (".so", ".o"))
    code.chmod(0o666)
    _check(_fresh())
    assert len(compiles) == 3


def test_without_a_folder_kernels_are_compiled_in_each_process(
    monkeypatch: pytest.MonkeyPatch, compiles: list[str]
) -> None:
    monkeypatch.setenv(folder.VARIABLE, "/dev/null/einloom")
    _check(_fresh())
    _check(_fresh())
    assert len(compiles) == 2


def test_without_a_home_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folder.VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert folder.cache_folder() is None


def test_a_full_disk_or_read_only_folder_is_no_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch, compiles: list[str]
) -> None:
    monkeypatch.setattr(kernels, "publish", lambda path, contents: False)
    _check(_fresh())
    assert len(compiles) == 1
    assert _files(cache) == []


@pytest.mark.skipif(getattr(os, "getuid", lambda: 0)() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_read(cache: Path, compiles: list[str]) -> None:
    _check(_fresh())
    cache.chmod(0o500)
    _check(_fresh())
    assert len(compiles) == 1
    cache.chmod(0o700)


def test_without_a_linker_llvmlite_loads_objects(
    cache: Path, monkeypatch: pytest.MonkeyPatch, compiles: list[str]
) -> None:
    monkeypatch.setattr(linking, "linker", lambda: None)
    _check(_fresh())
    assert _files(cache) == [".json", ".o"]
    _check(_fresh())
    assert len(compiles) == 1


def test_where_nothing_on_disk_may_run_llvmlite_loads_the_object(
    monkeypatch: pytest.MonkeyPatch, compiles: list[str]
) -> None:
    monkeypatch.setattr(loading, "load_shared", lambda path, symbol: None)
    monkeypatch.setattr(kernels, "load_shared", lambda path, symbol: None)
    _check(_fresh())
    assert len(compiles) == 1


@pytest.mark.parametrize("command", [("false",), ("/nonexistent/ld",)])
def test_a_failing_linker_is_done_without(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(linking, "linker", lambda: command)
    _check(_fresh())
    assert _files(cache) == [".json", ".o"]


def test_the_key_tells_processors_sources_and_versions_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = print_text(NEST)
    keys = {kernels.key_of(text)}
    assert keys == {kernels.key_of(text)}
    with monkeypatch.context() as patch:
        patch.setattr(processor, "identity", lambda: "x86_64\nmodel name: another")
        keys.add(kernels.key_of(text))
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "compiler_versions", lambda: "{}")
        keys.add(kernels.key_of(text))
    other = LoopNest(NEST.inputs, NEST.output, ("k",), "float32", NEST.levels, 1)
    keys.add(kernels.key_of(print_text(other)))
    assert len(keys) == 4


def _entry(cache: Path, name: str, n_bytes: int, used: float) -> None:
    for suffix in (".so", ".json"):
        path = cache / f"{name}{suffix}"
        path.write_bytes(b"x" * (n_bytes // 2))
        os.utime(path, (used, used))


def test_entries_unused_for_longest_are_evicted(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "mine", "middle", "new")):
        _entry(tmp_path, name, 1000, 1000.0 + number)
    _entry(tmp_path, "touched", 1000, 500.0)
    os.utime(tmp_path / "touched.json", (2000.0, 2000.0))
    eviction.evict(tmp_path, 5000)
    assert len(list(tmp_path.iterdir())) == 10
    eviction.evict(tmp_path, 4500, keep="mine")
    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {"mine", "new", "touched"}


def test_locks_of_processes_long_gone_are_removed(tmp_path: Path) -> None:
    for name, used in ((".a.lock", 1000.0), (".b.lock", None)):
        (tmp_path / name).touch()
        if used:
            os.utime(tmp_path / name, (used, used))
    eviction.evict(tmp_path, 1 << 20)
    assert [path.name for path in tmp_path.iterdir()] == [".b.lock"]


_COLLIDE = """
import numpy as np
import einloom as el
from einloom_compiler.codegen.jit import Kernel
compiled = []
original = Kernel._compile
Kernel._compile = lambda self: compiled.append(1) or original(self)
x, y = np.arange(35.0).reshape(5, 7), np.arange(21.0).reshape(7, 3)
np.testing.assert_array_equal(el.einsum("ij,jk->ik", x, y), x @ y)
print(len(compiled))
"""


@pytest.mark.parametrize("n_processes", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_of_many_processes_one_compiles_and_the_others_load(cache: Path, n_processes: int) -> None:
    """They start at once on an empty cache, and all get the right result."""
    cache.parent.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _COLLIDE],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(n_processes)
    ]  # fmt: skip
    results = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * n_processes, results
    assert sum(int(output) for output, _ in results) == 1
    assert len(_files(cache)) == 2
