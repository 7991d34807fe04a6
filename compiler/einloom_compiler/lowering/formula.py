"""Integers that remember how they were computed, so that a bound kernel can print its call.

Binding a contraction computes extents, strides, panel counts and table entries from the operands'
shapes. Bound with plain integers it gives numbers; bound with formulas it gives the same numbers,
each with the Python expression of the shapes that yields it. Decisions, such as which of two
extents is larger, are made on the values.

A formula is *open* where it stands for other sizes too, as in code that is shipped. It then carries
a second value, its witness: its symbols' witnesses are large numbers without relation, so that two
open formulas are equal at every size if their witnesses are, and ``==`` compares those. ``<`` still
compares values, which may settle what is faster but never what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

#: Names and the expressions they stand for.
Definitions = tuple[tuple[str, str], ...]


class Formula(int):
    """An integer with the Python expression that computes it.

    >>> n = Formula(24, "n_i")
    >>> (-(-n // 8) * 3).text
    '-(-n_i // 8) * 3'
    """

    text: str
    where: Definitions
    witness: int
    _rank: int
    _negated: Formula | None
    _factors: tuple[int, int] | None

    def __new__(
        cls,
        value: int,
        text: str,
        rank: int = 3,
        where: Definitions = (),
        witness: int | None = None,
    ) -> Formula:
        """Make a formula.

        Args:
            value: the integer.
            text: the expression that computes it.
            rank: how tightly its outermost operator binds (3: an atom).
            where: names in ``text`` and what they stand for, those used by others first.
            witness: the value that equality goes by; ``value`` where None.
        """
        made = super().__new__(cls, value)
        made.witness = int(value) if witness is None else witness
        made.text = text
        made.where = where
        made._rank = rank
        made._negated = None
        made._factors = None
        return made

    def _within(self, rank: int) -> str:
        return self.text if self._rank >= rank else f"({self.text})"

    def __add__(self, other: int) -> int:
        """Return the sum; adding nothing leaves a formula as it is."""
        return self if _is_constant(other, 0) else _binary("+", self, other, 0)

    def __radd__(self, other: int) -> int:
        """Return the sum; adding nothing leaves a formula as it is."""
        return self if _is_constant(other, 0) else _binary("+", other, self, 0)

    def __sub__(self, other: int) -> int:
        """Return the difference."""
        return self if _is_constant(other, 0) else _binary("-", self, other, 0)

    def __rsub__(self, other: int) -> int:
        """Return the difference."""
        return _binary("-", other, self, 0)

    def __mul__(self, other: int) -> int:
        """Return the product; a factor of one leaves a formula as it is."""
        if _is_constant(other, 0):
            return 0
        return self if _is_constant(other, 1) else _binary("*", self, other, 1)

    def __rmul__(self, other: int) -> int:
        """Return the product; a factor of one leaves a formula as it is."""
        if _is_constant(other, 0):
            return 0
        return self if _is_constant(other, 1) else _binary("*", other, self, 1)

    def __floordiv__(self, other: int) -> int:
        """Return the quotient, rounded down; that of a multiple of the divisor is exact."""
        if self._factors is not None and is_open(self):
            base, factor = self._factors
            is_plain = not isinstance(other, Formula) and not isinstance(factor, Formula)
            if is_plain and other > 0 and factor % other == 0:
                return base * (factor // other)
        return self if _is_constant(other, 1) else _binary("//", self, other, 1)

    def __rfloordiv__(self, other: int) -> int:
        """Return the quotient, rounded down."""
        return _binary("//", other, self, 1)

    def __mod__(self, other: int) -> int:
        """Return the remainder."""
        return _binary("%", self, other, 1)

    def __rmod__(self, other: int) -> int:
        """Return the remainder."""
        return _binary("%", other, self, 1)

    def __neg__(self) -> int:
        """Return the negative; that of a negative is what it was made from."""
        if self._negated is not None:
            return self._negated
        made = Formula(-int(self), f"-{self._within(2)}", 2, self.where, -self.witness)
        made._negated = self
        return made

    def __abs__(self) -> int:
        """Return the magnitude; the sign is a decision."""
        return self if self >= 0 else -self

    def __reduce__(self) -> Any:
        """Copy and pickle with the text."""
        return Formula, (int(self), self.text, self._rank, self.where, self.witness)

    def __eq__(self, other: object) -> bool:
        """Compare at every size: by witnesses."""
        return isinstance(other, int) and self.witness == witness(other)

    def __ne__(self, other: object) -> bool:
        """Compare at every size: by witnesses."""
        return not self == other

    def __hash__(self) -> int:
        """Hash in agreement with equality."""
        return hash(self.witness)


_OPERATIONS = {
    "+": int.__add__,
    "-": int.__sub__,
    "*": int.__mul__,
    "//": int.__floordiv__,
    "%": int.__mod__,
}


def _binary(operator: str, left: int, right: int, rank: int) -> int:
    """Return ``left operator right``; the right operand of equal rank is put in parentheses.

    Sums and products are associative and need none.
    """
    value = _OPERATIONS[operator](int(left), int(right))
    tight = rank if operator in "+*" else rank + 1
    first = left._within(rank) if isinstance(left, Formula) else str(left)
    second = right._within(tight) if isinstance(right, Formula) else str(right)
    if operator in "+*" and isinstance(right, Formula) and right._rank == rank:
        second = right.text if _only(operator, right.text) else f"({right.text})"
    where = dict.fromkeys((*definitions(left), *definitions(right)))
    made = Formula(value, f"{first} {operator} {second}", rank, tuple(where))
    made.witness = _witness(operator, left, right)
    if operator == "*":
        made._factors = (left, right) if isinstance(left, Formula) else (right, left)
    return made


def _witness(operator: str, left: int, right: int) -> int:
    """Return the witness of a sum, product, quotient or remainder.

    Quotients and remainders of open formulas are numbers of their own: whether one divides the
    other at the witnesses says nothing of other sizes.
    """
    a, b = witness(left), witness(right)
    if operator in ("//", "%") and (is_open(left) or is_open(right)):
        return _number_of(f"{a} {operator} {b}")
    return _OPERATIONS[operator](a, b)


def _number_of(text: str) -> int:
    """Return a large odd number that has nothing to do with those of other texts."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") | 1


def _only(operator: str, text: str) -> bool:
    """Say whether the outermost operators of a sum or product are all ``operator``."""
    other = " - " if operator == "+" else " // "
    return other not in text and " % " not in text


def _is_constant(value: int, constant: int) -> bool:
    return not isinstance(value, Formula) and value == constant


def formula_text(value: int) -> str:
    """Return the expression that computes ``value``, digits where it is a plain integer."""
    return value.text if isinstance(value, Formula) else str(int(value))


def definitions(value: int) -> Definitions:
    """Return the names that ``value``'s expression uses and what they stand for."""
    return value.where if isinstance(value, Formula) else ()


def named(value: int, name: str) -> int:
    """Return ``value``, called ``name`` in the expressions of what is computed from it.

    >>> panels = named(-(-Formula(24, "n_i") // 8), "panels")
    >>> (panels * 2).text, panels.where
    ('panels * 2', (('panels', '-(-n_i // 8)'),))
    """
    if not isinstance(value, Formula) or value.text == name:
        return value
    return Formula(int(value), name, 3, (*value.where, (name, value.text)), value.witness)


def witness(value: int) -> int:
    """Return what equality with ``value`` goes by."""
    return value.witness if isinstance(value, Formula) else int(value)


def is_open(value: int) -> bool:
    """Say whether ``value`` stands for other integers too."""
    return isinstance(value, Formula) and value.witness != int(value)


def open_symbol(value: int, name: str, number: int) -> Formula:
    """Return the open formula of a symbol, of which ``value`` is one size.

    Args:
        value: what decisions go by.
        name: the symbol's.
        number: of the symbol among all; each has a witness of its own.

    >>> b, t = open_symbol(4, "B", 0), open_symbol(4, "T", 1)
    >>> b == t, b == 4, b * t == t * b, (b * 2).text
    (False, False, True, 'B * 2')
    """
    return Formula(value, name, witness=_number_of(f"symbol {number}"))


#: Numbers of threads that shipped code is planned for.
THREADS = (1, 2, 4, 8, 16, 32, 64)


def picked(values: Sequence[int], own: int) -> int:
    """Return the one of ``values`` that belongs to a launch's threads, see :data:`THREADS`.

    In text it is ``pick(...)`` of all of them: the value for the least of these numbers of threads
    that is not below the launch's.

    Args:
        values: one for each.
        own: position of the value that decisions go by.
    """
    if len(set(values)) == 1:
        return values[0]
    text = f"pick({', '.join(map(formula_text, values))})"
    return Formula(int(values[own]), text, witness=_number_of(text))
