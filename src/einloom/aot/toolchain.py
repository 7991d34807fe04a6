"""The C compiler that builds a library, and what it is told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from einloom.native.build import find_compiler
from einloom_compiler.errors import EinloomError, UnsupportedError

#: The oldest C library that libraries built by ziglang run with.
OLD_GLIBC = "2.17"
#: Seconds that one command may take.
_PATIENCE = 300.0
_COMPILE = (
    *("-std=gnu11", "-O1", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall"),
    # Nothing of the machine or the folder may get into the bytes.
    *("-g0", "-fno-ident"),
)
_LINK = (
    *("-shared", "-pthread", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,defs"),
    # Threads of the pool run the library's code until the process ends.
    *("-Wl,-z,nodelete", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,--as-needed", "-Wl,-s"),
)


class ToolchainError(EinloomError, RuntimeError):
    """The C compiler or linker is missing or fails."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A C compiler that makes code for one architecture.

    Attributes:
        command: how it is called.
        name: what the manifest calls it.
    """

    command: tuple[str, ...]
    name: str

    def compile(self, source: str, folder: Path) -> Path:
        """Compile a file of ``folder`` and return the object's path."""
        target = f"{source.rpartition('.')[0]}.o"
        self._run([*_COMPILE, "-c", source, "-o", target], folder)
        return folder / target

    def link(self, objects: Sequence[str], target: str, folder: Path) -> Path:
        """Link objects of ``folder`` to a shared library and return its path."""
        name = f"-Wl,-soname,{target}"
        self._run([*_LINK, name, "-o", target, *objects, "-lm", "-lpthread"], folder)
        return folder / target

    def _run(self, arguments: Sequence[str], folder: Path) -> None:
        command = [*self.command, *arguments]
        try:
            run = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolchainError(f"{self.command[0]} cannot be run: {error}") from None
        if run.returncode != 0:
            lines = run.stderr.strip().splitlines() or ["no message"]
            shown = "\n".join(lines[:20])
            raise ToolchainError(f"{' '.join(command)} fails:\n{shown}")


def toolchain(architecture: str, host: str) -> Toolchain:
    """Return the C compiler for an architecture: the system's, or package ziglang's.

    Args:
        architecture: of the code, ``x86_64`` or ``aarch64``.
        host: of this machine.

    Raises:
        UnsupportedError: the system is not Linux.
        ToolchainError: there is none.
    """
    if sys.platform != "linux":
        raise UnsupportedError(
            f"libraries are built for Linux, on Linux, not on {sys.platform}; build in a Linux "
            "container or virtual machine"
        )
    zig = ToolchainError(
        f"there is no C compiler that makes {architecture} code: install one "
        + ("(cc, gcc or clang)" if architecture == host else f"({architecture}-linux-gnu-gcc)")
        + ", or the PyPI package ziglang (pip install 'einloom[aot]')"
    )
    if architecture == host:
        found = find_compiler()
        if found is not None and "ziglang" not in found:
            return Toolchain(found, Path(found[0]).name)
    elif (cross := shutil.which(f"{architecture}-linux-gnu-gcc")) is not None:
        return Toolchain((cross,), Path(cross).name)
    if find_spec("ziglang") is None:
        raise zig
    target = f"{architecture}-linux-gnu.{OLD_GLIBC}"
    return Toolchain((sys.executable, "-m", "ziglang", "cc", "-target", target), "ziglang")
