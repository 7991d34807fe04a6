"""``tf.matmul``, ``tf.linalg.matvec``, ``tf.tensordot`` and ``tf.transpose``.

Sources: TensorFlow 2.21's documentation, its ``math_ops.py``, and its behaviour on CPU for dtypes
and error texts. Rules in short: both operands are at least matrices; leading axes are batch and
broadcast; dtypes are never promoted.
"""

from __future__ import annotations

from typing import Any

from einloom.expression import Expression
from einloom.frontends.arguments import wrap_axis
from einloom.frontends.build import contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import letters, shape_text, tensordot_equation
from einloom.frontends.tensorflow_dtypes import Hints, matmul_dtype
from einloom.frontends.tensorflow_values import converted, matched_to_first
from einloom.frontends.values import as_tensor
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SubscriptError
from einloom_compiler.extents import is_equal, product, text
from einloom_compiler.ir.graph import Shape


@frontend("tensorflow.matmul", operands=("a", "b"), convert=matched_to_first, finish=as_tensor)
def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    output_type: Any = None,
    grad_a: bool = False,
    grad_b: bool = False,
    name: str | None = None,
) -> Any:
    """Return the matrix product, as ``tf.matmul`` does: ``...ij,...jk->...ik``.

    Args:
        a: of rank 2 or more.
        b: of rank 2 or more; a list or NumPy array is cast to ``a``'s dtype.
        transpose_a: whether ``a``'s last two axes are swapped.
        transpose_b: whether ``b``'s last two axes are swapped.
        adjoint_a: whether ``a``'s last two axes are swapped and its elements conjugated.
        adjoint_b: whether ``b``'s last two axes are swapped and its elements conjugated.
        a_is_sparse: a hint that ``a`` has many zeros. Nothing is computed differently, but as in
            TensorFlow both operands must be matrices then.
        b_is_sparse: the same for ``b``.
        output_type: int32 for operands of int8 or uint8; otherwise the operands' dtype.
        grad_a: ignored; TensorFlow's own gradients pass it.
        grad_b: ignored.
        name: ignored.

    Raises:
        ShapeError: a rank is below 2, or extents do not fit. Batch extents of 1 broadcast,
            contracted ones never.
        DTypeError: the dtypes differ, or TensorFlow has no product of that dtype on CPU.
        SubscriptError: an operand is to be both transposed and adjoint.

    Example:
        >>> import numpy as np, einloom.tensorflow as tf
        >>> tf.matmul(tf.ones((10, 12, 4, 5)), tf.ones((10, 12, 5, 8))).shape
        (10, 12, 4, 8)
    """
    _check_flags("a", transpose_a, adjoint_a)
    _check_flags("b", transpose_b, adjoint_b)
    hints = Hints(bool(a_is_sparse), bool(b_is_sparse), output_type)
    flags = (bool(transpose_a or adjoint_a), bool(transpose_b or adjoint_b))
    return _product(a, b, b.shape, flags, (bool(adjoint_a), bool(adjoint_b)), hints)


