"""Bind reductions along rows to memory: indices as numbers, squeezed, fused, and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import DTypeError, ShapeError
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.rows import RowsNest
from einloom_compiler.ir.scalar import Scalar, check_scalar
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace, fuse, squeeze
from einloom_compiler.lowering.nest import loop_name


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


def check_rows(expr: RowsExpr, shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse what has no result, before anything is compiled.

    Raises:
        ShapeError: a maximum or minimum of rows without elements.
        DTypeError: a mean of integers, or a function that the compute dtype lacks.
    """
    kind = arithmetic(expr.compute).compute
    for reduction in expr.reductions:
        if expr.compute != "bool":
            check_scalar(reduction.body, kind)
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
        if reduction.kind in ("max", "min"):
            _check_not_empty(expr, shapes, reduction.kind)
    if expr.compute != "bool":
        check_scalar(expr.body, kind)


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
class Shape:
    """How a space of rows is walked through.

    Attributes:
        order: the space's index numbers, outermost first, kept ones first.
        vector: the number of the index that vectors run along; None for scalars.
        lanes: elements of a vector.
        copies: vectors at once.
    """

    order: tuple[int, ...]
    vector: int | None = None
    lanes: int = 1
    copies: int = 1


def lower_rows(expr: RowsExpr, space: IterationSpace, shape: Shape) -> RowsNest:
    """Return the nest that walks through ``space`` as ``shape`` says."""
    names = {number: loop_name(position) for position, number in enumerate(shape.order)}
    inner = shape.order[-1] if shape.vector is None and shape.order else shape.vector

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
    )


def rows_numbers(nest: RowsNest, space: IterationSpace, shape: Shape) -> tuple[int, ...]:
    """Return the kernel's extents and strides, in the order of its ABI."""
    position = dict(zip(nest.indices, shape.order, strict=True))
    strides = [
        column[position[index]] or 0
        for access, column in zip((*nest.inputs, nest.output), space.strides, strict=True)
        for index in access.strided
    ]
    return (*(space.extents[n] for n in shape.order), *strides)
