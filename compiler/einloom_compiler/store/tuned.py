"""Schedules found by measuring, kept in the cache folder: one small JSON file a problem.

Grammar (JSON)::

    {"problem": text, "schedule": text, "seconds": number, "policy": text, "policy_seconds": number}

The file's name is a hash of ``problem``, which says all that the choice depends on: structure,
dtypes, classes of sizes and strides, the machine, and the version of the families.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from einloom_compiler.store.folder import is_trusted, publish, subfolder


@dataclass(frozen=True, slots=True)
class Entry:
    """What measuring found for one class of problems.

    Attributes:
        problem: what it was found for.
        schedule: the fastest schedule as text.
        seconds: its time on one thread.
        policy: the policy's schedule as text.
        policy_seconds: its time, measured in turns with the others.
    """

    problem: str
    schedule: str
    seconds: float
    policy: str
    policy_seconds: float


def load(problem: str) -> Entry | None:
    """Return what is known about a problem, None for nothing that can be trusted and read."""
    path = _path(problem)
    if path is None or not is_trusted(path):
        return None
    try:
        entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return entry if entry.problem == problem else None


def save(entry: Entry) -> None:
    """Keep what was found; a folder that cannot be written is no error."""
    path = _path(entry.problem)
    if path is not None:
        publish(path, json.dumps(asdict(entry), indent=1).encode())


def _path(problem: str) -> Path | None:
    folder = subfolder("tuned")
    return folder and folder / f"{sha256(problem.encode()).hexdigest()[:32]}.json"
