"""Libraries for other machines: CPU levels and aarch64 under qemu-user, links by ziglang."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import einloom as el
from einloom.aot import toolchain
from einloom.aot.building import Built

#: Where Debian's libc6-arm64-cross puts the C library of aarch64.
SYSROOT = Path("/usr/aarch64-linux-gnu")
HAS_ZIG = importlib.util.find_spec("ziglang") is not None
HAS_CROSS = HAS_ZIG or shutil.which("aarch64-linux-gnu-gcc") is not None
CAN_EMULATE = shutil.which("qemu-aarch64") is not None and (SYSROOT / "lib").is_dir()

_PROGRAM = """
#include <stdio.h>
#include "thing.h"

int main(void) {
    static float x[48 * 40], out[48 * 24];
    for (int i = 0; i < 48 * 40; i++)
        x[i] = (float)(i % 7 - 3);
    for (int threads = 1; threads < 4; threads++) {
        int code = thing_call(x, out, 48, threads);
        if (code != 0) {
            printf("%s\\n", thing_message(code));
            return 0;
        }
        double sum = 0;
        for (int i = 0; i < 48 * 24; i++)
            sum += (double)out[i] * (i % 11);
        printf("%s %.17g\\n", thing_cpu(), sum);
    }
    return 0;
}
"""


def function() -> tuple[object, float]:
    """Return a function with packed weights and a softmax, and what the program prints of it."""
    w = (np.arange(40 * 24).reshape(40, 24) % 5 - 2).astype(np.float32)
    x = (np.arange(48 * 40).reshape(48, 40) % 7 - 3).astype(float)
    expected = np.maximum(x @ w, 0)
    traced = el.trace(
        lambda x: el.relu(el.matmul(x, w)), el.spec("B", 40, dtype="float32", name="x")
    )
    return traced, float((expected.ravel() * (np.arange(48 * 24) % 11)).sum())


def program(built: Built, compiler: list[str], folder: Path) -> Path:
    """Return the compiled program, the library beside it."""
    (folder / "main.c").write_text(_PROGRAM)
    command = [*compiler, "main.c", "-o", "main", f"-I{built.folder}", f"-L{built.folder}"]
    subprocess.run([*command, "-lthing", f"-Wl,-rpath,{built.folder}"], cwd=folder, check=True)
    return folder / "main"


def output(command: list[str]) -> list[str]:
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the function for the two lower levels of x86-64."""
    cpus, ranges = ("x86-64-v2", "x86-64-v3"), {"B": (33, 60)}
    folder = tmp_path_factory.mktemp("aot") / "thing"
    built = el.aot.build(function()[0], folder, cpu=cpus, ranges=ranges)
    assert isinstance(built, Built)
    return built


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-user is not installed")
def test_a_cpu_runs_the_best_level_that_it_can(levels: Built, tmp_path: Path) -> None:
    binary = str(program(levels, ["cc"], tmp_path))
    expected = function()[1]
    for cpu, level in (("Nehalem", "x86-64-v2"), ("Haswell", "x86-64-v3")):
        lines = output(["qemu-x86_64", "-cpu", cpu, binary])
        assert lines == [f"{level} {expected:.17g}"] * 3
    (line,) = output(["qemu-x86_64", "-cpu", "core2duo", binary])
    assert "this CPU is none" in line


@pytest.mark.skipif(not HAS_CROSS, reason="neither aarch64-linux-gnu-gcc nor ziglang is installed")
@pytest.mark.skipif(not CAN_EMULATE, reason="needs qemu-user and libc6-arm64-cross")
def test_an_aarch64_library_computes(tmp_path: Path) -> None:
    traced, expected = function()
    built = el.aot.build(traced, tmp_path / "thing", cpu="aarch64", ranges={"B": (33, 60)})
    assert isinstance(built, Built)
    assert built.manifest["architecture"] == "aarch64"
    tools = toolchain.toolchain("aarch64", "x86_64")
    binary = program(built, list(tools.command), tmp_path)
    lines = output(["qemu-aarch64", "-L", str(SYSROOT), str(binary)])
    assert lines == [f"aarch64 {expected:.17g}"] * 3


@pytest.mark.skipif(not HAS_ZIG, reason="the package ziglang is not installed")
def test_ziglang_links_where_there_is_no_compiler(
    levels: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "find_compiler", lambda: None)
    traced, _ = function()
    cpus = tuple(levels.manifest["cpu"])
    built = el.aot.build(traced, tmp_path / "thing", cpu=cpus, ranges={"B": (33, 60)})
    assert isinstance(built, Built)
    assert built.manifest["linked_by"] == "ziglang"
    assert tuple(map(int, built.manifest["glibc"].split("."))) <= (2, 17)
    x = np.random.default_rng(0).standard_normal((48, 40)).astype(np.float32)
    np.testing.assert_array_equal(el.aot.load(built.folder)(x), el.aot.load(levels.folder)(x))
