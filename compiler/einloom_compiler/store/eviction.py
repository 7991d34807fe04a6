"""Keep a folder of entries below a size: those unused for longest are removed."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

#: Fraction of the limit that is left after entries were removed, so that the next write need not.
_ROOM = 0.75
#: Seconds after which a lock or a half-written file belongs to a process that is gone.
_FORGOTTEN = 24 * 3600.0


def evict(folder: Path, limit_bytes: int, keep: str = "") -> None:
    """Remove the entries used least recently while ``folder`` holds more than ``limit_bytes``.

    An entry is all files whose names agree up to the first dot; it was last used when the newest of
    them was written or touched. A process that has an entry's code loaded keeps it. Called when an
    entry is written: listing a thousand takes 2 ms.

    Args:
        folder: what to look through.
        limit_bytes: most bytes that may stay.
        keep: an entry that stays in any case.
    """
    try:
        entries = _entries(folder)
    except OSError:
        return
    total = sum(entry.n_bytes for entry in entries.values())
    if total <= limit_bytes:
        return
    for name, entry in sorted(entries.items(), key=lambda item: item[1].used):
        if total <= limit_bytes * _ROOM:
            return
        if name != keep:
            entry.remove()
            total -= entry.n_bytes


@dataclass(slots=True)
class _Entry:
    """The files of an entry.

    Attributes:
        paths: theirs.
        n_bytes: of all of them.
        used: when one was last written or touched, in seconds since the epoch.
    """

    paths: list[str] = field(default_factory=list)
    n_bytes: int = 0
    used: float = 0.0

    def remove(self) -> None:
        """Remove the files, the note first: code without one is no entry."""
        for path in sorted(self.paths, key=lambda name: not name.endswith(".json")):
            _remove(path)


def _entries(folder: Path) -> dict[str, _Entry]:
    """Return the entries of a folder by name; remove what processes that are gone left behind.

    Raises:
        OSError: the folder cannot be read.
    """
    now = time.time()
    entries: dict[str, _Entry] = defaultdict(_Entry)
    with os.scandir(folder) as found:
        for file in found:
            status = file.stat()
            if file.name.startswith("."):
                if now - status.st_mtime > _FORGOTTEN:
                    _remove(file.path)
                continue
            entry = entries[file.name.partition(".")[0]]
            entry.paths.append(file.path)
            entry.n_bytes += status.st_size
            entry.used = max(entry.used, status.st_mtime)
    return entries


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return
