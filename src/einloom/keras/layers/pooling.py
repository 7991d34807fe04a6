"""Pooling over windows, over all positions, and to a given size.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any, ClassVar

from einloom.keras.layers.layer import Layer, arguments

__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
]


class _AveragePooling(Layer):
    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class AveragePooling1D(_AveragePooling):
    """The mean over windows of positions."""


class AveragePooling2D(_AveragePooling):
    """The mean over windows of positions."""


class AveragePooling3D(_AveragePooling):
    """The mean over windows of positions."""


class _MaxPooling(Layer):
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class MaxPooling1D(_MaxPooling):
    """The maximum over windows of positions."""


class MaxPooling2D(_MaxPooling):
    """The maximum over windows of positions."""


class MaxPooling3D(_MaxPooling):
    """The maximum over windows of positions."""


class GlobalAveragePooling1D(Layer):
    """The mean over all positions; ``mask`` leaves positions out."""

    TENSORS: ClassVar[tuple[str, ...]] = ("mask",)

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **options: Any
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class _GlobalPooling(Layer):
    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **options: Any
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class GlobalAveragePooling2D(_GlobalPooling):
    """The mean over all positions."""


class GlobalAveragePooling3D(_GlobalPooling):
    """The mean over all positions."""


class GlobalMaxPooling1D(_GlobalPooling):
    """The maximum over all positions."""


class GlobalMaxPooling2D(_GlobalPooling):
    """The maximum over all positions."""


class GlobalMaxPooling3D(_GlobalPooling):
    """The maximum over all positions."""


class _AdaptivePooling(Layer):
    def __init__(self, output_size: Any, data_format: str | None = None, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """The mean over windows that part the positions into a given number."""


class AdaptiveAveragePooling2D(_AdaptivePooling):
    """The mean over windows that part the positions into a given number."""


class AdaptiveAveragePooling3D(_AdaptivePooling):
    """The mean over windows that part the positions into a given number."""


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """The maximum over windows that part the positions into a given number."""


class AdaptiveMaxPooling2D(_AdaptivePooling):
    """The maximum over windows that part the positions into a given number."""


class AdaptiveMaxPooling3D(_AdaptivePooling):
    """The maximum over windows that part the positions into a given number."""
