"""Order the contracted points of a matrix product, so that both operands are read in whole lines.

An operand that is packed along ``k`` (see :data:`~einloom_compiler.ir.packed.Order`) is read in
runs: contracted points that are neighbours in its memory. Where both operands are packed so, along
different indices, points are ordered as tiles of a run of one times a run of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from einloom_compiler.lowering.formula import is_open, named
from einloom_compiler.lowering.groups import Axis, Groups
from einloom_compiler.lowering.tables import OffsetTable

#: Runs this long make full use of cache lines and of transposed blocks.
_LONG_RUN = 16


@dataclass(frozen=True, slots=True)
class Run:
    """Contracted points that are neighbours in an operand's memory.

    Attributes:
        extent: how many, counted from a multiple of it.
        hop: positions from one to the next in the order of points.
    """

    extent: int
    hop: int


@dataclass(frozen=True, slots=True)
class Contracted:
    """The order of contracted points.

    Attributes:
        axes: slowest first; an index may be split.
        runs: of the operand with the rows, and of that with the columns.
        unit: blocks of points are multiples of so many.
    """

    axes: tuple[Axis, ...]
    runs: tuple[Run, Run]
    unit: int

    @property
    def points(self) -> int:
        """Number of contracted points."""
        count = 1
        for axis in self.axes:
            count = axis.extent * count
        return count

    def table(self, factors: tuple[int, int]) -> OffsetTable:
        """Return the offsets of every point in both operands, of so many elements a stride."""
        a, b = factors
        return OffsetTable(
            tuple((axis.extent, axis.strides[0] * a, axis.strides[1] * b) for axis in self.axes)
        )

    def block(self, depth: int) -> int:
        """Return how many points a packed block has: equal shares, at most ``depth``."""
        points = named(self.points, "points")
        if is_open(points):
            if self.unit > 1:
                return depth // self.unit * self.unit
            blocks = named(-(-points // depth), "k_blocks")
            if depth % 8 == 0:
                return named(-(-points // (8 * blocks)) * 8, "k_step")
            return named(-(-points // blocks), "k_step")
        n_blocks = -(-int(points) // depth)
        if n_blocks == 1:
            return points
        if self.unit > 1:
            return depth // self.unit * self.unit
        share = -(-points // n_blocks)
        rounded = -(-points // (8 * n_blocks)) * 8
        return named(rounded if rounded <= depth else share, "k_step")


def contracted(groups: Groups, along_k: tuple[bool, bool], depth: int) -> Contracted:
    """Return the order of the contracted points.

    Args:
        groups: the matrix product.
        along_k: whether each operand is packed along contracted points.
        depth: points of a packed block at most.
    """
    units = [_unit_axis(groups.k, side) if along_k[side] else None for side in (0, 1)]
    first, second = units
    if first is not None and second is not None and first is not second:
        tiled = _tiled(groups.k, first, second, depth)
        if tiled is not None:
            return tiled
    # One of them is read along its run; columns are wider, so they come first.
    side = 1 if second is not None else 0
    axes = _chained(groups.k, side if units[side] is not None else None)
    return Contracted(axes, (_run(axes, 0), _run(axes, 1)), 1)


def _unit_axis(axes: tuple[Axis, ...], side: int) -> Axis | None:
    return next((axis for axis in axes if axis.strides[side] == 1), None)


def _chained(axes: tuple[Axis, ...], side: int | None) -> tuple[Axis, ...]:
    """Sort by strides, the chain of indices that are contiguous in ``side``'s memory last."""
    rest = sorted(axes, key=lambda axis: -(abs(axis.strides[0]) + abs(axis.strides[1])))
    chain: list[Axis] = []
    step = 1
    while side is not None:
        following = next((axis for axis in rest if axis.strides[side] == step), None)
        if following is None:
            break
        rest.remove(following)
        chain.insert(0, following)
        step *= following.extent
    return (*rest, *chain)


def _run(axes: tuple[Axis, ...], side: int) -> Run:
    """Return the run of the last indices in their order, 1 point where they are no neighbours."""
    extent = 1
    for axis in reversed(axes):
        if axis.strides[side] != extent:
            break
        extent = axis.extent * extent
    return Run(extent, 1)


def _tiled(axes: tuple[Axis, ...], first: Axis, second: Axis, depth: int) -> Contracted | None:
    """Return the order by tiles of ``first`` times ``second``, None where neither can be split."""
    pairs = [
        (a, b)
        for a, b in product(_divisors(first.extent), _divisors(second.extent))
        if min(a, b) > 1 and a * b <= depth
    ]
    if not pairs:
        return None
    a, b = min(pairs, key=lambda pair: _waste(pair[0]) + _waste(pair[1]))
    rest = [axis for axis in _chained(axes, None) if axis is not first and axis is not second]
    split = [_outer(first, a), _outer(second, b), _inner(first, a), _inner(second, b)]
    return Contracted(
        axes=(*rest, *(axis for axis in split if axis.extent > 1)),
        runs=(Run(a, b), Run(b, 1)),
        unit=a * b,
    )


def _divisors(extent: int) -> list[int]:
    if is_open(extent):
        return [1]
    return [n for n in range(1, min(int(extent), 256) + 1) if extent % n == 0]


def _waste(run: int) -> float:
    """Return the share of loads of a run that are spent on what is not its own."""
    return 1 / run + (-run % _LONG_RUN) / run / 4


def _outer(axis: Axis, size: int) -> Axis:
    a, b, c = (step * size for step in axis.strides)
    return Axis(axis.extent // size, (a, b, c), axis.label)


def _inner(axis: Axis, size: int) -> Axis:
    return Axis(size, axis.strides, axis.label)
