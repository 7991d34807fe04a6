"""What the cache folder holds: ``einloom cache``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from einloom_compiler.store.folder import cache_path, subfolders


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of one folder in the cache folder."""

    name: str
    n_files: int
    n_bytes: int


def contents() -> list[Contents]:
    """Return what each of einloom's folders in the cache folder holds."""
    found = []
    for folder in subfolders():
        sizes = [size for path in _files(folder) if (size := _size(path)) is not None]
        found.append(Contents(folder.name, len(sizes), sum(sizes)))
    return found


def clear() -> int:
    """Delete what einloom keeps in the cache folder; return how many files.

    Processes that have loaded any of it go on with what they have.
    """
    n = 0
    for folder in subfolders():
        for path in _files(folder):
            path.unlink(missing_ok=True)
            n += 1
    return n


def information() -> str:
    """Return the cache folder's path and contents as text."""
    found = contents()
    lines = [str(cache_path())]
    width = max((len(entry.name) for entry in found), default=0)
    lines += [
        f"  {entry.name:<{width}}  {entry.n_files} files, {readable(entry.n_bytes)}"
        for entry in found
    ]
    return "\n".join(lines if found else [*lines, "  empty"])


def readable(n_bytes: int) -> str:
    """Return a number of bytes as text, in the unit that suits it."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _size(path: Path) -> int | None:
    """Return a file's size, None if it has gone meanwhile."""
    try:
        return path.stat().st_size
    except OSError:
        return None
