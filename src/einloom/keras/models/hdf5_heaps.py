"""The parts of an HDF5 file that are looked at before the HDF5 library sees it.

Texts of variable length live in global heap collections. A collection whose free space claims no
bytes sends libhdf5 1.14.6 round a loop without end, and many texts may share one large object. Both
are found by reading the collections, which are simple, here.

What is left to the library: a reference to a text that claims a longer one than there is. It takes
that memory (up to 4 GiB) for a moment before it compares the two and gives up.

Source: HDF5 File Format Specification 3.0, II.A (superblock) and III.E (global heap).
"""

from __future__ import annotations

import re
from typing import BinaryIO

from einloom_compiler.errors import ModelFileError

_SUPERBLOCK_BYTES = 16
#: Where, by the superblock's version, the sizes of offsets and lengths stand.
_SIZES_AT = {0: (13, 14), 1: (13, 14), 2: (9, 10), 3: (9, 10)}
_WORD = 8
#: Signature and version of a collection; three reserved bytes and the size follow.
_COLLECTION = re.compile(rb"GCOL\x01", re.DOTALL)
_HEADER_BYTES = 16
#: Smallest collection that the library accepts.
_MIN_COLLECTION_BYTES = 4096
#: Largest collection that is read here: Keras's hold names, and at most one configuration.
_MAX_COLLECTION_BYTES = 256 << 20
_BLOCK_BYTES = 1 << 22


def check_superblock(stream: BinaryIO, title: str) -> None:
    """Check that offsets and lengths take eight bytes, as in every file that h5py writes.

    Raises:
        ModelFileError: they do not, or the superblock's version is none.
    """
    stream.seek(0)
    first = stream.read(_SUPERBLOCK_BYTES)
    places = _SIZES_AT.get(first[8]) if len(first) == _SUPERBLOCK_BYTES else None
    if places is None or any(first[place] != _WORD for place in places):
        raise ModelFileError(f"{title} is a broken HDF5 file: its superblock is none of h5py's")


def largest_text(stream: BinaryIO, title: str) -> int:
    """Return the bytes of the largest object in any global heap collection; 0 where there is none.

    Raises:
        ModelFileError: a collection is broken.
    """
    n_bytes = stream.seek(0, 2)
    largest = 0
    for start in _collections(stream):
        stream.seek(start)
        header = stream.read(_HEADER_BYTES)
        size = int.from_bytes(header[8:16], "little")
        if not _MIN_COLLECTION_BYTES <= size <= n_bytes - start:
            continue  # the library refuses it: these bytes are part of something else
        if size > _MAX_COLLECTION_BYTES:
            raise ModelFileError(f"{title} has a collection of texts of {size} bytes")
        largest = max(largest, _largest_object(stream.read(size - _HEADER_BYTES), title))
    stream.seek(0)
    return largest


def _collections(stream: BinaryIO) -> list[int]:
    found: list[int] = []
    tail, end = b"", 0
    stream.seek(0)
    while block := stream.read(_BLOCK_BYTES):
        window = tail + block
        end += len(block)
        found += [end - len(window) + match.start() for match in _COLLECTION.finditer(window)]
        tail = window[-4:]  # shorter than the pattern: nothing is found twice
    return found


def _largest_object(objects: bytes, title: str) -> int:
    """Return the largest object's bytes: index, references and reserved, size, padded data."""
    largest, place = 0, 0
    while len(objects) - place >= _HEADER_BYTES:
        index = int.from_bytes(objects[place : place + 2], "little")
        size = int.from_bytes(objects[place + 8 : place + 16], "little")
        if index == 0:
            # Free space, whose size counts its own header; it ends the collection.
            if size != len(objects) - place:
                raise ModelFileError(f"{title} is a broken HDF5 file: free space in its texts")
            break
        place += _HEADER_BYTES + (size + _WORD - 1) // _WORD * _WORD
        if place > len(objects):
            raise ModelFileError(
                f"{title} is a broken HDF5 file: a text of {size} bytes where none has room"
            )
        largest = max(largest, size)
    return largest
