"""Records as tables for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from einloom.keras.models.dataflow import Flow, flow
from einloom.keras.models.documents import thawed
from einloom.keras.models.kinds import Kind, Unknown
from einloom.keras.models.kinds.base import Shape, shape_text
from einloom.keras.models.kinds.shaping import Input
from einloom.keras.models.record import LayerRecord, ModelRecord, Structure, TensorRef, references
from einloom.report.tables import table
from einloom_compiler.extents import text

_HEAD = ("layer", "class", "output", "parameters", "weights", "takes", "")


def model_text(model: ModelRecord) -> str:
    """Return a head and a table of the layers, nested models' layers below them.

    Raises:
        ModelFileError, ShapeError: the record does not hold what :mod:`.verifier` checks.
    """
    shapes = flow(model)
    known = sum(1 for _, kind in _all_kinds(model) if isinstance(kind, Kind))
    total = sum(1 for _ in _all_kinds(model))
    lines = [
        f"{model.name} ({model.class_name}), Keras {model.keras_version}, "
        f"{model.n_parameters:,} parameters; {known} of {total} layers are known",
        *_tensors("input", model.inputs, shapes),
        *_tensors("output", model.outputs, shapes),
        "",
        table(_HEAD, _rows(model, shapes, "")),
    ]
    reasons = [
        f"  not known: {layer}: {kind.reason}"
        for layer, kind in _all_kinds(model)
        if isinstance(kind, Unknown)
    ]
    lines += ["", *reasons] if reasons else []
    return "\n".join(lines)


def _tensors(word: str, structure: Structure, shapes: Flow) -> Iterator[str]:
    for name, ref in _named(structure):
        shape = shapes.shapes.get(ref)
        shown = shape_text(shape) if shape is not None else "of unknown shape"
        kind = shapes.kinds[ref.layer]
        dtype = f" {kind.dtype}" if isinstance(kind, Input) else ""
        yield f"  {word} {name}{shown}{dtype}"


def _named(structure: Structure) -> Iterator[tuple[str, TensorRef]]:
    if isinstance(structure, Mapping):
        for name, inner in structure.items():
            for ref in references(inner):
                yield f"{name}: {ref} ", ref
        return
    for ref in references(structure):
        yield f"{ref} ", ref


def _rows(model: ModelRecord, shapes: Flow, indent: str) -> Iterator[tuple[str, ...]]:
    for layer in model.layers:
        kind = shapes.kinds[layer.name]
        yield (
            indent + layer.name,
            layer.class_name,
            _output(layer, shapes),
            f"{layer.n_parameters:,}" if layer.n_parameters else "",
            ", ".join(f"{w.name} {shape_text(w.shape)}" for w in layer.weights),
            " | ".join(", ".join(map(str, call.references())) for call in layer.calls),
            "" if isinstance(kind, Kind) or layer.model is not None else "not known",
        )
        if layer.model is not None:
            yield from _rows(layer.model, flow(layer.model), indent + "  ")


def _output(layer: LayerRecord, shapes: Flow) -> str:
    shape = shapes.shapes.get(TensorRef(layer.name))
    return shape_text(shape) if shape is not None else "?"


def _all_kinds(model: ModelRecord, above: str = "") -> Iterator[tuple[str, Kind | Unknown]]:
    shapes = flow(model)
    for layer in model.layers:
        if layer.model is not None:
            yield from _all_kinds(layer.model, f"{above}{layer.name}/")
        else:
            yield above + layer.name, shapes.kinds[layer.name]


def model_document(model: ModelRecord) -> dict[str, Any]:
    """Return a JSON document of the record, without the weights' values.

    Raises:
        ModelFileError, ShapeError: the record does not hold what :mod:`.verifier` checks.
    """
    shapes = flow(model)
    return {
        "name": model.name,
        "class_name": model.class_name,
        "keras_version": model.keras_version,
        "backend": model.backend,
        "inputs": [_tensor_document(*pair, shapes) for pair in _plain_names(model.inputs)],
        "outputs": [_tensor_document(*pair, shapes) for pair in _plain_names(model.outputs)],
        "parameters": model.n_parameters,
        "layers": [_layer_document(layer, shapes) for layer in model.layers],
    }


def _plain_names(structure: Structure) -> Iterator[tuple[str | None, TensorRef]]:
    if isinstance(structure, Mapping):
        for name, inner in structure.items():
            for ref in references(inner):
                yield name, ref
        return
    for ref in references(structure):
        yield None, ref


def _tensor_document(name: str | None, ref: TensorRef, shapes: Flow) -> dict[str, Any]:
    shape = shapes.shapes.get(ref)
    named = {} if name is None else {"name": name}
    return {**named, **_reference_document(ref), "shape": _shape_document(shape)}


def _reference_document(ref: TensorRef) -> dict[str, Any]:
    return {"layer": ref.layer, "call": ref.call, "output": ref.output}


def _shape_document(shape: Shape | None) -> list[int | str] | None:
    if shape is None:
        return None
    return [extent if isinstance(extent, int) else text(extent) for extent in shape]


def _layer_document(layer: LayerRecord, shapes: Flow) -> dict[str, Any]:
    kind = shapes.kinds[layer.name]
    known: dict[str, Any] = {"known": isinstance(kind, Kind)}
    if isinstance(kind, Unknown) and layer.model is None:
        known["reason"] = kind.reason
    document = {
        "name": layer.name,
        "class_name": layer.class_name,
        "origin": layer.origin,
        "dtype_policy": layer.dtype_policy,
        **known,
        "output_shape": _shape_document(shapes.shapes.get(TensorRef(layer.name))),
        "weights": [
            {"name": w.name, "shape": list(w.shape), "dtype": w.array.dtype.name}
            for w in layer.weights
        ],
        "calls": [
            {"takes": [_reference_document(ref) for ref in call.references()]}
            for call in layer.calls
        ],
        "config": thawed(layer.config),
    }
    if layer.model is not None:
        document["model"] = model_document(layer.model)
    return document
