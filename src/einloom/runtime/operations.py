"""What each kind of node does: how it is appended to a recipe, once its operands have values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from einloom.runtime.builder import Builder
from einloom.runtime.choices import Choices
from einloom.runtime.contractor import Contractor
from einloom.runtime.lookups import Gather
from einloom.runtime.moving import convert, copy, fill
from einloom.runtime.recipe import Positions
from einloom.runtime.reductions import Reduce
from einloom.runtime.values import Value, c_layout
from einloom_compiler.dtypes import AnyDType, dtype_name, has_kernel
from einloom_compiler.errors import InternalCompilerError, ShapeError, UnsupportedError
from einloom_compiler.extents import evaluate, text
from einloom_compiler.families import Schedule
from einloom_compiler.ir.einsum import Term
from einloom_compiler.ir.graph import (
    Attention,
    Contraction,
    Elementwise,
    Iota,
    Join,
    Node,
    Pad,
    Rows,
    Shape,
    Take,
)
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.scalar import Scalar, check_body
from einloom_compiler.ir.shapes import open_indices
from einloom_compiler.lowering.attention import form_of
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.rows import rows_expr
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import orders_of
from einloom_compiler.pipeline import (
    Bound,
    Chooser,
    bind_attention,
    bind_elementwise,
)
from einloom_compiler.schedule.machine import Machine, host

Sizes = Mapping[str, int]


class Operation(Protocol):
    """What computes one node."""

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append the steps that compute ``target`` from the node's operands."""


@dataclass(frozen=True, slots=True)
class Contract:
    """Contract the operands."""

    contractor: Contractor

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append the launches of the order that these sizes choose."""
        del sizes
        self.contractor.append_to(builder, operands, target)


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute a function of corresponding elements."""

    body: Scalar
    terms: tuple[Term, ...]
    output: Term
    dtype: AnyDType
    schedule: Schedule | None = None

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append its launch."""
        del sizes
        if 0 in target.shape:
            builder.scheduled(None)
            return
        first, *others = (dtype_name(operand.dtype) for operand in operands)
        bound = bind_elementwise(
            self.terms,
            [operand.steps for operand in operands],
            self.output,
            target.shape,
            target.steps,
            Arithmetics(
                (first,),
                dtype_name(target.dtype),
                dtype_name(self.dtype),
                (False,),
                self.body,
                tuple(others),
            ),
            host(),
            schedule=self.schedule,
        )
        builder.launch(bound, operands, target)
        builder.scheduled(bound.schedule)


class Bind(Protocol):
    """Binds what a node computes to the memory of its operands and result."""

    def __call__(
        self,
        shapes: Sequence[tuple[int, ...]],
        strides: Sequence[tuple[int, ...]],
        output_strides: tuple[int, ...],
        machine: Machine,
        *,
        schedule: Schedule | Chooser | None,
    ) -> Bound:
        """Return the kernel; strides are in elements."""


@dataclass(frozen=True, slots=True)
class OneKernel:
    """Compute attention in one launch."""

    bind: Bind
    schedule: Schedule | Chooser | None = None

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append its launch."""
        del sizes
        if 0 in target.shape:
            builder.scheduled(None)
            return
        bound = self.bind(
            [operand.shape for operand in operands],
            [operand.steps for operand in operands],
            target.steps,
            host(),
            schedule=self.schedule,
        )
        builder.launch(bound, operands, target)
        builder.scheduled(bound.schedule)


@dataclass(frozen=True, slots=True)
class Extend:
    """Write an operand with elements of one value around it."""

    before: Shape
    after: Shape
    value: float

    def places(
        self, target: Value, shapes: Sequence[tuple[int, ...]], sizes: Sizes
    ) -> tuple[Value, ...]:
        """Return the part of the result that is the operand."""
        ((*extents,),) = shapes
        for axis, (before, extent) in enumerate(zip(self.before, extents, strict=True)):
            target = target.part(axis, evaluate(before, sizes), extent)
        return (target,)

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append the filling of the slabs before and behind each axis, and the operand's copy."""
        rest = target
        for axis, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            start, end = evaluate(before, sizes), evaluate(after, sizes)
            extent = rest.shape[axis]
            for width, written in ((start, before), (end, after)):
                # No kernel is planned for an open width at a size where nothing is filled.
                if width < is_open(width):
                    raise ShapeError(
                        f"axis {axis} is padded by {text(written)}, which is {int(width)} at "
                        f"{dict(sizes)}; widths must not be negative"
                    )
            if start != 0:
                fill(builder, self.value, rest.part(axis, 0, start))
            if end != 0:
                fill(builder, self.value, rest.part(axis, extent - end, end))
            rest = rest.part(axis, start, extent - start - end)
        if not operands[0].is_at(rest):  # else it was computed there
            copy(builder, operands[0], rest)


