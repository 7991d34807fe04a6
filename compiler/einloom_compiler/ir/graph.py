"""The expression graph: what front-end translators build and the optimizer takes apart.

Grammar::

    Node = Input(name, shape, dtype | None)
         | Constant(array)
         | Iota(extent, dtype)
         | Contraction(einsum, operands: Node+, dtype, conjugated, broadcast, epilogue)
         | Elementwise(body: Scalar, operands: Node+, terms, output, dtype, result)
         | Rows(operands: Node+, terms, output, reduced, reductions: Reduction+, body: Scalar,
                dtype, result)
         | Attention(query, key, value, terms, output, score: Scalar, masks: Node*, mask_terms,
                     is_causal, dtype)
         | Reshape(operand: Node, shape)
         | Strided(operand: Node, starts, axes: ViewAxis*)
         | Pad(operand: Node, before, after, value)
         | Join(operands: Node+, axis)
         | Take(table: Node, indices: Node)

Dialect rules end here: dtypes are explicit (None only while an operand's dtype is not settled), and
in a contraction an axis of extent 1 that stands for a longer one is marked in ``broadcast``; all
other axes of one index must have equal extents. Elsewhere a broadcast axis is dropped by a
``Strided`` view before. What cannot be decided about symbolic extents is a guard, derived by
:func:`einloom_compiler.ir.shapes.guards`.

Nodes are hash-consed (:mod:`.consed`): equal graphs are the same object, so that a subexpression
that is written twice is one node, and comparing and hashing cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy.typing as npt

from einloom_compiler.ir.consed import Structural
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.scalar import SUM, Scalar, chain, maps_of

if TYPE_CHECKING:
    from typing import Any

    from einloom_compiler.dtypes import AnyDType
    from einloom_compiler.extents import Extent
    from einloom_compiler.ir.einsum import EinsumExpr

Shape = tuple["Extent", ...]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Input(Structural):
    """A symbolic operand.

    Attributes:
        name: how messages and formulas call it; unique in a graph.
        shape: extents, ints or symbols.
        dtype: None until settled by the arrays of a call.
    """

    name: str
    shape: Shape
    dtype: AnyDType | None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Constant(Structural):
    """An operand whose values are known; compared by identity of the array."""

    array: npt.NDArray[Any] = field(repr=False)
    name: str = "constant"

    def _key(self) -> tuple[Any, ...]:
        return id(self.array), self.name

    @property
    def shape(self) -> Shape:
        """The array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> AnyDType:
        """The array's dtype."""
        return self.array.dtype


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Iota(Structural):
    """The vector 0, 1, 2, ... of this extent."""

    extent: Extent
    dtype: AnyDType

    @property
    def shape(self) -> Shape:
        """One axis."""
        return (self.extent,)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Epilogue(Structural):
    """What is computed from each finished sum before it is stored.

    Attributes:
        body: of ``Value(0)``, the sum, and ``Value(1 + n)``, the element of operand ``n``; in the
            contraction's dtype.
        operands: further operands, such as a bias, a scale or a residual.
        terms: their axes' indices, all of them indices of the output, none twice in a term.
        dtype: dtype of the result where it is not the contraction's.
    """

    body: Scalar = SUM
    operands: tuple[Node, ...] = ()
    terms: tuple[Term, ...] = ()
    dtype: AnyDType | None = None

    @property
    def maps(self) -> tuple[Map, ...] | None:
        """The chain of maps that it is; None where it is more than that."""
        return None if self.operands or self.dtype is not None else maps_of(self.body)


def mapped(*maps: Map) -> Epilogue:
    """Return the epilogue that applies these maps in order."""
    return Epilogue(chain(maps))


#: The epilogue that stores the sum itself.
PLAIN = Epilogue()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Contraction(Structural):
    """A sum of products of operand elements.

    Attributes:
        einsum: the index of every axis.
        operands: one node a term.
        dtype: dtype that operands are cast to on load, and of the sum.
        conjugated: whether each operand is conjugated on load.
        broadcast: for each operand, the axes of extent 1 that stand for a longer extent.
        epilogue: what is computed from each finished sum.
    """

    einsum: EinsumExpr
    operands: tuple[Node, ...]
    dtype: AnyDType | None
    conjugated: tuple[bool, ...]
    broadcast: tuple[frozenset[int], ...]
    epilogue: Epilogue = PLAIN


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Elementwise(Structural):
    """A function of corresponding elements, operands broadcast along the indices they lack.

    Attributes:
        body: of ``Value(n)``, the element of operand ``n``.
        operands: at least one.
        terms: the index of each operand axis; an index may repeat in a term (a diagonal).
        output: the index of each output axis, without repetition; each is in some term.
        dtype: that operands are cast to on load and the body is computed in.
        result: dtype of the result; ``dtype`` where None.
    """

    body: Scalar
    operands: tuple[Node, ...]
    terms: tuple[Term, ...]
    output: Term
    dtype: AnyDType | None
    result: AnyDType | None = None


