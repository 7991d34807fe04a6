"""The whole compiler on one screen: from an einsum expression to a compiled kernel.

Each stage is a pure function; after each, its representation is verified and may be dumped::

    EinsumExpr       the optimizer's input: indices, no extents
    ContractionTree  order.search       which operands meet first, at these extents
    IterationSpace   lowering.iteration indices as numbers, bound to memory, squeezed and fused
    PackedNest       lowering.groups    a matrix product over groups of indices, where packing pays,
    LoopNest         lowering.nest      else named loops around one multiply-add
    LoopNest         schedule           tiled, unrolled, parallel range marked
    Kernel           codegen            Python source, compiled when first run
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from einloom_compiler.codegen import jit
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.packed import PackedNest
from einloom_compiler.ir.printer import letters_of, print_einsum, print_nest, print_tree
from einloom_compiler.ir.verify import verify_einsum, verify_nest, verify_tree
from einloom_compiler.lowering.groups import Groups, Table, group
from einloom_compiler.lowering.iteration import IterationSpace, iteration_space
from einloom_compiler.lowering.nest import Arithmetics, NamedNest, lower
from einloom_compiler.lowering.packed import bind_packed
from einloom_compiler.order.search import Optimize, search
from einloom_compiler.schedule import packed as packed_policy
from einloom_compiler.schedule import policy, steps
from einloom_compiler.schedule.machine import Machine

Dump = Callable[[str, str], None]


def _no_dump(stage: str, text: str) -> None:
    """Take a stage's name and its printed representation, and drop them."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One contraction bound to memory: its kernel and the numbers that the kernel takes.

    Attributes:
        kernel: compiled when first run.
        space: indices, extents and strides.
        schedule: the steps that made the kernel's nest, or the packed nest itself.
        operands: which operand each of the kernel's inputs is.
        order: which index of the space each of the direct nest's indices is.
        groups: the packed nest's groups of indices.
        tables: offset tables that the kernel reads besides its operands.
        numbers: extents and strides in the order of the kernel ABI.
        total: length of the parallel range.
        points: number of points of the loop nest.
    """

    kernel: jit.Kernel
    space: IterationSpace
    schedule: steps.Schedule | PackedNest
    operands: tuple[int, ...]
    order: tuple[int, ...]
    groups: Groups | None
    tables: tuple[Table, ...]
    numbers: tuple[int, ...]
    total: int
    points: int

    @property
    def nest(self) -> LoopNest | PackedNest:
        """The scheduled nest that the kernel was printed from."""
        return self.kernel.nest

    @property
    def schedule_text(self) -> str:
        """The schedule in one line."""
        schedule = self.schedule
        return str(schedule) if isinstance(schedule, PackedNest) else steps.print_schedule(schedule)


def plan(
    expr: EinsumExpr,
    extents: Mapping[Index, int],
    optimize: Optimize,
    itemsize: int,
    dump: Dump = _no_dump,
) -> ContractionTree:
    """Choose the contraction order of ``expr``."""
    verify_einsum(expr, "einsum")
    dump("einsum", print_einsum(expr))
    tree = search(expr, extents, optimize, itemsize)  # EinsumExpr -> ContractionTree
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
) -> Bound:
    """Bind one contraction to memory of these shapes and strides (in elements)."""
    letters = letters_of(expr)
    # EinsumExpr -> IterationSpace
    space = iteration_space(expr, shapes, strides, output_strides, letters)
    points = math.prod(space.extents)
    # IterationSpace -> Groups -> PackedNest, where packing pays
    groups = group(space)
    packed = groups and packed_policy.choose(groups, arithmetics, machine)
    if groups and packed:
        call = bind_packed(groups, packed, machine)
        dump("packed nest", str(packed))
        kernel = jit.build(packed)
        dump("source", kernel.source)
        return Bound(
            kernel=kernel,
            space=space,
            schedule=packed,
            operands=groups.operands,
            order=(),
            groups=groups,
            tables=call.tables,
            numbers=call.numbers,
            total=call.total,
            points=points,
        )
    # IterationSpace -> LoopNest
    named = lower(space, policy.loop_order(space), arithmetics)
    dump("loop nest", print_nest(named.nest))
    # LoopNest -> Schedule -> LoopNest
    schedule = policy.choose(named.nest, machine)
    nest = steps.generalize(steps.apply(named.nest, schedule))
    verify_nest(nest, "schedule")
    dump("schedule", steps.print_schedule(schedule))
    dump("scheduled loop nest", print_nest(nest))
    # LoopNest -> Kernel
    kernel = jit.build(nest)
    dump("source", kernel.source)
    position = dict(zip(named.nest.indices, named.order, strict=True))
    order = tuple(position[index] for index in nest.indices)
    extents = [space.extents[number] for number in order]
    return Bound(
        kernel=kernel,
        space=space,
        schedule=schedule,
        operands=named.operands,
        order=order,
        groups=None,
        tables=(),
        numbers=(*extents, *_strides(space, named, nest, position)),
        total=nest.parallel_extent(extents),
        points=points,
    )


def _strides(
    space: IterationSpace, named: NamedNest, nest: LoopNest, position: Mapping[str, int]
) -> list[int]:
    """Return the strides that the kernel takes, in the order of its ABI."""
    columns = [space.strides[operand] for operand in named.operands] + [space.strides[-1]]
    return [
        column[position[index]] or 0
        for access, column in zip((*nest.inputs, nest.output), columns, strict=True)
        for index in access.strided
    ]
