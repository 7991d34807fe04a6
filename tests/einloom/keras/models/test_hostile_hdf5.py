"""HDF5 files that lead elsewhere, lie about sizes, or hold what weights never are."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.einloom.keras.models.writing import archive_bytes, old_file, simple_weights

from einloom.keras.models import hdf5, limits, read_model, read_model_bytes
from einloom_compiler.errors import ModelFileError

KERNEL = "layers/dense/vars/0"


def archive_with(change: Callable[[h5py.File], None]) -> bytes:
    """Return an archive whose weights' file was changed."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for path, array in simple_weights().items():
            file[path] = array
        change(file)
    return archive_bytes(weights=stream.getvalue())


class Watch:
    """Counts how often a file is opened (inotify)."""

    IN_OPEN = 0x20

    def __init__(self, path: Path) -> None:
        self._libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._libc.inotify_add_watch(self._fd, os.fsencode(path), self.IN_OPEN) >= 0

    def n_opened(self) -> int:
        try:
            return len(os.read(self._fd, 4096)) // 16
        except BlockingIOError:
            return 0

    def close(self) -> None:
        os.close(self._fd)


def external_link(file: h5py.File, other: Path) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink(str(other), "/x")


def external_group(file: h5py.File, other: Path) -> None:
    del file["layers"]
    file["layers"] = h5py.ExternalLink(str(other), "/")


def soft_link(file: h5py.File, other: Path) -> None:
    file["elsewhere"] = h5py.ExternalLink(str(other), "/x")
    del file[KERNEL]
    file[KERNEL] = h5py.SoftLink("/elsewhere")


def external_storage(file: h5py.File, other: Path) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (3, 4), np.float32, external=[(str(other), 0, 48)])


