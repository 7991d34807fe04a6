"""The classic ``keras.backend`` of Keras 2.3.1: only the first axis of ``batch_dot`` is batch."""

from __future__ import annotations

from typing import Any

from einloom.keras.versions import backend_for

_backend = backend_for("2.3.1")
batch_dot = _backend.batch_dot


def __getattr__(name: str) -> Any:
    """Take everything but ``batch_dot`` from :mod:`einloom.keras.backend`."""
    return getattr(_backend, name)


def __dir__() -> list[str]:
    """List the public names."""
    return dir(_backend)
