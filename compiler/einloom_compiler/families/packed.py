"""The packed family: matrix products over groups of indices, packed straight from the operands."""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.codegen import jit
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.families.base import Bound, Dump, Problem
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.lowering.groups import group
from einloom_compiler.lowering.packed import bind_packed
from einloom_compiler.schedule import packed as policy

#: Share of the FMA peak, measured 2026-11 on a 2-core AVX-512 machine: float32 200-215 of 254.
EFFICIENCY = 0.8


@dataclass(frozen=True, slots=True)
class Packed:
    """The family; it takes products with rows, columns and contracted indices that fill blocks."""

    name: str = "packed"

    def propose(self, problem: Problem) -> tuple[PackedNest, ...]:
        """Return the policy's nest, where packing pays."""
        groups = group(problem.space)
        nest = groups and policy.choose(groups, problem.arithmetics, problem.machine)
        return (nest,) if nest else ()

    def seconds(self, problem: Problem, schedule: PackedNest) -> float:
        """Return the roofline of the microkernel, every operand element moved once more to pack."""
        del schedule
        return problem.roofline(EFFICIENCY, 2 * problem.moved_bytes)

    def bind(self, problem: Problem, schedule: PackedNest, dump: Dump) -> Bound:
        """Return the nest's kernel with the tables and numbers of the problem's groups."""
        groups = group(problem.space)
        if groups is None:
            raise InternalCompilerError("schedule", "the problem is no matrix product")
        call = bind_packed(groups, schedule, problem.machine)
        dump("packed nest", str(schedule))
        return Bound(
            kernel=jit.build(schedule),
            schedule=schedule,
            operands=groups.operands,
            numbers=call.numbers,
            total=call.total,
            points=problem.points,
            seconds=self.seconds(problem, schedule),
            built_tables=call.tables,
        )


FAMILY = Packed()
