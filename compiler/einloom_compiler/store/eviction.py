"""Keep a folder of entries below a size: those unused for longest are removed."""

from __future__ import annotations

import os
import time
from collections import defaultdict
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
    now = time.time()
    sizes: dict[str, int] = defaultdict(int)
    used: dict[str, float] = defaultdict(float)
    paths: dict[str, list[str]] = defaultdict(list)
    try:
        with os.scandir(folder) as found:
            for file in found:
                status = file.stat()
                if file.name.startswith("."):
                    if now - status.st_mtime > _FORGOTTEN:
                        _remove(file.path)
                    continue
                entry = file.name.partition(".")[0]
                sizes[entry] += status.st_size
                used[entry] = max(used[entry], status.st_mtime)
                paths[entry].append(file.path)
    except OSError:
        return
    total = sum(sizes.values())
    if total <= limit_bytes:
        return
    for entry in sorted(used, key=used.__getitem__):
        if total <= limit_bytes * _ROOM:
            return
        if entry != keep:
            # The note first: code without one is no entry.
            for path in sorted(paths[entry], key=lambda name: not name.endswith(".json")):
                _remove(path)
            total -= sizes[entry]


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return
