"""Extents as text: what :func:`einloom_compiler.extents.parse_extent` reads, and unknowns.

An unknown (``None`` in a shape) has no name that means anything elsewhere. It is written ``None``
where it stands alone and ``_1``, ``_2``, ... where it occurs again; reading gives each of them one
fresh unknown a text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from einloom_compiler.errors import SpecError
from einloom_compiler.extents import Extent, free_names, parse_extent, symbol

if TYPE_CHECKING:
    import sympy

_UNKNOWN = re.compile(r"_\d+\Z")
#: The kernels' extents and strides are 64-bit.
_LARGEST = 2**63 - 1
#: Sums within one extent: comparing extents multiplies out, which doubles the terms with each.
_MOST_SUMS = 10
#: Most axes of an operand, NumPy's limit.
MAX_RANK = 64


class Unknowns:
    """The unknowns of one text, by the names they have in it."""

    def __init__(self) -> None:
        """Start without any."""
        self._fresh: dict[str, Extent] = {}

    def read(self, source: object) -> Extent:
        """Return the extent written as ``source``: an int, None, or text.

        Raises:
            SpecError: it is no extent, or larger than 64 bits hold.
        """
        if isinstance(source, str) and source.count("+") + source.count("-") > _MOST_SUMS:
            raise SpecError(f"an extent takes at most {_MOST_SUMS} of + and -: {source[:40]!r} ...")
        try:
            extent = parse_extent(source)
        except RecursionError:
            raise SpecError(f"{str(source)[:40]!r} ... nests too deeply to be an extent") from None
        if source is None or source == "None":
            return extent
        if isinstance(extent, int):
            if extent > _LARGEST:
                raise SpecError(f"an extent must be at most 2**63 - 1, not {extent}")
            return extent
        names = sorted(name for name in free_names(extent) if _UNKNOWN.match(name))
        for name in names:
            if name not in self._fresh:
                self._fresh[name] = symbol()
        if not names:
            return extent
        return extent.subs(  # a fresh unknown can bear the name of another: all at once
            {symbol(name): self._fresh[name] for name in names}, simultaneous=True
        )


def is_unknown(extent: Extent) -> bool:
    """Say whether ``extent`` is a plain unknown."""
    return not isinstance(extent, int) and bool(_UNKNOWN.match(str(extent)))


def write(extent: Extent) -> str:
    """Return ``extent`` as text that is read back equal.

    Raises:
        SpecError: it is built of more than names, integers, ``+ - * //`` and whole powers.

    >>> write(parse_extent("2*(B+1)//3"))
    '(2*B + 2)//3'
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
    return " - ".join([" + ".join(map(write, added)) or "0", *map(_factor, taken)])


def _denominator(extent: sympy.Expr) -> str:
    return write(extent) if extent.is_Symbol or extent.is_Integer else f"({write(extent)})"


def _factor(extent: sympy.Expr) -> str:
    if extent.is_Add or extent.could_extract_minus_sign() or extent.func.__name__ == "floor":
        return f"({write(extent)})"
    return write(extent)
