"""Layers that merge tensors, and the functions of their names.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any

from einloom.keras.layers.layer import Layer, arguments

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class _Merge(Layer):
    def __init__(self, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__({}, options)


class Add(_Merge):
    """The sum of a list of tensors."""


class Subtract(_Merge):
    """The difference of two tensors."""


class Multiply(_Merge):
    """The product of a list of tensors, element by element."""


class Average(_Merge):
    """The mean of a list of tensors, element by element."""


class Maximum(_Merge):
    """The largest of a list of tensors, element by element."""


class Minimum(_Merge):
    """The smallest of a list of tensors, element by element."""


class Concatenate(Layer):
    """A list of tensors one behind the other."""

    def __init__(self, axis: int = -1, **options: Any) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


def add(inputs: Any, **kwargs: Any) -> Any:
    """Return ``Add()(inputs)``."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """Return ``Subtract()(inputs)``."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """Return ``Multiply()(inputs)``."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """Return ``Average()(inputs)``."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """Return ``Maximum()(inputs)``."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """Return ``Minimum()(inputs)``."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """Return ``Concatenate(axis)(inputs)``."""
    return Concatenate(axis, **kwargs)(inputs)
