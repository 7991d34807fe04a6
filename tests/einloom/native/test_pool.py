"""The thread pool on its own: a C program drives it, also under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from einloom.native.build import FOLDER, find_compiler

DRIVER = Path(__file__).with_name("pool_driver.c")
COMPILER = find_compiler()

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


def _built(target: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    assert COMPILER is not None
    command = [*COMPILER, "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", *flags]
    command += [f"-I{FOLDER}", str(FOLDER / "pool.c"), str(DRIVER), "-pthread", "-o", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("sanitizer", "forks"),
    # ThreadSanitizer knows no forks of a process that has threads.
    [("", 5), ("thread", 0), ("address,undefined", 5)],
)
def test_every_index_is_met_once_whatever_happens(
    sanitizer: str, forks: int, tmp_path: Path
) -> None:
    program = tmp_path / "driver"
    built = _built(program, *([f"-fsanitize={sanitizer}"] if sanitizer else []))
    if sanitizer and built.returncode:
        pytest.skip(f"the compiler has no -fsanitize={sanitizer}: {built.stderr[-200:]}")
    assert built.returncode == 0, built.stderr
    run = subprocess.run(
        [str(program), str(forks)], capture_output=True, text=True, timeout=300, check=False
    )
    if sanitizer and "unexpected memory mapping" in run.stderr:
        pytest.skip("the kernel's address space layout does not suit this sanitizer")
    assert (run.stdout, run.stderr, run.returncode) == ("ok\n", "", 0)
