"""Keras models as neutral records: saved ones read without Keras, live ones imported.

In comes a ``.keras`` archive, an ``.h5`` file of a whole model, or a live Keras 3 object; out comes
a :class:`ModelRecord`, immutable and verified: layers with their configurations and weights, and
how they are connected. Nothing in a file is executed. The modules, in the order of the data::

    limits          what a file may ask of the machine
    archive, hdf5   bytes -> members, groups, texts, arrays           nothing is trusted
    documents, code JSON, immutable; code in it refused
    structure       configuration -> ModelRecord without weights      (nodes: the calls)
    weights_by_*    the groups of weights -> weights of the layers
    live            a Keras 3 object -> the same record
    kinds           a layer's configuration -> what it takes, gives and holds
    dataflow, verifier   shapes through the model; the record's invariants
    printer         tables and JSON
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einloom.keras.models.dataflow import flow as flow
    from einloom.keras.models.kinds import kind_of as kind_of
    from einloom.keras.models.live import record_from_keras as record_from_keras
    from einloom.keras.models.printer import model_text as model_text
    from einloom.keras.models.reading import read_model as read_model
    from einloom.keras.models.reading import read_model_bytes as read_model_bytes
    from einloom.keras.models.record import Call as Call
    from einloom.keras.models.record import LayerRecord as LayerRecord
    from einloom.keras.models.record import ModelRecord as ModelRecord
    from einloom.keras.models.record import TensorRef as TensorRef
    from einloom.keras.models.record import Weight as Weight
    from einloom.keras.models.verifier import verify as verify

_HOMES = {
    **dict.fromkeys(("Call", "LayerRecord", "ModelRecord", "TensorRef", "Weight"), "record"),
    **dict.fromkeys(("read_model", "read_model_bytes"), "reading"),
    "record_from_keras": "live",
    "kind_of": "kinds",
    "model_text": "printer",
    "flow": "dataflow",
    "verify": "verifier",
}

__all__ = [
    "Call",
    "LayerRecord",
    "ModelRecord",
    "TensorRef",
    "Weight",
    "flow",
    "kind_of",
    "model_text",
    "read_model",
    "read_model_bytes",
    "record_from_keras",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(module, name)
