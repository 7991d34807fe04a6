"""Saved models to records: ``.keras`` archives, and ``.h5`` files of whole models."""

from __future__ import annotations

import io
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

from einloom.keras.models import archive, hdf5, weights_by_class, weights_by_name
from einloom.keras.models.documents import a_text, an_object, read_json, shown
from einloom.keras.models.limits import MAX_FILE_BYTES, MAX_JSON_BYTES
from einloom.keras.models.record import ModelRecord
from einloom.keras.models.structure import Source, check_version, model_record
from einloom.keras.models.verifier import verify
from einloom_compiler.errors import ModelFileError

_METADATA, _CONFIG, _WEIGHTS = "metadata.json", "config.json", "model.weights.h5"


def read_model(path: str | PathLike[str], leaves_out_code: bool = False) -> ModelRecord:
    """Return the record of a saved model.

    Keras is not imported and nothing in the file is executed; h5py is needed.

    Args:
        path: of a ``.keras`` archive (Keras 3, tf.keras from 2.12), or of an HDF5 file (``.h5``,
            ``.hdf5``) that holds a whole model of Keras 2 or 3. What it is, its first bytes say.
        leaves_out_code: whether a layer whose configuration holds code (``Lambda``) is kept
            without it, as one that is not known, instead of refused.

    Raises:
        ModelFileError: it is neither, is broken, holds code, or exceeds one of the limits of
            :mod:`einloom.keras.models.limits`.
        UnsupportedError: h5py is not installed.
    """
    file = Path(fspath(path))
    title = repr(file.name)
    if file.is_dir():
        raise ModelFileError(
            f"{title} is a folder, such as TensorFlow's SavedModel; save the model as .keras"
        )
    if file.exists() and not file.is_file():
        raise ModelFileError(f"{title} is no regular file")  # a pipe would keep its reader waiting
    try:
        with file.open("rb") as stream:
            return _read(stream, title, leaves_out_code)
    except OSError as error:
        raise ModelFileError(f"cannot read {file}: {error.strerror or error}") from None


def read_model_bytes(
    content: bytes, title: str = "the model", leaves_out_code: bool = False
) -> ModelRecord:
    """Return the record of a saved model whose file's bytes are given.

    Args:
        content: the bytes.
        title: how messages call the file.
        leaves_out_code: as for :func:`read_model`.

    Raises:
        ModelFileError, UnsupportedError: as :func:`read_model`.
    """
    return _read(io.BytesIO(content), title, leaves_out_code)


def _read(stream: BinaryIO, title: str, leaves_out_code: bool) -> ModelRecord:
    n_bytes = stream.seek(0, 2)
    stream.seek(0)
    first = stream.read(len(hdf5.SIGNATURE))
    stream.seek(0)
    if n_bytes > MAX_FILE_BYTES:
        raise ModelFileError(f"{title} has {n_bytes} bytes")
    if first.startswith(archive.SIGNATURE):
        record = _from_archive(stream, title, leaves_out_code)
    elif first == hdf5.SIGNATURE:
        record = _from_hdf5(stream, title, leaves_out_code)
    else:
        raise ModelFileError(
            f"{title} is neither a .keras archive nor an HDF5 file: it begins with {first!r}"
        )
    verify(record)
    return record


def _from_archive(stream: BinaryIO, title: str, leaves_out_code: bool) -> ModelRecord:
    with archive.open_archive(stream, title) as members:
        texts = {name: members.read(name, MAX_JSON_BYTES) for name in (_METADATA, _CONFIG)}
        if _WEIGHTS not in members.names and "model.weights.npz" in members.names:
            raise ModelFileError(
                f"{title} holds its weights as an npz file; save it with weights_format='h5'"
            )
        metadata = an_object(read_json(texts[_METADATA], _METADATA), _METADATA)
        version = a_text(metadata.get("keras_version"), "keras_version")
        document = read_json(texts[_CONFIG], _CONFIG)
        source = Source(version, leaves_out_code=leaves_out_code)
        record = model_record(document, source)
        weights = io.BytesIO(members.read(_WEIGHTS))
    with hdf5.open_hdf5(weights, f"{_WEIGHTS} in {title}") as file:
        return weights_by_class.with_weights(record, file.root)


def _from_hdf5(stream: BinaryIO, title: str, leaves_out_code: bool) -> ModelRecord:
    with hdf5.open_hdf5(stream, title) as file:
        document = _attribute(file.root, "model_config")
        if document is None:
            raise ModelFileError(
                f"{title} holds no model_config: it has weights alone (save_weights); save the "
                "whole model"
            )
        group = file.root.group("model_weights")
        if group is None:
            raise ModelFileError(f"{title} has no group 'model_weights'")
        version = _attribute(file.root, "keras_version") or _attribute(group, "keras_version")
        if version is None:
            raise ModelFileError(
                f"{title} records no Keras version, as Keras 1 did not; load it with Keras 2.2.4 "
                "and save it again"
            )
        check_version(version)
        backend = _attribute(file.root, "backend") or _attribute(group, "backend")
        source = Source(version, backend, leaves_out_code)
        record = model_record(read_json(document, "model_config"), source)
        return weights_by_name.with_weights(record, group)


def _attribute(group: hdf5.Group, name: str) -> str | None:
    texts = group.texts(name)
    if texts is None:
        return None
    if len(texts) != 1:
        raise ModelFileError(f"attribute {name} of {shown(group.path or '/')} is no single text")
    return texts[0]
