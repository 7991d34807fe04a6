"""Kernels compiled in several processes: the same bytes, an error's text, workers that vanish."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from einloom_compiler.codegen import elf, jit, several
from einloom_compiler.codegen.objects import compile_object
from einloom_compiler.codegen.printing import print_text
from einloom_compiler.codegen.several import SYMBOL, Job, compile_several
from einloom_compiler.codegen.target import named_target
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.store import objects


def job(dtype: str, cpu: str = "x86-64-v3") -> Job:
    """Return a copy."""
    nest = LoopNest(
        inputs=(Access("x0", dtype, ("i",), "i"),),
        output=Access("out", dtype, ("i",), "i"),
        contracted=(),
        compute=dtype,
        levels=(Level("i"),),
        n_parallel=1,
    )
    return print_text(nest), named_target(cpu)


@pytest.fixture(autouse=True)
def _own_cache_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(several, "_MOST_PROCESSES", 16)


def test_processes_share_the_work_and_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "_LEAST_SHARE", 1)
    jobs = [job(dtype) for dtype in ("float32", "float64", "int8", "float32")]
    jobs.append(job("float32", "x86-64-v2"))
    seen: list[int] = []
    codes = compile_several(jobs, 2, seen.append)
    assert seen[-1] == 4
    for (text, target), code in zip(jobs, codes, strict=True):
        assert code == compile_object(text, SYMBOL, target).contents
    monkeypatch.setattr(jit, "compile_for", None)
    assert compile_several(jobs, 1, seen.append) == codes
    (entry, *_) = sorted((tmp_path / objects.FOLDER).glob("*.o"))
    entry.write_bytes(entry.read_bytes()[:-1])
    assert [objects.find(*each, SYMBOL) for each in jobs].count(None) in (1, 2)


def test_a_worker_that_cannot_start_or_dies_leaves_its_work_to_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(several, "_LEAST_SHARE", 1)
    dying = tmp_path / "python-that-ends"
    dying.symlink_to("/bin/true")
    jobs = [job("int16"), job("uint16")]
    expected = [compile_object(text, SYMBOL, target).contents for text, target in jobs]
    for executable in ("/nowhere/python", str(dying), ""):
        monkeypatch.setattr(sys, "executable", executable)
        monkeypatch.setattr(objects, "find", lambda *_: None)
        assert compile_several(jobs, 3, lambda _: None) == expected


@pytest.mark.parametrize(
    ("executable", "n_further"), [("/usr/bin/python3.11", 2), ("/usr/bin/an-editor", 0), ("", 0)]
)
def test_a_program_that_embeds_python_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, executable: str, n_further: int
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert several._n_further(9, 16) == n_further


def test_a_process_is_started_for_so_many_kernels_as_pay_for_it() -> None:
    counts = [several._n_further(4, n_kernels) for n_kernels in (7, 8, 15, 16, 100)]
    assert counts == [0, 1, 1, 2, 3]


def test_an_error_says_what_the_compiler_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "_LEAST_SHARE", 1)
    text, target = job("float32")
    broken = replace(text, source=text.source.replace("out[", "out.nothing["))
    assert broken != text
    with pytest.raises(Exception, match="nothing"):
        compile_several([(broken, target), job("float64"), job("int32")], 3, lambda _: None)


def test_an_object_gets_another_symbol() -> None:
    text, target = job("float32")
    code = compile_object(text, SYMBOL, target).contents
    for name in ("f", "much_longer_than_before_" * 4):
        found = elf.renamed(code, SYMBOL, name)
        assert elf.symbols(found).exported == {name}
        assert elf.symbols(found).undefined == elf.symbols(code).undefined
    with pytest.raises(ValueError, match="0 symbols 'g'"):
        elf.renamed(code, "g", "h")
