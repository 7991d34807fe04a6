"""Extents as text: for messages, for reading back, for LaTeX, and as factored cost polynomials.

An unknown (``None`` in a shape) has a name that means nothing elsewhere: a symbol ``_1``, ``_2``,
... It is shown as ``?1`` and as ``u_{1}`` in LaTeX, and written ``_1`` where it is read back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from einloom_compiler.errors import SpecError
from einloom_compiler.extents.extent import Extent, free_names

if TYPE_CHECKING:
    import sympy

_UNKNOWN = re.compile(r"_\d+\Z")
_UNKNOWN_WITHIN = re.compile(r"\b_(\d+)\b")


def is_unknown_name(name: str) -> bool:
    """Say whether a symbol of this name is an unknown."""
    return bool(_UNKNOWN.match(name))


def is_unknown(extent: Extent) -> bool:
    """Say whether ``extent`` is a plain unknown."""
    return not isinstance(extent, int) and is_unknown_name(str(extent))


def text(extent: Extent) -> str:
    """Return ``extent`` for people; an unknown is shown as ``?1``.

    Without unknowns it is what :func:`parseable` returns, or sympy's own text where that raises.

    >>> from einloom_compiler.extents import parse_extent
    >>> text(parse_extent("2*(B+1)//3"))
    '(2*B + 2)//3'
    """
    if isinstance(extent, int):
        return str(extent)
    try:
        written = parseable(extent)
    except SpecError:
        written = str(extent)
    return _UNKNOWN_WITHIN.sub(r"?\1", written)


def parseable(extent: Extent) -> str:
    """Return ``extent`` as text that :func:`einloom_compiler.extents.parse_extent` reads back.

    Raises:
        SpecError: it is built of more than names, integers, ``+ - * //`` and whole powers.

    >>> from einloom_compiler.extents import symbol
    >>> parseable(symbol("B") ** 2 - 3)
    'B*B - 3'
    """
    if isinstance(extent, int):
        return str(extent)
    import sympy

    if extent.is_Symbol:
        if str(extent).isidentifier():
            return str(extent)
    elif extent.is_Integer:
        return str(extent) if extent >= 0 else f"0 - {-extent}"  # the grammar has no sign
    elif extent.is_Add:
        return _sum(extent.as_ordered_terms())
    elif isinstance(extent, sympy.floor):
        numerator, denominator = sympy.together(extent.args[0]).as_numer_denom()
        return f"{_factor(numerator)}//{_denominator(denominator)}"
    elif extent.is_Mul:
        if extent.could_extract_minus_sign():
            return f"0 - {_factor(-extent)}"
        return "*".join(map(_factor, extent.as_ordered_factors()))
    elif extent.is_Pow and extent.exp.is_Integer and extent.exp > 0:
        return "*".join([_factor(extent.base)] * int(extent.exp))
    raise SpecError(
        f"the extent {extent} has no text; only names, integers, + - * // and whole powers have"
    )


def _sum(terms: list[sympy.Expr]) -> str:
    added = [term for term in terms if not term.could_extract_minus_sign()]
    taken = [-term for term in terms if term.could_extract_minus_sign()]
    return " - ".join([" + ".join(map(parseable, added)) or "0", *map(_factor, taken)])


def _denominator(extent: sympy.Expr) -> str:
    is_single = extent.is_Symbol or extent.is_Integer
    return parseable(extent) if is_single else f"({parseable(extent)})"


def _factor(extent: sympy.Expr) -> str:
    if extent.is_Add or extent.could_extract_minus_sign() or extent.func.__name__ == "floor":
        return f"({parseable(extent)})"
    return parseable(extent)


def exact_text(extent: Extent) -> str:
    """Return Python text whose value is the extent's wherever that is a whole number.

    Raises:
        SpecError: it is built of more than names, integers, ``+ - * / //`` and whole powers.

    >>> from einloom_compiler.extents import symbol
    >>> exact_text(3 * symbol("B") / 2)
    '3*B//2'
    """
    if isinstance(extent, int):
        return str(extent)
    import sympy

    numerator, denominator = sympy.together(extent).as_numer_denom()
    if denominator == 1:
        return parseable(extent)
    return f"{_factor(numerator)}//{_denominator(denominator)}"


def latex(extent: Extent) -> str:
    r"""Return ``extent`` in LaTeX; an unknown is shown as ``u_{1}``.

    >>> from einloom_compiler.extents import symbol
    >>> latex(symbol("B") * symbol("T") + 1)
    'B T + 1'
    """
    if isinstance(extent, int):
        return str(extent)
    import sympy

    shown = {part: f"u_{{{str(part)[1:]}}}" for part in extent.free_symbols if is_unknown(part)}
    return str(sympy.latex(extent, symbol_names=shown))


def factored(quantity: Extent | float) -> str:
    """Return a cost or intensity for people, its common factors taken out.

    Integers get thousands separators; numbers that are none, three digits.

    >>> from einloom_compiler.extents import symbol
    >>> factored(4 * symbol("I") * symbol("B") + 4 * symbol("B") * symbol("J")), factored(38400)
    ('4*B*(I + J)', '38,400')
    """
    if isinstance(quantity, int):
        return f"{quantity:,}"
    if isinstance(quantity, float) or not free_names(quantity):
        return f"{float(quantity):.3g}"
    import sympy

    return _UNKNOWN_WITHIN.sub(r"?\1", str(sympy.factor_terms(quantity)))
