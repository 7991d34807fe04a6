"""Extents at given values of their symbols."""

from __future__ import annotations

from collections.abc import Mapping

from einloom_compiler.errors import ShapeError
from einloom_compiler.extents.extent import Extent, free_names
from einloom_compiler.extents.printing import text


def evaluate(extent: Extent, sizes: Mapping[str, int]) -> int:
    """Return ``extent`` at the given symbol values.

    Raises:
        ShapeError: a symbol has no value, or the result is not a non-negative integer.
    """
    if isinstance(extent, int):
        return extent
    missing = sorted(free_names(extent) - set(sizes))
    if missing:
        raise ShapeError(
            f"extent {text(extent)} needs values for {', '.join(missing)}; known: {dict(sizes)}"
        )
    value = extent.subs({part: sizes[str(part)] for part in extent.free_symbols})
    if not value.is_integer or value < 0:
        raise ShapeError(
            f"extent {text(extent)} is {value} at {dict(sizes)}; "
            "an extent must be a non-negative integer"
        )
    return int(value)
