"""The einsum expression: which index each operand axis has, and which indices the output keeps.

Grammar::

    EinsumExpr = (terms: Term+, output: Term)
    Term       = Index*          one index an axis; an index may repeat in a term (a diagonal),
                                 not in the output

An index that the output lacks is summed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Index:
    """One index (label) of an einsum expression.

    Attributes:
        name: what printers show where it is one letter and unique in its expression.
        number: tells apart indices of one name; 0 for labels a user wrote.
    """

    name: str
    number: int = 0


Term = tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class EinsumExpr:
    """An einsum expression without operands: structure only, no extents.

    Attributes:
        terms: one a operand: the index of each of its axes.
        output: the index of each output axis, without repetition.
    """

    terms: tuple[Term, ...]
    output: Term

    @property
    def indices(self) -> Term:
        """All indices: the output's in its order, then the contracted by first appearance."""
        return tuple(dict.fromkeys((*self.output, *(i for term in self.terms for i in term))))

    @property
    def contracted(self) -> Term:
        """The indices that are summed over, by first appearance."""
        return tuple(index for index in self.indices if index not in self.output)


def without_axes(expr: EinsumExpr, dropped: Sequence[frozenset[int]]) -> EinsumExpr:
    """Return the expression without these axes of each operand (those that are broadcast)."""
    terms = tuple(
        tuple(index for axis, index in enumerate(term) if axis not in axes)
        for term, axes in zip(expr.terms, dropped, strict=True)
    )
    return EinsumExpr(terms, expr.output)


def is_view(expr: EinsumExpr) -> bool:
    """Say whether the expression only reorders axes or takes diagonals of its single operand."""
    return len(expr.terms) == 1 and not expr.contracted
