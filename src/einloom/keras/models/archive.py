"""Members of a ``.keras`` archive (a zip file), read without trusting what it declares.

Nothing is ever extracted to the disk.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from einloom.keras.models.limits import (
    COMPRESSION_FLOOR_BYTES,
    MAX_ARCHIVE_MEMBERS,
    MAX_COMPRESSION_RATIO,
    MAX_FILE_BYTES,
)
from einloom_compiler.errors import EinloomError, ModelFileError

#: First bytes of a zip file's first member.
SIGNATURE = b"PK\x03\x04"

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".py", ".pyc")
_ENCRYPTED = 0x1

#: What zipfile raises on broken input.
_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError),
    *(NotImplementedError, MemoryError, OverflowError, IndexError, KeyError),
)


class Archive:
    """The members of an archive by name.

    Attributes:
        names: of all members, in the archive's order.
    """

    def __init__(self, zipped: zipfile.ZipFile, title: str) -> None:
        """Check every member's name and declared sizes.

        Raises:
            ModelFileError: too many members, a name that leads out of the archive or occurs twice,
                a pickle or Python source, an encrypted member, a decompression bomb.
        """
        self._zipped = zipped
        self._title = title
        members = zipped.infolist()
        if len(members) > MAX_ARCHIVE_MEMBERS:
            raise ModelFileError(
                f"{title} has {len(members)} members; at most {MAX_ARCHIVE_MEMBERS} are read"
            )
        total = 0
        for member in members:
            _check(member, title)
            total += member.file_size
        if total > MAX_FILE_BYTES:
            raise ModelFileError(f"the members of {title} declare {total} bytes")
        self.names = tuple(member.filename for member in members)
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ModelFileError(f"{title} has two members of the name {twice[:80]!r}")

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a member's bytes, its checksum compared.

        Args:
            name: of the member.
            limit: most bytes that are read.

        Raises:
            ModelFileError: it is missing, longer than ``limit``, or broken.
        """
        if name not in self.names:
            raise ModelFileError(f"{self._title} has no member {name!r}; it is no model of Keras 3")
        with _broken_as_model_error(self._title):
            member = self._zipped.getinfo(name)
            if member.file_size > limit:
                raise ModelFileError(
                    f"{name} in {self._title} has {member.file_size} bytes; at most {limit} are "
                    "read"
                )
            with self._zipped.open(member) as stream:
                content = stream.read(member.file_size + 1)
                stream.read(1)  # compares the checksum at the end
            if len(content) != member.file_size:
                raise ModelFileError(
                    f"{name} in {self._title} declares {member.file_size} bytes but has "
                    f"{len(content)}"
                )
            return content


@contextmanager
def open_archive(stream: BinaryIO, title: str) -> Iterator[Archive]:
    """Open a zip file.

    Args:
        stream: its bytes.
        title: how messages call it.

    Raises:
        ModelFileError: it is none, is broken, or a member is refused.
    """
    with _broken_as_model_error(title):
        zipped = zipfile.ZipFile(stream)
    with zipped:
        yield Archive(zipped, title)


def _check(member: zipfile.ZipInfo, title: str) -> None:
    name = member.filename
    where = f"member {name[:80]!r} of {title}"
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or "\\" in name or ".." in parts or ":" in parts[0]:
        raise ModelFileError(f"{where} has a name that leads out of the archive")
    if name.lower().endswith(_PICKLES):
        raise ModelFileError(f"{where} is a pickle or Python code, which Keras never writes")
    if member.flag_bits & _ENCRYPTED:
        raise ModelFileError(f"{where} is encrypted")
    if member.compress_type not in _METHODS:
        raise ModelFileError(f"{where} is compressed by method {member.compress_type}")
    grown = member.file_size > MAX_COMPRESSION_RATIO * member.compress_size
    if grown and member.file_size > COMPRESSION_FLOOR_BYTES:
        raise ModelFileError(
            f"{where} declares {member.file_size} bytes, but {member.compress_size} are stored: a "
            "decompression bomb"
        )


@contextmanager
def _broken_as_model_error(title: str) -> Iterator[None]:
    try:
        yield
    except EinloomError:
        raise
    except _ERRORS as error:
        raise ModelFileError(f"{title} is a broken zip file: {error}") from None
