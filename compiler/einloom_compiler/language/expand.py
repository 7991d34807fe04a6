"""Expand ellipses and the implicit output of an equation for operands of given ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from einloom_compiler.errors import SubscriptError
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.language.equation import Equation, LabelTerm


def expand(equation: Equation, ranks: Sequence[int]) -> EinsumExpr:
    """Return the einsum expression of ``equation`` for operands of these ranks.

    Ellipsis axes align at the right, as NumPy broadcasts; they get indices of their own, numbered
    from the right. The implicit output is the ellipsis followed by the labels that occur once, in
    code point order.

    Raises:
        SubscriptError: terms and operands differ in number, a term does not fit its operand's rank,
            an output label repeats or is unknown, or a non-empty ellipsis is dropped in the strict
            dialect.
    """
    if len(equation.terms) != len(ranks):
        raise SubscriptError(
            f"{'more' if len(ranks) > len(equation.terms) else 'fewer'} operands provided to "
            "einstein sum function than specified in the subscripts string: "
            f"{equation.source!r} has {len(equation.terms)} terms for {len(ranks)} operands"
        )
    widths = [
        _ellipsis_width(number, term, rank, equation.source)
        for number, (term, rank) in enumerate(zip(equation.terms, ranks, strict=True))
    ]
    widest = max(widths, default=0)
    ellipsis = tuple(Index("...", widest - position) for position in range(widest))
    terms = tuple(
        _expand_term(term, ellipsis[widest - width :])
        for term, width in zip(equation.terms, widths, strict=True)
    )
    if equation.output is None:
        counts = Counter(label for term in equation.terms for label in term if label is not ...)
        once = sorted(label for label, count in counts.items() if count == 1)
        return EinsumExpr(terms, (*ellipsis, *once))
    if widest and ... not in equation.output and equation.is_strict:
        raise SubscriptError(
            "output has more dimensions than subscripts given in einstein sum, but no '...' "
            f"ellipsis provided to broadcast the extra dimensions: {equation.source!r}; "
            "write '...' in the output, or pass optimize=True to sum over them"
        )
    output = _expand_term(equation.output, ellipsis)
    _check_output(output, terms, equation.source)
    return EinsumExpr(terms, output)


def _ellipsis_width(number: int, term: LabelTerm, rank: int, source: str) -> int:
    named = sum(label is not ... for label in term)
    if named > rank:
        raise SubscriptError(
            f"einstein sum subscripts string contains too many subscripts for operand {number}: "
            f"{named} in {source!r}, but the operand has rank {rank}"
        )
    if named < rank and ... not in term:
        raise SubscriptError(
            "operand has more dimensions than subscripts given in einstein sum, but no '...' "
            f"ellipsis provided to broadcast the extra dimensions: operand {number} has rank "
            f"{rank}, its term in {source!r} has {named} subscripts"
        )
    return rank - named


def _expand_term(term: LabelTerm, ellipsis: Term) -> Term:
    expanded: list[Index] = []
    for label in term:
        if isinstance(label, Index):
            expanded.append(label)
        else:
            expanded.extend(ellipsis)
    return tuple(expanded)


def _check_output(output: Term, terms: tuple[Term, ...], source: str) -> None:
    known = {index for term in terms for index in term}
    for index in output:
        if output.count(index) > 1:
            raise SubscriptError(
                f"einstein sum subscripts string includes output subscript '{index.name}' "
                f"multiple times: {source!r}"
            )
        if index not in known:
            raise SubscriptError(
                f"einstein sum subscripts string included output subscript '{index.name}' which "
                f"never appeared in an input: {source!r}"
            )
