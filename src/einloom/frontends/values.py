"""What results of arrays become: NumPy's scalars, and tensors that are arrays with ``.numpy()``.

Snippets written for TensorFlow 2 end in ``.numpy()``; results of ``einloom.tensorflow`` and
``einloom.keras.backend`` answer to it and multiply by ``@`` as ``tf.matmul`` does; in every other
way they are NumPy arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.errors import ShapeError


class Tensor(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy array that also answers to ``.numpy()``, as an eager TensorFlow tensor does.

    Example:
        >>> as_tensor([[1.0, 2.0]]).numpy()
        array([[1., 2.]])
    """

    def numpy(self) -> npt.NDArray[Any]:
        """Return the same values as a plain :class:`numpy.ndarray`, without a copy."""
        return self.view(np.ndarray)

    def __matmul__(self, other: Any) -> Any:
        """Return ``tf.matmul(self, other)``."""
        from einloom.frontends.tensorflow_products import matmul

        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        """Return ``tf.matmul(other, self)``."""
        from einloom.frontends.tensorflow_products import matmul

        return matmul(other, self)


class Variable(Tensor):
    """A tensor that can be assigned to, as an eager ``tf.Variable`` can."""

    def assign(self, value: Any) -> Variable:
        """Overwrite the values in place, and return the variable.

        Raises:
            ShapeError: ``value`` has another shape.
        """
        array = np.asarray(value)
        if array.shape != self.shape:
            raise ShapeError(
                f"Cannot assign value to variable: shape mismatch. The variable shape {self.shape} "
                f"and the assigned value shape {array.shape} are incompatible"
            )
        self[...] = array
        return self

    def value(self) -> Tensor:
        """Return the values as a tensor that later assignments do not change."""
        return self.copy().view(Tensor)


def as_tensor(values: object, dtype: npt.DTypeLike | None = None) -> Tensor:
    """Return ``values`` as a :class:`Tensor`, sharing memory with an array of that dtype.

    Args:
        values: an array, a number, or nested sequences of numbers.
        dtype: dtype to cast to; the values' own where None.
    """
    return np.asarray(values, dtype=dtype).view(Tensor)


def numpy_scalar(result: npt.NDArray[Any]) -> Any:
    """Return an array as it is, but one of rank 0 as a NumPy scalar, as NumPy's functions do."""
    return result if result.ndim else result[()]
