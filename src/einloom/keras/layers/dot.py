"""The layer ``Dot``: two tensors or operands in, one out. It has no weights."""

from __future__ import annotations

import itertools
from typing import Any

from einloom.frontends.keras_layers import checked_dot_axes, dot_layer, dot_output_shape
from einloom.frontends.keras_tensors import floatx
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import ShapeError

__all__ = ["Dot", "dot"]

_numbers = itertools.count()


class Dot:
    """A layer that gives the dot product of two inputs along one axis of each.

    Attributes:
        axes: an axis for both inputs, or a pair of them.
        normalize: whether inputs are divided by their L2 norm along their axis before.
        name: the layer's name.
        dtype: dtype that floating-point inputs are cast to: of a policy, that it computes in.

    Example:
        >>> import numpy as np
        >>> Dot(axes=(1, 2))([np.ones((2, 3, 5)), np.ones((2, 10, 3))]).shape
        (2, 5, 10)
    """

    def __init__(
        self,
        axes: Any,
        normalize: bool = False,
        *,
        name: str | None = None,
        dtype: object = None,
        trainable: bool = True,
    ) -> None:
        """Check the configuration.

        Args:
            axes: axis to contract: an int, or a pair of ints; not the batch axis 0.
            normalize: whether the result is the cosine of the angle.
            name: ``dot``, ``dot_1``, ... where None.
            dtype: the layer's dtype; :func:`einloom.keras.backend.floatx` where None.
            trainable: kept for :meth:`get_config`; the layer has no weights.

        Raises:
            AxisError: ``axes`` is neither an int nor a pair of ints.
            DTypeError: ``dtype`` names none.
        """
        checked_dot_axes(axes)
        self.axes = axes
        self.normalize = bool(normalize)
        policy = floatx() if dtype is None else dtype
        self.dtype = as_dtype(
            policy.removeprefix("mixed_") if isinstance(policy, str) else policy
        ).name
        self.trainable = bool(trainable)
        self.name = name or _next_name()

    def __call__(self, inputs: Any) -> Any:
        """Return the product of a list of two tensors or symbolic operands.

        Raises:
            AxisError, ShapeError: not two inputs, or axes or extents do not fit.
            DTypeError: inputs to be normalized are not floating-point, or dtypes do not promote.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            count = f"{len(inputs)}" if isinstance(inputs, list | tuple) else type(inputs).__name__
            raise ShapeError(
                f"A `Dot` layer should be called on a list of 2 inputs. Received: {count}"
            )
        axes = self.axes if isinstance(self.axes, int) else tuple(self.axes)
        return dot_layer(inputs[0], inputs[1], axes, self.normalize, self.dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Return the result's shape for a list of two shapes, None standing for unknown extents.

        Raises:
            AxisError, ShapeError: not two shapes, or an axis lies outside one.
        """
        shape: tuple[Any, ...] = dot_output_shape(self.axes, input_shape)
        return shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype,
            "axes": self.axes,
            "normalize": self.normalize,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Dot:
        """Return the layer that :meth:`get_config` describes."""
        return cls(**config)

    def __repr__(self) -> str:
        """Print as ``<Dot axes=1 normalize=False>``."""
        return f"<Dot axes={self.axes} normalize={self.normalize}>"


def _next_name() -> str:
    number = next(_numbers)
    return f"dot_{number}" if number else "dot"


def dot(inputs: Any, axes: Any = -1, *, normalize: bool = False, **kwargs: Any) -> Any:
    """Return ``Dot(axes, normalize)(inputs)``.

    Args:
        inputs: two tensors or symbolic operands.
        axes: as for :class:`Dot`.
        normalize: as for :class:`Dot`.
        kwargs: further arguments of :class:`Dot`.

    Raises:
        AxisError, ShapeError, DTypeError: as :class:`Dot`.

    Example:
        >>> import numpy as np
        >>> dot([np.ones((2, 3)), np.ones((2, 3))]).shape
        (2, 1)
    """
    return Dot(axes, normalize, **kwargs)(inputs)
