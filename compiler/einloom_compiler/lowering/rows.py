"""Bind reductions along rows to memory: indices as numbers, squeezed, fused, and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from einloom_compiler.dtypes import arithmetic, dtype_name
from einloom_compiler.errors import DTypeError, InternalCompilerError, ShapeError
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Node, Reduction, Rows
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.rows import RowsNest
from einloom_compiler.ir.scalar import Scalar, Value, check_scalar, print_scalar
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace, fuse, squeeze
from einloom_compiler.lowering.nest import loop_name
from einloom_compiler.schedule.text import schedule_text


@dataclass(frozen=True, slots=True)
class RowsExpr:
    """What a node of rows computes, without its operands: see :class:`..ir.graph.Rows`.

    Attributes:
        terms: the index of each operand axis.
        output: the index of each output axis.
        reduced: the indices that reductions run along.
        reductions: in order.
        body: the result.
        inputs: dtype name of each operand in memory.
        compute: dtype name that operands are cast to.
        result: dtype name of the output in memory.
    """

    terms: tuple[Term, ...]
    output: Term
    reduced: Term
    reductions: tuple[Reduction, ...]
    body: Scalar
    inputs: tuple[str, ...]
    compute: str
    result: str

    @property
    def is_scan(self) -> bool:
        """Whether the points of a row follow one another: what they reach is stored at each."""
        return any(reduction.is_running for reduction in self.reductions)


def rows_expr(node: Rows) -> RowsExpr:
    """Return what a node computes; its operands' dtypes are settled.

    Raises:
        DTypeError: a mean of integers, a maximum of complex numbers, or a function that the
            compute dtype lacks.
    """
    expr = RowsExpr(
        node.terms,
        node.output,
        node.reduced,
        node.reductions,
        node.body,
        tuple(map(_settled, node.operands)),
        dtype_name(node.dtype) if node.dtype is not None else _settled(node),
        _settled(node),
    )
    check_rows(expr)
    return expr


def _settled(node: Node) -> str:
    dtype = dtype_of(node)
    if dtype is None:
        raise InternalCompilerError("rows", "a dtype is not settled", print_graph(node))
    return dtype_name(dtype)


def check_rows(expr: RowsExpr) -> None:
    """Refuse what has no meaning in its dtype, before anything is compiled.

    Raises:
        DTypeError: as :func:`rows_expr`.
    """
    kind = arithmetic(expr.compute).compute
    bodies = [expr.body, *(reduction.body for reduction in expr.reductions)]
    for body in bodies:
        if expr.compute != "bool":
            check_scalar(body, kind)
        elif not isinstance(body, Value):
            raise DTypeError(
                f"bools are not computed with, but for their all, any, sum and product; cast the "
                f"operands of {print_scalar(body)} to a number first"
            )
    for reduction in expr.reductions:
        if reduction.kind == "mean" and not kind.startswith(("float", "complex")):
            raise DTypeError(
                f"a mean in {expr.compute} would be cut to an integer; cast the operands to a "
                "float first, or take the sum"
            )
        if reduction.kind in ("max", "min") and kind.startswith("complex"):
            raise DTypeError(
                f"complex numbers have no order, so no {reduction.kind}imum in {expr.compute}; "
                "take that of their real parts or magnitudes"
            )


def check_rows_shapes(expr: RowsExpr, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse a maximum or minimum of rows without elements.

    Raises:
        ShapeError: there are such rows; the message names the axis.
    """
    for reduction in expr.reductions:
        if reduction.kind in ("max", "min"):
            _check_not_empty(expr, shapes, reduction.kind)


def _check_not_empty(expr: RowsExpr, shapes: Sequence[tuple[int, ...]], kind: str) -> None:
    """Raise where rows have no elements, although there are rows."""
    extents: dict[Index, int] = {}
    for term, shape in zip(expr.terms, shapes, strict=True):
        extents |= dict(zip(term, shape, strict=True))
    if any(not extents[index] for index in expr.output if index not in expr.reduced):
        return
    if set(expr.reduced) <= set(expr.output):
        return  # an output without elements
    for number, (term, shape) in enumerate(zip(expr.terms, shapes, strict=True)):
        for axis, index in enumerate(term):
            if index in expr.reduced and not shape[axis]:
                raise ShapeError(
                    f"axis {axis} of operand {number} (shape {tuple(map(int, shape))}) has "
                    f"extent 0: no element has the {kind}imum along it; check for empty operands, "
                    "or take a sum"
                )


