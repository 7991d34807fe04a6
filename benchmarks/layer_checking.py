"""Contenders on layers and models: equal weights, results checked against Keras before timing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.layer_cases import Array, Case
from benchmarks.layer_peers import Call
from benchmarks.timing import Effort, interleaved, timed

#: Largest difference from Keras's result, relative to its largest element.
TOLERANCE = 2e-5


class DiffersError(Exception):
    """A contender's result is not Keras's."""


def filled(case: Case) -> tuple[Array, Array]:
    """Give a case's model random weights; return an input and what Keras makes of it."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(case.shape).astype("float32")
    case.model.set_weights(
        [
            generator.standard_normal(w.shape).astype("float32") / math.sqrt(max(w.shape[0], 1))
            for w in case.model.get_weights()
        ]
    )
    return x, np.asarray(case.model(x, training=False))


def checked(call: Call, expected: Array) -> Call:
    """Return a call whose result is the expected one.

    Raises:
        DiffersError: it is another.
    """
    worst = float(np.abs(np.asarray(call()) - expected).max() / np.abs(expected).max())
    if not worst < TOLERANCE:
        raise DiffersError(f"differs from Keras by {worst:.1e}")
    return call


def why_absent(error: Exception) -> str:
    """Return in a line why a contender takes no part."""
    if isinstance(error, DiffersError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]


def sampled(calls: dict[str, Callable[[], Any]], effort: Effort) -> dict[str, list[float]]:
    """Return seconds a call in interleaved rounds."""
    estimates = {name: min(timed(call, 1) for _ in range(3)) for name, call in calls.items()}
    return interleaved(calls, estimates, effort, seed=1)
