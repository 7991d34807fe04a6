"""Which letters the Keras translators write, so that equations read as the manuals' do."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

from einloom_compiler.extents import Extent, text
from einloom_compiler.ir.printer import symbols


def letters(first: str = "", without: Collection[str] = ()) -> Iterator[str]:
    """Yield letters without end: those of ``first``, then all others, none of ``without``.

    >>> "".join(itertools.islice(letters("bijk", without="j"), 5))
    'bikac'
    """
    others = (letter for letter in symbols() if letter not in first)
    return (letter for letter in itertools.chain(first, others) if letter not in without)


def take(source: Iterator[str], count: int) -> str:
    """Return the next ``count`` letters."""
    return "".join(itertools.islice(source, count))


def shape_text(shape: Sequence[Extent]) -> str:
    """Return a shape as Python prints a tuple, symbols by name.

    >>> shape_text((3,)), shape_text((3, 4))
    ('(3,)', '(3, 4)')
    """
    inner = ", ".join(map(text, shape))
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
