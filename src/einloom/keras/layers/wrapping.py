"""Layers that wrap another one. Arguments are those of Keras 3's layers of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einloom.keras.layers.layer import Layer
from einloom_compiler.errors import SpecError

__all__ = ["TimeDistributed"]


class TimeDistributed(Layer):
    """A layer called on each step along axis 1; its weights are ``layer/kernel`` and the like."""

    def __init__(self, layer: Any, **options: Any) -> None:
        """Take Keras's arguments: one of einloom's layers, or its configuration.

        Raises:
            SpecError: ``layer`` is neither.
        """
        if isinstance(layer, Layer):
            layer = {"class_name": type(layer).__name__, "config": layer.get_config()}
        if not isinstance(layer, Mapping):
            raise SpecError(
                "TimeDistributed wraps one of einloom.keras.layers, such as layers.Dense(4), not "
                f"a {type(layer).__name__}"
            )
        super().__init__({"layer": layer}, options)
