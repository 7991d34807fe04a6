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

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from einloom_compiler.dtypes import arithmetic, compute_bytes
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import (
    AnyProblem,
    AttentionProblem,
    Bound,
    Dump,
    Problem,
    RowsProblem,
    Schedule,
    choose,
    direct,
    packed,
)
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.printer import letters_of, print_einsum, print_tree
from einloom_compiler.ir.scalar import SUM
from einloom_compiler.ir.verify import verify_einsum, verify_tree
from einloom_compiler.lowering.attention import AttentionForm
from einloom_compiler.lowering.iteration import c_strides, iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.partial import Split, split_sum
from einloom_compiler.lowering.rows import RowsExpr, check_rows_shapes, rows_space
from einloom_compiler.order.search import Optimize, search
from einloom_compiler.schedule import chunks, streams
from einloom_compiler.schedule.machine import Machine

#: Chooses a problem's schedule; None leaves it to the prediction.
Chooser = Callable[[AnyProblem], Schedule | None]
#: Points of a contraction at least, whose sum and epilogue may be kernels of their own.
_LEAST_APART = 1 << 12
#: Indices of an epilogue's operand and its strides in elements.
Extra = tuple[Term, tuple[int, ...]]


def plan(
    expr: EinsumExpr,
    extents: Mapping[Index, int],
    optimize: Optimize,
    dtype: str,
    dump: Dump = None,
) -> ContractionTree:
    """Choose the contraction order of ``expr``, computed in the dtype of this name."""
    verify_einsum(expr, "einsum")
    if dump is not None:
        dump("einsum", print_einsum(expr))
    tree = search(expr, extents, optimize, dtype)  # EinsumExpr -> ContractionTree
    verify_tree(tree, "order")
    if dump is not None:
        dump("order", print_tree(tree))
    return tree


@dataclass(frozen=True, slots=True)
class Stage:
    """One kernel of a contraction.

    Attributes:
        bound: the kernel.
        reads_partial: whether its first operand is the partial result, and none the contraction's;
            further ones are those of the epilogue.
        writes_partial: whether it writes the partial result, not the contraction's.
    """

    bound: Bound
    reads_partial: bool = False
    writes_partial: bool = False


