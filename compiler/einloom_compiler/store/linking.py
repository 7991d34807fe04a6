"""Link an object to a shared object, with whatever linker the machine has.

Kernels need a few functions of the C library at most, which every Python process has loaded, so no
start files are linked: 5 ms with a C compiler's linker, 2 ms with ``ld`` (2026-11).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

#: Seconds that a linker may take.
_PATIENCE = 60.0
_COMPILERS = ("cc", "gcc", "clang")
_LINKERS = ("ld", "ld.lld")
_FLAGS = ("-shared", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,noexecstack")
#: After the object, so that only what it needs is recorded.
_LIBRARIES = ("-Wl,--as-needed", "-lm", "-lc")


@cache
def linker() -> tuple[str, ...] | None:
    """Return the start of the command that links, None where the machine has no linker.

    It is the system's C compiler (``CC``, ``cc``, ``gcc``, ``clang``), its linker alone, or that of
    the PyPI package ``ziglang``.
    """
    named = os.environ.get("CC", "").split()
    if named and shutil.which(named[0]):
        return (*named, *_FLAGS)
    for name in _COMPILERS:
        if found := shutil.which(name):
            return (found, *_FLAGS)
    for name in _LINKERS:
        if found := shutil.which(name):
            return (found, "-shared", "--build-id=none", "-z", "noexecstack")
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc", *_FLAGS)
    return None


def link(contents: bytes) -> bytes | None:
    """Return an object as a shared object; None where there is no linker, or it fails.

    A failing linker is no error: llvmlite loads the object itself (:mod:`.loading`).
    """
    command = linker()
    if command is None:
        return None
    is_compiler = "-nostdlib" in command
    try:
        with tempfile.TemporaryDirectory(prefix="einloom-") as folder:
            source, target = Path(folder, "kernel.o"), Path(folder, "kernel.so")
            source.write_bytes(contents)
            files = ("-o", str(target), str(source))
            subprocess.run(
                [*command, *files, *(_LIBRARIES if is_compiler else ())],
                check=True, capture_output=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            return target.read_bytes()
    except (OSError, subprocess.SubprocessError):
        return None
