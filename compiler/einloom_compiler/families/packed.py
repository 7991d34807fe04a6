"""The packed family: matrix products over groups of indices, packed straight from the operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from einloom_compiler.codegen import jit
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.families.base import Bound, Dump, Problem
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.lowering.groups import Groups, group
from einloom_compiler.lowering.packed import bind_packed
from einloom_compiler.schedule import packed as policy
from einloom_compiler.schedule.packed_cost import cost


@dataclass(frozen=True, slots=True)
class Packed:
    """The family; it takes products with rows, columns and contracted indices that fill blocks."""

    name: str = "packed"

    def propose(self, problem: Problem) -> tuple[PackedNest, ...]:
        """Return a nest for each register block that can pay."""
        groups = group(problem.space)
        if groups is None:
            return ()
        return policy.propose(groups, problem.arithmetics, problem.machine)

    def seconds(self, problem: Problem, schedule: PackedNest) -> float:
        """Return what multiplying, packing and storing cost, or the memory behind them."""
        groups = _grouped(problem)
        named = problem.arithmetics
        dtypes = (*(named.inputs[number] for number in groups.operands), named.output)
        a, b, c = (np.dtype(arithmetic(name).storage).itemsize for name in dtypes)
        found = cost(groups, schedule, problem.machine, (a, b, c))
        return found.seconds(problem.machine, problem.moved_bytes)

    def bind(self, problem: Problem, schedule: PackedNest, dump: Dump) -> Bound:
        """Return the nest's kernel with the tables and numbers of the problem's groups."""
        groups = _grouped(problem)
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


def _grouped(problem: Problem) -> Groups:
    groups = group(problem.space)
    if groups is None:
        raise InternalCompilerError("schedule", "the problem is no matrix product")
    return groups


FAMILY = Packed()
