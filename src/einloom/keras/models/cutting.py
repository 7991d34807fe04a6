"""One layer of a model as a model of its own."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

from einloom.keras.models.dataflow import Flow, flow
from einloom.keras.models.kinds.shaping import Input
from einloom.keras.models.record import (
    Call,
    LayerRecord,
    ModelRecord,
    TensorRef,
    references,
)
from einloom_compiler.errors import SpecError, UnsupportedError


def piece_of(model: ModelRecord, name: str) -> ModelRecord:
    """Return the first call of one layer as a model, on an input for each tensor it is given.

    Raises:
        SpecError: the model has no such layer.
        UnsupportedError: the layer is never called, or is given what has no known shape.
    """
    layer = next((item for item in model.layers if item.name == name), None)
    if layer is None or not layer.calls:
        known = ", ".join(item.name for item in model.layers if item.calls)
        raise SpecError(f"model {model.name!r} has no layer {name!r}; its layers are {known}")
    call, shapes = layer.calls[0], flow(model)
    inputs: dict[TensorRef, LayerRecord] = {}
    for ref in call.references():
        if ref not in inputs:
            title = ref.layer if ref.layer != name else f"{ref.layer}_before"
            taken = {item.name for item in inputs.values()}
            title = title if title not in taken else f"{title}_{len(inputs)}"
            inputs[ref] = _input(model, shapes, ref, title)

    def renamed(value: Any) -> Any:
        if isinstance(value, TensorRef):
            return TensorRef(inputs[value].name)
        if isinstance(value, tuple):
            return tuple(map(renamed, value))
        if isinstance(value, MappingProxyType | dict):
            return MappingProxyType({key: renamed(item) for key, item in value.items()})
        return value

    moved = Call(renamed(call.args), renamed(call.kwargs))
    called = dataclasses.replace(layer, calls=(moved,))
    given = tuple(TensorRef(item.name) for item in inputs.values())
    outputs: Any = TensorRef(name)
    if layer.model is not None:
        refs = tuple(references(layer.model.outputs))
        if len(refs) > 1:
            outputs = tuple(TensorRef(name, 0, number) for number in range(len(refs)))
    return ModelRecord(
        name,
        "Functional",
        (*inputs.values(), called),
        given[0] if len(given) == 1 else given,
        outputs,
        model.keras_version,
        model.backend,
    )


def _input(model: ModelRecord, shapes: Flow, ref: TensorRef, title: str) -> LayerRecord:
    """Return an InputLayer for a tensor; its open extents stay open."""
    maker, kind = model.layer(ref.layer), shapes.kinds[ref.layer]
    shape = shapes.shapes.get(ref)
    if shape is None:
        raise UnsupportedError(f"the shape of what layer {ref.layer!r} gives is not known")
    dtype = kind.dtype if isinstance(kind, Input) else maker.dtype_policy.removeprefix("mixed_")
    extents = tuple(extent if isinstance(extent, int) else None for extent in shape)
    config = {"batch_shape": extents, "dtype": dtype, "sparse": False, "name": title}
    return LayerRecord(title, "InputLayer", "layer", MappingProxyType(config), dtype)
