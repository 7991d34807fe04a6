"""Products of one operand with several constants become one product with all of them.

The projections of self-attention read the same tokens: as one contraction over joined weights,
whose columns the results are views of, they pack the tokens once, start once, and share out more
columns over threads. What follows each sum may be a scale and a bias, which are joined (the scale
goes into the weights), or the same function for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from einloom_compiler.dtypes import dtype_name
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import (
    PLAIN,
    Constant,
    Contraction,
    Epilogue,
    Node,
    Strided,
    ViewAxis,
)
from einloom_compiler.ir.scalar import Combined, Mapped, Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import nodes_of, operands_of, with_operands
from einloom_compiler.optimizer.affine import SCALED
from einloom_compiler.optimizer.constants import is_fixed
from einloom_compiler.optimizer.terms import fresh

Array = npt.NDArray[Any]

#: Joined arrays, by the first of the constants they were made of and what else they depend on, so
#: that optimizing a graph again gives the same constant.
_joined: WeakKeyDictionary[Constant, dict[Any, Constant]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Affine:
    """``scale * sum + slope * extra + offset``."""

    scale: float
    slope: float
    offset: float


@dataclass(frozen=True, slots=True)
class _Product:
    """A contraction of a varying operand and a constant.

    Attributes:
        node: the contraction.
        rows: the indices of the output that are the varying operand's, in that operand's order.
        columns: those that are the constant's, in the output's order.
        contracted: the indices of the sum, in the varying operand's order.
        affine: what follows the sum; None where it is something else.
    """

    node: Contraction
    rows: Term
    columns: Term
    contracted: Term
    affine: _Affine | None

    @property
    def number(self) -> int:
        """The position of the varying operand."""
        return int(isinstance(self.node.operands[0], Constant))

    @property
    def weight(self) -> Constant:
        """The constant."""
        found = self.node.operands[1 - self.number]
        assert isinstance(found, Constant)
        return found

    @property
    def extras(self) -> tuple[Constant, ...]:
        """The constants of the epilogue."""
        return tuple(o for o in self.node.epilogue.operands if isinstance(o, Constant))

    @property
    def extents(self) -> tuple[int, ...]:
        """Extents of the columns."""
        term, shape = self.node.einsum.terms[1 - self.number], self.weight.array.shape
        return tuple(shape[term.index(index)] for index in self.columns)

    def key(self) -> Any:
        """Return what products that can be joined have in common."""
        node = self.node
        x, term = node.operands[self.number], node.einsum.terms[self.number]
        places = tuple(term.index(index) for index in self.contracted)
        follows = "affine" if self.affine else (node.epilogue.body, len(self.extras))
        return (
            *(x, places, node.dtype, self.weight.dtype, node.epilogue.dtype),
            *(node.conjugated[self.number], node.conjugated[1 - self.number], follows),
        )

    def matrix(self) -> Array:
        """Return the constant with its contracted indices first and its columns as one axis."""
        term = self.node.einsum.terms[1 - self.number]
        order = [term.index(index) for index in (*self.contracted, *self.columns)]
        array = self.weight.array.transpose(order)
        array = array.reshape(*array.shape[: len(self.contracted)], -1)
        if self.affine is None or self.affine.scale == 1:
            return array
        scaled: Array = array * array.dtype.type(self.affine.scale)
        return scaled

    def extra(self, number: int) -> Array:
        """Return an operand of the epilogue along the joined columns."""
        (array, term) = self.extras[number].array, self.node.epilogue.terms[number]
        order = sorted(range(len(term)), key=lambda axis: self.columns.index(term[axis]))
        shape = [
            extent if index in term else 1
            for index, extent in zip(self.columns, self.extents, strict=True)
        ]
        return np.broadcast_to(array.transpose(order).reshape(shape), self.extents).reshape(-1)

    def bias(self) -> Array:
        """Return what is added to the scaled sums."""
        assert self.affine is not None
        dtype = self.weight.array.dtype
        found = np.full(prod(self.extents), self.affine.offset, dtype)
        if self.extras:
            found += self.extra(0).astype(dtype) * dtype.type(self.affine.slope)
        return found


def join_siblings(roots: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return the graphs with products of one operand and several constants joined.

    Rewrite: ``x @ v + b`` and ``x @ w`` are columns of ``x @ [v w] + [b 0]``. Results of the
    program are left alone: they would have to be copied out of the joined one.
    """
    groups: dict[Any, list[_Product]] = {}
    for node in nodes_of(*roots):
        if node not in roots and (found := _product(node)) is not None:
            groups.setdefault(found.key(), []).append(found)
    joined: dict[Node, Strided] = {}
    for products in groups.values():
        if len(products) > 1:
            joined |= dict(zip((p.node for p in products), _join(products), strict=True))
    if not joined:
        return roots
    settled: dict[Node, Node] = {}
    for node in nodes_of(*roots):
        view = joined.get(node)
        inner = node if view is None else view.operand
        built = with_operands(inner, tuple(settled.get(o, o) for o in operands_of(inner)))
        settled[node] = built if view is None else replace(view, operand=built)
    return tuple(settled[root] for root in roots)


