"""What writers of an attention kernel's functions share."""

from __future__ import annotations

from einloom_compiler.codegen.numba_source import OPTIONS
from einloom_compiler.codegen.text import wrapped
from einloom_compiler.ir.attention import AttentionNest


class FunctionWriter:
    """Writes functions for a nest."""

    def __init__(self, nest: AttentionNest) -> None:
        """Start for ``nest``."""
        self.nest = nest
        self.block = nest.block
        self.width = nest.block.width
        self.lanes = nest.block.lanes
        self.vectors = range(nest.block.vectors)
        self.element = nest.element

    def function(self, name: str, arguments: str, docstring: str, lines: list[str]) -> str:
        """Return a function's source."""
        head = wrapped(f"def {name}(", arguments, "):")
        body = "\n".join(f"    {line}" for line in lines)
        return f'@njit({OPTIONS})\n{head}\n    """{docstring}"""\n{body}\n'

    def constant(self, value: str) -> str:
        """Return a number in the dtype that is computed in."""
        return f"np.{self.element}({value})"

    def pitch(self, what: str) -> str:
        """Return elements from row to row of a copy of ``keys`` or ``values``."""
        block = self.block
        return str(self.nest.pitch(block.points if what == "keys" else block.columns))
