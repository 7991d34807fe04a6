"""Layers without arithmetic, and layers that only matter in training.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any

from einloom.keras.layers.layer import Layer, arguments

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "Permute",
    "RepeatVector",
    "Reshape",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]


class Flatten(Layer):
    """All axes but the first joined."""

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Reshape(Layer):
    """The same elements under another shape."""

    def __init__(self, target_shape: Any, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Permute(Layer):
    """The axes behind the first in another order, counted from 1."""

    def __init__(self, dims: Any, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class RepeatVector(Layer):
    """A new axis 1 along which nothing changes."""

    def __init__(self, n: int, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class _ZeroPadding(Layer):
    def __init__(self, padding: Any = 1, data_format: str | None = None, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after the positions."""


class ZeroPadding2D(_ZeroPadding):
    """Zeros before and after the positions."""


class ZeroPadding3D(_ZeroPadding):
    """Zeros before and after the positions."""


class Cropping1D(Layer):
    """The positions without some at both ends."""

    def __init__(self, cropping: Any = (1, 1), **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Cropping2D(Layer):
    """The positions without some at both ends."""

    def __init__(
        self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **options: Any
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Cropping3D(Layer):
    """The positions without some at both ends."""

    def __init__(
        self,
        cropping: Any = ((1, 1), (1, 1), (1, 1)),
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class UpSampling1D(Layer):
    """Each position several times."""

    def __init__(self, size: Any = 2, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class UpSampling2D(Layer):
    """Each position several times."""

    def __init__(
        self,
        size: Any = 2,
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class UpSampling3D(Layer):
    """Each position several times."""

    def __init__(self, size: Any = 2, data_format: str | None = None, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Identity(Layer):
    """The input."""

    def __init__(self, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__({}, options)


class _Dropout(Layer):
    def __init__(self, rate: float, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Dropout(_Dropout):
    """The input: nothing is dropped at inference."""


class SpatialDropout1D(_Dropout):
    """The input: nothing is dropped at inference."""


class _SpatialDropout(Layer):
    def __init__(self, rate: float, data_format: str | None = None, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class SpatialDropout2D(_SpatialDropout):
    """The input: nothing is dropped at inference."""


class SpatialDropout3D(_SpatialDropout):
    """The input: nothing is dropped at inference."""


class AlphaDropout(_Dropout):
    """The input: nothing is dropped at inference."""


class GaussianDropout(_Dropout):
    """The input: no noise at inference."""


class GaussianNoise(Layer):
    """The input: no noise at inference."""

    def __init__(self, stddev: float, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class ActivityRegularization(Layer):
    """The input: nothing is penalised at inference."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)
