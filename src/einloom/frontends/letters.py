"""Letters for the indices of equations that front ends write, and shapes in messages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from einloom_compiler.extents import text
from einloom_compiler.ir.graph import Shape
from einloom_compiler.ir.printer import symbols


def letters(n: int, start: str = "a", taken: str = "") -> str:
    """Return ``n`` letters (none where negative) from ``start`` on that are not in ``taken``.

    >>> letters(3, "i", taken="k"), letters(2)
    ('ijl', 'ab')
    """
    if start == "a" and not taken:
        return "".join(itertools.islice(symbols(), n))
    after = itertools.dropwhile(lambda letter: letter != start, symbols())
    return "".join(itertools.islice((c for c in after if c not in taken), max(0, n)))


def dot_equation(x_rank: int, y_rank: int) -> str:
    """Return the equation of ``dot``: x's last axis with y's second to last, ranks of 1 or more.

    All other axes are outer, x's first. An operand of rank 1 has only the contracted axis.
    Source: numpy.dot's documentation; the letters are those of ``c_abcijk = sum_r w_abcr x_ijrk``.

    >>> dot_equation(2, 2), dot_equation(4, 4), dot_equation(3, 1)
    ('ij,jk->ik', 'abcr,ijrk->abcijk', 'abr,r->ab')
    """
    if (x_rank, y_rank) == (2, 2):
        return "ij,jk->ik"
    y_outer = letters(y_rank - 2, "i", taken="kr")
    y_last = "k" if y_rank > 1 else ""
    x_outer = letters(x_rank - 1, taken=f"{y_outer}kr")
    return f"{x_outer}r,{y_outer}r{y_last}->{x_outer}{y_outer}{y_last}"


def tensordot_equation(a_rank: int, b_rank: int, pairs: Sequence[tuple[int, int]]) -> str:
    """Return the equation that contracts pairs of axes; ``a``'s other axes come first.

    >>> tensordot_equation(3, 3, [(1, 0), (0, 1)])
    'abc,bad->cd'
    """
    every = letters(a_rank + b_rank - len(pairs))
    a_term, fresh = every[:a_rank], iter(every[a_rank:])
    shared = {right: a_term[left] for left, right in pairs}
    b_term = "".join(shared[axis] if axis in shared else next(fresh) for axis in range(b_rank))
    summed = set(shared.values())
    output = "".join(letter for letter in a_term + b_term if letter not in summed)
    return f"{a_term},{b_term}->{output}"


def shape_text(shape: Shape, brackets: str = "()", separator: str = ", ") -> str:
    """Return a shape as messages show it.

    >>> shape_text((2, 3)), shape_text((4,)), shape_text((2, 3), "[]", ",")
    ('(2, 3)', '(4,)', '[2,3]')
    """
    comma = "," if brackets == "()" and len(shape) == 1 else ""
    return f"{brackets[0]}{separator.join(map(text, shape))}{comma}{brackets[1]}"