@dataclass(frozen=True, slots=True)
class Reduction:
    """One reduction along the reduced indices of :class:`Rows`.

    Attributes:
        kind: how values are gathered. A maximum or minimum is NaN where a value is.
        body: the value of each point: ``Value(n)`` is operand ``n``'s element, and with ``m``
            operands ``Value(m + r)`` is the result of the earlier reduction ``r``.
        is_running: whether the result is, at each point, that of the points up to it: a cumulative
            sum or product. It is then the only reduction, along one index, which is stored.
    """

    kind: Literal["sum", "mean", "max", "min", "prod"]
    body: Scalar
    is_running: bool = False


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Rows(Structural):
    """Reductions along some indices and what is computed from them: softmax, norms, maxima.

    Softmax is ``max(x)``, then ``sum(exp(x - r0))``, then ``exp(x - r0) / r1``. A running sum is a
    scan (Blelloch, "Prefix Sums and Their Applications", 1990).

    Attributes:
        operands: at least one.
        terms: the index of each operand axis, none twice in a term.
        output: the index of each output axis, without repetition; it may hold the reduced indices
            (all elements are stored) or lack them (one result a row).
        reduced: the indices that reductions run along; each is in some term.
        reductions: in order; later ones may use earlier ones' results.
        body: the result, of operands' elements and reductions as in :class:`Reduction`; where the
            output lacks a reduced index, of reductions and operands without that index only.
        dtype: that operands are cast to on load and everything is computed in.
        result: dtype of the result; ``dtype`` where None.
    """

    operands: tuple[Node, ...]
    terms: tuple[Term, ...]
    output: Term
    reduced: Term
    reductions: tuple[Reduction, ...]
    body: Scalar
    dtype: AnyDType | None
    result: AnyDType | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Attention(Structural):
    """Products of queries and keys, softmax along the keys, and the values' weighted sum.

    ``out = sum_s softmax_s(score(sum_d query * key, masks)) * value``; scores are never stored.
    (Rabe and Staats, "Self-attention does not need O(n^2) memory", 2021; Dao et al.,
    "FlashAttention", 2022.)

    Attributes:
        query, key, value: the operands.
        terms: their axes' indices. Indices of query and key that are not the output's (head size)
            are summed for the scores; the one index of key and value that neither query nor output
            has is the key position.
        output: indices of the result's axes; the one that query has, but key and value lack, is
            the query position.
        score: of ``Value(0)``, the sum, and ``Value(1 + n)``, the element of mask ``n``.
        masks: further operands: additive masks, conditions, position biases.
        mask_terms: their axes' indices: the output's, without those of value alone, and the key
            position.
        is_causal: whether keys behind the query position (both counted from 0) are left out.
        dtype: that operands are cast to on load, and of the result.
    """

    query: Node
    key: Node
    value: Node
    terms: tuple[Term, Term, Term]
    output: Term
    score: Scalar
    masks: tuple[Node, ...]
    mask_terms: tuple[Term, ...]
    is_causal: bool
    dtype: AnyDType | None

    @property
    def operands(self) -> tuple[Node, ...]:
        """Query, key, value, then the masks."""
        return (self.query, self.key, self.value, *self.masks)

    @property
    def key_position(self) -> Index:
        """The index that softmax runs along."""
        query, key, value = map(set, self.terms)
        (found,) = (key & value) - query - set(self.output)
        return found


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Reshape(Structural):
    """The operand's elements in C order under another shape."""

    operand: Node
    shape: Shape


@dataclass(frozen=True, slots=True)
class ViewAxis:
    """One axis of a view.

    Attributes:
        extent: its extent.
        source: the operand axis that it runs along; None where all its elements are the same one.
        step: how far it advances along that axis; may be negative.
    """

    extent: Extent
    source: int | None = None
    step: int = 1


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Strided(Structural):
    """A view of the operand: slices, flips, transposes, new axes, diagonals, windows.

    Element ``[i, j, ...]`` is the operand's at ``starts[a] + sum(step * position)`` over the view's
    axes with ``source == a``, for each of its axes ``a``; a dropped axis has no view axis. Two view
    axes with one source are a diagonal's opposite: windows. The front end checks bounds.
    """

    operand: Node
    starts: tuple[Extent, ...]
    axes: tuple[ViewAxis, ...]

    @property
    def shape(self) -> Shape:
        """The view's extents."""
        return tuple(axis.extent for axis in self.axes)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Pad(Structural):
    """The operand with ``before`` and ``after`` elements of ``value`` around it, for each axis."""

    operand: Node
    before: Shape
    after: Shape
    value: float = 0.0

    def _key(self) -> tuple[Any, ...]:
        return self.operand, self.before, self.after, float(self.value).hex()


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Join(Structural):
    """Operands one behind another along an axis; all of one dtype, and of one shape elsewhere."""

    operands: tuple[Node, ...]
    axis: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Take(Structural):
    """Rows of a table: ``out[i..., j...] = table[indices[i...], j...]``.

    Indices are integers from 0 to the table's first extent, which is checked at each call.
    """

    table: Node
    indices: Node


Leaf = Input | Constant | Iota
View = Reshape | Strided
Node = Leaf | Contraction | Elementwise | Rows | Attention | View | Pad | Join | Take
