"""Parse subscript strings and sublists into equations whose ellipses are not expanded yet.

Grammar (NumPy's, widened by opt_einsum's letters)::

    equation = term ("," term)* ("->" term)?
    term     = (letter | "..." | space)*        at most one ellipsis
    letter   = a-z | A-Z | any printable character beyond ASCII that is no space

Two dialects, as NumPy has two parsers: the strict one (``numpy.einsum`` without ``optimize``)
rejects a space inside ``->`` and ``...`` and a non-empty ellipsis that the output lacks; the other
one (``optimize`` given, and opt_einsum) allows them. Sublists take any hashable labels; integer
labels must lie in [0, 52) in the strict dialect. Source: numpy.einsum's documentation, and
semantics checked by running NumPy 2.4 and opt_einsum 3.4.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import EllipsisType
from typing import SupportsIndex

from einloom_compiler.errors import SubscriptError
from einloom_compiler.ir.einsum import Index

Label = Index | EllipsisType
LabelTerm = tuple[Label, ...]


class SubscriptTypeError(SubscriptError, TypeError):
    """A subscript is of a type that cannot be a label; a TypeError as in NumPy."""


@dataclass(frozen=True, slots=True)
class Equation:
    """Terms as written.

    Attributes:
        terms: labels of each operand, ``...`` where an ellipsis stands.
        output: the output's labels, None in implicit mode.
        is_strict: which of the two dialects it was written in.
        source: the text for messages.
    """

    terms: tuple[LabelTerm, ...]
    output: LabelTerm | None
    is_strict: bool
    source: str


def _caret(source: str, position: int) -> str:
    return f"\n  {source}\n  {' ' * position}^"


@lru_cache(maxsize=4096)
def parse_string(subscripts: str, *, is_strict: bool = False) -> Equation:
    """Return the equation written as a subscript string.

    Raises:
        SubscriptError: the string is malformed; the message points at the place.
    """
    inputs, arrow, output = _split_arrow(subscripts, is_strict)
    terms: list[LabelTerm] = []
    start = 0
    for number, part in enumerate(inputs.split(",")):
        terms.append(_parse_term(part, subscripts, start, f"operand {number}", is_strict))
        start += len(part) + 1
    if not arrow:
        return Equation(tuple(terms), None, is_strict, subscripts)
    kept = _parse_term(output, subscripts, len(subscripts) - len(output), "the output", is_strict)
    return Equation(tuple(terms), kept, is_strict, subscripts)


def _split_arrow(subscripts: str, is_strict: bool) -> tuple[str, bool, str]:
    dash = subscripts.find("-")
    head = subscripts.find(">")
    if dash < 0 and head < 0:
        return subscripts, False, ""
    between = subscripts[dash + 1 : head] if 0 <= dash < head else "x"
    if (
        between.strip(" ")
        or (between and is_strict)
        or subscripts.count("-") > 1
        or subscripts.count(">") > 1
    ):
        place = _caret(subscripts, max(dash if dash >= 0 else head, 0))
        raise SubscriptError(
            "einstein sum subscript string does not contain proper '->' output specified; "
            f"write one '->' before the output's letters{place}"
        )
    output = subscripts[head + 1 :]
    if "," in output:
        place = _caret(subscripts, head + 1 + output.index(","))
        raise SubscriptError(f"the output is one term and takes no ','{place}")
    return subscripts[:dash], True, output


def _is_letter(character: str) -> bool:
    """Say whether a character is a label: ASCII letters, and what is printable beyond ASCII."""
    if character.isascii():
        return character.isalpha()
    return character.isprintable() and not character.isspace()


def _parse_term(part: str, subscripts: str, start: int, where: str, is_strict: bool) -> LabelTerm:
    labels: list[Label] = []
    dots: list[int] = []
    for position, character in enumerate(part, start):
        if character == " ":
            continue
        if character == ".":
            dots.append(position)
            if len(dots) == 1:
                labels.append(...)
            elif labels[-1] is not ... or len(dots) > 3:
                break
        elif _is_letter(character):
            labels.append(Index(character))
        else:
            raise SubscriptError(
                f"invalid subscript {character!r} in einstein sum subscripts string, "
                f"subscripts must be letters{_caret(subscripts, position)}"
            )
    if dots and (len(dots) != 3 or (is_strict and dots[2] - dots[0] != 2)):
        raise SubscriptError(
            "einstein sum subscripts string contains a '.' that is not part of an ellipsis "
            f"('...') in {where}; a term takes at most one{_caret(subscripts, dots[-1])}"
        )
    return tuple(labels)


def parse_sublists(
    sublists: Sequence[Sequence[Hashable]],
    output: Sequence[Hashable] | None,
    *,
    is_strict: bool = False,
) -> Equation:
    """Return the equation written as one list of labels an operand.

    Labels are integers, or any hashable values; in implicit mode they must be comparable.

    Raises:
        SubscriptError: an integer label is outside [0, 52) in the strict dialect.
        SubscriptTypeError: a label is not hashable, is neither an integer nor ``...`` in the strict
            dialect, or labels cannot be ordered in implicit mode.
    """
    plain = [_plain_labels(sublist, is_strict) for sublist in sublists]
    kept = None if output is None else _plain_labels(output, is_strict)
    every = [label for sublist in (*plain, kept or ()) for label in sublist if label is not ...]
    distinct = list(dict.fromkeys(every))
    try:
        ordered = sorted(distinct)  # type: ignore[type-var]
    except TypeError as error:
        if output is None:
            raise SubscriptTypeError(
                f"the labels {distinct} cannot be ordered ({error}), so the implicit output is "
                "undefined; give the output sublist"
            ) from None
        ordered = distinct
    names = {label: _name(label, position) for position, label in enumerate(ordered)}
    terms = tuple(tuple(_label(item, names) for item in sublist) for sublist in plain)
    result = None if kept is None else tuple(_label(item, names) for item in kept)
    return Equation(terms, result, is_strict, f"sublists {[list(sublist) for sublist in plain]}")


def _label(item: Hashable, names: dict[Hashable, Index]) -> Label:
    return ... if item is ... else names[item]


def _name(label: Hashable, position: int) -> Index:
    """Return the index of a label: NumPy's letter for 0-51, the label's own text otherwise."""
    if isinstance(label, int) and 0 <= label < 52:
        return Index(chr(ord("A") + label) if label < 26 else chr(ord("a") + label - 26))
    return Index(str(label), position)


def _plain_labels(sublist: Sequence[Hashable], is_strict: bool) -> tuple[Hashable, ...]:
    try:
        items = tuple(sublist)
    except TypeError:
        raise SubscriptTypeError(
            f"a sublist of subscripts must be a sequence of labels, not {sublist!r}"
        ) from None
    labels: list[Hashable] = []
    for item in items:
        if isinstance(item, SupportsIndex):
            number = operator.index(item)
            if is_strict and not 0 <= number < 52:
                raise SubscriptError(
                    f"subscript {number} is not within the valid range [0, 52); "
                    "pass optimize=True for other labels"
                )
            labels.append(number)
        elif item is ... or (isinstance(item, Hashable) and not is_strict):
            labels.append(item)
        else:
            raise SubscriptTypeError(
                f"each subscript must be either an integer or an ellipsis, not {item!r}"
                + ("" if not is_strict else "; pass optimize=True for other hashable labels")
            )
    if labels.count(...) > 1:
        raise SubscriptError(f"a sublist takes at most one ellipsis: {labels}")
    return tuple(labels)
