"""The invariants of a model's record.

- Layers have distinct names; every reference names an output of a call of a layer, or an input.
- Inputs are InputLayers; there is an input and an output; calls form no ring; what an output needs
  is in the model.
- A known layer has the weights of its class; where its inputs' shapes are known, each weight has
  the shape that follows from them.
"""

from __future__ import annotations

from einloom.keras.models.dataflow import Flow, call_order, flow
from einloom.keras.models.kinds import Kind
from einloom.keras.models.kinds.base import Shape, shape_text
from einloom.keras.models.record import LayerRecord, ModelRecord, TensorRef, references
from einloom_compiler.errors import ModelFileError, ShapeError
from einloom_compiler.extents import is_equal


def verify(model: ModelRecord) -> None:
    """Check a record.

    Raises:
        ModelFileError: an invariant does not hold; the message names layer and value.
    """
    _check_connections(model)
    try:
        shapes = flow(model)
    except ShapeError as error:
        raise ModelFileError(f"model {model.name!r}: {error}") from None
    for layer in model.layers:
        if layer.model is not None:
            verify(layer.model)
        kind = shapes.kinds[layer.name]
        if isinstance(kind, Kind):
            _check_weights(layer, kind, shapes)


def _check_connections(model: ModelRecord) -> None:
    layers = {layer.name: layer for layer in model.layers}
    if len(layers) != len(model.layers):
        raise ModelFileError(f"model {model.name!r} has two layers of one name")
    for layer in model.layers:
        for call in layer.calls:
            for ref in call.references():
                _check_reference(ref, layers, f"a call of layer {layer.name!r}")
            if next(call.references(), None) is None:
                raise ModelFileError(f"layer {layer.name!r} is called without a tensor")
    for where, structure in (("inputs", model.inputs), ("outputs", model.outputs)):
        named = list(references(structure))
        if not named:
            raise ModelFileError(f"model {model.name!r} has no {where}")
        for ref in named:
            _check_reference(ref, layers, f"the {where} of model {model.name!r}")
            if where == "inputs" and layers[ref.layer].class_name != "InputLayer":
                raise ModelFileError(f"input {ref} of model {model.name!r} is no InputLayer")
    _check_reached(model)


def _check_reference(ref: TensorRef, layers: dict[str, LayerRecord], where: str) -> None:
    layer = layers.get(ref.layer)
    if layer is None:
        raise ModelFileError(f"{where} names a layer {ref.layer[:80]!r}, which does not exist")
    n_calls = 1 if layer.class_name == "InputLayer" else len(layer.calls)
    if ref.call >= n_calls:
        raise ModelFileError(
            f"{where} names call {ref.call} of layer {ref.layer!r}, which has {n_calls}"
        )
    n_outputs = 1 if layer.class_name == "InputLayer" else None
    if layer.model is not None:
        n_outputs = sum(1 for _ in references(layer.model.outputs))
    if n_outputs is not None and ref.output >= n_outputs:
        raise ModelFileError(
            f"{where} names output {ref.output} of layer {ref.layer!r}, which has {n_outputs}"
        )


def _check_reached(model: ModelRecord) -> None:
    """Check that every call can have its inputs: no ring, no InputLayer that is no input."""
    ordered = set(call_order(model))
    for layer in model.layers:
        for number in range(len(layer.calls)):
            if (layer.name, number) not in ordered:
                raise ModelFileError(
                    f"call {number} of layer {layer.name!r} waits for its own output: the layers "
                    f"of model {model.name!r} form a ring"
                )
    inputs = {ref.layer for ref in references(model.inputs)}
    orphans = {layer.name for layer in model.layers if layer.class_name == "InputLayer"} - inputs
    for layer in model.layers:
        for call in layer.calls:
            for ref in call.references():
                if ref.layer in orphans:
                    raise ModelFileError(
                        f"layer {layer.name!r} takes {ref.layer!r}, which is none of the inputs "
                        f"of model {model.name!r}"
                    )


def _check_weights(layer: LayerRecord, kind: Kind, shapes: Flow) -> None:
    wanted = [slot.name for slot in kind.slots()]
    held = [weight.name for weight in layer.weights]
    if wanted != held:
        raise ModelFileError(
            f"layer {layer.name!r} ({layer.class_name}) needs the weights {wanted}, but has {held}"
        )
    for taken in shapes.given.get(layer.name, ()):
        try:
            expected = kind.weight_shapes(*taken)
        except ShapeError as error:
            raise ModelFileError(f"layer {layer.name!r}: {error}") from None
        for weight, shape in zip(layer.weights, expected, strict=True):
            if not _fits(weight.shape, shape):
                raise ModelFileError(
                    f"weight {weight.name!r} of layer {layer.name!r} ({layer.class_name}) has "
                    f"shape {shape_text(weight.shape)}, but its configuration needs "
                    f"{shape_text(shape)}"
                )


def _fits(held: tuple[int, ...], wanted: Shape) -> bool:
    return len(held) == len(wanted) and all(
        is_equal(a, b) is True for a, b in zip(held, wanted, strict=True)
    )
