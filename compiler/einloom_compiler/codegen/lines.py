"""Lines of Python that are indented as blocks open and close."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from einloom_compiler.codegen.text import wrapped


class Lines:
    """Statements of a function's body, written one by one.

    Attributes:
        lines: the text so far.
    """

    def __init__(self) -> None:
        """Start without any line."""
        self.lines: list[str] = []
        self._depth = 0

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write ``head`` and indent what is written inside."""
        self.line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def line(self, text: str) -> None:
        """Write one statement."""
        self.lines.append("    " * self._depth + text)

    def call(self, head: str, arguments: str) -> None:
        """Write a call of ``head`` followed by its arguments, broken where the line is long."""
        pad = "    " * self._depth
        self.lines += wrapped(f"{pad}{head}", arguments, ")").split("\n")
