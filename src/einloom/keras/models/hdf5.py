"""Groups, texts and arrays of an HDF5 file, read without trusting it.

HDF5 files can point into other files: external and soft links, external storage, virtual datasets,
filters loaded as plugins. None of these is followed; each is refused by name before the library
would open anything. Sizes are compared with what the file holds before memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from einloom.keras.models.hdf5_heaps import check_superblock, largest_text
from einloom.keras.models.limits import (
    MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTE_TEXTS,
    MAX_EXTENT,
    MAX_GROUP_DEPTH,
    MAX_GROUP_MEMBERS,
    MAX_WEIGHT_EXPANSION,
    MAX_WEIGHT_RANK,
    WEIGHT_FLOOR_BYTES,
)
from einloom.keras.models.record import read_only
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import EinloomError, ModelFileError, UnsupportedError

if TYPE_CHECKING:
    import h5py

#: First bytes of an HDF5 file.
SIGNATURE = b"\x89HDF\r\n\x1a\n"

#: Filters that are part of the library: deflate, shuffle, fletcher32. Others load plugins.
_FILTERS = (1, 2, 3)

#: What h5py raises on broken input.
_ERRORS = (
    *(OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError),
    *(NotImplementedError, AttributeError, IndexError, SystemError),
)


class Hdf5File:
    """An open HDF5 file, and how much may still be read from it.

    Attributes:
        root: its root group.
    """

    def __init__(self, file: h5py.File, stream: BinaryIO, title: str, n_bytes_of_text: int) -> None:
        """Take the file that h5py opened on ``stream``, and the bytes of its largest text."""
        self.title = title
        stream.seek(0, 2)
        self._budget = max(WEIGHT_FLOOR_BYTES, MAX_WEIGHT_EXPANSION * stream.tell())
        self._largest_text = n_bytes_of_text
        self.root = Group(self, file.id, "")

    def spend(self, n_bytes: int, what: str) -> None:
        """Count bytes that are about to be read.

        Raises:
            ModelFileError: they are more than such a file can honestly hold.
        """
        self._budget -= n_bytes
        if self._budget < 0:
            raise ModelFileError(
                f"{what} would take the weights of {self.title} beyond {MAX_WEIGHT_EXPANSION} "
                "times the file's size: a decompression bomb"
            )

    def check_texts(self, n_texts: int, what: str) -> None:
        """Check texts of variable length, which may all be the same large piece of the file.

        Raises:
            ModelFileError: they could take more than MAX_ATTRIBUTE_BYTES.
        """
        if n_texts * self._largest_text > MAX_ATTRIBUTE_BYTES:
            raise ModelFileError(
                f"{what} has {n_texts} texts of up to {self._largest_text} bytes; they may take "
                f"{MAX_ATTRIBUTE_BYTES} bytes in all"
            )


class Group:
    """A group of an HDF5 file.

    Attributes:
        path: from the root, for messages.
    """

    def __init__(self, file: Hdf5File, identifier: Any, path: str) -> None:
        """Take an open group."""
        self._file = file
        self._id = identifier
        self.path = path

    def members(self) -> tuple[str, ...]:
        """Return the names of its groups and datasets.

        Raises:
            ModelFileError: there are more than MAX_GROUP_MEMBERS, or the group is broken.
        """
        with broken_as_model_error(self._file.title):
            if self._id.get_num_objs() > MAX_GROUP_MEMBERS:
                raise ModelFileError(f"{self._where()} has more than {MAX_GROUP_MEMBERS} members")
            return tuple(name.decode("utf-8") for name in self._id)

    def has(self, name: str) -> bool:
        """Say whether it has a member of that name, which may be a path."""
        with broken_as_model_error(self._file.title):
            return self._open(name) is not None

    def group(self, name: str) -> Group | None:
        """Return the group of that name, which may be a path; None where there is none.

        Raises:
            ModelFileError: there is something else, or a link out of the file.
        """
        import h5py

        with broken_as_model_error(self._file.title):
            found = self._open(name)
            if found is None:
                return None
            if not isinstance(found, h5py.h5g.GroupID):
                raise ModelFileError(f"{self._where(name)} is no group")
            return Group(self._file, found, f"{self.path}/{name}")

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return an attribute's texts; None where there is no such attribute.

        Keras splits a long list over attributes ``name0``, ``name1``, ...

        Raises:
            ModelFileError: it holds no texts, or too many.
        """
        found = self._texts(name)
        if found is not None:
            return found
        chunks: list[str] = []
        for number in range(MAX_ATTRIBUTE_TEXTS):
            chunk = self._texts(f"{name}{number}")
            if chunk is None:
                return tuple(chunks) if number else None
            chunks += chunk
        raise ModelFileError(f"{self._where()} splits {name} over too many attributes")

    def _texts(self, name: str) -> tuple[str, ...] | None:
        import h5py

        where = f"attribute {name} of {self._where()}"
        with broken_as_model_error(self._file.title):
            key = name.encode()
            if not h5py.h5a.exists(self._id, key):
                return None
            attribute = h5py.h5a.open(self._id, key)
            kind = attribute.get_type()
            n_texts = math.prod(attribute.shape)
            if n_texts == 0:
                return ()  # an empty list has the dtype float64
            if kind.get_class() != h5py.h5t.STRING or len(attribute.shape) > 1:
                raise ModelFileError(f"{where} holds no texts")
            if n_texts > MAX_ATTRIBUTE_TEXTS:
                raise ModelFileError(f"{where} has more than {MAX_ATTRIBUTE_TEXTS} texts")
            if kind.is_variable_str():
                self._file.check_texts(n_texts, where)
            elif kind.get_size() * n_texts > MAX_ATTRIBUTE_BYTES:
                raise ModelFileError(f"{where} has more than {MAX_ATTRIBUTE_BYTES} bytes")
            values = np.empty(attribute.shape, kind.dtype)
            attribute.read(values)
            return tuple(_decoded(value, where) for value in values.ravel())

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the dataset of that name, which may be a path, as a read-only array.

        Raises:
            ModelFileError: there is none; it lies in another file; it holds no numbers; it is
                larger than what the file holds can be.
        """
        import h5py

        where = self._where(name)
        with broken_as_model_error(self._file.title):
            found = self._open(name)
            if not isinstance(found, h5py.h5d.DatasetID):
                raise ModelFileError(f"{where} is no dataset" if found else f"{where} is missing")
            # Before its shape is asked for: that of a virtual dataset may come from other files.
            _check_layout(found, where)
            shape = tuple(found.shape)
            dtype, stored = _dtype(found, where)
            _check_size(found, shape, stored, where)
            self._file.spend(math.prod(shape) * dtype.itemsize, where)
            values = np.empty(shape, stored)
            if values.size:
                found.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
            if dtype.name == "bfloat16":
                return read_only(values.view(dtype) if shape else values.reshape(1).view(dtype)[0])
            return read_only(values.astype(dtype, copy=False))

    def datasets(self) -> tuple[str, ...]:
        """Return the paths of all datasets below it, numbered names in the order of numbers.

        Raises:
            ModelFileError: groups are nested too deeply (or in a ring), or there are too many.
        """
        found: list[str] = []
        n_seen = 0
        pending: list[tuple[Group, str]] = [(self, "")]
        while pending:
            group, prefix = pending.pop()
            if prefix.count("/") > MAX_GROUP_DEPTH:
                raise ModelFileError(
                    f"{self._where()} nests groups more deeply than {MAX_GROUP_DEPTH} levels"
                )
            for name in group.members():
                n_seen += 1
                if n_seen > MAX_GROUP_MEMBERS:
                    raise ModelFileError(f"below {self._where()} are too many members")
                inner = group._inner(name)
                if inner is None:
                    found.append(prefix + name)
                else:
                    pending.append((inner, f"{prefix}{name}/"))
        return tuple(sorted(found, key=_numbers_first))

    def _inner(self, name: str) -> Group | None:
        """Return the group of that name, None for a dataset."""
        import h5py

        with broken_as_model_error(self._file.title):
            found = self._open_member(self._id, name)
            if isinstance(found, h5py.h5g.GroupID):
                return Group(self._file, found, f"{self.path}/{name}")
            if isinstance(found, h5py.h5d.DatasetID):
                return None
        raise ModelFileError(f"{self._where(name)} is neither a group nor a dataset")

    def _open(self, name: str) -> Any:
        """Return what a path leads to, None for nothing; follow no link but hard ones."""
        import h5py

        parts = name.split("/")
        if len(parts) > MAX_GROUP_DEPTH or any(part in ("", ".", "..") for part in parts):
            raise ModelFileError(f"{self._where(name)[:200]} is no path of an HDF5 file")
        found: Any = self._id
        for part in parts:
            if not isinstance(found, h5py.h5g.GroupID | h5py.h5f.FileID):
                return None
            found = self._open_member(found, part)
            if found is None:
                return None
        return found

    def _open_member(self, group: Any, name: str) -> Any:
        import h5py

        key = name.encode()
        links = group.links
        if not links.exists(key):
            return None
        if links.get_info(key).type != h5py.h5l.TYPE_HARD:
            raise ModelFileError(
                f"{self._where(name)} is a soft or external link, which Keras never writes"
            )
        return h5py.h5o.open(group, key)

    def _where(self, name: str = "") -> str:
        inner = f"{self.path}/{name}" if name else self.path or "/"
        return f"{inner[:300]!r} in {self._file.title}"


@contextmanager
def open_hdf5(stream: BinaryIO, title: str) -> Iterator[Hdf5File]:
    """Open an HDF5 file.

    Args:
        stream: its bytes; HDF5 reads through it, and knows no other file's name.
        title: how messages call it.

    Raises:
        UnsupportedError: h5py is not installed.
        ModelFileError: it is none, or broken.
    """
    try:
        import h5py
    except ImportError:
        raise UnsupportedError(
            "the weights of saved Keras models are HDF5: install einloom[keras-files] (h5py)"
        ) from None
    with broken_as_model_error(title):
        check_superblock(stream, title)
        n_bytes_of_text = largest_text(stream, title)
        file = h5py.File(stream, "r")
    try:
        with broken_as_model_error(title):
            opened = Hdf5File(file, stream, title, n_bytes_of_text)
        yield opened
    finally:
        with broken_as_model_error(title):
            file.close()


@contextmanager
def broken_as_model_error(title: str) -> Iterator[None]:
    """Turn what h5py raises on a broken file into a ModelFileError."""
    try:
        yield
    except EinloomError:
        raise
    except _ERRORS as error:
        reason = str(error)[:200] or type(error).__name__
        raise ModelFileError(f"{title} is a broken HDF5 file: {reason}") from None


def _check_layout(dataset: Any, where: str) -> None:
    import h5py

    made = dataset.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise ModelFileError(f"{where} is a virtual dataset, whose data lie in other files")
    if made.get_layout() == h5py.h5d.CONTIGUOUS and made.get_external_count() > 0:
        raise ModelFileError(f"{where} has external storage: its data lie in other files")
    for number in range(made.get_nfilters()):
        code = made.get_filter(number)[0]
        if code not in _FILTERS:
            raise ModelFileError(f"{where} is stored through filter {code}, which needs a plugin")


def _dtype(dataset: Any, where: str) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the dtype of the values, and the one they are read in."""
    import h5py

    kind = dataset.get_type()
    family = kind.get_class()
    if family == h5py.h5t.OPAQUE and kind.get_size() == 2:
        # Keras marks bfloat16, which HDF5 does not know, by an attribute.
        if h5py.h5a.exists(dataset, b"dtype"):
            mark = h5py.h5a.open(dataset, b"dtype")
            if mark.shape == () and mark.get_type().get_size() <= 16:
                value = np.empty((), mark.get_type().dtype)
                mark.read(value)
                if _decoded(value[()], where) == "bfloat16":
                    return as_dtype("bfloat16"), np.dtype("V2")
    elif family in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM, h5py.h5t.COMPOUND):
        dtype = kind.dtype
        if dtype.kind in "biufc" and dtype.itemsize <= 16:
            return dtype.newbyteorder("="), dtype
    raise ModelFileError(f"{where} holds no numbers of a dtype that weights have")


def _check_size(dataset: Any, shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    if len(shape) > MAX_WEIGHT_RANK or any(extent > MAX_EXTENT for extent in shape):
        raise ModelFileError(f"{where} has the shape {shape}, which no weight has")
    declared = math.prod(shape) * dtype.itemsize
    held = dataset.get_storage_size()
    if declared and not held:
        raise ModelFileError(f"{where} declares {declared} bytes, but the file holds none of them")
    if declared > max(WEIGHT_FLOOR_BYTES, MAX_WEIGHT_EXPANSION * held):
        raise ModelFileError(
            f"{where} declares {declared} bytes, but the file holds {held}: a decompression bomb"
        )


def _decoded(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            pass
    raise ModelFileError(f"{where} holds no text in UTF-8")


def _numbers_first(path: str) -> list[tuple[bool, int, str]]:
    """Sort ``vars/2`` before ``vars/10``."""
    return [
        (not part.isdecimal(), int(part[:18]) if part.isdecimal() else 0, part)
        for part in path.split("/")
    ]