@dataclass(frozen=True, slots=True)
class Stages:
    """A contraction bound to memory: one kernel, or the stages of a sum, or a sum and its epilogue.

    Attributes:
        stages: what is run, in order.
        shape: extents of the partial result between the stages, empty where there is none.
        dtype: its dtype's name.
    """

    stages: tuple[Stage, ...]
    shape: tuple[int, ...] = ()
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class _Memory:
    """A contraction's operands and output as arrays."""

    expr: EinsumExpr
    shapes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    output_strides: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the output."""
        extents: dict[Index, int] = {}
        for term, shape in zip(self.expr.terms, self.shapes, strict=True):
            extents.update(zip(term, shape, strict=True))
        return tuple(extents[index] for index in self.expr.output)


def bind(
    expr: EinsumExpr,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    arithmetics: Arithmetics,
    machine: Machine,
    dump: Dump = None,
    schedule: Schedule | Chooser | None = None,
    constant: Sequence[bool] = (),
    extras: Sequence[Extra] = (),
    open_indices: Collection[Index] = (),
) -> Stages:
    """Bind one contraction to memory, in two stages where threads need them to share the work.

    There are two stages, too, where no fast family computes the epilogue: the sum, then the rest.
    Kernels' operands are the contraction's, those of the epilogue behind them.

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
        extras: indices, all of the output, and strides in elements of each operand of the epilogue.
        open_indices: those whose extents change from call to call: kernels are made for none of
            them, however short they are.

    Raises:
        ScheduleError: the given schedule is not legal for this contraction.
    """
    # EinsumExpr -> IterationSpace
    space = iteration_space(
        expr, shapes, strides, output_strides, letters_of(expr), extras, open_indices=open_indices
    )
    problem = Problem(space, arithmetics, machine, tuple(constant) if any(constant) else ())
    given = schedule(problem) if callable(schedule) else schedule
    whole = _bind(problem, dump, given)
    if given is not None:
        return Stages((Stage(whole),))
    # IterationSpace -> Split
    split = _split(problem, whole)
    if split is None:
        memory = _Memory(expr, tuple(shapes), tuple(strides), output_strides)
        apart = _apart(problem, whole, memory, extras, dump)
        return apart or Stages((Stage(whole),))
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
    dump: Dump = None,
    schedule: Schedule | Chooser | None = None,
) -> Bound:
    """Bind reductions along rows, and what is computed from them, to memory.

    Args:
        expr: what is computed.
        shapes: of each operand.
        strides: of each operand, in elements.
        output_strides: of the output, in elements.
        machine: the target.
        dump: takes each stage's name and printed representation.
        schedule: the one to take, or what chooses it; the fastest by prediction where None.

    Raises:
        ShapeError: a maximum or minimum of rows without elements.
        ScheduleError: the given schedule is not legal.
    """
    check_rows_shapes(expr, shapes)
    # RowsExpr -> IterationSpace
    space = rows_space(expr, shapes, strides, output_strides)
    # IterationSpace -> RowsSchedule -> RowsNest -> Kernel
    return _chosen(RowsProblem(expr, space, machine), dump, schedule)


def bind_attention(
    form: AttentionForm,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    machine: Machine,
    dump: Dump = None,
    schedule: Schedule | Chooser | None = None,
) -> Bound:
    """Bind an attention node to memory; its scores are never stored.

    Args:
        form: what is computed, see :func:`einloom_compiler.lowering.attention.form_of`.
        shapes: of query, key, value and masks.
        strides: theirs, in elements.
        output_strides: of the output, in elements.
        machine: the target.
        dump: takes each stage's name and printed representation.
        schedule: the one to take, or what chooses it; the machine's usual one where None.

    Raises:
        ScheduleError: the given schedule is not legal.
        UnsupportedError: attention is not computed in this dtype.
        DTypeError: nor is the score.
    """
    # AttentionForm -> PanelSchedule -> AttentionNest -> Kernel
    problem = AttentionProblem(form, tuple(shapes), tuple(strides), output_strides, machine)
    return _chosen(problem, dump, schedule)


def bind_elementwise(
    terms: Sequence[Term],
    strides: Sequence[tuple[int, ...]],
    output: Term,
    shape: tuple[int, ...],
    output_strides: tuple[int, ...],
    arithmetics: Arithmetics,
    machine: Machine,
    dump: Dump = None,
    schedule: Schedule | None = None,
) -> Bound:
    """Bind a function of corresponding elements to memory: a nest without a product.

    Args:
        terms: indices of each operand's axes, all of them indices of the output; a repeated one is
            a diagonal (its strides add up). The operand lacks the indices it is broadcast along.
        strides: of each operand, in elements, any sign.
        output: indices of the output's axes.
        shape: extents of the output.
        output_strides: of the output, in elements.
        arithmetics: of one input, the first operand; its epilogue is the function, ``Value(n)``
            being the element of operand ``n``, and its extras are the other operands.
        machine: the target.
        dump: takes each stage's name and printed representation.
        schedule: the one to take, of the direct family; the policy's where None.

    Raises:
        ScheduleError: the given schedule is not legal.
    """
    expr = EinsumExpr((terms[0],), output)
    letters = letters_of(EinsumExpr((output,), output))
    extents = dict(zip(output, shape, strict=True))
    shapes = [tuple(extents[index] for index in terms[0])]
    extras = list(zip(terms[1:], strides[1:], strict=True))
    # EinsumExpr -> IterationSpace
    space = iteration_space(expr, shapes, strides[:1], output_strides, letters, extras, extents)
    problem = Problem(space, arithmetics, machine)
    # IterationSpace -> LoopNest -> Kernel
    if schedule is None:
        (schedule,) = direct.FAMILY.propose(problem)
    elif not isinstance(schedule, direct.DirectSchedule):
        raise ScheduleError(
            f"{schedule}: functions of corresponding elements take Direct schedules"
        )
    else:
        direct.FAMILY.check(problem, schedule)
    bound = direct.FAMILY.bind(problem, schedule, dump)
    if dump is not None:
        dump("source", bound.kernel.source)
    return bound


def _apart(
    problem: Problem, whole: Bound, memory: _Memory, extras: Sequence[Extra], dump: Dump
) -> Stages | None:
    """Return the sum and then its epilogue, None where ``whole`` computes both as fast."""
    how = problem.arithmetics
    is_sum = len(problem.space.extents) > problem.space.n_output
    is_small = problem.points < _LEAST_APART
    if how.is_plain or not is_sum or is_small or isinstance(whole.schedule, packed.PackedSchedule):
        return None
    expr, shape = memory.expr, memory.shape
    between = "float32" if arithmetic(how.compute).is_half else how.compute
    steps = c_strides(shape)
    space = iteration_space(expr, memory.shapes, memory.strides, steps, letters_of(expr))
    summing = replace(how, output=between, epilogue=SUM, extras=())
    total = replace(problem, space=space, arithmetics=summing)
    family, schedule = choose(total)
    finish = bind_elementwise(
        (expr.output, *(term for term, _ in extras)),
        (steps, *(step for _, step in extras)),
        expr.output,
        shape,
        memory.output_strides,
        Arithmetics((between,), how.output, between, (False,), how.epilogue, how.extras),
        problem.machine,
        dump,
    )
    if family.seconds(total, schedule) + finish.seconds >= whole.seconds:
        return None
    stages = Stage(_bind(total, dump), writes_partial=True), Stage(finish, reads_partial=True)
    return Stages(stages, shape, between)


def _split(problem: Problem, whole: Bound) -> Split | None:
    """Return the stages of a sum that ``whole`` computes in one kernel, None where one is best."""
    space, machine, moved = problem.space, problem.machine, problem.moved_bytes
    itemsize = compute_bytes(problem.arithmetics.compute)
    outer = streams.outer_sum(space, itemsize, moved, machine)
    chosen = (
        chunks.choose(space, whole.seconds, whole.total, moved, itemsize, machine)
        if outer is None
        else (outer, space.extents[outer])
    )
    return None if chosen is None else split_sum(space, problem.arithmetics, *chosen)


def _chosen(problem: AnyProblem, dump: Dump, schedule: Schedule | Chooser | None) -> Bound:
    given = schedule(problem) if callable(schedule) else schedule
    return _bind(problem, dump, given)


def _bind(problem: AnyProblem, dump: Dump, schedule: Schedule | None = None) -> Bound:
    # IterationSpace -> Schedule
    family, schedule = choose(problem, schedule)
    if dump is not None:
        dump("family", family.name)
    # IterationSpace -> Nest -> Kernel
    bound = family.bind(problem, schedule, dump)
    if dump is not None:
        dump("source", bound.kernel.source)
    return bound


__all__ = [
    "Bound",
    "Chooser",
    "Stage",
    "Stages",
    "bind",
    "bind_attention",
    "bind_elementwise",
    "bind_rows",
    "plan",
]
