"""Read and rename the symbols of ELF files: what they define for others, and what they need.

Source: System V ABI, chapter 4, "Symbol Table" (64-bit little-endian objects, as LLVM writes them).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMBOL_TABLE = 2
_DYNAMIC, _DYNAMIC_SYMBOLS, _VERSIONS_NEEDED = 6, 11, 0x6FFFFFFE
_NEEDED = 1
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
    sections = _sections(contents)
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
            (exported if section else undefined).add(_string(contents, strings + name))
    return Symbols(frozenset(exported), frozenset(undefined))


def renamed(contents: bytes, old: str, new: str) -> bytes:
    """Return an object whose symbol ``old`` is called ``new``.

    The names move to the end of the file, the new one behind them.

    Raises:
        ValueError: there is not one such symbol, or the bytes are no such object.
    """
    changed = bytearray(contents)
    sections = _sections(contents)
    (start,) = struct.unpack_from("<Q", contents, 0x28)
    (table,) = (section for section in sections if section[1] == _SYMBOL_TABLE)
    strings = sections[table[6]]
    found = 0
    for at in range(table[4], table[4] + table[5], _SYMBOL.size):
        (name,) = struct.unpack_from("<I", contents, at)
        if name and _string(contents, strings[4] + name) == old:
            struct.pack_into("<I", changed, at, strings[5])
            found += 1
    if found != 1:
        raise ValueError(f"the object has {found} symbols {old!r}")
    names = contents[strings[4] : strings[4] + strings[5]] + new.encode() + b"\0"
    moved = (*strings[:4], len(contents), len(names), *strings[6:])
    _SECTION.pack_into(changed, start + _SECTION.size * table[6], *moved)
    return bytes(changed + names)


def _sections(contents: bytes) -> list[tuple[int, ...]]:
    if contents[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"no 64-bit little-endian ELF object: it starts with {contents[:6]!r}")
    (start,) = struct.unpack_from("<Q", contents, 0x28)
    size, count = struct.unpack_from("<HH", contents, 0x3A)
    return [_SECTION.unpack_from(contents, start + size * number) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What a shared object needs where it is loaded.

    Attributes:
        libraries: names of shared objects.
        undefined: symbols that are to be found elsewhere, weak ones included.
        exported: symbols that others see.
        versions: symbol versions by the library that must have them.
    """

    libraries: frozenset[str]
    undefined: frozenset[str]
    exported: frozenset[str]
    versions: dict[str, frozenset[str]]

    @property
    def glibc(self) -> str:
        """The oldest glibc that has all versions needed; empty where none is named."""
        numbers = [
            tuple(map(int, version.removeprefix("GLIBC_").split(".")))
            for found in self.versions.values()
            for version in found
            if version.removeprefix("GLIBC_").replace(".", "").isdecimal()
        ]
        return ".".join(map(str, max(numbers, default=())))


def dynamic(contents: bytes) -> Dynamic:
    """Return what a shared object needs and exports.

    Source: System V ABI, chapter 5, "Dynamic Section"; LSB, "Symbol Versioning".

    Raises:
        ValueError: the bytes are no 64-bit little-endian ELF file.
    """
    sections = _sections(contents)
    libraries: set[str] = set()
    exported: set[str] = set()
    undefined: set[str] = set()
    versions: dict[str, frozenset[str]] = {}
    for _, kind, _, _, offset, n_bytes, link, *_ in sections:
        strings = sections[link][4] if link < len(sections) else 0
        part = contents[offset : offset + n_bytes]
        if kind == _DYNAMIC:
            for tag, value in struct.iter_unpack("<qQ", part):
                if tag == _NEEDED:
                    libraries.add(_string(contents, strings + value))
        elif kind == _DYNAMIC_SYMBOLS:
            for name, info, _, section, _, _ in _SYMBOL.iter_unpack(part):
                if name and info >> 4 != _LOCAL:
                    (exported if section else undefined).add(_string(contents, strings + name))
        elif kind == _VERSIONS_NEEDED:
            position, step = offset, 1
            while step:
                _, count, file, first, step = struct.unpack_from("<HHIII", contents, position)
                entry, found = position + first, set()
                for _ in range(count):
                    _, _, _, name, following = struct.unpack_from("<IHHII", contents, entry)
                    found.add(_string(contents, strings + name))
                    entry += following
                versions[_string(contents, strings + file)] = frozenset(found)
                position += step
    return Dynamic(frozenset(libraries), frozenset(undefined), frozenset(exported), versions)


def _string(contents: bytes, begin: int) -> str:
    return contents[begin : contents.index(b"\0", begin)].decode()
