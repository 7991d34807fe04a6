"""Valid files, damaged at random: an error or a record, and nothing else happens."""

from __future__ import annotations

import builtins
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.einloom.keras.models.writing import archive_bytes, old_file, simple_weights

from einloom.keras.models import ModelRecord, read_model_bytes
from einloom_compiler.errors import ModelFileError

KERNEL, BIAS = simple_weights().values()
DENSE: dict[str, Any] = {"name": "d", "trainable": True, "units": 4, "activation": "relu"}
DENSE |= {"batch_input_shape": [None, 3], "use_bias": True}
FILES = {
    "keras": archive_bytes(),
    "h5": old_file(
        {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": DENSE}]},
        {"d": {"d/kernel:0": KERNEL, "d/bias:0": BIAS}},
    ),
}


def attempt(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"opened {arguments[:1]}")

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", refuse)
        patch.setattr(os, "open", refuse)
        try:
            record = read_model_bytes(content)
        except ModelFileError:
            return
    assert isinstance(record, ModelRecord)


SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("form", FILES)
@SETTINGS
@given(data=st.data())
def test_flipped_bytes(form: str, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(FILES[form])
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    attempt(bytes(content), monkeypatch)


@pytest.mark.parametrize("form", FILES)
@SETTINGS
@given(data=st.data())
def test_truncated_files(form: str, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    content = FILES[form]
    attempt(content[: data.draw(st.integers(0, len(content) - 1))], monkeypatch)


@pytest.mark.parametrize("form", FILES)
@SETTINGS
@given(data=st.data())
def test_pieces_moved(form: str, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(FILES[form])
    places = st.integers(0, len(content) - 1)
    start, end, to = sorted(data.draw(st.tuples(places, places, places)))
    content[to : to + end - start] = content[start:end]
    attempt(bytes(content), monkeypatch)


def test_damaged_weights_within_an_intact_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of HDF5 files damaged at random, the checksum of the archive would reject all."""
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(FILES["keras"])) as zipped:
        weights = zipped.read("model.weights.h5")
    rng = np.random.default_rng(1)
    for _ in range(300):
        content = bytearray(weights)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            content[place] = rng.integers(0, 256)
        attempt(archive_bytes(weights=bytes(content)), monkeypatch)
