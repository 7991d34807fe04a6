"""Contraction paths on disk: what a search found, as JSON, by what it was asked.

A path is data, checked by whoever builds a tree of it; a damaged entry is searched for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from einloom_compiler.store.eviction import evict
from einloom_compiler.store.folder import is_trusted, publish, subfolder
from einloom_compiler.store.versions import version_of

FOLDER = "paths"
#: Bytes that the folder may hold.
LIMIT_BYTES = 16 << 20


def remembered(
    asked: Sequence[Any], search: Callable[[], Sequence[Sequence[int]]]
) -> Sequence[Sequence[int]]:
    """Return the path found for ``asked``, from disk, or by ``search`` now and kept there.

    Args:
        asked: what the path depends on, as JSON can write it.
        search: finds the path.
    """
    folder = subfolder(FOLDER)
    if folder is None:
        return search()
    question = json.dumps([*asked, version_of("opt_einsum")])
    entry = folder / f"{sha256(question.encode()).hexdigest()[:40]}.json"
    try:
        kept = json.loads(entry.read_bytes())
        path = [[int(position) for position in step] for step in kept["path"]]
        if kept["asked"] == question and is_trusted(entry):
            return path
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = [[int(position) for position in step] for step in search()]
    if publish(entry, json.dumps({"asked": question, "path": found}).encode()):
        evict(folder, LIMIT_BYTES, keep=entry.stem)
    return found
