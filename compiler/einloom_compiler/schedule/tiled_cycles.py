"""Cycles of one block of a tiled nest, whose operands are in the first-level cache.

They depend on few facts of a layout, so that most layouts of a contraction share them.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

from einloom_compiler.ir.tiled import pieces
from einloom_compiler.schedule.tiled_blocks import real_bytes

#: Rows of blocks along extents that are arguments; few, so that the sizes of one structure share
#: kernels.
ROWS = (1, 2, 3, 4, 6, 8, 12)
#: Those along extents that change from call to call.
OPEN_ROWS = (1, 4, 12)
#: Multiply-adds of integers in those of floats: what ``vpmulld`` and ``vpmullq`` take. Measured
#: 2026-11 on AVX-512, products of 128 cubed: float64 62, int64 25 GFLOP/s.
_MULTIPLY_COST = {"int32": 2, "uint32": 2, "int64": 3, "uint64": 3}
#: Cycles from a multiply-add to the next one that needs its sum.
_LATENCY = 4
#: The same where a sum goes through the stack, since no register is left for it. Measured 2026-11
#: (Zen 3, float32): 32 rows by 64 x 64 in blocks of 3 rows by 4 vectors 6.5 us, of 4 by 3, which
#: are as many sums, 4.0 us, of 4 by 2 3.4 us.
_STACK_LATENCY = 15
#: Rows of an operand whose addresses stay in registers; each further one is loaded anew for each
#: point. Measured 2026-11 (Zen 3, float32, 64 cubed): blocks of 6 rows by 2 vectors 6.0 us, of 12
#: by 1, which are as many sums, 8.9 us.
_ADDRESSES = 8
#: Summed points from which it is waited for.
LONG = 4 * _LATENCY
_LINE = 64


class Form(NamedTuple):
    """What the sizes of blocks and the cycles of one depend on.

    Attributes:
        lanes: for each operand and, last, the output: 0 where it does not have the lanes' index, 1
            where it is contiguous along it, 2 for others.
        rows: positions of the row indices that each has.
        lane_extent: points along the lanes, those that fill a vector or more alike unless they are
            a constant of the kernel; 0 for scalars.
        is_lane_static: whether they are.
        row_extents: the same for each row index; those that fill the largest block are alike.
        static_rows: whether each is a constant of the kernel.
        open_rows: whether each changes from call to call.
        clamped: positions of the row indices along tasks.
        n_tasks: number of task loops.
        is_dot: whether the lanes are summed.
        scale: real lanes of one element.
        sums: accumulators of each vector.
        compute: name of the dtype.
        simd_bits: of the machine.
        n_registers: of the machine.
        fma_ports: of the machine.
    """

    lanes: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...]
    lane_extent: int
    is_lane_static: bool
    row_extents: tuple[int, ...]
    static_rows: tuple[bool, ...]
    open_rows: tuple[bool, ...]
    clamped: tuple[int, ...]
    n_tasks: int
    is_dot: bool
    scale: int
    sums: int
    compute: str
    simd_bits: int
    n_registers: int
    fma_ports: int


class Rates(NamedTuple):
    """What one block takes.

    Attributes:
        lane_points: points along the lanes.
        size: vectors, those that a static edge leaves out excepted.
        per_trip: cycles of one summed point, or vector of points where lanes are summed.
        per_long_trip: the same where there are more of them than :data:`LONG`.
        ends: cycles besides those.
    """

    lane_points: int
    size: int
    per_trip: float
    per_long_trip: float
    ends: float


@lru_cache(maxsize=1 << 14)
def rates(form: Form, width: int, vectors: int, counts: tuple[int, ...]) -> Rates:
    """Return what one block of these sizes takes."""
    n_vectors, widest = _edge(form, width, vectors)
    n_points = prod(counts)
    # Vectors as long as a cache line mostly lie across two, which takes two loads.
    split = 1.5 if widest * real_bytes(form.compute) >= _LINE else 1
    loads = 0.0
    for lanes, positions in zip(form.lanes[:-1], form.rows, strict=False):
        points = prod(counts[position] for position in positions)
        loads += points * (form.sums, n_vectors * split, n_vectors * 2 * widest)[lanes]
        loads += max(0, points - _ADDRESSES)
    accumulators = n_points * n_vectors * form.sums
    n_factors = max(1, len(form.lanes) - 2)
    multiplies = float(accumulators * n_factors * _MULTIPLY_COST.get(form.compute, 1))
    per_trip = max(multiplies / form.fma_ports, loads / 2, (multiplies + loads) / 4)
    if form.lane_extent and not form.is_dot:
        # Vectors that several rows use are held while a row's other factor passes in one register.
        reused = (
            points * n_vectors * form.sums
            for lanes, positions in zip(form.lanes[:-1], form.rows, strict=False)
            if lanes and (points := prod(counts[position] for position in positions)) < n_points
        )
        if accumulators + sum(reused) + 1 > form.n_registers:
            per_trip = max(per_trip, _STACK_LATENCY)
    is_waiting = accumulators < _LATENCY * form.fma_ports
    # Measured 2026-11: 11 cycles for a product of 4 x 2 by 2 x 5, 9 for a dot of 16 in float32.
    ends = n_points * n_vectors
    if form.is_dot:
        ends = n_points * (n_vectors + widest.bit_length())
    elif form.lane_extent and form.lanes[-1] != 1:
        ends *= widest
    # A row along a task is clamped to the last one, and multiplied by a stride for every operand.
    # Measured 2026-11 (Zen 3, one thread, float64): products ``bij,bj->bi`` of 3 x 3 took 2.9 ns in
    # blocks of 3 rows i, and 3.9 in those of 3 i and 3 b.
    for position in form.clamped:
        ends += counts[position] * (1 + sum(position in rows for rows in form.rows))
    return Rates(
        lane_points=width * vectors // form.scale,
        size=n_points * n_vectors,
        per_trip=per_trip,
        per_long_trip=max(per_trip, _LATENCY) if is_waiting else per_trip,
        ends=float(ends + 4 + form.n_tasks),
    )


def _edge(form: Form, width: int, vectors: int) -> tuple[int, int]:
    """Return how many vectors a row of a block has, and the lanes of the widest."""
    if not form.lane_extent:
        return 1, form.scale
    n_lanes = form.scale * form.lane_extent
    if not form.is_lane_static or n_lanes >= width * vectors:
        return vectors, width
    found = pieces(n_lanes, width, 16 // real_bytes(form.compute), form.simd_bits < 512)
    return len(found), max(piece.width for piece in found)
