"""Kernels on disk: an entry is a shared object (or an object) and a JSON file that vouches for it.

The name of both is a hash of all that the machine code depends on: the printed source and how it is
called, the processor, and the versions of this code generator, Numba and llvmlite. The JSON file is
written last and holds the hash of the code, which is checked before the code is loaded: an entry
that is missing, cut off, damaged or foreign is made anew, and replaced in one step, so that
processes that have it loaded keep what they loaded. No entry is read from a folder or a file that
others can write to. There is no pickle.

An entry is published before its kernel first runs: linking takes 5 ms and writing less than 1 ms
(2026-11), against 100 ms and more to compile, so that nothing would be gained by a thread, which a
short process might not let finish.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from einloom_compiler.schedule import processor
from einloom_compiler.store.eviction import evict
from einloom_compiler.store.folder import is_trusted, making, publish, subfolder
from einloom_compiler.store.linking import link
from einloom_compiler.store.loading import load_object, load_shared, load_shared_bytes
from einloom_compiler.store.versions import source_hash, version_of

if TYPE_CHECKING:
    from einloom_compiler.codegen.objects import ObjectCode
    from einloom_compiler.codegen.text import KernelText

FOLDER = "kernels"
#: Bytes that the folder may hold; the entries unused for longest go first.
LIMIT_BYTES = 512 << 20
#: Seconds after which a use is noted by touching the entry: eviction needs days, not minutes.
_TOUCH_AFTER = 24 * 3600.0


def key_of(text: KernelText) -> str:
    """Return the name of a kernel's entry on this machine."""
    called = [text.pointers, text.numbers, text.scratch_dtype]
    parts = [text.source, repr(called), processor.identity(), compiler_versions()]
    return sha256("\0".join(parts).encode()).hexdigest()[:40]


@cache
def compiler_versions() -> str:
    """Return what identifies the code generator and what it stands on, importing none of it."""
    versions = {package: version_of(package) for package in ("numba", "llvmlite")}
    return json.dumps({"codegen": source_hash("einloom_compiler.codegen"), **versions})


def stored(text: KernelText, symbol: str) -> int | None:
    """Return the address of a kernel's native code if the disk holds it, and load it."""
    folder = subfolder(FOLDER)
    return None if folder is None else find(folder, key_of(text), symbol)


def entry_of(text: KernelText, symbol: str, compile_now: Callable[[], ObjectCode]) -> int:
    """Return the address of a kernel's native code, from disk or compiled now and kept there.

    Of many processes that need the same kernel at once, one compiles it and the others wait.
    """
    folder = subfolder(FOLDER)
    if folder is None:
        return _run_in_memory(compile_now())
    key = key_of(text)
    address = find(folder, key, symbol)
    if address is not None:
        return address
    with making(folder / key):
        address = find(folder, key, symbol)
        if address is not None:
            return address
        return _keep(folder, key, text, compile_now())


def find(folder: Path, key: str, symbol: str) -> int | None:
    """Load the entry ``key``; None where there is none that is whole and to be trusted."""
    note = folder / f"{key}.json"
    try:
        described = json.loads(note.read_bytes())
        path = folder / f"{key}.{'so' if described['kind'] == 'so' else 'o'}"
        contents = path.read_bytes()
        is_whole = described["sha256"] == sha256(contents).hexdigest()
        is_whole = is_whole and described["symbol"] == symbol
        age = time.time() - note.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not (is_whole and is_trusted(path) and is_trusted(note)):
        return None
    if age > _TOUCH_AFTER:
        _touch(note)
    if described["kind"] == "so":
        return load_shared(path, symbol)
    return load_object(contents, symbol)


def _touch(note: Path) -> None:
    try:
        os.utime(note)
    except OSError:
        return  # A read-only folder is used as it is.


def _keep(folder: Path, key: str, text: KernelText, code: ObjectCode) -> int:
    """Publish a kernel's code and return its address in this process."""
    linked = link(code.contents)
    kind = "o" if linked is None else "so"
    contents = code.contents if linked is None else linked
    path = folder / f"{key}.{kind}"
    note = {
        "symbol": code.symbol,
        "kind": kind,
        "sha256": sha256(contents).hexdigest(),
        "title": text.title,
        "scratch_elements": text.scratch_elements,
        "scratch_dtype": text.scratch_dtype,
        "source": sha256(text.source.encode()).hexdigest(),
        "processor": sha256(processor.identity().encode()).hexdigest(),
        "versions": json.loads(compiler_versions()),
    }
    is_kept = publish(path, contents) and publish(
        folder / f"{key}.json", json.dumps(note, indent=1).encode()
    )
    if is_kept:
        evict(folder, LIMIT_BYTES, keep=key)
        if kind == "so" and (address := load_shared(path, code.symbol)) is not None:
            return address
    return _run_in_memory(code, linked)


def _run_in_memory(code: ObjectCode, linked: bytes | None = None) -> int:
    """Load code that no folder keeps: by a file that is removed again, or else by llvmlite."""
    linked = link(code.contents) if linked is None else linked
    address = load_shared_bytes(linked, code.symbol) if linked is not None else None
    return load_object(code.contents, code.symbol) if address is None else address
