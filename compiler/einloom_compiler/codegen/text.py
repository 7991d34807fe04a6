"""What a printed kernel is: its module's text and how it is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill

_WIDTH = 100


@dataclass(frozen=True, slots=True)
class KernelText:
    """The source of one kernel and the kernel ABI's facts about it.

    The module defines ``kernel`` and ``parallel_kernel``. Their parameters are the pointers, the
    numbers (int64), the scratch pointer ``acc`` with the offset ``acc_0`` of this range's own part,
    and the range ``lo, hi`` (``total, parts`` for the parallel one).

    Attributes:
        title: what it computes, in one line.
        source: the module's text.
        pointers: name and storage dtype of each pointer: inputs, output, then tables of int64.
        numbers: names of extents, strides and other integers.
        scratch_elements: how many elements of scratch each range needs.
        scratch_dtype: their dtype.
    """

    title: str
    source: str = field(repr=False)
    pointers: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    scratch_elements: int
    scratch_dtype: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """The kernel's parameter names, in order."""
        return (*(name for name, _ in self.pointers), *self.numbers, "acc", "acc_0", "lo", "hi")


def wrapped(head: str, items: str, tail: str) -> str:
    """Return ``head``, comma-separated ``items`` and ``tail``, broken where the line is long."""
    line = f"{head}{items}{tail}"
    if len(line) <= _WIDTH:
        return line
    pad = " " * (len(head) - len(head.lstrip()) + 4)
    body = fill(items, _WIDTH, initial_indent=pad, subsequent_indent=pad, break_long_words=False)
    return f"{head}\n{body}\n{pad[:-4]}{tail}"
