"""``K.batch_dot`` as a batched matrix product: the TensorFlow backend of Keras 1.2.2 to 2.2.4.

Source: ``keras/backend/tensorflow_backend.py`` of Keras 1.2.2, 2.0.0, 2.0.4, 2.1.6 and 2.2.4. Its
rules, in its order:

1. An int stands for a pair of axes; None for x's last and y's second to last (before 2.1.6: for "no
   swaps" at rank 3 and more, and for nothing at rank 2).
2. The operand of lower rank gets trailing axes of extent 1 (from 2.0.4 on; before, ranks must be
   equal).
3. Two matrices are multiplied elementwise, x transposed where the axes differ, with size-1
   broadcasting, and summed over y's axis.
4. Otherwise ``tf.matmul`` over all leading axes, which do not broadcast (TensorFlow 1.13). Axes
   are only read as "is it the last one?": x's last two axes are swapped where it is not, y's where
   it is; the swap is an adjoint, so complex operands are conjugated.
5. As many axes as were padded are dropped again; a result of rank 1 gets a trailing 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from einloom.expression import Expression
from einloom.frontends.build import contract, reshape
from einloom.frontends.keras_batch_dot_first_axis import check_ranks, checked_axes
from einloom.frontends.keras_versions import Release
from einloom.frontends.letters import letters, shape_text
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import AxisError, ShapeError
from einloom_compiler.extents import Extent, is_equal, text


def matmul_batch_dot(
    x: Expression, y: Expression, axes: Any, dtype: AnyDType | None, release: Release
) -> Expression:
    """Return the product as the TensorFlow backend of ``release`` computes it.

    Raises:
        ShapeError: ranks or extents do not fit.
        AxisError: ``axes`` is no pair of ints, or two matrices are to be summed over an axis that
            they lack.
    """
    check_ranks(x, y)
    pair = checked_axes(axes)
    if x.ndim == 2 and y.ndim == 2:
        if pair is None and not release.settles_axes:
            raise AxisError(
                f"batch_dot of {release.title} has no default axes for two operands of rank 2 "
                "('NoneType' object is not subscriptable, there); pass axes=(1, 1)"
            )
        return _of_matrices(x, y, pair or (1, 0), dtype, release)
    if x.ndim != y.ndim and not release.pads_ranks:
        raise ShapeError(
            f"batch_dot of {release.title} needs operands of equal rank, but x has rank {x.ndim} "
            f"(shape {shape_text(x.shape)}) and y rank {y.ndim} (shape {shape_text(y.shape)}); "
            "append axes with K.expand_dims"
        )
    rank = max(x.ndim, y.ndim)
    swaps_x, swaps_y = False, False
    if pair is not None or release.settles_axes:
        x_axis, y_axis = pair or (x.ndim - 1, y.ndim - 2)
        swaps_x, swaps_y = x_axis != rank - 1, y_axis == rank - 1
    return _of_tensors(x, y, (swaps_x, swaps_y), dtype, release)


def _of_matrices(
    x: Expression, y: Expression, axes: tuple[int, int], dtype: AnyDType | None, release: Release
) -> Expression:
    if not -2 <= axes[1] <= 1:
        raise AxisError(
            f"axis {axes[1]} is out of range for y of rank 2 (shape {shape_text(y.shape)}); it "
            "must be 0 or 1"
        )
    x_term = "ab" if axes[0] == axes[1] else "ba"
    kept = "ab"[1 - axes[1] % 2]
    for letter in "ab":
        x_axis, y_axis = x_term.index(letter), "ab".index(letter)
        left, right = x.shape[x_axis], y.shape[y_axis]
        broadcasts = is_equal(left, 1) is not False or is_equal(right, 1) is not False
        if is_equal(left, right) is False and not broadcasts:
            raise ShapeError(
                f"batch_dot of {release.title} multiplies "
                f"{'x' if x_term == 'ab' else 'the transpose of x'} elementwise with y: axis "
                f"{x_axis} of x (shape {shape_text(x.shape)}) has extent {text(left)} but axis "
                f"{y_axis} of y (shape {shape_text(y.shape)}) has {text(right)}. Dimensions must "
                f"be equal, but are {text(left)} and {text(right)}; axes=1 pairs the rows"
            )
    if x_term == "ba":  # written so that x reads in order: ab,ba->a
        x_term, y_term, kept = "ab", "ba", "ab"["ba".index(kept)]
    else:
        y_term = "ab"
    result = contract(f"{x_term},{y_term}->{kept}", x, y, dtype=dtype, broadcast="ab")
    return reshape(result, (*result.shape, 1))


@dataclass(frozen=True, slots=True)
class _Padded:
    """An operand with trailing axes of extent 1, one letter an axis."""

    name: str
    expression: Expression
    term: str

    @property
    def real(self) -> str:
        """The letters of the axes that the operand has."""
        return self.term[: self.expression.ndim]

    @property
    def padding(self) -> str:
        """The letters of the axes of extent 1 that were appended."""
        return self.term[self.expression.ndim :]


def _of_tensors(
    x: Expression,
    y: Expression,
    swaps: tuple[bool, bool],
    dtype: AnyDType | None,
    release: Release,
) -> Expression:
    rank = max(x.ndim, y.ndim)
    leading = letters(rank - 2, taken="ijk")
    operands = (
        _Padded("x", x, leading + ("ji" if swaps[0] else "ij")),
        _Padded("y", y, leading + ("kj" if swaps[1] else "jk")),
    )
    output = f"{leading}ik"
    dropped = _dropped(x, y, rank, release)
    extents = _extents(operands, release)
    for axis in dropped:
        if is_equal(extents[output[axis]], 1) is False:
            raise ShapeError(
                f"batch_dot of {release.title} pads the shorter of {shape_text(x.shape)} and "
                f"{shape_text(y.shape)} with axes of extent 1 and then drops axis {axis} of the "
                f"product, which has extent {text(extents[output[axis]])} and not 1"
            )
    kept = "".join(letter for axis, letter in enumerate(output) if axis not in dropped)
    # A dropped axis of unknown extent stays in the product; the reshape leaves a guard on it.
    unknown = "".join(
        letter for letter in output if letter in kept or is_equal(extents[letter], 1) is None
    )
    terms, given = zip(*(_elided(operand, operands) for operand in operands), strict=True)
    is_complex = dtype is None or dtype.kind == "c"
    result = contract(
        _renamed(f"{','.join(terms)}->{unknown}", is_matmul=x.ndim == y.ndim >= 4),
        *given,
        dtype=dtype,
        conjugated=[swap and is_complex for swap in swaps],
    )
    shape = tuple(
        extent for letter, extent in zip(unknown, result.shape, strict=True) if letter in kept
    )
    if len(shape) == 1:
        shape = (*shape, 1)
    return result if len(shape) == result.ndim else reshape(result, shape)


def _dropped(x: Expression, y: Expression, rank: int, release: Release) -> range:
    """Return the axes of the product that are squeezed because one operand was padded."""
    if x.ndim == y.ndim:
        return range(0)
    first = x.ndim + y.ndim - 3 if x.ndim > y.ndim else x.ndim - 1
    dropped = range(first, first + abs(x.ndim - y.ndim))
    if dropped.stop > rank:
        raise ShapeError(
            f"batch_dot of {release.title} cannot multiply ranks {x.ndim} and {y.ndim} (shapes "
            f"{shape_text(x.shape)} and {shape_text(y.shape)}): it then drops axis "
            f"{dropped.stop - 1} of a product of rank {rank}"
        )
    return dropped


def _extents(operands: tuple[_Padded, _Padded], release: Release) -> dict[str, Extent]:
    """Return the extent of each letter, checked: leading axes do not broadcast, 1 included."""
    extents: dict[str, Extent] = {}
    origin: dict[str, str] = {}
    for operand in operands:
        shape = (*operand.expression.shape, *(1 for _ in operand.padding))
        for axis, (letter, extent) in enumerate(zip(operand.term, shape, strict=True)):
            padded = " (padded with 1)" if axis >= operand.expression.ndim else ""
            where = f"axis {axis} of {operand.name}{padded}"
            known = extents.setdefault(letter, extent)
            if is_equal(known, extent) is False:
                raise ShapeError(
                    f"batch_dot of {release.title} on shapes "
                    f"{' and '.join(shape_text(o.expression.shape) for o in operands)}: "
                    f"{origin[letter]} has extent {text(known)} but {where} has {text(extent)}. "
                    f"Dimensions must be equal, but are {text(known)} and {text(extent)}"
                )
            if is_equal(known, extent) is None and is_equal(extent, 1):
                extents[letter] = extent
            origin.setdefault(letter, where)
    return extents


def _elided(operand: _Padded, operands: tuple[_Padded, _Padded]) -> tuple[str, Expression]:
    """Return the operand's term and itself, padded only where an extent must be proved to be 1."""
    other = operands[1] if operand is operands[0] else operands[0]
    undecided = [
        letter
        for letter in operand.padding
        if letter in other.real
        and is_equal(other.expression.shape[other.term.index(letter)], 1) is not True
    ]
    if not undecided:
        return operand.real, operand.expression
    shape = (*operand.expression.shape, *(1 for _ in undecided))
    return operand.real + "".join(undecided), reshape(operand.expression, shape)


def _renamed(equation: str, *, is_matmul: bool) -> str:
    """Keep ``abij,abjk->abik`` for matrix products of high rank; else number from b, i, j, k on."""
    if is_matmul:
        return equation
    source = iter(f"b{letters(len(equation), 'i')}")
    names: dict[str, str] = {}
    for letter in equation:
        if letter not in ",->" and letter not in names:
            names[letter] = next(source)
    return "".join(names.get(letter, letter) for letter in equation)
