"""The processor as Linux describes it, read without LLVM."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from llvmlite import binding

from einloom_compiler.schedule import machine, processor

_X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Some CPU
cpu MHz\t\t: {mhz}
flags\t\t: fpu sse2 {flags}

processor\t: 1
flags\t\t: fpu
"""
_ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Read anew in each test, and after the last."""
    caches = (processor.identity, processor.features, processor._described)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


def _describe(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", path)
    for function in (processor.identity, processor.features, processor._described):
        function.cache_clear()
    return processor.identity()


def test_only_the_first_processor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _describe(_X86.format(mhz=1, flags="avx2 fma"), tmp_path, monkeypatch)
    assert processor.features() == {"fpu", "sse2", "avx2", "fma"}


def test_identity_follows_features_and_not_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _describe(_X86.format(mhz=800, flags="avx2"), tmp_path, monkeypatch)
    fast = _describe(_X86.format(mhz=3000, flags="avx2"), tmp_path, monkeypatch)
    newer = _describe(_X86.format(mhz=800, flags="avx2 avx512f"), tmp_path, monkeypatch)
    arm = _describe(_ARM, tmp_path, monkeypatch)
    assert slow == fast
    assert len({slow, newer, arm}) == 3
    assert processor.features() == {"fp", "asimd"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", (128, 16)),
        ("avx2", (128, 16)),
        ("avx2 fma", (256, 16)),
        ("avx2 fma avx512f", (256, 16)),
        ("avx2 fma avx512f avx512dq avx512vl", (512, 32)),
    ],
)
def test_vectors_follow_the_features(
    flags: str, expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    _describe(_X86.format(mhz=1, flags=flags), tmp_path, monkeypatch)
    assert machine._simd() == expected


def test_where_linux_does_not_tell_llvm_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    assert binding.get_host_cpu_name() in processor.identity()
    asked = {name for name, is_on in binding.get_host_cpu_features().items() if is_on}
    assert processor.features() == asked


@pytest.mark.skipif(not processor._CPUINFO.exists(), reason="needs /proc/cpuinfo")
def test_linux_and_llvm_agree_on_what_schedules_ask_for() -> None:
    asked = binding.get_host_cpu_features()
    names = ("avx512f", "avx512dq", "avx512vl", "avx2", "fma")
    assert [name in processor.features() for name in names] == [
        bool(asked.get(name)) for name in names
    ]
