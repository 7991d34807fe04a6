"""Plain-text tables for reports."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

#: Wide enough that cells of ordinary reports are never folded.
_WIDTH = 160


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the rows under a head, without colours and trailing spaces."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in head:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    stream = io.StringIO()
    Console(file=stream, width=_WIDTH, color_system=None, legacy_windows=False).print(drawn)
    return "\n".join(f"  {line}".rstrip() for line in stream.getvalue().splitlines())
