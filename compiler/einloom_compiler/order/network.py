"""The index sets of an expression as bit masks: what order searches compute with.

An index is a bit, a term or intermediate the set of its bits. An intermediate is known by the set
of operands it was made of: it keeps the indices that the output or an operand outside needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod

from einloom_compiler.ir.einsum import EinsumExpr, Index


class Network:
    """An expression at certain extents.

    Attributes:
        terms: each operand's set of indices.
        axes: the index of each operand's axes, in order; it usually is contiguous along the last.
        output: the output's set of indices.
        extents: elements along the index of each bit.
    """

    def __init__(self, expr: EinsumExpr, extents: Mapping[Index, int]) -> None:
        """Number the indices of ``expr``."""
        bits = {index: 1 << number for number, index in enumerate(expr.indices)}
        self.terms = tuple(sum(bits[index] for index in set(term)) for term in expr.terms)
        self.axes = tuple(tuple(bits[index] for index in term) for term in expr.terms)
        self.output = sum(bits[index] for index in expr.output)
        self.extents = tuple(extents[index] for index in expr.indices)
        self._points: dict[int, int] = {}
        self._kept: dict[int, int] = {}

    def points(self, indices: int) -> int:
        """Return the product of the extents in a set of indices."""
        found = self._points.get(indices)
        if found is None:
            found = prod(n for bit, n in enumerate(self.extents) if indices >> bit & 1)
            self._points[indices] = found
        return found

    def term_of(self, operand: int) -> int:
        """Return the indices of one operand, given as a set of one."""
        return self.terms[operand.bit_length() - 1]

    def is_across(self, left: int, right: int, kept: int) -> bool:
        """Say whether two operands are contiguous along contracted indices only.

        Intermediates have their axes as they are needed.
        """
        if left & (left - 1) or right & (right - 1):
            return False
        a, b = (self.axes[operand.bit_length() - 1] for operand in (left, right))
        return bool(a and b) and not (a[-1] & kept or b[-1] & kept)

    def detours(self, operand: int, other: int, kept: int) -> int:
        """Return how often an operand's axes leave a group of the product and come back to it.

        Groups are those of indices that ``other`` has or has not, and that are kept or summed; each
        return makes a loop shorter. An intermediate has none: its axes are as they are needed.
        """
        if operand & (operand - 1):
            return 0
        groups = [
            (bool(axis & other), bool(axis & kept)) for axis in self.axes[operand.bit_length() - 1]
        ]
        n_runs = 1 + sum(group != before for before, group in pairwise(groups))
        return n_runs - len(set(groups)) if groups else 0

    def kept(self, operands: int) -> int:
        """Return the indices that the contraction of a set of operands keeps."""
        found = self._kept.get(operands)
        if found is None:
            inside, needed = 0, self.output
            for number, term in enumerate(self.terms):
                if operands >> number & 1:
                    inside |= term
                else:
                    needed |= term
            found = self._kept[operands] = inside & needed
        return found
