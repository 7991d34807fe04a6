"""Contenders on layers and models: equal weights, results checked against Keras before timing."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.layer_cases import Array, Case
from benchmarks.layer_peers import Call

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
