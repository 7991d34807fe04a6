"""NumPy's generalised ufuncs: ``matmul``, ``vecdot``, ``matvec`` and ``vecmat``.

Each is a small equation over *core* axes, repeated over *batch* axes that broadcast at the right.
A core axis never broadcasts. Source: NumPy 2.4's documentation of each function and of ``axes=``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from einloom.expression import Expression
from einloom.frontends.arguments import wrap_axis
from einloom.frontends.build import contract, promoted
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import letters, shape_text
from einloom.frontends.values import numpy_scalar
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import AxisError, DTypeError, ShapeError
from einloom_compiler.extents import is_equal, text

Array = npt.NDArray[Any]
Axes = Sequence[Sequence[int] | int] | None


def numpy_dtype(*operands: Expression) -> AnyDType | None:
    """Return NumPy's result dtype of the operands, None while one is not settled.

    Raises:
        DTypeError: the dtypes have no common one.
    """
    try:
        return promoted(*operands)
    except TypeError as error:
        dtypes = ", ".join(str(operand.dtype) for operand in operands)
        raise DTypeError(
            f"the operands' dtypes {dtypes} have no common dtype ({error}); cast them to one"
        ) from None


@frontend("numpy.matmul", operands=("x1", "x2"), finish=numpy_scalar)
def matmul(x1: Any, x2: Any, out: Array | None = None, *, axes: Axes = None) -> Any:
    """Return the matrix product, as :func:`numpy.matmul` does.

    ``...ij,...jk->...ik``: the leading axes are batch and broadcast. An operand of rank 1 is a
    vector whose axis does not appear in the result. The result dtype is NumPy's promotion. Only an
    extent that is known to be 1 broadcasts: a symbolic one must equal its partner when it is run.

    Args:
        x1: of rank 1 or more.
        x2: of rank 1 or more.
        out: array to write the result to; it may overlap operands.
        axes: for each operand and the result, which axes hold the matrix (or vector).

    Raises:
        ShapeError: an operand has rank 0, or extents do not fit.
        AxisError: ``axes`` names an axis that is not there, or one twice.
        DTypeError, CastingError: the dtypes have no common one, or ``out`` cannot hold it.

    Example:
        >>> import numpy as np, einloom as el
        >>> el.matmul(np.ones((9, 8, 4, 2)), np.ones((8, 2, 5))).shape
        (9, 8, 4, 5)
    """
    x1_core = "ij" if x1.ndim > 1 else "j"
    x2_core = "jk" if x2.ndim > 1 else "j"
    core = "".join(letter for letter in "ik" if letter in x1_core + x2_core)
    return _gufunc("matmul", "(n?,k),(k,m?)->(n?,m?)", (x1, x2), (x1_core, x2_core, core), axes)


@frontend("numpy.vecdot", operands=("x1", "x2"), finish=numpy_scalar)
def vecdot(
    x1: Any, x2: Any, out: Array | None = None, *, axis: int | None = None, axes: Axes = None
) -> Any:
    """Return the dot products of vectors, the first conjugated, as :func:`numpy.vecdot` does.

    ``...i,...i->...``: the leading axes are batch and broadcast; the vectors' axis does not.

    Args:
        x1: of rank 1 or more; conjugated where complex.
        x2: of rank 1 or more.
        out: array to write the result to.
        axis: the vectors' axis in both operands; the last one where None.
        axes: the vectors' axis in each operand; not together with ``axis``.

    Raises:
        ShapeError: an operand has rank 0, or extents do not fit.
        AxisError: an axis lies outside an operand's rank.
    """
    if axis is not None:
        if axes is not None:
            raise AxisError("cannot specify both 'axis' and 'axes'; give one of them")
        axes = [axis, axis]
    return _gufunc(
        "vecdot", "(n),(n)->()", (x1, x2), ("i", "i", ""), axes, conjugated=(True, False)
    )


@frontend("numpy.matvec", operands=("x1", "x2"), finish=numpy_scalar)
def matvec(x1: Any, x2: Any, out: Array | None = None, *, axes: Axes = None) -> Any:
    """Return matrices times vectors, as :func:`numpy.matvec` does: ``...ij,...j->...i``.

    Args:
        x1: of rank 2 or more.
        x2: of rank 1 or more.
        out: array to write the result to.
        axes: for each operand and the result, which axes hold the matrix or vector.

    Raises:
        ShapeError: an operand's rank is too low, or extents do not fit.
        AxisError: ``axes`` names an axis that is not there, or one twice.
    """
    return _gufunc("matvec", "(m,n),(n)->(m)", (x1, x2), ("ij", "j", "i"), axes)


@frontend("numpy.vecmat", operands=("x1", "x2"), finish=numpy_scalar)
def vecmat(x1: Any, x2: Any, out: Array | None = None, *, axes: Axes = None) -> Any:
    """Return conjugated vectors times matrices, as :func:`numpy.vecmat`: ``...i,...ij->...j``.

    Args:
        x1: of rank 1 or more; conjugated where complex.
        x2: of rank 2 or more.
        out: array to write the result to.
        axes: for each operand and the result, which axes hold the vector or matrix.

    Raises:
        ShapeError: an operand's rank is too low, or extents do not fit.
        AxisError: ``axes`` names an axis that is not there, or one twice.
    """
    return _gufunc(
        "vecmat", "(n),(n,m)->(m)", (x1, x2), ("i", "ij", "j"), axes, conjugated=(True, False)
    )


def _gufunc(
    name: str,
    signature: str,
    operands: tuple[Expression, Expression],
    cores: tuple[str, str, str],
    axes: Axes,
    conjugated: tuple[bool, bool] = (False, False),
) -> Expression:
    """Return ``cores`` as an equation, repeated over the operands' batch axes."""
    for number, (operand, core) in enumerate(zip(operands, cores[:2], strict=True)):
        if operand.ndim < len(core):
            raise ShapeError(
                f"{name}: Input operand {number} does not have enough dimensions (has "
                f"{operand.ndim}, gufunc core with signature {signature} requires {len(core)}); "
                "multiply by a scalar with dot or *, and give vectors and matrices their axes"
            )
    n_batch = max(o.ndim - len(core) for o, core in zip(operands, cores[:2], strict=True))
    batch = letters(n_batch, taken="ijk")
    ranks = (operands[0].ndim, operands[1].ndim, n_batch + len(cores[2]))
    places = _core_axes(name, axes, cores, ranks)
    terms = [
        _term(rank, core, place, batch)
        for rank, core, place in zip(ranks, cores, places, strict=True)
    ]
    _check_core(name, signature, operands, cores, places)
    _check_batch(name, operands, terms[:2], batch)
    dtype = numpy_dtype(*operands)
    is_real = dtype is not None and dtype.kind != "c"
    return contract(
        f"{terms[0]},{terms[1]}->{terms[2]}",
        *operands,
        dtype=dtype,
        broadcast=set(batch),
        conjugated=None if is_real else conjugated,
    )


