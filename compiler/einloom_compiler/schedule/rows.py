"""The ways to walk through reductions along rows that may be the fastest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from einloom_compiler.dtypes import arithmetic, compute_bytes, storage_bytes
from einloom_compiler.ir.scalar import Combined, Mapped, Scalar, parts_of, positions_of
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.rows import RowsExpr, RowsSchedule
from einloom_compiler.schedule import chunks, streams
from einloom_compiler.schedule.machine import Machine

#: Bytes of a row of accumulators at least: runs of memory between which others are read.
_LEAST_ROW_BYTES = 512
#: Maps that are a few instructions.
_MAPS = frozenset(("linear", "negative", "abs", "square", "add", "multiply", "maximum", "minimum"))


def shapes(expr: RowsExpr, space: IterationSpace, machine: Machine) -> list[RowsSchedule]:
    """Return the ways through a space that may be the fastest: for each vector's index."""
    order = _order(space, None)
    found = [RowsSchedule(order)]
    compute = np.dtype(arithmetic(expr.compute).compute)
    lanes = min(16, machine.simd_bits // (8 * compute.itemsize))
    has_vectors = expr.compute != "bool" and compute.kind != "c" and lanes > 1
    dtypes = (*expr.inputs, expr.result)
    numbers = range(space.n_output if expr.is_scan else len(space.extents))
    for number in numbers if has_vectors else ():
        touched = {
            dtype
            for dtype, column in zip(dtypes, space.strides, strict=True)
            if column[number] is not None
        }
        if all(_has_vectors(dtype, expr.compute) for dtype in touched):
            copies = _copies(expr, space, number, lanes, machine)
            found.append(RowsSchedule(_order(space, number), number, lanes, copies))
    streamed = (_streamed(expr, space, each, machine) for each in found)
    found += [each for each in streamed if each is not None]
    return [*found, *_in_scratch(expr, space, found, machine)]


def is_streamable(expr: RowsExpr, space: IterationSpace, vector: int | None) -> bool:
    """Say whether rows may be read side by side: one pass of vectors along them, nothing stored."""
    if vector is None or not 0 < space.n_output <= vector:
        return False
    if not expr.reductions or set(expr.reduced) <= set(expr.output):
        return False
    wide = {n for n, column in enumerate(space.strides[:-1]) if column[vector] is not None}
    read = [positions_of(reduction.body) for reduction in expr.reductions]
    return all(positions & wide and max(positions) < len(expr.inputs) for positions in read)


def _streamed(
    expr: RowsExpr, space: IterationSpace, shape: RowsSchedule, machine: Machine
) -> RowsSchedule | None:
    """Return a way that reads several rows side by side, where an operand is large."""
    if not is_streamable(expr, space, shape.vector):
        return None
    itemsizes = [storage_bytes(dtype) for dtype in expr.inputs]
    number = streams.kept_index(space, itemsizes, machine)
    if number is None or any(map(is_open, space.extents)):
        return None
    kept = [n for n in shape.order[: space.n_output] if n != number]
    order = (*kept, number, *shape.order[space.n_output :])
    return replace(shape, order=order, copies=1, streams=streams.STREAMS)


def _in_scratch(
    expr: RowsExpr, space: IterationSpace, found: Sequence[RowsSchedule], machine: Machine
) -> Iterator[RowsSchedule]:
    """Give the ways whose accumulators lie in scratch, so that memory is read in its order.

    Rows are neighbours in all operands that tell them apart; vectors run along them if they can.
    """
    if not expr.reductions or expr.is_scan or space.n_output in (0, len(space.extents)):
        return
    itemsizes = [storage_bytes(dtype) for dtype in expr.inputs]
    for number in range(space.n_output):
        steps = {column[number] for column in space.strides[:-1]} - {None}
        if steps != {1}:
            continue
        vectors = next((each for each in found if each.vector == number), None)
        order = _order(space, number)
        yield RowsSchedule(
            order,
            vector=number if vectors else None,
            lanes=vectors.lanes if vectors else 1,
            copies=streams.STREAMS,
            row=_row_bytes(expr, space, number, itemsizes, machine) // compute_bytes(expr.compute),
            apart=streams.lie_apart(space, order[-1], itemsizes, machine),
        )


def _row_bytes(
    expr: RowsExpr,
    space: IterationSpace,
    number: int,
    itemsizes: Sequence[int],
    machine: Machine,
) -> int:
    """Return the bytes of a reduction's row of accumulators.

    A single reduction may be one of chunks, see :mod:`.chunks`. Several would each read the operand
    then, so that their rows are short enough for all cores to have some.
    """
    n_bytes = chunks.row_bytes(space, number, itemsizes, machine)
    if len(expr.reductions) == 1 or is_open(space.extents[number]):
        return n_bytes
    n_bytes = min(n_bytes, chunks.ROW_BYTES)
    own = space.extents[number] * compute_bytes(expr.compute)
    others = prod(space.extents[: space.n_output]) // max(1, space.extents[number])
    while n_bytes > _LEAST_ROW_BYTES and others * (own // n_bytes) < chunks.TASKS * machine.cores:
        n_bytes //= 2
    return n_bytes


def _copies(
    expr: RowsExpr, space: IterationSpace, number: int, lanes: int, machine: Machine
) -> int:
    """Return how many vectors along an index are in work at once.

    Along a row, accumulators hide the latency of additions; functions have enough to do of their
    own. Across rows, long runs of neighbours feed the caches: softmax of 12 x 512 x 512 along its
    middle axis took 7.1, 5.6, 3.2 and 2.8 ms with 1, 2, 4 and 8 vectors (AVX-512, 2026-11).
    """
    has_function = any(is_function(p) for r in expr.reductions for p in parts_of(r.body))
    most = machine.n_registers // 8
    if number >= space.n_output:
        return most // 2 if has_function else most
    copies = 2 * most if machine.n_registers >= 32 or not has_function else most
    extent = space.extents[number]
    if is_open(extent):
        return most
    others = prod(space.extents[: space.n_output]) // max(1, extent)
    while copies > 1 and (
        copies * lanes > extent or others * extent < 2 * machine.cores * copies * lanes
    ):
        copies //= 2
    return copies


def _has_vectors(dtype: str, compute: str) -> bool:
    """Say whether vectors of a dtype are read and written as vectors of the compute dtype."""
    return dtype == compute or (arithmetic(dtype).is_half and compute == "float32")


def _order(space: IterationSpace, vector: int | None) -> tuple[int, ...]:
    """Return the index numbers: rows in the output's order, then along them in memory's."""
    numbers = range(len(space.extents))
    reduced = [n for n in numbers if n >= space.n_output]
    main = max(
        space.strides[:-1],
        key=lambda column: prod(
            n for n, step in zip(space.extents, column, strict=True) if step is not None
        ),
    )
    reduced.sort(key=lambda n: (n == vector, -abs(main[n] or 0)))
    kept = [n for n in numbers if n < space.n_output]
    kept.sort(key=lambda n: n == vector)
    return (*kept, *reduced)


def is_function(part: Scalar) -> bool:
    """Say whether a part is a function of more than a few instructions."""
    if isinstance(part, Mapped):
        return part.map.function not in _MAPS
    return isinstance(part, Combined) and part.function == "power"
