"""Extents: non-negative integers, or sympy expressions over named non-negative integers.

Grammar::

    Extent = int | sympy.Expr over symbols(integer=True, nonnegative=True)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import sympy

    Extent: TypeAlias = int | sympy.Expr
else:
    Extent: TypeAlias = Any

_fresh_numbers = itertools.count(1)


def symbol(name: str | None = None) -> Extent:
    """Return the extent called ``name``, or a fresh one when ``name`` is None.

    Two symbols are equal exactly when their names are.
    """
    import sympy

    if name is None:
        name = f"_{next(_fresh_numbers)}"
    return sympy.Symbol(name, integer=True, nonnegative=True)


def is_known(extent: Extent) -> bool:
    """Say whether ``extent`` is a plain integer."""
    return isinstance(extent, int)


def is_equal(left: Extent, right: Extent) -> bool | None:
    """Say whether two extents are equal: True always, False never, None at some sizes.

    >>> is_equal(3, 3), is_equal(3, 4), is_equal(symbol("B"), 4), is_equal(symbol("B") + 1, 0)
    (True, False, None, False)
    """
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    import sympy

    if left == right:
        return True
    difference = sympy.expand(left - right)
    if difference.is_zero:
        return True
    if difference.is_zero is False or difference.is_positive or difference.is_negative:
        return False
    return None


def product(extents: Iterable[Extent]) -> Extent:
    """Return the product of ``extents``; 1 for none."""
    result: Extent = 1
    for extent in extents:
        result = result * extent
    return result


def free_names(extent: Extent) -> frozenset[str]:
    """Return the names of the symbols in ``extent``."""
    if isinstance(extent, int):
        return frozenset()
    return frozenset(part.name for part in extent.free_symbols)


def is_symbol(extent: Extent) -> bool:
    """Say whether ``extent`` is a name alone, neither an integer nor arithmetic."""
    return not isinstance(extent, int) and bool(extent.is_Symbol)


def quotient(dividend: Extent, divisor: Extent) -> Extent | None:
    """Return the extent that gives ``dividend`` when multiplied by ``divisor``; None for none.

    With symbols it may be a whole number at some of their values only.

    >>> quotient(12, 4), quotient(12, 5), quotient(6 * symbol("B"), 2 * symbol("B")), quotient(0, 0)
    (3, None, 3, None)
    """
    if is_equal(divisor, 0) is True:
        return None
    if isinstance(dividend, int) and isinstance(divisor, int):
        return None if dividend % divisor else dividend // divisor
    ratio: Any = dividend / divisor
    reduced = ratio.cancel()
    return as_int(reduced)


def replaced(extent: Extent, values: Mapping[str, Extent]) -> Extent:
    """Return ``extent`` with the symbols so named replaced, all at once."""
    if isinstance(extent, int):
        return extent
    parts = {part: values[str(part)] for part in extent.free_symbols if str(part) in values}
    return as_int(extent.subs(parts, simultaneous=True)) if parts else extent


def as_int(extent: Extent) -> Extent:
    """Return an extent without symbols as a plain integer where it is one."""
    if isinstance(extent, int) or not extent.is_Integer:
        return extent
    return int(extent)


def fraction(extent: Extent) -> tuple[Extent, Extent]:
    """Return numerator and denominator of an extent that may be whole at some sizes only.

    >>> fraction(3 * symbol("B") / 2)
    (3*B, 2)
    """
    if isinstance(extent, int):
        return extent, 1
    import sympy

    numerator, denominator = sympy.together(extent).as_numer_denom()
    return as_int(numerator), as_int(denominator)