def _core_axes(
    name: str, axes: Axes, cores: tuple[str, str, str], ranks: tuple[int, int, int]
) -> list[tuple[int, ...]]:
    """Return the axes of the core letters in each operand and the result: by default the last."""
    if axes is None:
        return [tuple(range(rank - len(c), rank)) for c, rank in zip(cores, ranks, strict=True)]
    if not isinstance(axes, list | tuple):
        raise DTypeError(f"{name}: axes should be a list, one entry an operand, not {axes!r}")
    entries = list(axes)
    if len(entries) == 2 and not cores[2]:
        entries.append(())
    if len(entries) != 3:
        raise ShapeError(
            f"{name}: axes should be a list with an entry for all 3 inputs and outputs; entries "
            f"for outputs can only be omitted if none of them has core axes; {len(axes)} given"
        )
    found = []
    for number, (entry, core, rank) in enumerate(zip(entries, cores, ranks, strict=True)):
        given = entry if isinstance(entry, list | tuple) else (entry,)
        if len(given) != len(core):
            raise AxisError(
                f"{name}: axes item {number} should have {len(core)} elements, not {entry!r}"
            )
        place = tuple(wrap_axis(axis, rank, f"{name}: axes item {number}") for axis in given)
        if len(set(place)) != len(place):
            raise AxisError(f"{name}: axes item {number} has value {entry!r} with repeated axes")
        found.append(place)
    return found


def _term(rank: int, core: str, place: tuple[int, ...], batch: str) -> str:
    """Return the letters of one operand: its core's at their places, batch letters elsewhere."""
    term = dict(zip(place, core, strict=True))
    free = iter(batch[len(batch) - (rank - len(core)) :])
    return "".join(term[axis] if axis in term else next(free) for axis in range(rank))


def _check_core(
    name: str,
    signature: str,
    operands: tuple[Expression, Expression],
    cores: tuple[str, str, str],
    places: Sequence[tuple[int, ...]],
) -> None:
    for position, letter in enumerate(cores[1]):
        if letter not in cores[0]:
            continue
        axes = places[0][cores[0].index(letter)], places[1][position]
        left, right = operands[0].shape[axes[0]], operands[1].shape[axes[1]]
        if is_equal(left, right) is False:
            raise ShapeError(
                f"{name}: Input operand 1 has a mismatch in its core dimension {position}, with "
                f"gufunc signature {signature} (size {text(right)} is different from "
                f"{text(left)}): axis {axes[1]} of operand 1 (shape "
                f"{shape_text(operands[1].shape)}) must equal axis {axes[0]} of operand 0 (shape "
                f"{shape_text(operands[0].shape)}); transpose an operand, or name other axes with "
                "axes="
            )


def _check_batch(
    name: str, operands: tuple[Expression, Expression], terms: Sequence[str], batch: str
) -> None:
    for letter in batch:
        if letter not in terms[0] or letter not in terms[1]:
            continue
        axes = terms[0].index(letter), terms[1].index(letter)
        left, right = operands[0].shape[axes[0]], operands[1].shape[axes[1]]
        if is_equal(left, right) is False and not (
            is_equal(left, 1) is True or is_equal(right, 1) is True
        ):
            raise ShapeError(
                f"{name}: operands could not be broadcast together: batch axis {axes[0]} of "
                f"operand 0 (shape {shape_text(operands[0].shape)}) has extent {text(left)} but "
                f"axis {axes[1]} of operand 1 (shape {shape_text(operands[1].shape)}) has "
                f"{text(right)}; batch extents must be equal, or one of them 1"
            )
