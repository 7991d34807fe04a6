"""Describe a saved Keras model."""

from __future__ import annotations

import json
from pathlib import Path

from einloom.keras.models.printer import model_document, model_text
from einloom.keras.models.reading import read_model


def described(path: Path, *, as_json: bool) -> str:
    """Return a table of the model's layers, or a JSON document.

    Raises:
        ModelFileError: the file is no model, broken or refused.
        UnsupportedError: h5py is not installed.
    """
    record = read_model(path)
    return json.dumps(model_document(record), indent=2) if as_json else model_text(record)
