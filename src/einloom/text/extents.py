"""The extents of one text, with limits on what is read and with unknowns of its own.

An unknown (``None`` in a shape) has no name that means anything elsewhere. It is written ``None``
where it stands alone and ``_1``, ``_2``, ... where it occurs again; reading gives each of them one
fresh unknown a text.
"""

from __future__ import annotations

from einloom_compiler.errors import SpecError
from einloom_compiler.extents import (
    Extent,
    free_names,
    is_unknown_name,
    parse_extent,
    replaced,
    symbol,
)

#: The kernels' extents and strides are 64-bit.
_LARGEST = 2**63 - 1
#: Sums within one extent: comparing extents multiplies out, which doubles the terms with each.
_MOST_SUMS = 10
#: Most axes of an operand, NumPy's limit.
MAX_RANK = 64


class Unknowns:
    """The unknowns of one text, by the names they have in it."""

    def __init__(self) -> None:
        """Start without any."""
        self._fresh: dict[str, Extent] = {}

    def read(self, source: object) -> Extent:
        """Return the extent written as ``source``: an int, None, or text.

        Raises:
            SpecError: it is no extent, or larger than 64 bits hold.
        """
        if isinstance(source, str) and source.count("+") + source.count("-") > _MOST_SUMS:
            raise SpecError(f"an extent takes at most {_MOST_SUMS} of + and -: {source[:40]!r} ...")
        try:
            extent = parse_extent(source)
        except RecursionError:
            raise SpecError(f"{str(source)[:40]!r} ... nests too deeply to be an extent") from None
        if source is None or source == "None":
            return extent
        if isinstance(extent, int):
            if extent > _LARGEST:
                raise SpecError(f"an extent must be at most 2**63 - 1, not {extent}")
            return extent
        for name in sorted(filter(is_unknown_name, free_names(extent))):
            if name not in self._fresh:
                self._fresh[name] = symbol()
        return replaced(extent, self._fresh)  # all at once: a fresh one can bear another's name
