"""The packed family: matrix products over groups of indices, packed straight from the operands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from einloom_compiler.codegen import jit
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families.base import Bound, Dump, Family, Problem
from einloom_compiler.ir.packed import PackedNest, RegisterBlock
from einloom_compiler.lowering.groups import Groups, group
from einloom_compiler.lowering.packed import bind_packed
from einloom_compiler.schedule import packed as policy
from einloom_compiler.schedule.packed_cost import cost
from einloom_compiler.schedule.text import require_integer, schedule_text

#: Largest block sizes: their packed blocks take 2 GB at most.
_MOST = {"mr": 32, "nr": 512, "kc": 1 << 14, "mc": 1 << 14, "nc": 1 << 14}


@dataclass(frozen=True, slots=True)
class PackedSchedule:
    """Block sizes, in BLIS's names.

    Attributes:
        mr: rows of the register block.
        nr: its columns, a multiple of the vector's lanes.
        kc: contracted points of one packed block.
        mc: rows of one packed block, a multiple of ``mr``.
        nc: columns of one packed block of ``kc`` points; more where fewer points are contracted.
        prepacked: ``rows`` or ``columns`` where that operand is constant and packed before calls.
    """

    mr: int
    nr: int
    kc: int
    mc: int
    nc: int
    prepacked: str = ""

    def __str__(self) -> str:
        """Print as the call that reads it back."""
        return schedule_text(self)


@dataclass(frozen=True, slots=True)
class Packed(Family):
    """The family; it takes products with rows, columns and contracted indices that fill blocks."""

    name = "packed"
    schedule_type = PackedSchedule

    def propose(self, problem: Problem, below: float = inf) -> tuple[PackedSchedule, ...]:
        """Return the policy's blocks, one for each register block that can pay."""
        del below
        groups = _groups(problem)
        if groups is None:
            return ()
        prepacked = policy.constant(groups, problem.arithmetics, problem.constant)
        nests = policy.propose(groups, problem.arithmetics, problem.machine, prepacked=prepacked)
        if nests:
            problem.derived["nests", prepacked] = nests
        return tuple(map(_schedule_of, nests))

    def check(self, problem: Problem, schedule: PackedSchedule) -> None:
        """Raise ScheduleError unless the blocks are legal for the problem."""
        for field, most in _MOST.items():
            require_integer("Packed", field, getattr(schedule, field), 1, most)
        if schedule.prepacked not in ("", *policy.PREPACKED):
            raise ScheduleError(
                f"Packed: prepacked={schedule.prepacked!r} is not allowed; give 'rows', 'columns' "
                "or ''"
            )
        _, nest = _nest(problem, schedule)
        width, registers = nest.block.width, problem.machine.n_registers
        require_integer("Packed", "mr", schedule.mr, 1, registers - 2)
        # accumulators, one vector of each column group, one element of the rows' operand
        vectors = max(1, (registers - 1) // (nest.accumulators * (schedule.mr + 1)))
        require_integer("Packed", "nr", schedule.nr, width, vectors * width)
        require_integer("Packed", "mc", schedule.mc, schedule.mr, _MOST["mc"])
        require_integer("Packed", "nc", schedule.nc, schedule.nr, _MOST["nc"])
        for field, value, unit in (("nr", schedule.nr, width), ("mc", schedule.mc, schedule.mr)):
            if value % unit:
                raise ScheduleError(f"Packed: {field}={value} must be a multiple of {unit}")

    def neighbours(self, problem: Problem, schedule: PackedSchedule) -> tuple[PackedSchedule, ...]:
        """Return other depths, block heights and widths, and other register blocks."""
        groups = _groups(problem)
        if groups is None:
            return ()
        nests = policy.propose(
            groups,
            problem.arithmetics,
            problem.machine,
            prepacked=schedule.prepacked,
            must_pay=False,
        )
        found = [
            replace(schedule, kc=schedule.kc * 2 // 3),
            replace(schedule, kc=schedule.kc * 4 // 3),
            replace(schedule, mc=max(schedule.mr, schedule.mc // 2 // schedule.mr * schedule.mr)),
            replace(schedule, mc=schedule.mc * 2),
            replace(schedule, nc=max(schedule.nr, schedule.nc // 2)),
            replace(schedule, nc=schedule.nc * 2),
        ]
        for nest in nests:
            mr, nr = nest.block.mr, nest.block.nr
            mc = max(mr, schedule.mc // mr * mr)
            found.append(replace(schedule, mr=mr, nr=nr, mc=mc, nc=max(nr, schedule.nc)))
        return tuple(found)

    def seconds(self, problem: Problem, schedule: PackedSchedule) -> float:
        """Return what multiplying, packing and storing cost, or the memory behind them."""
        return problem.once(("seconds", schedule), lambda: _seconds(problem, schedule))

    def bind(self, problem: Problem, schedule: PackedSchedule, dump: Dump) -> Bound:
        """Return the nest's kernel with the tables and numbers of the problem's groups."""
        groups, nest = _nest(problem, schedule)
        call = bind_packed(groups, nest, problem.machine)
        if dump is not None:
            dump("schedule", str(schedule))
            dump("packed nest", str(nest))
        return Bound(
            kernel=jit.build(nest),
            schedule=schedule,
            operands=(*groups.operands, *range(2, 2 + len(nest.extras))),
            numbers=call.numbers,
            total=call.total,
            points=problem.points,
            seconds=self.seconds(problem, schedule),
            built_tables=call.tables,
            packings=call.packings,
        )


def _schedule_of(nest: PackedNest) -> PackedSchedule:
    """Return the choices that a nest was made by."""
    mr, nr = nest.block.mr, nest.block.nr
    return PackedSchedule(
        mr=mr,
        nr=nr,
        kc=nest.depth,
        mc=max(1, nest.row_elements // nest.panel_elements(mr)) * mr,
        nc=max(1, nest.column_elements // nest.panel_elements(nr)) * nr,
        prepacked=next(
            (n for n, k in policy.PREPACKED.items() if (nest.rows, nest.columns)[k].is_prepacked),
            "",
        ),
    )


def nest_of(problem: Problem, schedule: PackedSchedule) -> PackedNest:
    """Return the problem's nest with the blocks of ``schedule``.

    Raises:
        ScheduleError: the family does not take the problem.
    """
    return _nest(problem, schedule)[1]


def _seconds(problem: Problem, schedule: PackedSchedule) -> float:
    groups, nest = _nest(problem, schedule)
    named = problem.arithmetics
    dtypes = (*(named.inputs[number] for number in groups.operands), named.output)
    a, b, c = (np.dtype(arithmetic(name).storage).itemsize for name in dtypes)
    a = nest.itemsize * nest.parts if nest.rows.is_prepacked else a
    b = nest.itemsize * nest.parts if nest.columns.is_prepacked else b
    found = cost(groups, nest, problem.machine, (a, b, c))
    return found.seconds(problem.machine, problem.moved_bytes)


def _groups(problem: Problem) -> Groups | None:
    return problem.once("groups", lambda: group(problem.space))


def _nest(problem: Problem, schedule: PackedSchedule) -> tuple[Groups, PackedNest]:
    """Return the problem's groups, and its nest with the blocks of ``schedule``.

    Raises:
        ScheduleError: the family does not take the problem.
    """
    return problem.once(schedule, lambda: _derived(problem, schedule))


def _derived(problem: Problem, schedule: PackedSchedule) -> tuple[Groups, PackedNest]:
    groups = _groups(problem)
    if groups is None:
        raise ScheduleError(
            f"{schedule} is for matrix products: two operands, rows and columns and contracted "
            "indices, no index that only one operand has, no empty extent; give Direct or None"
        )
    if schedule.prepacked:
        _require_constant(problem, groups, schedule)
    prepacked = schedule.prepacked
    nests = problem.once(
        ("nests", prepacked),
        lambda: policy.propose(
            groups, problem.arithmetics, problem.machine, prepacked=prepacked, must_pay=False
        ),
    )
    if not nests:
        raise ScheduleError(
            f"{schedule}: there is no microkernel for {problem.arithmetics.compute} with these "
            "casts and maps; give Direct or None"
        )
    nest = nests[0]
    width, kc = nest.block.width, schedule.kc
    keeps_sums = policy.keeps_sums(nest.compute, nest.output) and policy.exceeds(
        groups.k_points, kc
    )
    block = RegisterBlock(schedule.mr, max(1, schedule.nr // width), width)
    nest = replace(nest, block=block, depth=kc)
    choices: dict[str, Any] = {
        "row_elements": -(-schedule.mc // block.mr) * nest.panel_elements(block.mr),
        "column_elements": -(-schedule.nc // block.nr) * nest.panel_elements(block.nr),
        "sum_elements": policy.SUM_BYTES // nest.itemsize if keeps_sums else 0,
    }
    return groups, replace(nest, **choices)


def _require_constant(problem: Problem, groups: Groups, schedule: PackedSchedule) -> None:
    """Raise ScheduleError unless the operand that is packed before can be."""
    operand = groups.operands[policy.PREPACKED[schedule.prepacked]]
    alone = tuple(number == operand for number in range(len(problem.constant)))
    both = tuple(a and b for a, b in zip(problem.constant, alone, strict=True))
    if policy.constant(groups, problem.arithmetics, both) != schedule.prepacked:
        raise ScheduleError(
            f"{schedule}: operand {operand} has the {schedule.prepacked} and cannot be packed "
            "before the calls: it is no constant, repeats its elements, or is cast in a way that "
            "vectors are not; leave prepacked out"
        )


FAMILY = Packed()
