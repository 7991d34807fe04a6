"""The attention family: softmax of query-key products times values, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np

from einloom_compiler.codegen import jit
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import InternalCompilerError, ScheduleError
from einloom_compiler.families.base import Bound, Dump, Facts, Family
from einloom_compiler.ir.attention import PanelSchedule, print_attention, verify_attention
from einloom_compiler.ir.einsum import Index
from einloom_compiler.lowering.attention import AttentionForm, BoundAttention, bind_nest
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.text import require_integer

#: What a core reaches of its peak in the products; how many multiply-adds the exponential and the
#: rest of softmax take as long as, for each score (measured, AVX-512); and cycles of an element
#: that is packed or stored lane by lane (measured, AVX2: 12 x 128 x 128 and 64 x 16 x 16 scores).
_EFFICIENCY = 0.75
_SOFTMAX = 32
_MOVED = 3.0
#: Bounds of a schedule's fields.
_MOST = {"vectors": 8, "rows": 16, "keys": 4096, "points": 4096, "columns": 4096, "panels": 64}


@dataclass(frozen=True)
class AttentionProblem:
    """An attention node in memory, and the machine that computes it.

    Attributes:
        form: what is computed.
        shapes: of query, key, value and masks.
        strides: theirs, in elements.
        output_strides: of the output, in elements.
        machine: the target.
    """

    form: AttentionForm
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    output_strides: tuple[int, ...]
    machine: Machine

    def bound(self, schedule: PanelSchedule | None = None) -> BoundAttention:
        """Return the nest of a schedule, of the usual one where None."""
        if schedule is not None and schedule == self.usual.nest.block:
            return self.usual
        layout = self.form, self.shapes, self.strides, self.output_strides
        return bind_nest(*layout, self.machine, schedule)

    @cached_property
    def usual(self) -> BoundAttention:
        """The nest of the usual schedule."""
        return self.bound()

    @property
    def points(self) -> int:
        """Pairs of a query and a key, times contracted points and columns."""
        return self.usual.points

    @property
    def facts(self) -> Facts:
        """What tuning needs to know."""
        form = self.form
        extents: dict[Index, int] = {}
        for term, shape in zip(form.terms, self.shapes, strict=True):
            extents |= dict(zip(term, shape, strict=True))
        terms = (*form.terms, form.output)
        columns = []
        for term, steps in zip(terms, (*self.strides, self.output_strides), strict=True):
            column: dict[Index, int] = {}
            for index, step in zip(term, steps, strict=True):
                column[index] = column.get(index, 0) + step
            columns.append(tuple(column.get(index) for index in extents))
        labels: Mapping[Index, str] = {i: f"{i.name}{n}" for n, i in enumerate(extents)}
        return Facts(
            tuple(labels[index] for index in extents),
            tuple(extents.values()),
            len(form.output),
            tuple(columns),
            (*form.inputs, form.result),
            f"attention in {form.compute}, {form.score}, causal {form.is_causal}",
        )


@dataclass(frozen=True, slots=True)
class Attention(Family):
    """The family; see the module."""

    name = "attention"
    schedule_type = PanelSchedule

    def check(self, problem: AttentionProblem, schedule: PanelSchedule) -> None:
        """Raise unless the schedule is legal."""
        usual = problem.usual.nest
        require_integer("Panel", "width", schedule.width, usual.block.width, usual.block.width)
        for field, most in _MOST.items():
            require_integer("Panel", field, getattr(schedule, field), 1, most)
        if usual.is_single and (schedule.vectors, schedule.rows) != (1, 1):
            raise ScheduleError(
                f"{schedule}: so few queries are computed one by one, with vectors=1 and rows=1"
            )
        try:
            verify_attention(replace(usual, block=schedule), "schedule")
        except InternalCompilerError as error:
            raise ScheduleError(f"{schedule}: {error.reason}") from None

    def neighbours(
        self, problem: AttentionProblem, schedule: PanelSchedule
    ) -> tuple[PanelSchedule, ...]:
        """Return schedules with other register blocks, and longer or shorter blocks of keys."""
        found = [replace(schedule, keys=n) for n in (schedule.keys * 2, schedule.keys // 2)]
        if not problem.usual.nest.is_single:
            found += [
                replace(schedule, vectors=vectors, rows=rows)
                for vectors, rows in ((1, 12), (1, 8), (2, 4), (2, 5), (2, 6), (2, 8), (3, 4))
            ]
        return tuple(found)

    def propose(self, problem: AttentionProblem, below: float = inf) -> tuple[PanelSchedule, ...]:
        """Return the usual schedule for the machine."""
        del below
        return (problem.usual.nest.block,)

    def seconds(self, problem: AttentionProblem, schedule: PanelSchedule) -> float:
        """Return the predicted time on one thread."""
        return predicted(problem.bound(schedule), problem.machine)

    def bind(self, problem: AttentionProblem, schedule: PanelSchedule, dump: Dump) -> Bound:
        """Return the kernel, bound to the operands' memory."""
        found = problem.bound(schedule)
        verify_attention(found.nest, "lowering")
        if dump is not None:
            dump("attention nest", print_attention(found.nest))
        return Bound(
            kernel=jit.build(found.nest),
            schedule=schedule,
            operands=tuple(range(len(problem.form.terms))),
            numbers=found.numbers,
            total=found.total,
            points=found.points,
            seconds=predicted(found, problem.machine),
        )


FAMILY = Attention()


def predicted(found: BoundAttention, machine: Machine) -> float:
    """Return the predicted time on one thread: of arithmetic, or of memory where that is longer."""
    itemsize = np.dtype(arithmetic(found.nest.compute).compute).itemsize
    products = 2 * (found.points + _SOFTMAX * found.pairs) * found.share
    work = products / (machine.flops(itemsize) * _EFFICIENCY)
    work += found.moved * _MOVED / machine.hertz
    return max(work, found.moved_bytes / machine.bandwidth(found.moved_bytes))
