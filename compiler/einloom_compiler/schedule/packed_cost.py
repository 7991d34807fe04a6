"""Predict the time of a packed nest: multiply-adds with their padding, packing, stores, memory.

Cycles were fitted 2026-11 on a 2-core AVX-512 machine to products of 64 to 2048 cubed and to the
TCCG cases; they count instructions of the named loops, so they hold roughly elsewhere too.
"""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.ir.packed import Order, PackedNest
from einloom_compiler.lowering.groups import Groups
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.packed import efficiency

#: How often the peak's multiply-adds an integer one takes: AVX-512 multiplies 32 bits by two
#: instructions, 64 bits by three, and adds by one more.
_INTEGER = {4: 2.4, 8: 2.8}
#: The same for 64 bits by halves. Measured 2026-11 on Zen 3, of which two vectors are multiplied a
#: cycle: 512 cubed takes half the time of whole products by the instructions that there are.
_HALVES = 2.2
#: Cycles to pack one vector of elements that are neighbours in a panel, and one that is gathered.
_PACK_PANEL, _PACK_GATHER = 2.5, 24.0
#: Cycles from a multiply-add to the next one that needs its sum.
_LATENCY = 4
#: Instructions of packing that end each cycle.
_PACK_RATE = 1.6
#: Cycles that every output block costs besides: the loop around it and its first loads.
_BLOCK_CYCLES = 45.0
#: Cycles that each product of a batch costs besides: finding its memory, starting its loops.
_TASK_CYCLES = 250.0
#: Cycles to store one vector of sums, and one element where the output has no whole vectors.
_STORE = 1.5
_STORE_ELEMENT = 2.0
#: Share of the memory traffic, for each cache line of an output block, that is not hidden behind
#: arithmetic: a core waits for 16 lines at once, and a block's are asked for when it is begun.
_EXPOSED = 0.03
_LINE_BYTES = 64
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
        lines: cache lines of one output block.
    """

    multiply: float
    pack: float
    store: float
    moved: float
    lines: float

    def seconds(self, machine: Machine, footprint: float) -> float:
        """Return the predicted seconds for operands and output of ``footprint`` bytes."""
        busy = (self.multiply + self.pack + self.store) / machine.hertz
        memory = self.moved / machine.bandwidth(footprint)
        exposed = min(1.0, _EXPOSED * self.lines)
        return _START + max(busy, memory) + exposed * min(busy, memory)


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
    if vectors * nest.accumulators < _LATENCY * machine.fma_ports:
        per_point = max(per_point, _LATENCY)
    share = efficiency((block.mr, block.vectors), parts)
    if nest.element.startswith(("int", "uint")):
        per_point *= _HALVES if nest.has_halves else _INTEGER[nest.itemsize]
    pack = (
        m_panels * block.mr * _packing(nest.rows.order, block.mr, block.width)
        + turns * n_panels * block.nr * _packing(nest.columns.order, block.nr, block.width)
    ) * (parts * n_k / block.width)
    store = vectors * parts * _STORE * (2 - 1 / n_blocks)
    if not nest.is_output_contiguous:
        store = block.mr * block.nr * parts * _STORE_ELEMENT * (2 - 1 / n_blocks)
    a, b, c = sizes
    moved = (
        rows.points * n_k * a
        + turns * columns.points * n_k * b
        # A written line is read first, as in a copy; later blocks of points read and write it.
        + (1.5 + 2 * (n_blocks - 1)) * rows.points * columns.points * c
    )
    n = groups.n_batches
    return Cost(
        multiply=n * (tiles * (kc * per_point / share + _BLOCK_CYCLES) + _TASK_CYCLES),
        pack=n * pack,
        store=n * tiles * store,
        moved=n * moved,
        lines=block.mr * (1 + min(columns.run.extent, block.nr) * c / _LINE_BYTES),
    )


def _packing(order: Order, size: int, width: int) -> float:
    """Return the cycles to pack one vector of elements of panels of ``size``."""
    if order == "prepacked":
        return 0.0
    if order == "panel":
        return _PACK_PANEL
    if order == "gather":
        return _PACK_GATHER
    # Transposed blocks of so many lines: load, interleave, then take apart and store each point.
    lines = min(size & -size, width)
    return (1 + lines.bit_length() - 1 + 2 * width / lines) / _PACK_RATE
