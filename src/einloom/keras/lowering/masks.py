"""Which keys a query may see: masks, causality and windows as one condition on scores.

A condition is never stored for all pairs of positions: positions are compared as counters
(``Iota``), and each mask keeps the axes that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from einloom.keras.lowering.building import (
    BOOL,
    FLOAT32,
    elementwise,
    keep_axes,
    settled_dtype,
)
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.extents import Extent, is_equal
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Elementwise, Iota, Node, Reduction, Rows
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined, substituted
from einloom_compiler.ir.shapes import shape_of

_INT32 = as_dtype("int32")


def as_flag(mask: Node) -> Node:
    """Return a mask as bools: what is not 0 counts."""
    if settled_dtype(mask) == BOOL:
        return mask
    body = combined("not_equal", Value(0), Number(0.0))
    return elementwise(body, mask, dtype=settled_dtype(mask), result=BOOL)


@dataclass(frozen=True, slots=True)
class Condition:
    """Pairs of positions that count.

    Attributes:
        body: of ``Value(n)``, the element of operand ``n``; 1 where the pair counts, else 0. None
            where all pairs do.
        operands: masks and counters.
        terms: their axes' indices.
    """

    body: Scalar | None = None
    operands: tuple[Node, ...] = ()
    terms: tuple[Term, ...] = ()

    def also(self, mask: Node, term: Term) -> Condition:
        """Return the condition that a mask holds, too; its axes of extent 1 are broadcast."""
        shape = shape_of(mask)
        kept = [axis for axis, extent in enumerate(shape) if is_equal(extent, 1) is not True]
        operand = keep_axes(as_flag(mask), kept)
        return self._and(Value(0), (operand,), (tuple(term[axis] for axis in kept),))

    def causal(self, row: Index, n_rows: Extent, column: Index, n_columns: Extent) -> Condition:
        """Return the condition that a key does not lie behind its query, too."""
        counters = (Iota(n_rows, _INT32), Iota(n_columns, _INT32))
        holds = combined("less_equal", Value(1), Value(0))
        return self._and(holds, counters, ((row,), (column,)))

    def near(
        self, row: Index, n_rows: Extent, column: Index, n_columns: Extent, window: int
    ) -> Condition:
        """Return the condition that positions are less than ``window`` apart, too."""
        counters = (Iota(n_rows, _INT32), Iota(n_columns, _INT32))
        distance = Mapped(make_map("abs"), combined("subtract", Value(0), Value(1)))
        holds = combined("less", distance, Number(float(window)))
        return self._and(holds, counters, ((row,), (column,)))

    def _and(self, body: Scalar, operands: tuple[Node, ...], terms: tuple[Term, ...]) -> Condition:
        known = dict(zip(zip(self.operands, self.terms, strict=True), range(99), strict=False))
        all_operands, all_terms = list(self.operands), list(self.terms)
        places: dict[int, Scalar] = {}
        for number, pair in enumerate(zip(operands, terms, strict=True)):
            if pair not in known:
                known[pair] = len(all_operands)
                all_operands.append(pair[0])
                all_terms.append(pair[1])
            places[number] = Value(known[pair])
        moved = substituted(body, places)
        whole = moved if self.body is None else combined("multiply", self.body, moved)
        return Condition(whole, tuple(all_operands), tuple(all_terms))

    def masked(self, score: Scalar, other: Scalar, first: int = 1) -> Scalar:
        """Return ``score`` where the condition holds, else ``other``.

        Args:
            score: the score of a pair.
            other: what replaces it.
            first: position of the condition's first operand among the values.
        """
        if self.body is None:
            return score
        return combined("where", self.moved(first), score, other)

    def moved(self, first: int) -> Scalar:
        """Return the body with operands from position ``first``."""
        assert self.body is not None
        return substituted(self.body, {n: Value(first + n) for n in range(len(self.operands))})

    def of_rows(self, column: Index, dtype: AnyDType) -> tuple[Node, Term]:
        """Return 1 where any key of a query counts and 0 elsewhere, and the axes' indices."""
        assert self.body is not None
        kept = tuple(dict.fromkeys(i for term in self.terms for i in term if i != column))
        if not any(column in term for term in self.terms):
            node: Node = Elementwise(self.body, self.operands, self.terms, kept, FLOAT32, dtype)
            return node, kept
        n = len(self.operands)
        node = Rows(
            self.operands, self.terms, kept, (column,), (Reduction("max", self.body),), Value(n),
            FLOAT32, dtype,
        )  # fmt: skip
        return node, kept


def aligned_terms(rank: int, lead: Sequence[Term], trail: Sequence[Term]) -> list[Term] | None:
    """Return the indices of a mask's axes: the last are ``trail``, those before begin ``lead``."""
    n_lead = rank - len(trail)
    if not 0 <= n_lead <= len(lead):
        return None
    return [*lead[:n_lead], *trail]
