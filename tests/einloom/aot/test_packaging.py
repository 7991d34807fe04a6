"""How a built library gets to its users: a wheel, CMake, pkg-config; one build serves all tests."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import einloom as el
from einloom.aot.building import Built
from einloom_compiler.errors import SpecError

NAME = "Net__2"
WEIGHTS = np.arange(15, dtype=np.float32).reshape(5, 3)


#: Fails where a plugin can be unloaded: threads of the pool would then run code that is no more.
_HOST = """
#include <dlfcn.h>

int main(int n, char **words) {
    void *plugin = n > 1 ? dlopen(words[1], RTLD_NOW) : 0;
    if (plugin == 0 || ((int (*)(void))dlsym(plugin, "entry"))() != 0 || dlclose(plugin) != 0)
        return 1;
    return dlopen(words[1], RTLD_NOW | RTLD_NOLOAD) == 0;
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A product with weights in a file beside it, in a folder whose path has a space."""
    folder = tmp_path_factory.mktemp("aot") / "a folder"
    f = el.compile("bi,ij->bj", el.spec(4, 5, dtype="float32", name="x"), WEIGHTS)
    found = el.aot.build(f, folder, name=NAME, cpu="native", static=True, embedded_bytes=0)
    assert isinstance(found, Built)
    assert (folder / f"lib{NAME}.weights").exists()
    return found


def run(command: Sequence[str | Path], **settings: str | Path | dict[str, str]) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def test_a_wheel_in_an_environment_that_has_numpy_alone(built: Built, tmp_path: Path) -> None:
    pytest.importorskip("pip")
    wheel = built.wheel("1.2")
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    packages = Path(np.__file__).parent.parent
    for path in (*packages.glob("numpy"), *packages.glob("numpy.libs"), *packages.glob("numpy-*")):
        (site / path.name).symlink_to(path)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    run([*pip, "install", "--no-index", "--disable-pip-version-check", str(wheel)])
    program = f"""
import importlib.metadata, importlib.util, sys
assert importlib.util.find_spec("einloom") is None
assert importlib.metadata.version("{NAME}") == "1.2"
import numpy as np
from {NAME} import {NAME} as f
print(f(np.ones((4, 5), np.float32)).tolist())
"""
    printed = run([python, "-I", "-c", program], cwd=tmp_path)
    assert printed.strip() == str((np.ones((4, 5), np.float32) @ WEIGHTS).tolist())
    assert wheel == built.wheel("1.2")
    for wrong in ("", "1.x", "1.2/..", "v1"):
        with pytest.raises(SpecError, match="numbers with dots"):
            built.wheel(wrong)


def checksum_of_example(built: Built, tmp_path: Path) -> str:
    """Return what the example prints, built by the command in its first comment."""
    text = (built.folder / "example.c").read_text(encoding="ascii")
    found = re.search(r"^(?:/\*|//)?\s*((?:cc|gcc)\b.*?)(?:\*/)?$", text, re.MULTILINE)
    assert found is not None, text[:300]
    folder = tmp_path / "copy"
    shutil.copytree(built.folder, folder)
    run(shlex.split(found[1]), cwd=folder)
    program = next(
        p for p in folder.iterdir() if p.is_file() and p.suffix == "" and os.access(p, 1)
    )
    return run([program], cwd=folder)


def test_cmake_and_pkg_config_find_the_library(built: Built, tmp_path: Path) -> None:
    cmake, pkg_config = shutil.which("cmake"), shutil.which("pkg-config")
    if cmake is None or pkg_config is None:
        pytest.skip("CMake or pkg-config is not installed")
    expected = checksum_of_example(built, tmp_path)
    shutil.copy(built.folder / "example.c", tmp_path / "example.c")
    header = f'#include "{NAME}.h"\nint main() {{ return {NAME}_version()[0] == 0; }}\n'
    (tmp_path / "plus.cpp").write_text(header)
    (tmp_path / "plugin.c").write_text(header.replace("main()", "entry(void)"))
    (tmp_path / "host.c").write_text(_HOST)
    series = ".".join(el.__version__.split(".")[:2])
    (tmp_path / "CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.19)
project(user C CXX)
foreach(wrong 99 99.0...<100 0.0.1...<{el.__version__} "{el.__version__}.1;EXACT")
  find_package({NAME} ${{wrong}} QUIET PATHS "{built.folder}" NO_DEFAULT_PATH)
  if({NAME}_FOUND)
    message(FATAL_ERROR "version ${{wrong}} was found")
  endif()
endforeach()
foreach(right "{el.__version__};EXACT" {series} 0.0.1...{el.__version__} {series}...<100)
  find_package({NAME} ${{right}} REQUIRED PATHS "{built.folder}" NO_DEFAULT_PATH)
endforeach()
add_executable(shared example.c)
target_link_libraries(shared PRIVATE {NAME}::{NAME})
add_executable(static example.c)
target_link_libraries(static PRIVATE {NAME}::{NAME}_static)
add_library(plugin MODULE plugin.c)
target_link_libraries(plugin PRIVATE {NAME}::{NAME}_static)
add_executable(host host.c)
target_link_libraries(host PRIVATE ${{CMAKE_DL_LIBS}})
add_executable(plus plus.cpp)
target_link_libraries(plus PRIVATE {NAME}::{NAME})
""")
    run([cmake, "-S", tmp_path, "-B", tmp_path / "build"])
    run([cmake, "--build", tmp_path / "build"])
    assert run([tmp_path / "build" / "shared"]) == expected
    run([tmp_path / "build" / "plus"])
    run([tmp_path / "build" / "host", tmp_path / "build" / "libplugin.so"])
    weights = built.folder / f"lib{NAME}.weights"
    shutil.copy(weights, tmp_path / "build" / weights.name)  # beside what the code is linked into
    assert run([tmp_path / "build" / "static"]) == expected

    environment = {**os.environ, "PKG_CONFIG_PATH": str(built.folder)}
    printed = run([pkg_config, "--cflags", "--libs", NAME], env=environment)
    program = tmp_path / "program"
    run(["cc", tmp_path / "example.c", *shlex.split(printed), "-o", program])
    assert run([program], cwd=tmp_path) == expected
    assert run([pkg_config, "--modversion", NAME], env=environment).strip() == el.__version__
