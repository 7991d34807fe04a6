"""How many threads a call may use."""

from __future__ import annotations

import os

from einloom_compiler.errors import EinloomError


class ThreadsError(EinloomError, ValueError):
    """A number of threads is not a positive integer."""


def available_threads() -> int:
    """Return EINLOOM_NUM_THREADS, or the number of CPUs this process may run on."""
    asked = os.environ.get("EINLOOM_NUM_THREADS")
    if asked is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    return checked_threads(asked, "EINLOOM_NUM_THREADS")


def checked_threads(value: object, name: str = "threads") -> int:
    """Return ``value`` as a number of threads.

    Raises:
        ThreadsError: it is not a positive integer.
    """
    try:
        number = int(str(value)) if not isinstance(value, bool) else 0
    except ValueError:
        number = 0
    if number < 1:
        raise ThreadsError(f"{name} must be a positive integer, not {value!r}")
    return number
