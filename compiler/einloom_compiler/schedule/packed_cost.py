"""Predict the time of a packed nest: multiply-adds with their padding, packing, stores, memory.

Cycles were fitted 2026-11 on a 2-core AVX-512 machine to products of 64 to 2048 cubed and to the
TCCG cases; they count instructions of the named loops, so they hold roughly elsewhere too.
"""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.ir.packed import Order, PackedNest
from einloom_compiler.lowering.groups import Groups
from einloom_compiler.schedule.machine import Machine

#: Share of the multiply-add peak that the microkernel's loop reaches, by vectors a row: with one,
#: it loads an element for each multiply-add.
_EFFICIENCY = {1: 0.86, 2: 0.96, 3: 0.97, 4: 0.97}
#: Cycles to pack one vector's worth of elements.
_PACKING: dict[Order, float] = {"panel": 2.5, "k": 5.0, "digit": 6.0, "gather": 24.0}
#: Cycles that every output block costs besides: the loop around it and its first loads.
_BLOCK_CYCLES = 45.0
#: Cycles to store one vector of sums, and one element where the output has no whole vectors.
_STORE = 1.5
_STORE_ELEMENT = 2.0
#: Share of the memory traffic that is not hidden behind arithmetic.
_EXPOSED = 0.6
#: Seconds that a kernel takes before its first block.
_START = 3e-7


@dataclass(frozen=True, slots=True)
class Cost:
    """What a packed nest spends on one thread, in cycles, and the bytes it moves.

    Attributes:
        multiply: multiply-adds, those on padding included.
        pack: packing of both operands.
        store: storing finished and unfinished sums.
        moved: bytes read and written beyond packed blocks.
    """

    multiply: float
    pack: float
    store: float
    moved: float

    def seconds(self, machine: Machine, footprint: float) -> float:
        """Return the predicted seconds for operands and output of ``footprint`` bytes."""
        busy = (self.multiply + self.pack + self.store) / machine.hertz
        memory = self.moved / machine.bandwidth(footprint)
        return _START + max(busy, memory) + _EXPOSED * min(busy, memory)


def cost(groups: Groups, nest: PackedNest, machine: Machine, sizes: tuple[int, int, int]) -> Cost:
    """Return what ``nest`` costs for these groups; ``sizes`` are bytes of an element in memory."""
    block, parts = nest.block, nest.parts
    rows, columns, n_k = groups.rows, groups.columns, groups.k_points
    m_panels = rows.n_runs * -(-rows.run.extent // block.mr)
    n_panels = columns.n_runs * -(-columns.run.extent // block.nr)
    n_blocks = -(-n_k // nest.depth)
    kc = -(-n_k // n_blocks)
    # All rows pass by the packed columns in so many turns; each packs the columns again.
    turns = -(-m_panels // max(1, nest.row_elements // (block.mr * parts * kc)))
    tiles = m_panels * n_panels * n_blocks
    vectors = block.mr * block.vectors
    per_point = vectors * (4 if nest.is_complex else 1) / machine.fma_ports
    efficiency = _EFFICIENCY[block.vectors]
    pack = (
        m_panels * block.mr * _PACKING[nest.rows.order]
        + turns * n_panels * block.nr * _PACKING[nest.columns.order]
    ) * (parts * n_k / block.width)
    store = vectors * parts * _STORE * (2 - 1 / n_blocks)
    if not nest.is_output_contiguous:
        store = block.mr * block.nr * parts * _STORE_ELEMENT * (2 - 1 / n_blocks)
    a, b, c = sizes
    moved = (
        rows.points * n_k * a
        + turns * columns.points * n_k * b
        # A written line is read first; later blocks of points read and write it again.
        + (3 * n_blocks - 1) / 2 * rows.points * columns.points * c
    )
    n = groups.n_batches
    return Cost(
        multiply=n * tiles * (kc * per_point / efficiency + _BLOCK_CYCLES),
        pack=n * pack,
        store=n * tiles * store,
        moved=n * moved,
    )
