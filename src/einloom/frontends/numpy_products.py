"""NumPy's ``dot``, ``inner``, ``outer``, ``vdot``, ``tensordot``, ``kron`` and ``transpose``.

Sources: NumPy 2.4's documentation of each, and its behaviour where that leaves something open. The
result dtype is NumPy's promotion of the operands'. Where ``numpy.dot(out=)`` insists on the very
dtype and C order, any writeable array will do that the result may be cast to within its kind.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy.typing as npt

from einloom.expression import Expression
from einloom.frontends.arguments import wrap_axis
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.frontends.build import contract, flat, reshape, scaled
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import dot_equation, letters, shape_text, tensordot_equation
from einloom.frontends.numpy_gufuncs import numpy_dtype
from einloom.frontends.values import numpy_scalar
from einloom_compiler.errors import AxisError, DTypeError, ShapeError
from einloom_compiler.extents import is_equal, product, text

Array = npt.NDArray[Any]


@frontend("numpy.dot", operands=("a", "b"), finish=numpy_scalar)
def dot(a: Any, b: Any, out: Array | None = None) -> Any:
    """Return the dot product, as :func:`numpy.dot` does.

    The last axis of ``a`` is contracted with the second to last of ``b``, or its only one; all
    other axes are outer: ``abr,irk->abik``. A scalar multiplies.

    Args:
        a: of any rank.
        b: of any rank.
        out: array to write the result to; it may overlap operands.

    Raises:
        ShapeError: the contracted extents differ; an extent of 1 does not broadcast.
        DTypeError, CastingError: the dtypes have no common one, or ``out`` cannot hold it.

    Example:
        >>> import numpy as np, einloom as el
        >>> el.dot(np.ones((2, 3, 4)), np.ones((7, 4, 5))).shape
        (2, 3, 7, 5)
    """
    if not (a.ndim and b.ndim):
        return scaled(a, b, numpy_dtype(a, b))
    _check_aligned(a, b, a.ndim - 1, max(0, b.ndim - 2))
    return contract(dot_equation(a.ndim, b.ndim), a, b, dtype=numpy_dtype(a, b))


@frontend("numpy.inner", operands=("a", "b"), finish=numpy_scalar)
def inner(a: Any, b: Any) -> Any:
    """Return the inner product over both last axes, as :func:`numpy.inner`: ``abr,ir->abi``.

    A scalar multiplies.

    Raises:
        ShapeError: the last extents differ; an extent of 1 does not broadcast.
    """
    if not (a.ndim and b.ndim):
        return scaled(a, b, numpy_dtype(a, b))
    _check_aligned(a, b, a.ndim - 1, b.ndim - 1)
    b_outer = letters(b.ndim - 1, "i", taken="r")
    a_outer = letters(a.ndim - 1, taken=f"{b_outer}r")
    equation = f"{a_outer}r,{b_outer}r->{a_outer}{b_outer}"
    return contract(equation, a, b, dtype=numpy_dtype(a, b))


@frontend("numpy.outer", operands=("a", "b"), finish=numpy_scalar)
def outer(a: Any, b: Any, out: Array | None = None) -> Any:
    """Return the outer product of the flattened operands, as :func:`numpy.outer`: ``i,j->ij``.

    Args:
        a: of any rank; flattened in C order.
        b: of any rank; flattened in C order.
        out: array to write the result to.
    """
    return contract("i,j->ij", flat(a), flat(b), dtype=numpy_dtype(a, b))


@frontend("numpy.vdot", operands=("a", "b"), finish=numpy_scalar)
def vdot(a: Any, b: Any) -> Any:
    """Return the dot product of the flattened operands, the first conjugated: :func:`numpy.vdot`.

    Raises:
        ShapeError: the operands' numbers of elements differ.
    """
    sizes = product(a.shape), product(b.shape)
    if is_equal(*sizes) is False:
        raise ShapeError(
            f"vdot flattens its operands, but a has {text(sizes[0])} elements (shape "
            f"{shape_text(a.shape)}) and b has {text(sizes[1])} (shape {shape_text(b.shape)}); "
            "they must have equally many"
        )
    dtype = numpy_dtype(a, b)
    is_real = dtype is not None and dtype.kind != "c"
    return contract(
        "i,i->", flat(a), flat(b), dtype=dtype, conjugated=None if is_real else (True, False)
    )


@frontend("numpy.tensordot", operands=("a", "b"))
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return the sum of products over pairs of axes, as :func:`numpy.tensordot` does.

    The result has ``a``'s other axes, then ``b``'s.

    Args:
        a: of any rank.
        b: of any rank.
        axes: an integer n, for the last n axes of ``a`` with the first n of ``b`` (0 and, as in
            NumPy, a negative number: the outer product); or a pair of axes or of lists of axes.

    Raises:
        ShapeError: paired extents differ (an extent of 1 does not broadcast), the lists differ in
            length, or an axis occurs twice.
        AxisError: an axis lies outside its operand's rank.
        DTypeError: ``axes`` is not of that form.

    Example:
        >>> import numpy as np, einloom as el
        >>> el.tensordot(np.ones((3, 4, 5)), np.ones((4, 3, 2)), axes=([1, 0], [0, 1])).shape
        (5, 2)
    """
    pairs = _tensordot_axes(axes, a.ndim, b.ndim)
    for left, right in pairs:
        if is_equal(a.shape[left], b.shape[right]) is False:
            raise ShapeError(
                f"shape-mismatch for sum: axis {left} of a (shape {shape_text(a.shape)}) has "
                f"extent {text(a.shape[left])} but axis {right} of b (shape "
                f"{shape_text(b.shape)}) has {text(b.shape[right])}; pair axes of equal extents"
            )
    return contract(tensordot_equation(a.ndim, b.ndim, pairs), a, b, dtype=numpy_dtype(a, b))


