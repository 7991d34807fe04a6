"""Records of files of different formats, made comparable."""

from __future__ import annotations

import dataclasses

from einloom.keras.models import LayerRecord, ModelRecord


def without_backend(model: ModelRecord) -> ModelRecord:
    """Return the record without the backend, which archives do not have."""

    def within(layer: LayerRecord) -> LayerRecord:
        inner = layer.model
        return layer if inner is None else dataclasses.replace(layer, model=without_backend(inner))

    return dataclasses.replace(model, backend=None, layers=tuple(map(within, model.layers)))
