"""Bind a packed nest to memory: its tables and numbers, in the order of the kernel ABI."""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.lowering.formula import named
from einloom_compiler.lowering.groups import Axis, Groups, digit_table, k_table
from einloom_compiler.lowering.tables import Table
from einloom_compiler.schedule.machine import Machine

#: Points from which rows are split among tasks where there are too few tasks for all cores.
_SPLIT_POINTS = 1 << 20


@dataclass(frozen=True, slots=True)
class PackedCall:
    """What one launch of a packed kernel takes besides its operands.

    Attributes:
        tables: offsets and digits, see :mod:`einloom_compiler.codegen.packed_source`.
        numbers: its integers.
        total: number of tasks.
    """

    tables: tuple[Table, ...]
    numbers: tuple[int, ...]
    total: int


def bind_packed(groups: Groups, nest: PackedNest, machine: Machine) -> PackedCall:
    """Return tables and numbers of ``nest`` for these groups."""
    block = nest.block
    rows, columns = groups.rows, groups.columns
    m_panels = named(rows.n_runs * -(-rows.run.extent // block.mr), "m_panels")
    n_panels = named(columns.n_runs * -(-columns.run.extent // block.nr), "n_panels")
    n_tasks = -(-n_panels // nest.column_panels(groups.k_points))
    m_tasks = 1
    points = rows.points * columns.points * groups.k_points * groups.n_batches
    if points >= _SPLIT_POINTS:
        wanted = -(-2 * machine.cores // (n_tasks * groups.n_batches))
        n_tasks = max(n_tasks, min(wanted, n_panels // 4))
        wanted = -(-2 * machine.cores // (n_tasks * groups.n_batches))
        m_tasks = max(1, min(wanted, m_panels // 4))
    task_n = named(-(-n_panels // n_tasks), "task_n_panels")
    task_m = named(-(-m_panels // m_tasks), "task_m_panels")
    n_tasks = named(-(-n_panels // task_n), "n_tasks")
    m_tasks = named(-(-m_panels // task_m), "m_tasks")
    a_run, b_run = (_is_run(groups.k, side) for side in (0, 1))
    numbers = (
        *(groups.k_points, rows.run.extent, columns.run.extent),
        *(len(rows.digits), len(columns.digits), len(groups.batch)),
        *(m_panels, n_panels, task_m, task_n, m_tasks, n_tasks),
        *(rows.run.strides[0], int(a_run), columns.run.strides[1], int(b_run)),
        groups.column_digit_run,
        *(rows.run.strides[2], columns.run.strides[2]),
    )
    tables = (
        k_table(groups),
        digit_table(rows.digits),
        digit_table(columns.digits),
        digit_table(groups.batch),
    )
    return PackedCall(tables, numbers, m_tasks * n_tasks * groups.n_batches)


def _is_run(axes: tuple[Axis, ...], side: int) -> bool:
    """Say whether contracted points, in their order, are neighbours in an operand's memory."""
    step = 1
    for axis in reversed(axes):
        if axis.strides[side] != step:
            return False
        step *= axis.extent
    return True
