"""The whole compiler on one screen: from an einsum expression to a compiled kernel.

Each stage is a pure function; after each, its representation is verified and may be dumped::

    EinsumExpr       the optimizer's input: indices, no extents
    ContractionTree  order.search       which operands meet first, at these extents
    IterationSpace   lowering.iteration indices as numbers, bound to memory, squeezed and fused
    Schedule         families.choose    a family of kernels and its blocking for this problem
    Nest             the family         a loop nest or a packed nest, as the schedule says
    Kernel           codegen            Python source, compiled when first run
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from einloom_compiler.families import Bound, Dump, Problem, Schedule, choose
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.printer import letters_of, print_einsum, print_tree
from einloom_compiler.ir.verify import verify_einsum, verify_tree
from einloom_compiler.lowering.iteration import iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.order.search import Optimize, search
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


def bind(
    expr: EinsumExpr,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    arithmetics: Arithmetics,
    machine: Machine,
    dump: Dump = _no_dump,
    schedule: Schedule | Chooser | None = None,
) -> Bound:
    """Bind one contraction to memory of these shapes and strides (in elements).

    Args:
        expr: the contraction.
        shapes: of each operand.
        strides: of each operand, in elements.
        output_strides: of the output, in elements.
        arithmetics: its dtypes, and what else is computed on load and store.
        machine: the target.
        dump: takes each stage's name and printed representation.
        schedule: the one to take, or a function of the problem that returns it; the fastest by
            prediction where None.

    Raises:
        ScheduleError: the given schedule is not legal for this contraction.
    """
    letters = letters_of(expr)
    # EinsumExpr -> IterationSpace
    space = iteration_space(expr, shapes, strides, output_strides, letters)
    problem = Problem(space, arithmetics, machine)
    # IterationSpace -> Schedule
    family, schedule = choose(problem, schedule(problem) if callable(schedule) else schedule)
    dump("family", family.name)
    # IterationSpace -> Nest -> Kernel
    bound = family.bind(problem, schedule, dump)
    dump("source", bound.kernel.source)
    return bound


__all__ = ["Bound", "Chooser", "bind", "plan"]
