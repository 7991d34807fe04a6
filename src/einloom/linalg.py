"""Contractions of ``numpy.linalg``: arrays or symbolic operands in, arrays or expressions out.

``multi_dot`` hands the optimizer one contraction of all its operands, so that the order follows
from the cost model; the others are those of :mod:`einloom` under their second name.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.frontends.build import contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import letters, shape_text
from einloom.frontends.numpy_gufuncs import matmul, numpy_dtype, vecdot
from einloom.frontends.numpy_products import dot, tensordot
from einloom.frontends.numpy_products import outer as _outer
from einloom.frontends.values import numpy_scalar
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import is_equal, text

__all__ = ["LinAlgError", "matmul", "multi_dot", "outer", "tensordot", "vecdot"]


class LinAlgError(ShapeError, np.linalg.LinAlgError):
    """An operand's rank is not one that linear algebra takes."""


@frontend("numpy.linalg.multi_dot", operands=("*arrays",), finish=numpy_scalar)
def multi_dot(arrays: Sequence[Any], *, out: npt.NDArray[Any] | None = None) -> Any:
    """Return the product of a chain of matrices, as :func:`numpy.linalg.multi_dot` does.

    ``ij,jk,kl->il``; the first and the last may be vectors. Two operands are multiplied by
    :func:`einloom.dot`, whatever their ranks. All products are formed in the operands' common
    dtype, where NumPy promotes pair by pair (small integers may wrap around there).

    Args:
        arrays: two or more operands.
        out: array to write the result to.

    Raises:
        ShapeError: fewer than two operands, or neighbouring extents differ.
        LinAlgError: of three and more operands, one within is not of rank 2, or the first or last
            of neither 1 nor 2.

    Example:
        >>> import numpy as np, einloom as el
        >>> el.linalg.multi_dot([np.ones((9, 2)), np.ones((2, 9)), np.ones(9)]).shape
        (9,)
    """
    n = len(arrays)
    if n < 2:
        raise ShapeError(f"Expecting at least two arrays, but {n} given; pass them as one list")
    if n == 2:
        return dot(*arrays)
    for number, array in enumerate(arrays):
        if array.ndim != 2 and not (array.ndim == 1 and number in (0, n - 1)):
            raise LinAlgError(
                f"{array.ndim}-dimensional array given. Array must be two-dimensional: operand "
                f"{number} has shape {shape_text(array.shape)}; only the first and the last may "
                "be vectors"
            )
    for number, (left, right) in enumerate(itertools.pairwise(arrays)):
        if is_equal(left.shape[-1], right.shape[0]) is False:
            shapes = [shape_text(o.shape, "()", ",") for o in (left, right)]
            raise ShapeError(
                f"shapes {shapes[0]} and {shapes[1]} not aligned: {text(left.shape[-1])} (dim "
                f"{left.ndim - 1}) != {text(right.shape[0])} (dim 0): operands {number} and "
                f"{number + 1} of the chain; transpose one, or change the order"
            )
    chain = letters(n + 1, "i")
    terms = [chain[number : number + 2] for number in range(n)]
    output = chain[0] + chain[-1]
    if arrays[0].ndim == 1:
        terms[0], output = terms[0][1:], output[1:]
    if arrays[-1].ndim == 1:
        terms[-1], output = terms[-1][:1], output[:-1]
    return contract(f"{','.join(terms)}->{output}", *arrays, dtype=numpy_dtype(*arrays))


@frontend("numpy.linalg.outer", operands=("x1", "x2"), finish=numpy_scalar)
def outer(x1: Any, x2: Any) -> Any:
    """Return the outer product of two vectors, as :func:`numpy.linalg.outer`: ``i,j->ij``.

    Raises:
        ShapeError: an operand has not rank 1; :func:`einloom.outer` flattens.
    """
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(
            f"Input arrays must be one-dimensional, but they are x1.ndim={x1.ndim} and "
            f"x2.ndim={x2.ndim}; einloom.outer flattens its operands"
        )
    return _outer(x1, x2)
