"""The whole compiler on one screen: from an einsum expression to a compiled kernel.

Each stage is a pure function; after each, its representation is verified and may be dumped::

    EinsumExpr       the optimizer's input: indices, no extents
    ContractionTree  order.search       which operands meet first, at these extents
    IterationSpace   lowering.iteration indices as numbers, bound to memory, squeezed and fused
    Split            lowering.partial   two stages of a sum with too few outputs for the cores
    Schedule         families.choose    a family of kernels and its blocking for this problem
    Nest             the family         a loop nest or a packed nest, as the schedule says
    Kernel           codegen            Python source, compiled when first run
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.families import Bound, Dump, Problem, Schedule, choose, rows
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.printer import letters_of, print_einsum, print_tree
from einloom_compiler.ir.verify import verify_einsum, verify_tree
from einloom_compiler.lowering.iteration import iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.partial import Split, split_sum
from einloom_compiler.lowering.rows import RowsExpr, check_rows, rows_space
from einloom_compiler.order.search import Optimize, search
from einloom_compiler.schedule import chunks
from einloom_compiler.schedule.machine import Machine

#: Chooses a problem's schedule; None leaves it to the prediction.
Chooser = Callable[[Problem], Schedule | None]


def _no_dump(stage: str, text: str) -> None:
    """Take a stage's name and its printed representation, and drop them."""


def plan(
    expr: EinsumExpr,
    extents: Mapping[Index, int],
    optimize: Optimize,
    dtype: str,
    dump: Dump = _no_dump,
) -> ContractionTree:
    """Choose the contraction order of ``expr``, computed in the dtype of this name."""
    verify_einsum(expr, "einsum")
    dump("einsum", print_einsum(expr))
    tree = search(expr, extents, optimize, dtype)  # EinsumExpr -> ContractionTree
    verify_tree(tree, "order")
    dump("order", print_tree(tree))
    return tree


@dataclass(frozen=True, slots=True)
class Stage:
    """One kernel of a contraction.

    Attributes:
        bound: the kernel.
        reads_partial: whether its one operand is the partial result, not the contraction's.
        writes_partial: whether it writes the partial result, not the contraction's.
    """

    bound: Bound
    reads_partial: bool = False
    writes_partial: bool = False


@dataclass(frozen=True, slots=True)
class Stages:
    """A contraction bound to memory: one kernel, or the stages of a sum.

    Attributes:
        stages: what is run, in order.
        shape: extents of the partial result between the stages, empty where there is none.
        dtype: its dtype's name.
    """

    stages: tuple[Stage, ...]
    shape: tuple[int, ...] = ()
    dtype: str = ""


def bind(
    expr: EinsumExpr,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    arithmetics: Arithmetics,
    machine: Machine,
    dump: Dump = _no_dump,
    schedule: Schedule | Chooser | None = None,
    constant: Sequence[bool] = (),
) -> Stages:
    """Bind one contraction to memory, in two stages where threads need them to share the work.

    Args:
        expr: the contraction.
        shapes: of each operand.
        strides: of each operand, in elements.
        output_strides: of the output, in elements.
        arithmetics: its dtypes, and what else is computed on load and store.
        machine: the target.
        dump: takes each stage's name and printed representation.
        schedule: the one to take, in one stage, or a function of the problem that returns it; the
            fastest by prediction where None.
        constant: whether each operand is the same array in all calls; none is where empty. A kernel
            may then want it packed, see :attr:`Bound.packings`.

    Raises:
        ScheduleError: the given schedule is not legal for this contraction.
    """
    # EinsumExpr -> IterationSpace
    space = iteration_space(expr, shapes, strides, output_strides, letters_of(expr))
    problem = Problem(space, arithmetics, machine, tuple(constant) if any(constant) else ())
    given = schedule(problem) if callable(schedule) else schedule
    whole = _bind(problem, dump, given)
    # IterationSpace -> Split
    split = _split(problem, whole) if given is None else None
    if split is None:
        return Stages((Stage(whole),))
    partial = [space for space in (split.chunks, split.rest) if space is not None]
    summing = [_bind(Problem(space, split.arithmetics, machine), dump) for space in partial]
    finish = _bind(Problem(split.finish, split.finishing, machine), dump)
    return Stages(
        (
            *(Stage(bound, writes_partial=True) for bound in summing),
            Stage(finish, reads_partial=True),
        ),
        split.shape,
        split.arithmetics.output,
    )


def bind_rows(
    expr: RowsExpr,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    machine: Machine,
    dump: Dump = _no_dump,
) -> Bound:
    """Bind reductions along rows, and what is computed from them, to memory.

    Args:
        expr: what is computed.
        shapes: of each operand.
        strides: of each operand, in elements.
        output_strides: of the output, in elements.
        machine: the target.
        dump: takes each stage's name and printed representation.

    Raises:
        ShapeError: a maximum or minimum of rows without elements.
        DTypeError: a mean of integers, or a function that the compute dtype lacks.
    """
    check_rows(expr, shapes)
    # RowsExpr -> IterationSpace
    space = rows_space(expr, shapes, strides, output_strides)
    # IterationSpace -> RowsNest -> Kernel
    bound = rows.bind(expr, space, machine, dump)
    dump("source", bound.kernel.source)
    return bound


def _split(problem: Problem, whole: Bound) -> Split | None:
    """Return the stages of a sum that ``whole`` computes in one kernel, None where one is best."""
    itemsize = np.dtype(arithmetic(problem.arithmetics.compute).compute).itemsize
    chosen = chunks.choose(
        problem.space, whole.seconds, whole.total, problem.moved_bytes, itemsize, problem.machine
    )
    return None if chosen is None else split_sum(problem.space, problem.arithmetics, *chosen)


def _bind(problem: Problem, dump: Dump, schedule: Schedule | None = None) -> Bound:
    # IterationSpace -> Schedule
    family, schedule = choose(problem, schedule)
    dump("family", family.name)
    # IterationSpace -> Nest -> Kernel
    bound = family.bind(problem, schedule, dump)
    dump("source", bound.kernel.source)
    return bound


__all__ = ["Bound", "Chooser", "Stage", "Stages", "bind", "bind_rows", "plan"]