def rows_space(
    expr: RowsExpr,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
) -> IterationSpace:
    """Return the indices with extents and strides; the first ``n_output`` are kept ones.

    An input whose stride along an index is 0 does not depend on it.
    """
    kept = [index for index in expr.output if index not in expr.reduced]
    indices = (*kept, *expr.reduced)
    extents: dict[Index, int] = {}
    columns: list[dict[Index, int]] = []
    for term, shape, steps in zip(expr.terms, shapes, strides, strict=True):
        extents |= dict(zip(term, shape, strict=True))
        column = zip(term, steps, strict=True)
        columns.append({index: step for index, step in column if is_open(step) or step != 0})
    columns.append(dict(zip(expr.output, output_strides, strict=True)))
    space = IterationSpace(
        tuple(extents[index] for index in indices),
        len(kept),
        tuple(tuple(column.get(index) for index in indices) for column in columns),
        tuple(index.name for index in indices),
    )
    return fuse(squeeze(space))


@dataclass(frozen=True, slots=True)
class RowsSchedule:
    """How a space of rows is walked through.

    Attributes:
        order: the space's index numbers, outermost first, kept ones first.
        vector: the number of the index that vectors run along; None for scalars.
        lanes: elements of a vector.
        copies: vectors at once; with ``row``, points of a row.
        row: accumulators in scratch, of rows along the last kept index; 0 for variables.
        apart: whether points at once are parts of the last index away from each other.
        streams: rows along the last kept index that are read side by side, as far apart.
    """

    order: tuple[int, ...]
    vector: int | None = None
    lanes: int = 1
    copies: int = 1
    row: int = 0
    apart: bool = False
    streams: int = 1

    def __str__(self) -> str:
        """Print as a call."""
        return schedule_text(self)


def lower_rows(expr: RowsExpr, space: IterationSpace, shape: RowsSchedule) -> RowsNest:
    """Return the nest that walks through ``space`` as ``shape`` says."""
    names = {number: loop_name(position) for position, number in enumerate(shape.order)}
    inner = shape.vector
    if inner is None and shape.order:
        inner = shape.order[space.n_output - 1 if shape.row else -1]

    def access(name: str, dtype: str, column: tuple[int | None, ...]) -> Access:
        used = tuple(names[n] for n in shape.order if column[n] is not None)
        is_unit = inner is not None and column[inner] == 1
        unit = names[inner] if is_unit and inner is not None else None
        return Access(name, dtype, used, unit)

    *columns, last = space.strides
    named = zip(expr.inputs, columns, strict=True)
    return RowsNest(
        inputs=tuple(access(f"x{n}", dtype, column) for n, (dtype, column) in enumerate(named)),
        output=access("out", expr.result, last),
        kept=tuple(names[n] for n in shape.order if n < space.n_output),
        reduced=tuple(names[n] for n in shape.order if n >= space.n_output),
        reductions=expr.reductions,
        body=expr.body,
        compute=expr.compute,
        vector=None if shape.vector is None else names[shape.vector],
        lanes=shape.lanes,
        copies=shape.copies,
        row=shape.row,
        is_apart=shape.apart,
        streams=shape.streams,
    )


def rows_numbers(nest: RowsNest, space: IterationSpace, shape: RowsSchedule) -> tuple[int, ...]:
    """Return the kernel's extents and strides, in the order of its ABI."""
    position = dict(zip(nest.indices, shape.order, strict=True))
    strides = [
        column[position[index]] or 0
        for access, column in zip((*nest.inputs, nest.output), space.strides, strict=True)
        for index in access.strided
    ]
    return (*(space.extents[n] for n in shape.order), *strides)
