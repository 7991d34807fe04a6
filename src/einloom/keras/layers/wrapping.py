"""Layers that wrap another one. Arguments are those of Keras 3's layers of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einloom.keras.layers.layer import Layer
from einloom_compiler.errors import SpecError

__all__ = ["SpectralNormalization", "TimeDistributed"]


class TimeDistributed(Layer):
    """A layer called on each step along axis 1; its weights are ``layer/kernel`` and the like."""

    def __init__(self, layer: Any, **options: Any) -> None:
        """Take Keras's arguments: one of einloom's layers, or its configuration.

        Raises:
            SpecError: ``layer`` is neither.
        """
        super().__init__({"layer": _configuration(type(self).__name__, layer)}, options)


class SpectralNormalization(Layer):
    """A layer whose kernel training divided by its largest singular value.

    Weights: ``layer/kernel``, ``vector_u`` (1, columns), which nothing reads, then the layer's.
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **options: Any) -> None:
        """Take Keras's arguments: one of einloom's layers, or its configuration.

        Raises:
            SpecError: ``layer`` is neither.
        """
        held = _configuration(type(self).__name__, layer)
        super().__init__({"layer": held, "power_iterations": power_iterations}, options)


def _configuration(title: str, layer: Any) -> Mapping[str, Any]:
    """Return the configuration of a layer that another one is put around.

    It says that it is a layer's: short ones look like those of operations.
    """
    if isinstance(layer, Layer):
        layer = {"class_name": type(layer).__name__, "config": layer.get_config()}
    if not isinstance(layer, Mapping):
        raise SpecError(
            f"{title} wraps one of einloom.keras.layers, such as layers.Dense(4), not "
            f"a {type(layer).__name__}"
        )
    return {"module": "keras.layers", **layer}
