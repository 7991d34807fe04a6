"""Compile the native runtime into the cache folder, once, and load it."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from einloom.runtime.progress import compiling
from einloom_compiler.store.folder import is_trusted, making, publish, subfolder

#: Environment variable that turns the native runtime off where it is 0.
VARIABLE = "EINLOOM_NATIVE"
#: Name of the extension module.
MODULE = "_einloom_native"
FOLDER = Path(__file__).parent
SOURCES = (
    *("module.c", "caller.c", "table.c", "record.c", "call.c", "gather.c", "scratch.c"),
    *("results.c", "pool.c"),
)
HEADERS = (
    *(
        "numpy_api.h",
        "caller.h",
        "table.h",
        "record.h",
        "call.h",
        "gather.h",
        "scratch.h",
        "results.h",
        "pool.h",
        "system.h",
        "pages.h",
    ),
)
#: No -march: homes are shared between unlike machines, and nothing here is heavy arithmetic.
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")
#: Seconds after which a compiler is given up.
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Native:
    """The native runtime, or why there is none.

    Attributes:
        module: the extension module, None where there is none.
        reason: why there is none; empty where there is one.
        path: the shared object, where it is or would be.
    """

    module: ModuleType | None
    reason: str = ""
    path: Path | None = None


@cache
def load() -> Native:
    """Return the native runtime, compiled now if this is its first use on this machine."""
    if os.environ.get(VARIABLE, "1") == "0":
        return Native(None, f"{VARIABLE}=0 turns it off")
    reason = _unsupported()
    if reason:
        return Native(None, reason)
    folder = subfolder("native")
    if folder is None:
        return Native(None, "there is no cache folder that can be trusted and written to")
    compiler = find_compiler()
    stem = f"{MODULE}-{_key()}"
    if compiler is None:
        # What a compiler that is gone has built serves as well as ever.
        path = next(iter(sorted(folder.glob(f"{stem}-*.so"))), None)
        if path is None:
            return Native(None, "there is no C compiler (cc, gcc, clang, or package ziglang)")
    else:
        path = folder / f"{stem}-{_compiler_key(compiler)}.so"
        if not path.is_file():
            reason = _built(path, compiler)
            if reason:
                return Native(None, reason, path)
    if not is_trusted(path):
        return Native(None, f"{path} could have been written by another user", path)
    try:
        return Native(_imported(path), path=path)
    except (ImportError, OSError) as error:
        return Native(None, f"it cannot be loaded: {error}", path)


def find_compiler() -> tuple[str, ...] | None:
    """Return the command of a C compiler: ``$CC``, cc, gcc, clang, or that of package ziglang."""
    named = shlex.split(os.environ.get("CC", ""))
    if named and (found := shutil.which(named[0])):
        return (found, *named[1:])
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return (found,)
    if find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc")
    return None


def compile_command(compiler: tuple[str, ...], target: Path) -> list[str]:
    """Return the command that compiles the module to ``target``."""
    import numpy as np

    folders = (sysconfig.get_path("include"), sysconfig.get_path("platinclude"), np.get_include())
    includes = [f"-I{folder}" for folder in dict.fromkeys(folders)]
    return [
        *(*compiler, *FLAGS, *includes),
        *(str(FOLDER / source) for source in SOURCES),
        *("-o", str(target)),
    ]


def _unsupported() -> str:
    """Say why the module cannot be used in this Python, if so."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return f"it is written for 64-bit Linux, not {sys.platform}"
    if sys.implementation.name != "cpython":
        return f"it is written for CPython, not {sys.implementation.name}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it relies on the GIL, which this build of Python does without"
    return ""


def _key() -> str:
    """Return a hash of all that the shared object depends on, but for the compiler."""
    import numpy as np

    digest = sha256()
    for name in (*SOURCES, *HEADERS):
        digest.update((FOLDER / name).read_bytes())
    libc = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else ""
    facts = [sys.version, str(sysconfig.get_config_var("SOABI")), np.__version__]
    facts += [platform.machine(), str(libc), *FLAGS]
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()[:20]


def _compiler_key(compiler: tuple[str, ...]) -> str:
    """Return a hash of the compiler, by its path and time of change.

    Asking for its version would take longer than all else that a warm process does here.
    """
    status = Path(compiler[0]).stat()
    facts = [*compiler, str(status.st_mtime_ns), str(status.st_size)]
    return sha256("\0".join(facts).encode()).hexdigest()[:12]


def _built(path: Path, compiler: tuple[str, ...]) -> str:
    """Compile the module to ``path``; say what went wrong, if anything did.

    A failure is kept beside it, so that not every process tries again.
    """
    import subprocess
    import tempfile

    failure = path.with_suffix(".failed")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's headers are not installed (a package such as python3-dev or python3-devel)"
    with making(path), compiling("the native runtime"):
        if path.is_file():
            return ""
        if failure.is_file():
            return failure.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory(prefix="einloom-") as scratch:
            target = Path(scratch) / path.name
            command = compile_command(compiler, target)
            try:
                run = subprocess.run(
                    command, capture_output=True, text=True, timeout=_PATIENCE, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"{compiler[0]} cannot be run: {error}"
            if run.returncode != 0:
                lines = [line for line in run.stderr.splitlines() if "error" in line]
                words = (lines or run.stderr.splitlines() or ["no message"])[0]
                reason = f"{' '.join(compiler)} fails: {words}"
                publish(failure, reason.encode())
                return reason
            if not publish(path, target.read_bytes()):
                return f"{path.parent} cannot be written to"
    return ""


def _imported(path: Path) -> ModuleType:
    spec = spec_from_file_location(MODULE, loader=ExtensionFileLoader(MODULE, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(f"no module specification for {path}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
