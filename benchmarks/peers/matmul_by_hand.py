"""Tell from an equation how a person would write it with ``numpy.matmul``.

Indices that stay neighbours everywhere are fused by a reshape (free for operands in C order). What
is left is a batched matrix product if at most one index is contracted: one index of each operand
becomes the matrix axis, all others are batch axes, of extent 1 where an operand lacks them. Every
operand, and the result, is a view: transposes are left to matmul.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.peers.base import Array
from benchmarks.problems import Case


@dataclass(frozen=True)
class MatmulByHand:
    """Views that make a case a batched matrix product.

    Attributes:
        terms: the fused subscripts of both operands and of the result.
        extents: by fused index.
        batch: the batch indices, in order.
        row, column: the matrix indices, None for a vector.
        summed: the contracted index.
    """

    terms: tuple[str, str, str]
    extents: dict[str, int]
    batch: str
    row: str | None
    column: str | None
    summed: str

    def arguments(self, first: Array, second: Array, out: Array) -> tuple[Array, Array, Array]:
        """Return the views to pass to ``numpy.matmul``: first, second, out."""
        return (
            self._view(first, self.terms[0], self.row, self.summed),
            self._view(second, self.terms[1], self.summed, self.column),
            self._view(out, self.terms[2], self.row, self.column),
        )

    def _view(self, array: Array, term: str, row: str | None, column: str | None) -> Array:
        fused = array.reshape([self.extents[index] for index in term])
        assert np.may_share_memory(fused, array), "a reshape of an array in C order is a view"
        wanted = (*self.batch, row, column)
        present = [index for index in wanted if index is not None and index in term]
        moved = fused.transpose([term.index(index) for index in present])
        places = (slice(None) if index in present else None for index in wanted)
        return moved[tuple(places)]


def matmul_by_hand(case: Case) -> MatmulByHand | None:
    """Return the matrix product that a two-operand case is, or None."""
    if any(len(set(term)) != len(term) for term in case.terms):
        return None
    (first, second), output = case.terms, case.output
    extents = dict(case.extents)
    first, second, output, extents = _fused(first, second, output, extents)
    summed = [index for index in extents if index not in output]
    if len(summed) != 1 or summed[0] not in first or summed[0] not in second:
        return None
    rows = [index for index in first if index in output and index not in second]
    columns = [index for index in second if index in output and index not in first]
    row = max(rows, key=extents.__getitem__, default=None)
    column = max(columns, key=extents.__getitem__, default=None)
    batch = "".join(index for index in output if index not in (row, column))
    return MatmulByHand((first, second, output), extents, batch, row, column, summed[0])


def _fused(
    first: str, second: str, output: str, extents: dict[str, int]
) -> tuple[str, str, str, dict[str, int]]:
    """Fuse neighbours: the pair keeps the first one's letter and the product of the extents."""
    terms = [first, second, output]
    while True:
        pairs = {term[i : i + 2] for term in terms for i in range(len(term) - 1)}
        pair = next((pair for pair in sorted(pairs) if _stays_together(pair, terms)), None)
        if pair is None:
            return terms[0], terms[1], terms[2], extents
        extents[pair[0]] = math.prod(extents[index] for index in pair)
        del extents[pair[1]]
        terms = [term.replace(pair, pair[0]) for term in terms]


def _stays_together(pair: str, terms: list[str]) -> bool:
    return all(pair in term or not set(pair) & set(term) for term in terms)
