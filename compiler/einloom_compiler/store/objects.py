"""Object code of kernels for CPUs that need not be this one, kept on disk between builds.

An entry is one file: the hash of the code, then the code. Its name is a hash of all that the code
depends on, so that the same kernel in several libraries is compiled once.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from einloom_compiler.store.eviction import evict
from einloom_compiler.store.folder import is_trusted, publish, subfolder
from einloom_compiler.store.kernels import compiler_versions

if TYPE_CHECKING:
    from einloom_compiler.codegen.target import Target
    from einloom_compiler.codegen.text import KernelText

FOLDER = "objects"
#: Bytes that the folder may hold; the entries unused for longest go first.
LIMIT_BYTES = 128 << 20


def find(text: KernelText, target: Target, symbol: str) -> bytes | None:
    """Return the object code of a kernel, None where no whole entry that can be trusted has it."""
    path = _path(text, target, symbol)
    if path is None or not is_trusted(path):
        return None
    try:
        digest, _, contents = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return contents if digest == _digest(contents) else None


def keep(text: KernelText, target: Target, symbol: str, contents: bytes) -> None:
    """Keep the object code of a kernel; a folder that cannot be written is no error."""
    path = _path(text, target, symbol)
    if path is not None and publish(path, _digest(contents) + b"\n" + contents):
        evict(path.parent, LIMIT_BYTES, keep=path.stem)


def _digest(contents: bytes) -> bytes:
    return sha256(contents).hexdigest().encode()


def _path(text: KernelText, target: Target, symbol: str) -> Path | None:
    called = [text.pointers, text.numbers, text.scratch_dtype]
    parts = [text.source, repr(called), repr(target), symbol, compiler_versions()]
    key = sha256("\0".join(parts).encode()).hexdigest()[:40]
    folder = subfolder(FOLDER)
    return folder and folder / f"{key}.o"
