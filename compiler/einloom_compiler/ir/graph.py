"""The expression graph: what front-end translators build and the optimizer takes apart.

Grammar::

    Node = Input(name, shape, dtype | None)
         | Constant(array)
         | Contraction(einsum, operands: Node+, dtype, conjugated, broadcast, epilogue)
         | Reshape(operand: Node, shape)

Dialect rules end here: dtypes are explicit (None only while an operand's dtype is not settled), and
an axis of extent 1 that stands for a longer one is marked in ``broadcast``; all other axes of one
index must have equal extents. What cannot be decided about symbolic extents is a guard, derived by
:func:`einloom_compiler.ir.shapes.guards`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import Any

    from einloom_compiler.dtypes import AnyDType
    from einloom_compiler.extents import Extent
    from einloom_compiler.ir.einsum import EinsumExpr

Shape = tuple["Extent", ...]


@dataclass(frozen=True, slots=True)
class Input:
    """A symbolic operand.

    Attributes:
        name: how messages and formulas call it; unique in a graph.
        shape: extents, ints or symbols.
        dtype: None until settled by the arrays of a call.
    """

    name: str
    shape: Shape
    dtype: AnyDType | None


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """An operand whose values are known; compared by identity of the array."""

    array: npt.NDArray[Any] = field(repr=False)
    name: str = "constant"

    def __eq__(self, other: object) -> bool:
        """Compare by identity of the array."""
        return isinstance(other, Constant) and self.array is other.array

    def __hash__(self) -> int:
        """Hash by identity of the array."""
        return id(self.array)

    @property
    def shape(self) -> Shape:
        """The array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> AnyDType:
        """The array's dtype."""
        return self.array.dtype


@dataclass(frozen=True, slots=True)
class Map:
    """One elementwise step, such as ``sqrt`` or ``leaky_relu`` with its slope.

    Attributes:
        function: a name in :data:`einloom_compiler.ir.maps.MAPS`.
        parameters: its numbers, all of them, known when code is generated.
    """

    function: str
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Return the step as a call, its value left out: ``leaky_relu(0.2)``."""
        numbers = ", ".join(f"{number:g}" for number in self.parameters)
        return f"{self.function}({numbers})" if numbers else self.function


@dataclass(frozen=True, slots=True)
class Contraction:
    """A sum of products of operand elements.

    Attributes:
        einsum: the index of every axis.
        operands: one node a term.
        dtype: dtype that operands are cast to on load, and of the result.
        conjugated: whether each operand is conjugated on load.
        broadcast: for each operand, the axes of extent 1 that stand for a longer extent.
        epilogue: maps applied to each finished sum, in order.
    """

    einsum: EinsumExpr
    operands: tuple[Node, ...]
    dtype: AnyDType | None
    conjugated: tuple[bool, ...]
    broadcast: tuple[frozenset[int], ...]
    epilogue: tuple[Map, ...] = ()


@dataclass(frozen=True, slots=True)
class Reshape:
    """The operand's elements in C order under another shape."""

    operand: Node
    shape: Shape


Node = Input | Constant | Contraction | Reshape


def nodes_of(node: Node) -> tuple[Node, ...]:
    """Return the graph's nodes, once each, in order of evaluation, depth first."""
    found: dict[Node, None] = {}

    def visit(part: Node) -> None:
        if part in found:
            return
        match part:
            case Contraction():
                for operand in part.operands:
                    visit(operand)
            case Reshape():
                visit(part.operand)
            case Input() | Constant():
                pass
        found[part] = None

    visit(node)
    return tuple(found)


def inputs_of(node: Node) -> tuple[Input, ...]:
    """Return the graph's inputs, once each by name, in order of first use, depth first."""
    found: dict[str, Input] = {}
    for part in nodes_of(node):
        if isinstance(part, Input):
            found.setdefault(part.name, part)
    return tuple(found.values())


def contractions_of(node: Node) -> tuple[Contraction, ...]:
    """Return the graph's contractions, once each, in order of evaluation."""
    return tuple(part for part in nodes_of(node) if isinstance(part, Contraction))


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return the graph with its inputs called by these names."""
    match node:
        case Input():
            return replace(node, name=names[node.name])
        case Reshape():
            return replace(node, operand=renamed(node.operand, names))
        case Contraction():
            operands = tuple(renamed(operand, names) for operand in node.operands)
            return replace(node, operands=operands)
        case Constant():
            return node


def dtype_of(node: Node) -> np.dtype[Any] | None:
    """Return the node's dtype, None while it is not settled."""
    match node:
        case Reshape():
            return dtype_of(node.operand)
        case _:
            return node.dtype
