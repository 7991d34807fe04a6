"""Group the indices of a pairwise contraction as those of a matrix product.

Rows have the indices of one operand and the output, columns those of the other and the output,
``k`` the contracted ones, and the batch those of all three. Each group has a run index, along which
panels are cut, and digits, the other indices, slowest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from einloom_compiler.lowering.iteration import IterationSpace

#: Output runs of fewer columns than this are written together with their neighbours in the output:
#: each ends in the middle of a cache line that the next one continues.
SHORT_RUN = 64


@dataclass(frozen=True, slots=True)
class Axis:
    """One index of a group.

    Attributes:
        extent: elements along it.
        strides: in the operand with the rows, that with the columns, and the output; 0 where the
            access does not depend on it.
        label: what it stands for, for comments.
        extras: strides in the operands of the epilogue.
    """

    extent: int
    strides: tuple[int, int, int]
    label: str
    extras: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Row or column indices: a run index and the digits around it."""

    run: Axis
    digits: tuple[Axis, ...]

    @property
    def n_runs(self) -> int:
        """Number of runs: points of the digits."""
        return prod(axis.extent for axis in self.digits)

    @property
    def points(self) -> int:
        """Number of rows or columns."""
        return self.run.extent * self.n_runs


@dataclass(frozen=True, slots=True)
class Groups:
    """A contraction as a batch of matrix products.

    Attributes:
        operands: which operand has the rows and which the columns.
        rows: the row group.
        columns: the column group; the output is contiguous along its run where it can be.
        k: contracted indices, in no order.
        batch: batch indices, slowest first.
    """

    operands: tuple[int, int]
    rows: Group
    columns: Group
    k: tuple[Axis, ...]
    batch: tuple[Axis, ...]

    @property
    def column_digit_run(self) -> int:
        """Extent of the fastest column digit if its operand is contiguous along it, else 1.

        Panels that differ in it only are packed together, so that each cache line is read once.
        """
        fastest = self.columns.digits[-1] if self.columns.digits else None
        is_run = fastest is not None and fastest.strides[1] == 1
        return fastest.extent if fastest is not None and is_run else 1

    @property
    def k_points(self) -> int:
        """Number of contracted points."""
        return prod(axis.extent for axis in self.k)

    @property
    def n_batches(self) -> int:
        """Number of products."""
        return prod(axis.extent for axis in self.batch)


def group(space: IterationSpace) -> Groups | None:
    """Return the groups of a contraction, None where it is no matrix product.

    It is one if it has two operands, rows, columns and contracted indices, and no index that only
    one operand has.
    """
    if len(space.strides) != 3 or min(space.extents, default=0) == 0:
        return None
    found: dict[tuple[bool, bool, bool], list[int]] = {}
    for number in range(len(space.extents)):
        key = tuple(column[number] is not None for column in space.strides)
        found.setdefault(key, []).append(number)  # type: ignore[arg-type]
    left, right = found.pop((True, False, True), []), found.pop((False, True, True), [])
    summed, batch = found.pop((True, True, False), []), found.pop((True, True, True), [])
    if found or not (left and right and summed):
        return None
    first, second = 0, 1
    if _smallest(space, left) < _smallest(space, right):
        left, right, first, second = right, left, second, first

    def axis(number: int) -> Axis:
        steps = (space.strides[first], space.strides[second], space.strides[2])
        a, b, c = (column[number] or 0 for column in steps)
        extras = tuple(column[number] or 0 for column in space.extras)
        return Axis(space.extents[number], (a, b, c), space.labels[number], extras)

    column_run = min(right, key=lambda n: abs(space.strides[2][n] or 0))
    row_run = max(left, key=lambda n: (space.strides[first][n] == 1, min(space.extents[n], 24)))
    beside = min(left, key=lambda n: abs(space.strides[2][n] or 0))
    run, step = space.extents[column_run], abs(space.strides[2][beside] or 0)
    n_columns = prod(space.extents[n] for n in right)
    if run < SHORT_RUN and step <= 2 * run and space.extents[beside] >= 8 and n_columns >= 256:
        # Rows of a block then share the output's cache lines and pages. Their packing may gather,
        # which so many columns pay for.
        row_run = beside
    return Groups(
        operands=(first, second),
        rows=Group(axis(row_run), _digits([axis(n) for n in left if n != row_run], 0)),
        columns=Group(axis(column_run), _digits([axis(n) for n in right if n != column_run], 1)),
        k=tuple(axis(n) for n in summed),
        batch=_digits([axis(n) for n in batch], 2),
    )


def _smallest(space: IterationSpace, numbers: list[int]) -> int:
    return min(abs(space.strides[2][number] or 0) for number in numbers)


def _digits(axes: list[Axis], operand: int) -> tuple[Axis, ...]:
    """Sort by output stride, and put the operand's contiguous index last.

    Neighbouring panels then share the operand's cache lines.
    """
    return tuple(sorted(axes, key=lambda a: (a.strides[operand] == 1, -abs(a.strides[2]))))
