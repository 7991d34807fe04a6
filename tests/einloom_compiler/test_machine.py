"""The machine: its sizes, and speeds that are measured once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from einloom_compiler.errors import UnsupportedError
from einloom_compiler.schedule import machine, measuring
from einloom_compiler.schedule.machine import (
    Machine,
    described,
    host,
    named_machine,
    this_machine,
)
from einloom_compiler.schedule.measuring import ensure_measured, measure, measured_host, recalled

_MACHINE = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 18)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EINLOOM_MACHINE")
    monkeypatch.setattr(measuring, "_LARGE_BYTES", 1 << 20)
    return tmp_path / "cache" / "machines"


def test_speeds_are_usual_until_they_were_measured_and_then_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    this_machine.cache_clear()
    try:
        assert host() == described()
        assert not host().is_measured
        found = measured_host()
        assert found.is_measured
        assert host() == found
        this_machine.cache_clear()
        assert host() == found
        assert len(list(cache.glob("*.json"))) == 1
    finally:
        monkeypatch.undo()
        this_machine.cache_clear()


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that lets EINLOOM_MACHINE name a level."""

    def name(level: str) -> None:
        monkeypatch.setenv("EINLOOM_MACHINE", level)
        this_machine.cache_clear()

    yield name
    monkeypatch.undo()
    this_machine.cache_clear()


def test_a_named_level_is_planned_for_and_never_measured(
    cache: Path, named: Callable[[str], None]
) -> None:
    level = "aarch64" if machine._is_arm() else "x86-64-v2"
    named(level)
    ensure_measured()
    assert host() == replace(named_machine(level), cores=described().cores)
    assert not cache.exists()


def test_a_level_that_this_cpu_does_not_run_is_refused(
    named: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_simd", lambda: (256, 16))
    monkeypatch.setattr(machine, "_is_arm", lambda: False)
    named("x86-64-v4")
    with pytest.raises(UnsupportedError, match="has vectors of 512 bits, this CPU of 256"):
        host()
    for level in ("x86-64", "aarch64", "native"):
        named(level)
        with pytest.raises(UnsupportedError, match=f"EINLOOM_MACHINE='{level}'.*x86-64-v4$"):
            host()


def test_what_is_measured_within_l2_is_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {4992: 1.75e-6, 9984: 2.55e-6}
    monkeypatch.setattr(measuring, "_product_seconds", lambda left, right: seconds[len(left)])
    assert measuring._reading_bandwidth() == pytest.approx(16 * 4992 / 0.8e-6)
    # Where the clock was wrong, no more than a line a cycle.
    monkeypatch.setattr(measuring, "_product_seconds", lambda left, right: 1e-6)
    assert measure(_MACHINE).cache_bandwidth <= 1.2 * 64 * measure(_MACHINE).hertz


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"hertz": 0, "cache_bandwidth": 1}', "null"),
        '{"hertz": 3e9, "cache_bandwidth": 4e9, "l3_bandwidth": 2e10, "memory_bandwidth": 13e9}',
    ],
)
def test_a_damaged_file_is_ignored(cache: Path, text: str) -> None:
    measured = measure(_MACHINE)
    path = measuring._path(_MACHINE)
    assert path is not None
    assert path.parent == cache
    path.write_text(text)
    assert recalled(_MACHINE) == _MACHINE
    assert measured != _MACHINE


def test_speeds_are_rounded_so_that_equal_machines_are_equal() -> None:
    assert measuring._rounded(1.01e9) == measuring._rounded(1.05e9)
    assert [measuring._rounded(n) for n in (4.0, 4.4, 4.6, 8.1)] == [4.0, 4.0, 5.0, 8.0]


def test_what_is_copied_lies_half_a_page_apart() -> None:
    for n_bytes in (1 << 17, (1 << 17) + 64, 24 << 10):
        source, target = measuring._arrays(n_bytes)
        assert source.nbytes == target.nbytes == n_bytes
        assert not np.shares_memory(source, target)
        assert (target.ctypes.data - source.ctypes.data) % 4096 == 2048


def test_a_shared_cache_counts_by_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (level, kind, size, sharers) in enumerate(
        [(1, "Data", "48K", "0"), (2, "Unified", "2048K", "0,64"), (3, "Unified", "65536K", "0-31")]
    ):
        entry = tmp_path / f"index{number}"
        entry.mkdir()
        for name, value in zip(
            ("level", "type", "size", "shared_cpu_list"), (level, kind, size, sharers), strict=True
        ):
            (entry / name).write_text(f"{value}\n")
    monkeypatch.setattr(machine, "_CACHES", tmp_path)
    sizes = described()
    assert (sizes.l1_bytes, sizes.l2_bytes, sizes.l3_bytes) == (48 << 10, 2 << 20, 2 << 20)


def test_a_machine_prints_sizes_and_where_its_speeds_come_from() -> None:
    text = str(_MACHINE)
    assert "2 cores, vectors of 512 bits, 32 registers" in text
    assert "48 KiB of L1, 256 KiB of L2 a core" in text
    assert "usual ones" in text
    assert "(measured)" in str(measure(_MACHINE))
