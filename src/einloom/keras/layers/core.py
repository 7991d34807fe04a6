"""Layers that are one contraction with weights, and a look-up.

Arguments are those of Keras 3's layers of the same names.
"""

from __future__ import annotations

from typing import Any

from einloom.keras.layers.layer import Layer, arguments

__all__ = ["Dense", "EinsumDense", "Embedding"]


class Dense(Layer):
    """``...i,ij->...j``, a bias, an activation.

    Weights: ``kernel`` (i, units), ``bias`` (units,).

    Example:
        >>> import numpy as np
        >>> x, kernel, bias = np.ones((2, 3)), np.ones((3, 4)), np.zeros(4)
        >>> Dense(4, activation="relu")(x, weights=[kernel, bias]).shape
        (2, 4)
    """

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, **options: Any
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class EinsumDense(Layer):
    """An einsum with a kernel, such as ``abc,cd->abd``, a bias, an activation.

    Weights: ``kernel`` with the axes of the equation's second term; ``bias`` where ``bias_axes``
    names axes, from the first of them on, 1 along others.
    """

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        **options: Any,
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)


class Embedding(Layer):
    """Rows of a table, looked up by integers.

    Weights: ``embeddings`` (input_dim, output_dim). Masks do not travel with arrays: where Keras's
    ``mask_zero=True`` would hide positions, pass ``mask=ids != 0`` to the layers that read it.
    """

    def __init__(
        self, input_dim: int, output_dim: int, *, mask_zero: bool = False, **options: Any
    ) -> None:
        """Take Keras's arguments."""
        super().__init__(arguments(locals()), options)
