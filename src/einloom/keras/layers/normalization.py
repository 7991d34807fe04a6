"""Normalisations at inference, and fixed scales.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any

from einloom.keras.layers.layer import Layer, arguments

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "RMSNormalization",
    "Rescaling",
    "UnitNormalization",
]


class LayerNormalization(Layer):
    """Mean 0 and variance 1 along axes, then scale and shift.

    Weights: ``gamma`` and ``beta`` with the extents of ``axis``.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class RMSNormalization(Layer):
    """Division by the root mean square along axes.

    Weights: ``scale`` with the extents of ``axis``.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class BatchNormalization(Layer):
    """Scale and shift along one axis by the statistics of training.

    Weights: ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``, each (channels,).
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class GroupNormalization(Layer):
    """Mean 0 and variance 1 over positions and a group of channels.

    Weights: ``gamma`` and ``beta`` (channels,).
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class UnitNormalization(Layer):
    """Division by the L2 norm along axes."""

    def __init__(self, axis: Any = -1, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Normalization(Layer):
    """``(x - mean) / sqrt(variance)`` along axes.

    Weights: ``mean``, ``variance`` and ``count`` where they are not given here.
    """

    def __init__(
        self,
        axis: Any = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Rescaling(Layer):
    """``x * scale + offset``."""

    def __init__(self, scale: Any, offset: Any = 0.0, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)
