"""Bind a tiled nest to memory: its numbers, in the order of the kernel ABI."""

from __future__ import annotations

from einloom_compiler.lowering.formula import named
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.schedule.tiled_blocks import NumberedNest


def bind_tiled(space: IterationSpace, schedule: NumberedNest) -> tuple[tuple[int, ...], int]:
    """Return the kernel's numbers and the length of its range.

    Strides of complex operands are given in real elements.
    """
    nest = schedule.nest
    number = dict(zip(nest.indices, schedule.order, strict=True))
    extents = [space.extents[number[index]] for index in nest.run_time]
    columns = [space.strides[operand] for operand in schedule.operands]
    columns += [*space.extras, space.strides[-1]]
    strides = [
        (column[number[index]] or 0) * nest.scale
        for access, column in zip(nest.accesses, columns, strict=True)
        for index in access.strided
    ]
    total = 1
    for index in nest.tasks:
        extent, block = space.extents[number[index]], nest.block(index)
        total *= named(-(-extent // block), f"blocks_{index}") if block > 1 else extent
    return (*extents, *strides), total
