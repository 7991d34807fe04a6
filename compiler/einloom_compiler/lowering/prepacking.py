"""Panels of a constant operand, packed once: what a kernel of the packed family then reads.

The packed array holds, for each batch, panel after panel, each with all contracted points, each
point with the panel's elements side by side: axes ``(batch, block of the run, digits, point, part,
element)``. Complex numbers have two parts, real then imaginary; lanes beyond the run are zeros. It
depends on the operand and on the register block's side only, so that calls that differ in the
other operand share one.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.dtypes import as_dtype
from einloom_compiler.lowering.formula import formula_text
from einloom_compiler.lowering.groups import Axis, Group, Groups

Array = npt.NDArray[Any]
#: Extent and stride of an index, in elements.
Step = tuple[int, int]


def packed_panels(
    x: Any,
    batch: Any,
    run: Any,
    digits: Any,
    points: Any,
    size: int,
    compute: Any,
    element: str,
    conjugated: bool,
) -> Any:
    """Return panels of ``size`` elements along ``run``, cast to ``compute``, as ``element``."""
    axes = [*batch, run, *digits, *points]
    shape, steps = [n for n, _ in axes], [step * x.itemsize for _, step in axes]
    view = np.lib.stride_tricks.as_strided(x, shape, steps)
    view = np.moveaxis(view, len(batch), -1)
    lead = shape[: len(batch)], shape[len(batch) + 1 : len(batch) + 1 + len(digits)]
    parts = 2 if np.dtype(compute).kind == "c" else 1
    blocks, rest = divmod(run[0], size)
    n_points = int(np.prod([n for n, _ in points]))
    n_digits = int(np.prod(lead[1]))
    packed_shape = (int(np.prod(lead[0])), -(-run[0] // size), n_digits, n_points, parts, size)
    # Panels begin at cache lines.
    n_bytes = int(np.prod(packed_shape)) * np.dtype(element).itemsize
    memory = np.zeros(n_bytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    packed = memory[start : start + n_bytes].view(element).reshape(packed_shape)
    for block in range(packed_shape[1]):
        n = size if block < blocks else rest
        part = view[..., block * size : block * size + n].astype(compute, order="C")
        part = part.reshape(packed_shape[0], n_digits, n_points, n)
        if parts == 2:
            packed[:, block, :, :, 0, :n] = part.real
            packed[:, block, :, :, 1, :n] = -part.imag if conjugated else part.imag
        else:
            packed[:, block, :, :, 0, :n] = part
    return packed


#: Defines what printed programs call; its own text, so that both are one.
PANELS_SOURCE = re.sub(r": Any|: int|: str|: bool| -> Any", "", inspect.getsource(packed_panels))


@dataclass(frozen=True, slots=True)
class Packing:
    """How a constant operand is packed; equal ones give equal arrays of one operand.

    Attributes:
        batch: batch indices, slowest first.
        run: the index that panels are cut from.
        digits: the other row or column indices, slowest first.
        points: contracted indices, slowest first.
        size: rows or columns of a panel.
        compute: dtype name that the operand is cast to.
        element: dtype name of the packed elements.
        is_conjugated: whether the conjugate is packed.
    """

    batch: tuple[Step, ...]
    run: Step
    digits: tuple[Step, ...]
    points: tuple[Step, ...]
    size: int
    compute: str
    element: str
    is_conjugated: bool = False

    def plain(self) -> Packing:
        """Return the packing of a constant whose extents are all known, with plain integers."""

        def known(axes: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple((int(n), int(step)) for n, step in axes)

        (run,) = known((self.run,))
        batch, digits, points = known(self.batch), known(self.digits), known(self.points)
        return replace(self, batch=batch, run=run, digits=digits, points=points)

    @property
    def parts(self) -> int:
        """Packed elements of one of the operand's."""
        return 2 if self.compute.startswith("complex") else 1

    @property
    def pitch(self) -> int:
        """Packed elements of one panel."""
        return prod([n for n, _ in self.points]) * (self.size * self.parts)

    @property
    def blocks(self) -> int:
        """Panels along the run."""
        return -(-self.run[0] // self.size)

    @property
    def n_bytes(self) -> int:
        """Bytes of the packed array."""
        n_panels = self.blocks * prod(n for n, _ in (*self.batch, *self.digits))
        return int(n_panels * self.pitch) * np.dtype(self.element).itemsize

    def pack(self, x: Array) -> Array:
        """Return the packed array of an operand whose first element is that of ``x``."""
        batch, (run,), digits, points = self.plain()._axes
        compute = as_dtype(self.compute)
        packed: Array = packed_panels(
            x, batch, run, digits, points, self.size, compute, self.element, self.is_conjugated
        )
        return packed

    def text(self, x: str) -> str:
        """Return Python that packs the operand called ``x``."""
        batch, (run,), digits, points = ([_text(axis) for axis in axes] for axes in self._axes)
        lists = ", ".join(
            (f"[{', '.join(batch)}]", run, f"[{', '.join(digits)}]", f"[{', '.join(points)}]")
        )
        return (
            f'packed_panels({x}, {lists}, {self.size}, "{self.compute}", "{self.element}", '
            f"{self.is_conjugated})"
        )

    @property
    def _axes(self) -> tuple[tuple[Step, ...], ...]:
        return self.batch, (self.run,), self.digits, self.points


def _text(axis: Step) -> str:
    return f"({formula_text(axis[0])}, {formula_text(axis[1])})"


def packing(
    groups: Groups,
    side: int,
    points: tuple[Axis, ...],
    size: int,
    compute: str,
    element: str,
    is_conjugated: bool,
) -> Packing:
    """Return how the operand of ``side`` (0 rows, 1 columns) is packed.

    Args:
        groups: the matrix product.
        side: which operand.
        points: the contracted indices in the order of the kernel's points.
        size: rows or columns of the register block.
        compute: dtype name that the operand is cast to.
        element: dtype name of packed elements.
        is_conjugated: whether its conjugate is packed.
    """
    group: Group = (groups.rows, groups.columns)[side]

    def steps(axes: tuple[Axis, ...]) -> tuple[Step, ...]:
        return tuple((axis.extent, axis.strides[side]) for axis in axes)

    (run,) = steps((group.run,))
    return Packing(
        steps(groups.batch),
        run,
        steps(group.digits),
        steps(points),
        size,
        compute,
        element,
        is_conjugated,
    )


def repacked(groups: Groups, side: int, packing: Packing) -> Groups:
    """Return the groups with the strides that the packed operand of ``side`` has.

    The run's stride is that of one row or column if a panel's were evenly spread, so that panel
    ``i`` is ``i * size`` of them away; contracted strides mean nothing.
    """
    group: Group = (groups.rows, groups.columns)[side]
    step = packing.pitch
    # One row or column of a block of panels, one a digit point.
    spread = prod(n for n, _ in (*packing.points, *packing.digits)) * packing.parts
    digits: list[Axis] = []
    for axis in reversed(group.digits):
        digits.insert(0, _with_stride(axis, side, step))
        step = axis.extent * step
    run = _with_stride(group.run, side, spread)
    step = packing.blocks * step
    batch: list[Axis] = []
    for axis in reversed(groups.batch):
        batch.insert(0, _with_stride(axis, side, step))
        step = axis.extent * step
    found = Group(run, tuple(digits))
    rows, columns = (found, groups.columns) if side == 0 else (groups.rows, found)
    return Groups(groups.operands, rows, columns, groups.k, tuple(batch))


def _with_stride(axis: Axis, side: int, stride: int) -> Axis:
    strides = list(axis.strides)
    strides[side] = stride
    a, b, c = strides
    return Axis(axis.extent, (a, b, c), axis.label, axis.extras)
