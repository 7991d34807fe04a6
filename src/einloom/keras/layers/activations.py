"""Activations as layers.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any, ClassVar

from einloom.keras.layers.layer import Layer, arguments

__all__ = ["ELU", "Activation", "LeakyReLU", "PReLU", "ReLU", "Softmax"]


class Activation(Layer):
    """Any of Keras's activations, by name."""

    def __init__(self, activation: Any, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class ReLU(Layer):
    """``x`` above the threshold, at most ``max_value``, a slope below."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class LeakyReLU(Layer):
    """``x`` above 0, a fixed multiple of it below."""

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class ELU(Layer):
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class PReLU(Layer):
    """``x`` above 0, a trained multiple below.

    Weights: ``alpha`` of the input's shape without its batch axis, 1 along ``shared_axes``.
    """

    def __init__(self, *, shared_axes: Any = None, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Softmax(Layer):
    """Exponentials divided by their sum along axes; ``mask`` leaves elements out."""

    TENSORS: ClassVar[tuple[str, ...]] = ("mask",)

    def __init__(self, axis: Any = -1, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)