@frontend("tensorflow.linalg.matvec", operands=("a", "b"), convert=converted, finish=as_tensor)
def matvec(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    adjoint_a: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Any:
    """Return matrices times vectors, as ``tf.linalg.matvec`` does: ``...ij,...j->...i``.

    Args:
        a: of rank 2 or more.
        b: of rank 1 or more.
        transpose_a: whether ``a``'s last two axes are swapped.
        adjoint_a: whether ``a``'s last two axes are swapped and its elements conjugated.
        a_is_sparse: a hint, as in :func:`matmul`.
        b_is_sparse: a hint, as in :func:`matmul`.
        name: ignored.

    Raises:
        ShapeError: a rank is too low, or extents do not fit.
        DTypeError: the dtypes differ, or TensorFlow has no product of that dtype on CPU.
        SubscriptError: ``a`` is to be both transposed and adjoint.
    """
    _check_flags("a", transpose_a, adjoint_a)
    hints = Hints(bool(a_is_sparse), bool(b_is_sparse), None)
    swapped = bool(transpose_a or adjoint_a)
    return _product(a, b, (*b.shape, 1), (swapped, False), (bool(adjoint_a), False), hints)


def _check_flags(operand: str, transpose: object, adjoint: object) -> None:
    if transpose and adjoint:
        raise SubscriptError(
            f"Only one of `transpose_{operand}` and `adjoint_{operand}` can be True. Received "
            f"`transpose_{operand}`={transpose}, `adjoint_{operand}`={adjoint}. The adjoint is "
            "the conjugated transpose; for real dtypes they are the same"
        )


def _product(
    a: Expression,
    b: Expression,
    b_shape: Shape,
    swapped: tuple[bool, bool],
    conjugated: tuple[bool, bool],
    hints: Hints,
) -> Expression:
    """Return the product of matrices; ``b_shape`` has one axis more where ``b`` holds vectors."""
    is_vector = len(b_shape) > b.ndim
    is_batched = a.ndim > 2 or len(b_shape) > 2
    dtype = matmul_dtype(a.dtype, b.dtype, is_batched, hints)
    _check_ranks(a.shape, b_shape, is_batched, hints)
    batch = letters(max(a.ndim, len(b_shape)) - 2, taken="ijk")
    a_batch, b_batch = batch[len(batch) - a.ndim + 2 :], batch[len(batch) - len(b_shape) + 2 :]
    _check_batch(a.shape, b_shape)
    _check_inner(a.shape, b_shape, swapped, is_batched)
    a_core = "ji" if swapped[0] else "ij"
    b_core = "j" if is_vector else "kj" if swapped[1] else "jk"
    output = f"{batch}i" if is_vector else f"{batch}ik"
    is_real = dtype is not None and dtype.kind != "c"
    return contract(
        f"{a_batch}{a_core},{b_batch}{b_core}->{output}",
        a,
        b,
        dtype=dtype,
        broadcast=set(batch),
        conjugated=None if is_real else conjugated,
    )


def _show(shape: Shape) -> str:
    return shape_text(shape, "[]", ",")


def _check_ranks(a: Shape, b: Shape, is_batched: bool, hints: Hints) -> None:
    if hints.is_sparse and is_batched:
        name, shape = ("a", a) if len(a) != 2 else ("b", b)
        raise ShapeError(
            f"{name} is not a matrix: with a_is_sparse or b_is_sparse both operands must have "
            f"rank 2, but {name} has shape {_show(shape)}; leave the hints out"
        )
    for number, shape in enumerate((a, b)):
        if len(shape) < 2:
            rank = f": {len(shape)}" if is_batched else ""
            raise ShapeError(
                f"In[{number}] ndims must be >= 2{rank}, but operand {'ab'[number]} has shape "
                f"{_show(shape)}; give it an axis, or use tf.linalg.matvec or tf.tensordot"
            )


def _check_batch(a: Shape, b: Shape) -> None:
    for axis in range(-min(len(a), len(b)), -2):
        if (
            is_equal(a[axis], b[axis]) is False
            and is_equal(a[axis], 1) is not True
            and is_equal(b[axis], 1) is not True
        ):
            raise ShapeError(
                f"In[0] and In[1] must have compatible batch dimensions: {_show(a)} vs. "
                f"{_show(b)}: axis {len(a) + axis} of a has extent {text(a[axis])} but axis "
                f"{len(b) + axis} of b has {text(b[axis])}; batch extents must be equal, or one "
                "of them 1 (to contract all pairs instead, use tf.tensordot or K.dot)"
            )


def _check_inner(a: Shape, b: Shape, swapped: tuple[bool, bool], is_batched: bool) -> None:
    a_axis = len(a) - (2 if swapped[0] else 1)
    b_axis = len(b) - (1 if swapped[1] else 2)
    left, right = a[a_axis], b[b_axis]
    if is_equal(left, right) is not False:
        return
    flags = f" {int(swapped[0])} {int(swapped[1])}" if is_batched else ""
    ways = [
        f"{'not ' if swapped[number] else ''}transpose_{'ab'[number]}"
        for number, shape, other, axis in ((0, a, right, a_axis), (1, b, left, b_axis))
        if is_equal(shape[2 * len(shape) - 3 - axis], other) is True
    ]
    hint = f"; it would fit with {' or '.join(ways)}" if ways else ""
    raise ShapeError(
        f"Matrix size-incompatible: In[0]: {_show(a)}, In[1]: {_show(b)}{flags}: axis {a_axis} of "
        f"a has extent {text(left)} but axis {b_axis} of b has {text(right)}, and they are "
        f"contracted{hint}. Dimensions must be equal, but are {text(left)} and {text(right)}"
    )


@frontend("tensorflow.tensordot", operands=("a", "b"), convert=converted, finish=as_tensor)
def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Any:
    """Return the sum of products over pairs of axes, as ``tf.tensordot`` does.

    The result has ``a``'s other axes, then ``b``'s. TensorFlow itself compares only the numbers of
    contracted elements; as its documentation says, paired extents must be equal here.

    Args:
        a: of any rank.
        b: of any rank.
        axes: an integer n, for the last n axes of ``a`` with the first n of ``b``; a pair of axes;
            a pair of lists of axes; or an integer array of shape (2, n).
        name: ignored.

    Raises:
        ShapeError: paired extents differ, ``axes`` is negative or of another form, or its lists
            differ in length.
        AxisError: an axis lies outside its operand's rank, or occurs twice.
        DTypeError: the dtypes differ, or TensorFlow has no product of that dtype on CPU.

    Example:
        >>> import einloom.tensorflow as tf
        >>> tf.tensordot(tf.ones((2, 3, 4)), tf.ones((4, 5)), axes=1).shape
        (2, 3, 5)
    """
    dtype = matmul_dtype(a.dtype, b.dtype, False, Hints())
    pairs = _pairs(axes, a.ndim, b.ndim)
    for left, right in pairs:
        if is_equal(a.shape[left], b.shape[right]) is False:
            summed = [left for left, _ in pairs], [right for _, right in pairs]
            a_free = product(e for axis, e in enumerate(a.shape) if axis not in summed[0])
            b_free = product(e for axis, e in enumerate(b.shape) if axis not in summed[1])
            a_flat = (a_free, product(a.shape[axis] for axis in summed[0]))
            b_flat = (product(b.shape[axis] for axis in summed[1]), b_free)
            raise ShapeError(
                f"Matrix size-incompatible: In[0]: {_show(a_flat)}, In[1]: {_show(b_flat)}: axis "
                f"{left} of a (shape {_show(a.shape)}) has extent {text(a.shape[left])} but axis "
                f"{right} of b (shape {_show(b.shape)}) has {text(b.shape[right])}, and they are "
                "contracted; pair axes of equal extents"
            )
    return contract(tensordot_equation(a.ndim, b.ndim, pairs), a, b, dtype=dtype)


def _pairs(axes: Any, a_rank: int, b_rank: int) -> list[tuple[int, int]]:
    if hasattr(axes, "numpy"):
        axes = axes.numpy()
    if hasattr(axes, "ndim") and axes.ndim:
        if axes.ndim != 2 or len(axes) != 2 or axes.dtype.kind not in "iu":
            raise ShapeError(
                f"`axes` as an array must hold integers and have shape (2, n), not {axes!r}; give "
                "[[axes of a], [axes of b]]"
            )
        axes = axes.tolist()
    if isinstance(axes, list | tuple):
        lists = _pair_of_lists(axes)
    elif hasattr(axes, "__index__"):
        n = axes.__index__()
        if n < 0:
            raise ShapeError(f"`axes` must be at least 0. Received: {axes}; 0 is the outer product")
        for name, rank in (("a", a_rank), ("b", b_rank)):
            if n > rank:
                raise AxisError(
                    f"`axes` must not be larger than the number of dimensions of tensor {name}. "
                    f"Received {axes}, vs tensor dimensions {rank}"
                )
        lists = list(range(a_rank - n, a_rank)), list(range(n))
    else:
        raise DTypeError(f"`axes` must be an integer or a pair of (lists of) axes, not {axes!r}")
    found = []
    for name, rank, part in zip("ab", (a_rank, b_rank), lists, strict=True):
        wrapped = [wrap_axis(axis, rank, f"tensordot: `axes` of {name}") for axis in part]
        if len(set(wrapped)) != len(wrapped):
            raise AxisError(f"`axes` names an axis of {name} twice: {part}")
        found.append(wrapped)
    return list(zip(*found, strict=True))


def _pair_of_lists(axes: Any) -> tuple[list[Any], list[Any]]:
    if len(axes) != 2:
        raise ShapeError(f"`axes` must be an integer or have length 2. Received {axes}.")
    if all(hasattr(part, "__index__") for part in axes):
        return [axes[0]], [axes[1]]
    if not all(hasattr(part, "__len__") for part in axes):
        raise DTypeError(f"`axes` must be a pair of axes or a pair of lists of axes, not {axes!r}")
    left, right = (list(part) for part in axes)
    if len(left) != len(right):
        raise ShapeError(
            f"Different number of contraction axes `a` and `b`, {len(left)} != {len(right)}."
        )
    return left, right


@frontend("tensorflow.transpose", operands=("a",), convert=converted, finish=as_tensor)
def transpose(a: Any, perm: Any = None, conjugate: bool = False, name: str | None = None) -> Any:
    """Return ``a`` with its axes permuted, as ``tf.transpose`` does.

    Args:
        a: of any rank.
        perm: axis of ``a`` for each axis of the result; all reversed where None.
        conjugate: whether complex elements are conjugated.
        name: ignored.

    Raises:
        AxisError: ``perm`` is no permutation of ``a``'s axes.
    """
    order = range(a.ndim)[::-1] if perm is None else [*perm]
    axes = [wrap_axis(axis, a.ndim, "transpose: perm") for axis in order]
    if sorted(axes) != list(range(a.ndim)):
        raise AxisError(
            f"transpose expects a vector of size {a.ndim}: perm={perm!r} is no permutation of the "
            f"axes of a, whose shape is {_show(a.shape)}"
        )
    term = letters(a.ndim)
    is_complex = a.dtype is None or a.dtype.kind == "c"
    return contract(
        f"{term}->{''.join(term[axis] for axis in axes)}",
        a,
        dtype=a.dtype,
        conjugated=(bool(conjugate) and is_complex,),
    )
