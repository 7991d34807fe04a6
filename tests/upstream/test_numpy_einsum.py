"""NumPy's own tests of einsum, from the installed wheel, run against ``einloom.einsum``.

The module's source is executed with ``numpy.einsum`` replaced, so that its parametrisations and
its tests reach ours; ``numpy.einsum_path`` stays NumPy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import einloom as el

_ORIGINAL = np.einsum


def _load() -> dict[str, object]:
    spec = find_spec("numpy._core.tests.test_einsum")
    if spec is None or spec.origin is None:
        return {}
    namespace: dict[str, object] = {"__name__": "numpy_test_einsum"}
    vars(np)["einsum"] = el.einsum
    try:
        exec(compile(Path(spec.origin).read_text(), spec.origin, "exec"), namespace)
    finally:
        vars(np)["einsum"] = _ORIGINAL
    return namespace


_NAMESPACE = _load()
globals().update({k: v for k, v in _NAMESPACE.items() if k.lower().startswith("test")})


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(np, "einsum", el.einsum)
    yield


def test_numpy_wheel_brings_its_tests() -> None:
    """Without them this file would pass and check nothing."""
    assert "TestEinsum" in _NAMESPACE
    assert np.einsum is el.einsum