def _tensordot_axes(axes: Any, a_rank: int, b_rank: int) -> list[tuple[int, int]]:
    try:
        left, right = axes
    except TypeError:
        try:
            n = operator.index(axes)
        except TypeError:
            raise DTypeError(
                f"tensordot: axes must be an integer or a pair of (lists of) axes, not {axes!r}"
            ) from None
        left, right = list(range(-n, 0)), list(range(n))
    except ValueError:
        raise ShapeError(
            f"tensordot: axes must be an integer or a pair of (lists of) axes, one for a and one "
            f"for b, not {axes!r}"
        ) from None
    a_axes = [wrap_axis(axis, a_rank, "tensordot: axes of a") for axis in _listed(left)]
    b_axes = [wrap_axis(axis, b_rank, "tensordot: axes of b") for axis in _listed(right)]
    if len(a_axes) != len(b_axes):
        raise ShapeError(
            f"shape-mismatch for sum: axes={axes!r} names {len(a_axes)} axes of a but "
            f"{len(b_axes)} of b; name them in pairs"
        )
    for name, found in (("a", a_axes), ("b", b_axes)):
        if len(set(found)) != len(found):
            raise AxisError(
                f"duplicate axes are not allowed in tensordot: axes={axes!r} names an axis of "
                f"{name} twice"
            )
    return list(zip(a_axes, b_axes, strict=True))


def _listed(axes: Any) -> list[Any]:
    try:
        return list(axes)
    except TypeError:
        return [axes]


@frontend("numpy.kron", operands=("a", "b"), finish=numpy_scalar)
def kron(a: Any, b: Any) -> Any:
    """Return the Kronecker product, as :func:`numpy.kron` does.

    ``ij,kl->ikjl`` with each pair of axes joined by a reshape; the operand of lower rank counts as
    if it had leading axes of extent 1.
    """
    a_term = letters(a.ndim, "i")
    b_term = letters(b.ndim, "i", taken=a_term)
    rank = max(a.ndim, b.ndim)
    output, shape = "", []
    for axis in range(-rank, 0):
        pair = [o.shape[axis] for o in (a, b) if -axis <= o.ndim]
        output += "".join(term[axis] for term in (a_term, b_term) if -axis <= len(term))
        shape.append(product(pair))
    result = contract(f"{a_term},{b_term}->{output}", a, b, dtype=numpy_dtype(a, b))
    return result if len(output) == rank else reshape(result, tuple(shape))


@frontend("numpy.transpose", operands=("a",))
def transpose_expression(a: Any, axes: Any = None) -> Any:
    """Return the symbolic operand with its axes permuted; see :func:`transpose`."""
    order = _permutation(axes, a.ndim)
    term = letters(a.ndim)
    return contract(f"{term}->{''.join(term[axis] for axis in order)}", a, dtype=a.dtype)


def transpose(a: Any, axes: Any = None) -> Any:
    """Return ``a`` with its axes permuted, as :func:`numpy.transpose` does.

    Nothing is computed for arrays: the result is a view, as NumPy's is.

    Args:
        a: array or symbolic operand.
        axes: axis of ``a`` for each axis of the result; all reversed where None.

    Raises:
        AxisError: ``axes`` is no permutation of ``a``'s axes.

    Example:
        >>> import numpy as np, einloom as el
        >>> el.transpose(np.ones((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    if isinstance(a, Expression):
        return transpose_expression(a, axes)
    array = as_numpy(a)
    return wrapper_for([a])(array.transpose(_permutation(axes, array.ndim)))


def _permutation(axes: Any, rank: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(reversed(range(rank)))
    order = tuple(wrap_axis(axis, rank, "transpose") for axis in _listed(axes))
    if len(order) != rank:
        raise AxisError(
            f"axes don't match array: axes={axes!r} names {len(order)} axes of a (rank {rank}); "
            "name each once"
        )
    if len(set(order)) != rank:
        raise AxisError(f"repeated axis in transpose: axes={axes!r}; name each axis once")
    return order


def _check_aligned(a: Expression, b: Expression, a_axis: int, b_axis: int) -> None:
    left, right = a.shape[a_axis], b.shape[b_axis]
    if is_equal(left, right) is not False:
        return
    fitting = [axis for axis, extent in enumerate(b.shape) if is_equal(extent, left) is True]
    way_out = (
        f"einloom.tensordot(a, b, axes=([{a_axis}], [{fitting[0]}])) would contract axes of extent "
        f"{text(left)}"
        if fitting
        else f"b has no axis of extent {text(left)}"
    )
    shapes = [shape_text(o.shape, "()", ",") for o in (a, b)]
    raise ShapeError(
        f"shapes {shapes[0]} and {shapes[1]} not aligned: {text(left)} (dim {a_axis}) != "
        f"{text(right)} (dim {b_axis}): axis {a_axis} of a is contracted with axis {b_axis} of b; "
        f"{way_out}"
    )