def virtual(file: h5py.File, other: Path) -> None:
    del file[KERNEL]
    layout = h5py.VirtualLayout((3, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(other), "x", (3, 4))
    file.create_virtual_dataset(KERNEL, layout)


def virtual_without_end(file: h5py.File, other: Path) -> None:
    """Its shape is that of the sources: asking for it would open them."""
    del file[KERNEL]
    layout = h5py.VirtualLayout((3, 4), np.float32, maxshape=(None, 4))
    source = h5py.VirtualSource(str(other), "x", (3, 4), np.float32, maxshape=(None, 4))
    layout[: h5py.h5s.UNLIMITED, :] = source[: h5py.h5s.UNLIMITED, :]
    file.create_virtual_dataset(KERNEL, layout)


ELSEWHERE = {
    external_link: "soft or external link",
    external_group: "soft or external link",
    soft_link: "soft or external link",
    external_storage: "external storage",
    virtual: "virtual dataset",
    virtual_without_end: "virtual dataset",
}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize("change", ELSEWHERE, ids=lambda change: change.__name__)
def test_no_other_file_is_opened(change: Callable[..., None], tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file.create_dataset("x", (3, 4), np.float32, maxshape=(None, 4))
    model = tmp_path / "model.keras"
    model.write_bytes(archive_with(lambda file: change(file, other)))
    watch = Watch(other)
    try:
        with pytest.raises(ModelFileError, match=ELSEWHERE[change]):
            read_model(model)
        assert watch.n_opened() == 0
        other.read_bytes()
        assert watch.n_opened() == 1  # the watch does see an opened file
    finally:
        watch.close()


def replace(file: h5py.File, **options: object) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, **options)


def self_link(file: h5py.File) -> None:
    file["layers/dense/vars/2"] = file["layers"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: replace(f, data=[["a", "b"]], dtype=h5py.string_dtype()), "holds no numbers"),
        (lambda f: replace(f, shape=(3, 4), dtype=h5py.ref_dtype), "holds no numbers"),
        (lambda f: replace(f, shape=(3, 4), dtype=h5py.vlen_dtype(np.int8)), "holds no numbers"),
        (lambda f: replace(f, data=np.zeros((3, 4), "V2")), "holds no numbers"),
        (lambda f: replace(f, data=np.zeros(3, "i4,f8")), "holds no numbers"),
        (lambda f: replace(f, shape=(3, 4), dtype="f4"), "declares 48 bytes, but the file holds"),
        (
            lambda f: replace(f, shape=(1 << 20, 1 << 20), dtype="f4", chunks=(64, 64)),
            "holds none of them",
        ),
        (lambda f: replace(f, shape=(1 << 40,), dtype="f4", chunks=(64,)), "which no weight has"),
        (
            lambda f: replace(
                f, data=np.zeros(1 << 23, "i1"), compression="gzip", chunks=(1 << 23,)
            ),
            "decompression bomb",
        ),
        (lambda f: replace(f, data=np.zeros((3, 4), "f4"), compression="lzf"), "filter 32000"),
        (lambda f: replace(f, data=np.zeros((3, 5), "f4")), r"has shape \(3, 5\).*needs \(3, 4\)"),
        (lambda f: f.__delitem__(KERNEL), "needs the weights kernel, bias, but its file holds 1"),
        (lambda f: f.__delitem__("layers/dense"), "holds no weights of layer 'd'"),
        (lambda f: f.create_group("layers/dense/vars/7"), "but its file holds 3"),
        (self_link, "but its file holds 3"),
        (
            lambda f: f["layers/dense/vars"].attrs.__setitem__("name", "other"),
            "but those are of a layer",
        ),
    ],
)
def test_weights_that_are_none(change: Callable[[h5py.File], None], words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        read_model_bytes(archive_with(change))


def test_honest_storage_of_other_kinds_is_read() -> None:
    kernel = simple_weights()[KERNEL]

    def big_endian_and_compressed(file: h5py.File) -> None:
        replace(file, data=kernel.astype(">f4"), compression="gzip", shuffle=True, chunks=(3, 4))

    record = read_model_bytes(archive_with(big_endian_and_compressed))
    found = record.layer("d").weight("kernel")
    np.testing.assert_array_equal(found, kernel)
    assert found.dtype.isnative
    assert not found.flags.writeable


def test_bfloat16_weights() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kernel = simple_weights()[KERNEL].astype(ml_dtypes.bfloat16)

    def change(file: h5py.File) -> None:
        replace(file, data=kernel)
        file[KERNEL].attrs["dtype"] = "bfloat16"

    found = read_model_bytes(archive_with(change)).layer("d").weight("kernel")
    assert found.dtype == kernel.dtype
    np.testing.assert_array_equal(found.view("u2"), kernel.view("u2"))


def file_with(change: Callable[[h5py.File], None]) -> io.BytesIO:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        change(file)
    return stream


def test_groups_in_a_ring_come_to_an_end() -> None:
    def ring(file: h5py.File) -> None:
        file["a/b"] = 1.0
        file["a/one"] = file["a"]
        file["a/two"] = file["a"]

    words = re.compile("too many members|more deeply")
    with (
        hdf5.open_hdf5(file_with(ring), "ring") as file,
        pytest.raises(ModelFileError, match=words),
    ):
        file.root.datasets()


def test_one_dataset_linked_from_everywhere_is_a_bomb() -> None:
    def links(file: h5py.File) -> None:
        file["a"] = np.ones(1 << 17)
        for number in range(300):
            file[f"g/{number}"] = file["a"]

    with (
        hdf5.open_hdf5(file_with(links), "links") as file,
        pytest.raises(ModelFileError, match="decompression bomb"),
    ):
        for name in file.root.datasets():
            file.root.array(name)


def test_texts_that_are_all_the_same_large_one() -> None:
    n_texts = 2 + limits.MAX_ATTRIBUTE_BYTES // (1 << 20)

    def texts(file: h5py.File) -> None:
        file.attrs["large"] = "a" * (1 << 20)
        file.attrs.create("small", [b"b"] * n_texts, dtype=h5py.string_dtype())

    with hdf5.open_hdf5(file_with(texts), "texts") as file:
        assert file.root.texts("large") == ("a" * (1 << 20),)
        with pytest.raises(ModelFileError, match="texts of up to"):
            file.root.texts("small")


@pytest.mark.parametrize("name", ["", "a//b", "../a", "./a", "a/..", "/a", "a/" * 70 + "a"])
def test_paths_that_are_none(name: str) -> None:
    with (
        hdf5.open_hdf5(file_with(lambda file: file.create_group("a")), "paths") as file,
        pytest.raises(ModelFileError, match="is no path of an HDF5 file"),
    ):
        file.root.group(name)


def test_attributes_that_hold_no_texts() -> None:
    def attributes(file: h5py.File) -> None:
        file.attrs["numbers"] = [1, 2]
        file.attrs["square"] = np.array([[b"a"], [b"b"]])
        file.attrs["bytes"] = np.bytes_(b"\xff\xfe")
        file.attrs["none"] = np.zeros(0)

    with hdf5.open_hdf5(file_with(attributes), "attributes") as file:
        for name in ("numbers", "square", "bytes"):
            with pytest.raises(ModelFileError, match="holds no text"):
                file.root.texts(name)
        assert file.root.texts("none") == ()
        assert file.root.texts("missing") is None


def damaged_heap(offset: int, value: int) -> bytes:
    """Return an old file whose first collection of texts has eight other bytes at ``offset``."""
    config = {"class_name": "Sequential", "config": []}
    content = bytearray(old_file(config, {}))
    start = content.index(b"GCOL") + offset
    content[start : start + 8] = value.to_bytes(8, "little")
    return bytes(content)


def end_of_texts(content: bytes) -> int:
    """Return where, from its collection's start, the free space's size stands."""
    start = content.index(b"GCOL")
    place = start + 16
    while content[place] or content[place + 1]:
        size = int.from_bytes(content[place + 8 : place + 16], "little")
        place += 16 + (size + 7) // 8 * 8
    return place + 8 - start


FREE = end_of_texts(damaged_heap(4, 1 << 44))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(FREE, 0), (FREE, 16), (FREE, 1 << 63), (24, (1 << 64) - 16), (24, 5000), (24, 4096)],
)
def test_texts_whose_sizes_send_the_library_round_a_loop(offset: int, value: int) -> None:
    with pytest.raises(ModelFileError, match=r"is a broken HDF5 file: (free space|a text of)"):
        read_model_bytes(damaged_heap(offset, value))


@pytest.mark.parametrize("place", [8, 13, 14])
def test_superblocks_that_h5py_never_writes(place: int) -> None:
    content = bytearray(old_file({"class_name": "Sequential", "config": []}, {}))
    content[place] = 4
    with pytest.raises(ModelFileError, match="superblock is none of h5py's"):
        read_model_bytes(bytes(content))


def test_references_that_claim_longer_texts_than_there_are() -> None:
    content = bytearray(old_file({"class_name": "Sequential", "config": []}, {}))
    heap = content.index(b"GCOL").to_bytes(8, "little")
    references = [m.start() - 4 for m in re.finditer(re.escape(heap), content)]
    assert len(references) >= 4  # keras_version and backend, twice
    for place in references:
        damaged = bytearray(content)
        damaged[place : place + 4] = (0xF0000000).to_bytes(4, "little")
        with pytest.raises(ModelFileError, match="claims a longer text than any"):
            read_model_bytes(bytes(damaged))
