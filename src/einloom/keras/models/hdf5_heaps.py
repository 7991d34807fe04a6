"""The parts of an HDF5 file that are looked at before the HDF5 library sees it.

Texts of variable length live in global heap collections. A collection whose free space claims no
bytes sends libhdf5 1.14.6 round a loop without end, and many texts may share one large object. Both
are found by reading the collections, which are simple, here.

A reference to a text states its length again, and the library takes that memory, up to 4 GiB,
before it compares the two: the attributes that are read here are looked up for that, too.

Source: HDF5 File Format Specification 3.0, II.A (superblock), III.E (global heap), IV.A.2.d, i and
m (dataspace, vlen data, attribute).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
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
#: Names of the attributes that are read, as they stand in attribute messages.
_NAMES = re.compile(rb"(?:weight_names\d*|keras_version|backend|model_config|name|dtype)\x00")
_OVERLAP = 32
#: Enough for an attribute message up to its data.
_MAX_MESSAGE_BYTES = 4096
#: Class of data of variable length; an element is a length, an address and an index.
_VLEN = 9
_REFERENCE_BYTES = 16


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
    if largest:
        _check_lengths(stream, largest, title)
    stream.seek(0)
    return largest


def _collections(stream: BinaryIO) -> list[int]:
    return sorted({start for start, _ in _matches(stream, _COLLECTION)})


def _matches(stream: BinaryIO, pattern: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where a pattern of at most _OVERLAP bytes begins and ends; some twice."""
    tail, end = b"", 0
    stream.seek(0)
    while block := stream.read(_BLOCK_BYTES):
        window = tail + block
        end += len(block)
        start = end - len(window)
        yield from [(start + m.start(), start + m.end()) for m in pattern.finditer(window)]
        tail = window[-_OVERLAP:]


def _check_lengths(stream: BinaryIO, largest: int, title: str) -> None:
    """Check the lengths in every attribute message of a name that is read.

    Raises:
        ModelFileError: one is larger than any text of the file.
    """
    for start, end in set(_matches(stream, _NAMES)):
        for version, header in ((1, 8), (2, 8), (3, 9)):
            if start < header:
                continue
            stream.seek(start - header)
            message = stream.read(_MAX_MESSAGE_BYTES)
            name_size, type_size, space_size = struct.unpack_from("<HHH", message, 2)
            if message[0] != version or name_size < end - start:
                continue
            unit = _WORD if version == 1 else 1
            type_at = header + _padded(name_size, unit)
            space_at = type_at + _padded(type_size, unit)
            data_at = space_at + _padded(space_size, unit)
            is_shared = version > 1 and message[1] & 1
            if len(message) < max(data_at, space_at + 2) + 1 or not (
                is_shared or message[type_at] & 0xF == _VLEN
            ):
                continue
            n_bytes = _REFERENCE_BYTES * _n_elements(message, space_at)
            stream.seek(start - header + data_at)
            data = stream.read(min(n_bytes, _MAX_COLLECTION_BYTES))
            lengths = struct.iter_unpack("<I12x", data[: len(data) // 16 * 16])
            if any(length > largest for (length,) in lengths):
                raise ModelFileError(
                    f"{title} is a broken HDF5 file: an attribute claims a longer text than any"
                )


def _n_elements(message: bytes, space_at: int) -> int:
    """Return the product of a dataspace's extents; 1 for a scalar."""
    version, rank = message[space_at : space_at + 2]
    dims_at = space_at + (8 if version == 1 else 4)
    dims = message[dims_at : dims_at + _WORD * rank]
    return math.prod(value for (value,) in struct.iter_unpack("<Q", dims[: len(dims) // 8 * 8]))


def _padded(size: int, unit: int) -> int:
    return (size + unit - 1) // unit * unit


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
