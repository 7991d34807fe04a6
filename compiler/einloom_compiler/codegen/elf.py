"""Read the symbols of a relocatable ELF object: what it defines for others, and what it needs.

Source: System V ABI, chapter 4, "Symbol Table" (64-bit little-endian objects, as LLVM writes them).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOL_TABLE = 2
_LOCAL = 0


@dataclass(frozen=True, slots=True)
class Symbols:
    """Names in an object that a linker sees.

    Attributes:
        exported: defined, and not local to the object.
        undefined: to be found elsewhere.
    """

    exported: frozenset[str]
    undefined: frozenset[str]


def symbols(contents: bytes) -> Symbols:
    """Return the symbols of an object.

    Raises:
        ValueError: the bytes are no 64-bit little-endian ELF file.
    """
    if contents[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"no 64-bit little-endian ELF object: it starts with {contents[:6]!r}")
    (start,) = struct.unpack_from("<Q", contents, 0x28)
    size, count = struct.unpack_from("<HH", contents, 0x3A)
    sections = [_SECTION.unpack_from(contents, start + size * number) for number in range(count)]
    exported: set[str] = set()
    undefined: set[str] = set()
    for _, kind, _, _, offset, n_bytes, names, *_ in sections:
        if kind != _SYMBOL_TABLE:
            continue
        strings = sections[names][4]
        for name, info, _, section, _, _ in _SYMBOL.iter_unpack(
            contents[offset : offset + n_bytes]
        ):
            if not name or info >> 4 == _LOCAL:
                continue
            begin = strings + name
            text = contents[begin : contents.index(b"\0", begin)].decode()
            (exported if section else undefined).add(text)
    return Symbols(frozenset(exported), frozenset(undefined))
