"""The cache folder: where it is, whom it belongs to, and how entries get into it.

An entry is a file whose name is derived from all that its contents depend on, so it is written once
and never changed. It is written beside its place and renamed, so that a crash or another process
leaves either no entry or a whole one. Code is loaded from a folder only if nobody but this user can
write there.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Environment variable that names the folder.
VARIABLE = "EINLOOM_CACHE_DIR"
#: Seconds that a process waits for another one that makes the same entry, before it makes its own.
PATIENCE = 60.0


def cache_path() -> Path:
    """Return where the folder of entries is, or would be.

    It is ``EINLOOM_CACHE_DIR``, or ``einloom`` in the user's cache folder.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else _user_cache() / "einloom"


def cache_folder() -> Path | None:
    """Return the folder of entries, made if needed; None where none is to be trusted or written."""
    folder = cache_path()
    return folder if folder.is_absolute() and _prepared(folder) else None


def _user_cache() -> Path:
    """Return the user's cache folder; relative where there is no home."""
    if sys.platform.startswith("linux"):
        # As the XDG base directory specification says; platformdirs takes 10 ms to be imported.
        named = Path(os.environ.get("XDG_CACHE_HOME", ""))
        return named if named.is_absolute() else Path(os.path.expanduser("~/.cache"))  # noqa: PTH111
    from platformdirs import user_cache_path

    return user_cache_path()


def subfolder(name: str) -> Path | None:
    """Return the folder ``name`` inside the cache folder, made if needed; None if there is none.

    One that is made here is noted beside it, so that it may be emptied.
    """
    root = cache_folder()
    if root is None:
        return None
    folder = root / name
    is_new = not folder.exists()
    if not _prepared(folder):
        return None
    if is_new:
        publish(_note(folder), b"einloom made the folder of this name, and may empty it.\n")
    return folder


def subfolders() -> list[Path]:
    """Return the folders in the cache folder that einloom has made; none where there is no cache.

    Others may lie beside them, since ``EINLOOM_CACHE_DIR`` may name any folder.
    """
    try:
        found = [path for path in cache_path().iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted(path for path in found if is_trusted(path) and is_trusted(_note(path)))


def _note(folder: Path) -> Path:
    """Return the file that says that einloom made ``folder``."""
    return folder.with_name(f".{folder.name}.einloom")


def _prepared(folder: Path) -> bool:
    """Make ``folder``, private to this user; say whether it exists and can be trusted."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return is_trusted(folder)


def is_trusted(path: Path) -> bool:
    """Say whether ``path`` belongs to this user (or root) and nobody else can write to it."""
    try:
        status = path.stat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    is_ours = status.st_uid in (os.getuid(), 0)
    return is_ours and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def publish(path: Path, contents: bytes) -> bool:
    """Write an entry whole or not at all; say whether it is there now.

    A full disk or a read-only folder is no error: the caller goes on with what it has in memory.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        return False
    return True


@contextmanager
def making(path: Path) -> Iterator[None]:
    """Hold the lock of the entry at ``path``, so that one process of many makes it.

    The caller looks for the entry again once it holds the lock. Where the folder allows no lock, or
    the holder takes longer than :data:`PATIENCE`, the caller goes on without: entries are published
    whole, so the worst is that one is made twice.
    """
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()
