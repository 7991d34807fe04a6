"""Cost polynomials: FLOPs of contraction trees over unknown extents, and which are never least.

Grammar::

    Polynomial = (Monomial, coefficient: int > 0)*
    Monomial   = exponent*                          one for each unknown extent

Costs are compared where every extent is positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

Monomial = tuple[int, ...]
Polynomial = tuple[tuple[Monomial, int], ...]
#: Least and largest value of an unknown; ``inf`` where there is no bound.
Bounds = tuple[int, float]


def added(left: Polynomial, right: Polynomial) -> Polynomial:
    """Return the sum, monomials in order."""
    total = dict(left)
    for monomial, coefficient in right:
        total[monomial] = total.get(monomial, 0) + coefficient
    return tuple(sorted(total.items()))


def value(polynomial: Polynomial, sizes: Sequence[int]) -> int:
    """Return the value at these values of the unknowns."""
    total = 0
    for monomial, coefficient in polynomial:
        for exponent, size in zip(monomial, sizes, strict=True):
            coefficient *= size**exponent
        total += coefficient
    return total


def is_never_more(less: Polynomial, more: Polynomial, bounds: Sequence[Bounds]) -> bool:
    """Say whether ``less <= more`` can be shown for all positive values of the unknowns in bounds.

    Every term of ``less`` is covered by terms of ``more`` that are as large: ``x`` by ``x * y``
    where ``y >= 1``. False where that shows nothing, so a kept order may never be the cheapest.
    """
    left: dict[Monomial, float] = dict(more)
    for monomial, coefficient in sorted(less, key=lambda term: (-sum(term[0]), term)):
        wanted = float(coefficient)
        for other in sorted(left, key=lambda term: (term != monomial, sum(term), term)):
            ratio = _largest_ratio(monomial, other, bounds)
            if ratio == inf or not left[other]:
                continue
            used = min(left[other], wanted * ratio)
            left[other] -= used
            wanted -= used / ratio
            if wanted <= 0:
                break
        if wanted > 0:
            return False
    return True


def _largest_ratio(monomial: Monomial, other: Monomial, bounds: Sequence[Bounds]) -> float:
    """Return the largest value of ``monomial / other`` within the bounds."""
    ratio = 1.0
    for above, below, (least, most) in zip(monomial, other, bounds, strict=True):
        if above > below:
            ratio *= most ** (above - below)
        elif below > above:
            ratio /= max(1, least) ** (below - above)
    return ratio


def cheapest_somewhere(
    polynomials: Sequence[Polynomial], bounds: Sequence[Bounds]
) -> list[Polynomial]:
    """Return the polynomials that may be the least somewhere, once each."""
    kept: list[Polynomial] = []
    for polynomial in dict.fromkeys(polynomials):
        if any(is_never_more(other, polynomial, bounds) for other in kept):
            continue
        kept = [other for other in kept if not is_never_more(polynomial, other, bounds)]
        kept.append(polynomial)
    return kept


def expression(polynomials: Sequence[Polynomial], names: Sequence[str]) -> str:
    """Return the polynomials as the text of a Python tuple, products of unknowns written out."""
    return f"({', '.join(_text(polynomial, names) for polynomial in polynomials)},)"


def _text(polynomial: Polynomial, names: Sequence[str]) -> str:
    return " + ".join(_term(*term, names) for term in polynomial) or "0"


def _term(monomial: Monomial, coefficient: int, names: Sequence[str]) -> str:
    factors = [n for n, exponent in zip(names, monomial, strict=True) for _ in range(exponent)]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return "*".join(factors)