def _product(node: Node) -> _Product | None:
    """Return how a node is a product with a constant that may be joined, else None."""
    if not isinstance(node, Contraction) or len(node.operands) != 2 or any(node.broadcast):
        return None
    if node.dtype is None or sum(isinstance(o, Constant) for o in node.operands) != 1:
        return None
    number = int(isinstance(node.operands[0], Constant))
    term, other = node.einsum.terms[number], node.einsum.terms[1 - number]
    output, epilogue = node.einsum.output, node.epilogue
    if len(set(term)) < len(term) or len(set(other)) < len(other) or is_fixed(node):
        return None
    columns = tuple(index for index in output if index in other)
    contracted = tuple(index for index in term if index in other)
    rows = tuple(index for index in term if index not in other)
    is_matrix = (
        columns
        and not set(contracted) & set(output)
        and set(rows) <= set(output)
        and set(other) == {*columns, *contracted}
    )
    if not is_matrix:
        return None
    if not all(isinstance(operand, Constant) for operand in epilogue.operands):
        return None
    if not all(set(found) <= set(columns) for found in epilogue.terms):
        return None
    affine = None
    if dtype_name(node.dtype) in SCALED and len(epilogue.operands) <= 1:
        weight = node.operands[1 - number]
        assert isinstance(weight, Constant)
        if weight.array.dtype == node.dtype:
            affine = _affine(epilogue.body)
    return _Product(node, rows, columns, contracted, affine)


def _affine(body: Scalar) -> _Affine | None:
    """Return a body of a sum and at most one operand as an affine function of them, else None."""
    match body:
        case Value(position=0):
            return _Affine(1.0, 0.0, 0.0)
        case Value(position=1):
            return _Affine(0.0, 1.0, 0.0)
        case Number(value=value):
            return _Affine(0.0, 0.0, value) if np.isfinite(value) else None
        case Mapped(map=step, argument=argument) if step.function == "multiply":
            return _combined("multiply", (_affine(argument), _Affine(0.0, 0.0, step.parameters[0])))
        case Combined(function=function, arguments=arguments):
            return _combined(function, tuple(map(_affine, arguments)))
        case _:
            return None


def _combined(function: str, parts: Sequence[_Affine | None]) -> _Affine | None:
    if len(parts) != 2:
        return None
    a, b = parts
    if a is None or b is None:
        return None
    if function in ("add", "subtract"):
        sign = 1.0 if function == "add" else -1.0
        return _Affine(
            a.scale + sign * b.scale, a.slope + sign * b.slope, a.offset + sign * b.offset
        )
    if function == "multiply" and not (a.scale or a.slope):
        a, b = b, a
    if b.scale or b.slope:
        return None
    if function == "multiply":
        return _Affine(a.scale * b.offset, a.slope * b.offset, a.offset * b.offset)
    if function == "divide" and b.offset:
        return _Affine(a.scale / b.offset, a.slope / b.offset, a.offset / b.offset)
    return None


def _join(products: Sequence[_Product]) -> list[Strided]:
    """Return each product as a view of columns of the joined one."""
    first = products[0]
    term = first.node.einsum.terms[first.number]
    column = fresh(Index("n", 1), set(term))
    output = (*first.rows, column)
    epilogue = first.node.epilogue
    biases: tuple[Constant, ...]
    if first.affine is None:
        biases = tuple(
            _constant(products, ("extra", n), [p.extra(n) for p in products])
            for n in range(len(first.extras))
        )
        epilogue = replace(epilogue, operands=biases, terms=((column,),) * len(biases))
    elif any(p.extras or (p.affine and p.affine.offset) for p in products):
        bias = _constant(products, "bias", [p.bias() for p in products])
        body = combined("add", Value(0), Value(1))
        epilogue = Epilogue(body, (bias,), ((column,),), epilogue.dtype)
    else:
        epilogue = replace(PLAIN, dtype=epilogue.dtype)
    weight = _constant(products, "weight", [p.matrix() for p in products])
    conjugated = first.node.conjugated
    whole = Contraction(
        EinsumExpr((term, (*first.contracted, column)), output),
        (first.node.operands[first.number], weight),
        first.node.dtype,
        (conjugated[first.number], conjugated[1 - first.number]),
        (frozenset(), frozenset()),
        epilogue,
    )
    views = []
    start = 0
    for product in products:
        views.append(_columns(whole, product, start))
        start += prod(product.extents)
    return views


def _columns(whole: Contraction, product: _Product, start: int) -> Strided:
    """Return the view of a joined product's result that is one product's."""
    shape, rows = shape_of(whole), product.rows
    axes = []
    for index in product.node.einsum.output:
        if index in rows:
            axes.append(ViewAxis(shape[rows.index(index)], rows.index(index)))
        else:
            number = product.columns.index(index)
            step = prod(product.extents[number + 1 :])
            axes.append(ViewAxis(product.extents[number], len(rows), step))
    return Strided(whole, (*(0 for _ in rows), start), tuple(axes))


def _constant(products: Sequence[_Product], what: Any, arrays: Sequence[Array]) -> Constant:
    """Return arrays joined along their last axis, the same constant each time."""
    first, *others = products
    facts = tuple((p.node.einsum, p.node.epilogue) for p in products)
    key = what, facts, tuple(p.weight for p in others)
    known = _joined.setdefault(first.weight, {})
    if key not in known:
        whole = np.ascontiguousarray(np.concatenate(arrays, axis=-1))
        known[key] = Constant(whole, first.weight.name)
    return known[key]
