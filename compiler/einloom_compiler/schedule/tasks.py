"""Split a packed product into tasks for threads: along rows, columns and batch.

Each task packs what it needs. Tasks along rows pack the same columns again and the other way round.
Threads claim tasks one after another: with several a thread, one that starts late or is interrupted
delays the others by one task only. The split that is predicted to end first is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.lowering.formula import THREADS, is_open, picked
from einloom_compiler.schedule.machine import Machine, is_assumed

#: Multiply-adds from which a product is split among tasks.
_SPLIT_POINTS = 1 << 18
#: Multiply-adds that take as long as packing one element; only ratios matter. Measured 2026-11
#: (2-core AVX2, float32): 30 where operands are in L2, 60 where they come from memory.
_PACKING = 48
#: The same for reading one that was packed before all calls: each task reads what it needs from
#: memory.
_READING = 24
#: The same for claiming a task and starting its loops.
_START = 1 << 15
#: Share of a task by which the last thread ends after the first, usually. Measured 2026-11 (2-core
#: AVX2, quiet, 128 rows, 3072 columns of 768 points): 2 and 4 tasks took 0.96 of the time of 8.
_LATE = 0.1
#: Tasks a core at most, those that sums require aside.
_MOST = 8


@dataclass(frozen=True, slots=True)
class Tasks:
    """How many tasks each batch's product is split into.

    Attributes:
        rows: along row panels.
        columns: along column panels.
    """

    rows: int
    columns: int


def split(
    nest: PackedNest, machine: Machine, m_panels: int, n_panels: int, n_k: int, n_batches: int
) -> Tasks:
    """Return the split that is predicted to end first on all cores of the machine.

    Where panel counts are open and sums must fit, the numbers of tasks are formulas too. In code
    that is shipped they are formulas of a launch's threads: results do not depend on the split.
    """
    block = nest.block
    if nest.sum_elements and (is_open(m_panels) or is_open(n_panels)):
        tiles = nest.sum_elements // nest.tile_elements
        side = max(1, int((tiles * block.nr / block.mr) ** 0.5))
        return Tasks(-(-m_panels // side), -(-n_panels // max(1, tiles // side)))
    panels = int(m_panels), int(n_panels), int(n_k), int(n_batches)
    if not is_assumed():
        return _split(nest, machine.cores, *panels)
    found = [_split(nest, cores, *panels) for cores in THREADS]
    own = next(n for n, cores in enumerate(THREADS) if cores >= min(machine.cores, THREADS[-1]))
    rows, columns = ([getattr(t, name) for t in found] for name in ("rows", "columns"))
    return Tasks(picked(rows, own), picked(columns, own))


def _split(
    nest: PackedNest, cores: int, m_panels: int, n_panels: int, n_k: int, n_batches: int
) -> Tasks:
    """Return the split that is predicted to end first on so many cores."""
    block = nest.block
    m_least = n_least = 1
    if nest.sum_elements:
        # A task's sums must fit: square blocks of them.
        tiles = nest.sum_elements // nest.tile_elements
        side = max(1, int((tiles * block.nr / block.mr) ** 0.5))
        m_task = min(m_panels, side)
        n_task = min(n_panels, max(1, tiles // m_task))
        m_least, n_least = -(-m_panels // m_task), -(-n_panels // n_task)
    points = m_panels * block.mr * n_panels * block.nr * n_k * n_batches
    if points < _SPLIT_POINTS or cores == 1:
        return Tasks(m_least, n_least)

    # A complex element has twice the bytes of its parts, and takes part in four multiply-adds.
    share = 2 if nest.is_complex else 1
    packing_rows = (_READING if nest.rows.is_prepacked else _PACKING) / share
    packing_columns = (_READING if nest.columns.is_prepacked else _PACKING) / share

    def seconds(tasks: Tasks) -> tuple[float, int]:
        m, n = -(-m_panels // tasks.rows), -(-n_panels // tasks.columns)
        n_tasks = -(-m_panels // m) * -(-n_panels // n) * n_batches
        products = m * n * block.mr * block.nr
        packing = m * block.mr * packing_rows + n * block.nr * packing_columns
        each = (products + packing) * n_k + _START
        return (-(-n_tasks // cores) + _LATE) * each, n_tasks

    counts = _counts(cores)
    candidates = [
        Tasks(rows, columns)
        for rows in sorted({m_least, *(n for n in counts if m_least < n <= m_panels)})
        for columns in sorted({n_least, *(n for n in counts if n_least < n <= n_panels)})
        if rows * columns <= max(_MOST * cores, m_least * n_least)
    ]
    return min(candidates, key=seconds)


def _counts(cores: int) -> list[int]:
    """Return the numbers of parts worth trying: those that share out evenly among the cores."""
    most = _MOST * cores
    return [n for n in range(2, most + 1) if most % n == 0 or n <= 4]
