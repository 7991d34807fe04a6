"""What tells versions of a package apart, without importing it: Numba would take 0.15 s."""

from __future__ import annotations

import importlib.util
from functools import cache
from hashlib import sha256
from pathlib import Path


@cache
def version_of(package: str) -> str:
    """Return a text that differs between releases of an installed package; "absent" for none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return "absent"
    path = Path(spec.origin).with_name("_version.py")
    if path.exists():
        return sha256(path.read_bytes()).hexdigest()[:16]
    return str(importlib.import_module(package).__version__)


@cache
def source_hash(package: str) -> str:
    """Return a hash of a package's own modules: any change makes another version."""
    spec = importlib.util.find_spec(package)
    digest = sha256()
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.py*")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
