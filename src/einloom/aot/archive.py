"""Static archives, written without ``ar``: the same bytes everywhere.

Source: System V ABI's common archive format with GNU's long names and symbol index, as ``ar(5)``
and binutils describe it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from einloom_compiler.codegen import elf

_MAGIC = b"!<arch>\n"


def archive(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Return an archive of objects, with its index of symbols.

    Args:
        members: name and contents of each.
    """
    long_names, name_at = bytearray(), {}
    for name, _ in members:
        name_at[name] = len(long_names)
        long_names += f"{name}/\n".encode()
    symbols = [
        (symbol, number)
        for number, (_, contents) in enumerate(members)
        for symbol in sorted(elf.symbols(contents).exported)
    ]
    texts = b"".join(symbol.encode() + b"\0" for symbol, _ in symbols)
    index_size = 4 + 4 * len(symbols) + len(texts)
    position = len(_MAGIC) + _padded(60 + index_size) + _padded(60 + len(long_names))
    offsets = []
    for _, contents in members:
        offsets.append(position)
        position += _padded(60 + len(contents))
    index = struct.pack(">I", len(symbols))
    index += b"".join(struct.pack(">I", offsets[number]) for _, number in symbols) + texts
    parts = [_MAGIC, _member("/", index), _member("//", bytes(long_names))]
    parts += [_member(f"/{name_at[name]}", contents) for name, contents in members]
    return b"".join(parts)


def _member(name: str, contents: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(contents):<10}`\n".encode()
    return head + contents + b"\n" * (len(contents) % 2)


def _padded(size: int) -> int:
    return size + size % 2
