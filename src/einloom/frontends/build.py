"""What front-end translators build expressions with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from einloom.expression import Expression
from einloom.frontends.letters import letters
from einloom_compiler.dtypes import AnyDType, dtype_name
from einloom_compiler.errors import ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import is_equal, product, text
from einloom_compiler.ir.einsum import EinsumExpr, Index
from einloom_compiler.ir.graph import Contraction, Node, Reshape, Shape, mapped
from einloom_compiler.ir.maps import Map, check_map
from einloom_compiler.ir.shapes import index_extents
from einloom_compiler.ir.traversal import inputs_of
from einloom_compiler.language import expand, parse_string
from einloom_compiler.order.search import Optimize, check_optimize, explicit_path


def contract(
    equation: str | EinsumExpr,
    *operands: Expression,
    dtype: AnyDType | None,
    broadcast: Collection[str] | None = (),
    conjugated: Sequence[bool] | None = None,
    epilogue: Sequence[Map] = (),
) -> Expression:
    """Return the contraction of ``operands``.

    Args:
        equation: explicit subscripts without ellipsis, or an einsum expression.
        operands: one a term.
        dtype: dtype the operands are cast to and of the result; None while one is not settled.
        broadcast: index names whose axes of extent 1 may stand for a longer extent; None for all.
        conjugated: whether each operand is conjugated; none where not given.
        epilogue: maps applied to each finished sum.

    Raises:
        DTypeError: a map of the epilogue has no meaning in ``dtype``.
        ShapeError: two axes of one index cannot have equal extents.
        SpecError: two different operands have one name, or a map has wrong parameters.
        UnsupportedError: the epilogue names no known map.
    """
    ranks = [operand.ndim for operand in operands]
    expr = expand(parse_string(equation), ranks) if isinstance(equation, str) else equation
    node = Contraction(
        einsum=expr,
        operands=tuple(operand.node for operand in operands),
        dtype=dtype,
        conjugated=tuple(conjugated) if conjugated else (False,) * len(operands),
        broadcast=_broadcast_axes(expr, [operand.shape for operand in operands], broadcast),
        epilogue=mapped(*epilogue),
    )
    for step in epilogue:
        check_map(step, None if dtype is None else dtype_name(dtype))
    index_extents(node)
    check_names(operands)
    return Expression(node)


def check_names(operands: Sequence[Expression]) -> None:
    """Refuse operands of which two different ones have one name.

    Raises:
        SpecError: they do.
    """
    names: dict[str, Node] = {}
    for operand in operands:
        for found in inputs_of(operand.node):
            if names.setdefault(found.name, found) is not found:
                raise SpecError(
                    f"two different operands are called '{found.name}'; give each its own name"
                )


def check_order(expr: EinsumExpr, operands: Sequence[Expression], optimize: Optimize) -> None:
    """Refuse an ``optimize=`` that cannot choose the order of this contraction.

    Raises:
        DTypeError: it names no optimizer, or is of no known form.
        PathError: it is a path that does not contract all operands.
        UnsupportedError: it is a path, but operands are contractions with orders of their own.
    """
    check_optimize(expr, optimize)
    if explicit_path(optimize) is not None and any(map(_is_computed, operands)):
        raise UnsupportedError(
            f"optimize={optimize!r} spells out the order of one contraction, but operands of this "
            "one are contractions themselves; name an optimizer, or compile them apart"
        )


def _is_computed(operand: Expression) -> bool:
    node = operand.node
    while isinstance(node, Reshape):
        node = node.operand
    return isinstance(node, Contraction)


def _broadcast_axes(
    expr: EinsumExpr, shapes: Sequence[Shape], allowed: Collection[str] | None
) -> tuple[frozenset[int], ...]:
    longer: set[Index] = set()
    for term, shape in zip(expr.terms, shapes, strict=True):
        for index, extent in zip(term, shape, strict=True):
            if is_equal(extent, 1) is not True and term.count(index) == 1:
                longer.add(index)
    return tuple(
        frozenset(
            axis
            for axis, index in enumerate(term)
            if (allowed is None or index.name in allowed)
            and index in longer
            and term.count(index) == 1
            and is_equal(shape[axis], 1) is True
        )
        for term, shape in zip(expr.terms, shapes, strict=True)
    )


def reshape(operand: Expression, shape: Shape) -> Expression:
    """Return the operand's elements in C order under ``shape``.

    Raises:
        ShapeError: the numbers of elements cannot be equal.
    """
    before, after = product(operand.shape), product(shape)
    if is_equal(before, after) is False:
        old = ", ".join(text(extent) for extent in operand.shape)
        new = ", ".join(text(extent) for extent in shape)
        raise ShapeError(
            f"cannot reshape ({old}) of {text(before)} elements to ({new}) of {text(after)}; "
            "the number of elements must stay"
        )
    return Expression(Reshape(operand.node, tuple(shape)))


def flat(operand: Expression) -> Expression:
    """Return the operand under one axis, its elements in C order."""
    return operand if operand.ndim == 1 else reshape(operand, (product(operand.shape),))


def scaled(x: Expression, y: Expression, dtype: AnyDType | None) -> Expression:
    """Return the elementwise product of two operands of which one has rank 0."""
    terms = letters(x.ndim), letters(y.ndim)
    return contract(f"{','.join(terms)}->{max(terms)}", x, y, dtype=dtype)


def promoted(*operands: Expression) -> AnyDType | None:
    """Return NumPy's result dtype of the operands, None while one is not settled."""
    dtypes = [operand.dtype for operand in operands]
    if any(dtype is None for dtype in dtypes):
        return None
    return np.result_type(*(dtype for dtype in dtypes if dtype is not None))
