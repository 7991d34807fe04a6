"""What of training is left of the classic ``keras.backend``: nothing, so that one side is taken.

Functions and compiled code here are for inference: the learning phase is 0, dropouts that are
written for training alone are not called, and gradients are nobody's.
Source: ``keras/backend/tensorflow_backend.py`` of Keras 2.2.4.
"""

from __future__ import annotations

from typing import Any

from einloom.frontends.keras_functions import backend_function
from einloom_compiler.errors import SpecError


def learning_phase() -> int:
    """Return 0: inference."""
    return 0


def in_train_phase(x: Any, alt: Any, training: bool | int | None = None) -> Any:
    """Return ``x`` where ``training`` is true, else ``alt``; functions are called, but not both.

    Raises:
        SpecError: ``training`` is a tensor.

    Example:
        >>> in_train_phase(lambda: 1 / 0, 2)
        2
    """
    phase = learning_phase() if training is None else training
    if phase not in (0, 1):
        raise SpecError(f"K.in_train_phase: training is {training!r}; give True, False or None")
    chosen = x if phase else alt
    return chosen() if callable(chosen) else chosen


def in_test_phase(x: Any, alt: Any, training: bool | int | None = None) -> Any:
    """Return ``x`` where ``training`` is not true, else ``alt``; functions are called."""
    return in_train_phase(alt, x, training)


@backend_function("identity")
def identity(x: Any, name: str | None = None) -> Any:
    """Return x; ``name`` is for habit."""
    return x


def stop_gradient(variables: Any) -> Any:
    """Return the tensor, or list of tensors, as it is: no gradients are computed."""
    return variables