@dataclass(frozen=True, slots=True)
class Concatenate:
    """Write operands one behind another along an axis."""

    axis: int

    def places(
        self, target: Value, shapes: Sequence[tuple[int, ...]], sizes: Sizes
    ) -> tuple[Value, ...]:
        """Return the part of the result that is each operand."""
        del sizes
        found, start = [], 0
        for shape in shapes:
            found.append(target.part(self.axis, start, shape[self.axis]))
            start = start + shape[self.axis]
        return tuple(found)

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append the copies of those operands that were not computed in their places."""
        places = self.places(target, [operand.shape for operand in operands], sizes)
        for operand, place in zip(operands, places, strict=True):
            if not operand.is_at(place):
                copy(builder, operand, place)


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look up rows of a table."""

    name: str

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append the lookup."""
        del sizes
        if 0 in target.shape:
            return
        if not builder.is_shipped:
            table, indices = operands
            builder.add(Gather(table, indices, target, self.name))
            return
        table, indices = (_in_c_order(builder, operand) for operand in operands)
        rows = target if _is_in_c_order(target) else builder.buffer(target.shape, target.dtype)
        builder.add(Gather(table, indices, rows, self.name))
        if not rows.is_at(target):
            copy(builder, rows, target)


def _is_in_c_order(value: Value) -> bool:
    return value.layout == c_layout(value.shape, value.dtype)


def _in_c_order(builder: Builder, value: Value) -> Value:
    """Return the value, or a copy in C order."""
    if _is_in_c_order(value):
        return value
    whole = builder.buffer(value.shape, value.dtype)
    copy(builder, value, whole)
    return whole


@dataclass(frozen=True, slots=True)
class Count:
    """Write 0, 1, 2, ..."""

    dtype: AnyDType

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Sizes
    ) -> None:
        """Append the copy of a constant, or of what is counted where the extent is open."""
        del operands, sizes
        if is_open(target.shape[0]):
            int64 = np.dtype(np.int64)
            is_plain = target.dtype == int64 and _is_in_c_order(target)
            counted = target if is_plain else builder.buffer(target.shape, int64)
            builder.add(Positions(counted))
            if counted != target:
                convert(builder, counted, target)
            return
        copy(builder, builder.constant(np.arange(target.shape[0]).astype(self.dtype)), target)


def operation_of(
    node: Node, optimize: Optimize, choices: Choices, schedules: tuple[Schedule | None, ...]
) -> Operation | None:
    """Return what computes a node; None for leaves and views.

    Raises:
        DTypeError: a function is not defined for the dtype that it is computed in.
        UnsupportedError: a dtype, or the node, has no generated kernel.
    """
    match node:
        case Contraction():
            return _contract(node, optimize, choices, schedules)
        case Elementwise():
            return _elementwise(node, *schedules)
        case Rows():
            required(node.dtype)
            return Reduce(rows_expr(node), _one(choices, schedules))
        case Attention():
            required(node.dtype)
            return OneKernel(partial(bind_attention, form_of(node)), _one(choices, schedules))
        case Pad(before=before, after=after, value=value):
            return Extend(before, after, value)
        case Join(axis=axis):
            return Concatenate(axis)
        case Take(indices=indices):
            return LookUp(getattr(indices, "name", "the indices of a lookup"))
        case Iota(dtype=dtype):
            return Count(dtype)
        case _:
            raise UnsupportedError(f"there is no kernel yet for\n{print_graph(node)}")


def _contract(
    node: Contraction,
    optimize: Optimize,
    choices: Choices,
    schedules: tuple[Schedule | None, ...],
) -> Contract:
    dtype = required(node.dtype)
    check_body(node.epilogue.body, dtype_name(dtype))
    return Contract(
        Contractor(
            node.einsum,
            dtype,
            node.conjugated,
            node.epilogue.body,
            node.epilogue.terms,
            optimize,
            broadcasts=any(node.broadcast),
            orders=orders_of(node, optimize, choices.ranges),
            schedules=schedules,
            is_tuned=choices.is_tuned,
            open_indices=open_indices(node),
        )
    )


def _one(choices: Choices, schedules: tuple[Schedule | None, ...]) -> Schedule | Chooser | None:
    """Return the schedule of a node of one kernel, or what chooses it."""
    if schedules or not choices.is_tuned:
        return schedules[0] if schedules else None
    from einloom.runtime.tuning import tuned

    return tuned


def _elementwise(node: Elementwise, schedule: Schedule | None = None) -> Compute:
    dtype = required(node.dtype)
    check_body(node.body, dtype_name(dtype))
    return Compute(node.body, node.terms, node.output, dtype, schedule)


def required(dtype: AnyDType | None) -> AnyDType:
    """Return the dtype.

    Raises:
        UnsupportedError: no kernel is generated for it.
    """
    if dtype is None:
        raise InternalCompilerError("graph", "a dtype is not settled")
    if not has_kernel(dtype):
        raise UnsupportedError(
            f"no kernel is generated for dtype {dtype}; cast the operands to float64, complex128 "
            "or an integer dtype (einloom.einsum lets NumPy evaluate object and long double)"
        )
    return dtype
