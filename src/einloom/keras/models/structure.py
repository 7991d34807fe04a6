"""Configurations of models, as Keras writes them, to records without weights.

{"class_name": "Functional", "config": {"layers": [...], "input_layers": ..., ...}}
{"class_name": "Sequential", "config": {"layers": [...]}}       -> ModelRecord
{"class_name": "Sequential", "config": [...]}                   Keras before 2.2.3
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from einloom.keras.models.code import refuse_code
from einloom.keras.models.documents import a_list, a_text, an_object, shown
from einloom.keras.models.entries import (
    code_left_out,
    is_model,
    origin_of,
    policy_of,
    without_layers,
    without_shared,
)
from einloom.keras.models.kinds import Kind, kind_of
from einloom.keras.models.kinds.table import WRAPPERS
from einloom.keras.models.limits import MAX_MODEL_DEPTH, MAX_NAME_CHARACTERS
from einloom.keras.models.nodes import built_for, calls_of, is_old_form, stated_by, structure_of
from einloom.keras.models.record import (
    Argument,
    Call,
    LayerRecord,
    ModelRecord,
    TensorRef,
    TensorSpec,
    references,
)
from einloom_compiler.errors import ModelFileError

#: Keras 1 wrote other class and argument names.
_OLDEST_MAJOR = 2
#: HDF5 files have the name of a class, archives the one under which Keras exports it.
_EXPORTED = {"GroupedQueryAttention": "GroupQueryAttention"}
#: Layers of which a Sequential model's next one takes the same shape.
_SHAPE_KEEPING = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "Activation", "GaussianNoise")


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says beside its configuration.

    Attributes:
        keras_version: as recorded.
        backend: as recorded, or None.
        leaves_out_code: whether a layer that holds code is kept without its configuration, instead
            of refused.
    """

    keras_version: str
    backend: str | None = None
    leaves_out_code: bool = False


def model_record(document: Any, source: Source) -> ModelRecord:
    """Return the record of a model's configuration, its layers without weights.

    Args:
        document: immutable JSON: what Keras's ``serialize_keras_object`` gives for a model.
        source: the release and the backend.

    Raises:
        ModelFileError: it is malformed, of Keras 1, holds code, or is a model of a class of its
            own, whose calls are Python code that no file holds.
    """
    check_version(source.keras_version)
    refuse_code(without_layers(document) if source.leaves_out_code else document)
    return _model(an_object(document, "the model's configuration"), source, MAX_MODEL_DEPTH)


def layer_record(document: Any, source: Source) -> LayerRecord:
    """Return the record of one layer's configuration, without weights and calls.

    Args:
        document: immutable JSON: what Keras's ``serialize_keras_object`` gives for a layer.
        source: the release and the backend.

    Raises:
        ModelFileError: it is malformed or holds code.
    """
    if not source.leaves_out_code:
        refuse_code(document)
    return _layer(an_object(document, "the layer's configuration"), source, MAX_MODEL_DEPTH)


def check_version(version: str) -> None:
    """Refuse Keras 1 and what is no release.

    Raises:
        ModelFileError: it is.
    """
    major = version.partition(".")[0]
    if not major.isdecimal() or len(version) > 40:
        raise ModelFileError(f"the Keras version {shown(version)} is none")
    if int(major[:4]) < _OLDEST_MAJOR:
        raise ModelFileError(
            f"Keras {version} wrote this model; the oldest that is read is Keras 2: load it with "
            "Keras 2.2.4 and save it again"
        )


def _model(entry: Mapping[str, Any], source: Source, levels: int) -> ModelRecord:
    if levels == 0:
        raise ModelFileError(f"models are nested more deeply than {MAX_MODEL_DEPTH} levels")
    kind = a_text(entry.get("class_name"), "a model's class_name")
    config = entry.get("config")
    if kind == "Sequential":
        return _sequential(config, source, levels)
    if not is_model(entry):
        raise ModelFileError(
            f"the model is of a class {kind[:80]!r} of its own, whose calls are Python code and "
            "not recorded; build it as a functional or Sequential model of Keras's layers"
        )
    return _functional(an_object(config, "the model's config"), source, levels)


def _functional(config: Mapping[str, Any], source: Source, levels: int) -> ModelRecord:
    name = _checked_name(config.get("name", "model"), "the model's name")
    entries = [
        an_object(item, f"a layer of model {name!r}")
        for item in a_list(config.get("layers"), f"layers of model {name!r}")
    ]
    layers = [_layer(entry, source, levels) for entry in entries]
    names = _unique_names(layers, name)
    is_old = any(map(is_old_form, entries))
    layers = [
        dataclasses.replace(layer, calls=calls_of(entry, names))
        for layer, entry in zip(layers, entries, strict=True)
    ]
    inputs, outputs = (
        structure_of(config.get(key), names, f"{key} of model {name!r}")
        for key in ("input_layers", "output_layers")
    )
    stated = {ref: spec for entry in entries for ref, spec in stated_by(entry).items()}
    record = ModelRecord(
        name,
        "Functional",
        tuple(layers),
        inputs,
        outputs,
        source.keras_version,
        source.backend,
        MappingProxyType(stated),
    )
    return _renumbered(record, is_old)


def _renumbered(model: ModelRecord, is_old: bool) -> ModelRecord:
    """Count the calls of nested models from 0.

    A nested functional model's own inputs and outputs are its call 0 in Keras, so that its first
    call in this model is number 1: in Keras 2 wherever it is named (Sequential ones too), in Keras
    3 among the outputs only. A Sequential model of Keras 2 that was not yet built has no such
    call: some name its call 0.
    """
    given = [argument for layer in model.layers for argument in layer.calls]
    named = list(references((model.outputs, *((call.args, call.kwargs) for call in given))))
    from_zero = {ref.layer for ref in named if ref.call == 0}
    shifted = {
        layer.name
        for layer in model.layers
        if layer.model is not None
        and (layer.name not in from_zero if is_old else layer.model.class_name == "Functional")
    }
    # A class of somebody's own may derive from Keras's functional model: its numbers tell.
    n_calls = {layer.name: len(layer.calls) for layer in model.layers if layer.origin == "custom"}
    shifted |= {
        ref.layer for ref in references(model.outputs) if ref.call == n_calls.get(ref.layer)
    }
    outputs = _shifted(model.outputs, shifted)
    if not is_old:
        return dataclasses.replace(model, outputs=outputs)
    layers = tuple(
        dataclasses.replace(layer, calls=tuple(_shifted_call(c, shifted) for c in layer.calls))
        for layer in model.layers
    )
    return dataclasses.replace(model, layers=layers, outputs=outputs)


def _shifted_call(call: Call, names: set[str]) -> Call:
    args, kwargs = _shifted(call.args, names), _shifted(call.kwargs, names)
    return Call(args, kwargs)


def _shifted(value: Any, names: set[str]) -> Any:
    if isinstance(value, TensorRef):
        if value.layer not in names:
            return value
        if value.call == 0:
            raise ModelFileError(f"the outputs name call 0 of nested model {value.layer!r}")
        return dataclasses.replace(value, call=value.call - 1)
    if isinstance(value, tuple):
        return tuple(_shifted(item, names) for item in value)
    if isinstance(value, Mapping):
        return MappingProxyType({key: _shifted(item, names) for key, item in value.items()})
    return value


def _sequential(config: Any, source: Source, levels: int) -> ModelRecord:
    settings: Mapping[str, Any] = MappingProxyType({"layers": config})
    if not isinstance(config, tuple):  # before 2.2.3 the list of layers was all
        settings = an_object(config, "the config of a Sequential model")
    name = _checked_name(settings.get("name", "sequential"), "the model's name")
    entries = a_list(settings.get("layers"), f"layers of model {name!r}")
    objects = [an_object(item, f"a layer of model {name!r}") for item in entries]
    layers = [_layer(entry, source, levels) for entry in objects]
    if not layers:
        raise ModelFileError(f"Sequential model {name!r} has no layers")
    if layers[0].class_name != "InputLayer":
        layers.insert(0, _input_before(layers, settings))
    _unique_names(layers, name)
    chained = [layers[0]]
    for layer in layers[1:]:
        if layer.class_name == "InputLayer":
            raise ModelFileError(f"Sequential model {name!r} has an InputLayer after its first")
        given: tuple[Argument, ...] = (TensorRef(chained[-1].name),)
        call = Call(given, MappingProxyType({}))
        chained.append(dataclasses.replace(layer, calls=(call,)))
    first, last = TensorRef(chained[0].name), TensorRef(chained[-1].name)
    stated = _stated_between(chained[-len(objects) :], objects, source.keras_version)
    version, backend = source.keras_version, source.backend
    return ModelRecord(
        name, "Sequential", tuple(chained), first, last, version, backend, MappingProxyType(stated)
    )


def _stated_between(
    layers: list[LayerRecord], entries: list[Mapping[str, Any]], version: str
) -> dict[TensorRef, TensorSpec]:
    """Return what layers that are not known give: what the next ones were built for."""
    found: dict[TensorRef, TensorSpec] = {}
    shape = None
    for number in reversed(range(1, len(layers))):
        built = built_for(entries[number])
        keeps = layers[number].class_name in _SHAPE_KEEPING
        shape = built if built is not None else shape if keeps else None
        before = layers[number - 1]
        is_known = before.model is not None or isinstance(kind_of(before, version), Kind)
        if shape is not None and not is_known:
            dtype = before.dtype_policy.rpartition("_from_")[2].removeprefix("mixed_")
            found[TensorRef(before.name)] = TensorSpec(shape, dtype)
    return found


def _input_before(layers: list[LayerRecord], settings: Mapping[str, Any]) -> LayerRecord:
    """Return the InputLayer that Keras 2 left out of a Sequential model's configuration."""
    first = layers[0]
    shape = first.config.get("batch_input_shape", settings.get("build_input_shape"))
    dtype = first.config.get("dtype")
    if shape is None and first.model is not None and isinstance(first.model.inputs, TensorRef):
        inner = first.model.layer(first.model.inputs.layer)
        shape, dtype = inner.config.get("batch_input_shape"), inner.config.get("dtype")
    kept = dtype if isinstance(dtype, str) else "float32"
    config = {"batch_input_shape": shape, "dtype": kept, "sparse": False}
    name = f"{first.name}_input"
    while any(layer.name == name for layer in layers):
        name += "_"
    config["name"] = name
    return LayerRecord(name, "InputLayer", "layer", MappingProxyType(config), kept)


def _layer(entry: Mapping[str, Any], source: Source, levels: int) -> LayerRecord:
    kind = a_text(entry.get("class_name"), "a layer's class_name")
    registered = entry.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        kind = registered
    if len(kind) > MAX_NAME_CHARACTERS:
        raise ModelFileError(f"a layer's class_name has {len(kind)} characters")
    if not kind.isprintable():
        raise ModelFileError(f"a layer's class_name is {shown(kind)}, which is no name")
    kind = _EXPORTED.get(kind, kind) if origin_of(entry) == "layer" else kind
    if source.leaves_out_code:
        entry = code_left_out(entry)
    model = _model(entry, source, levels - 1) if is_model(entry) else None
    config = entry.get("config")
    if model is not None and isinstance(config, tuple):
        config = MappingProxyType({"name": entry.get("name", model.name), "layers": config})
    config = without_shared(an_object(config, f"the config of a layer {kind[:80]!r}"))
    name = _checked_name(entry.get("name", config.get("name")), f"the name of a {kind[:80]}")
    if model is not None:
        # What it is made of stands in the record already.
        config = MappingProxyType({k: v for k, v in config.items() if k in ("name", "trainable")})
    origin, policy = origin_of(entry), policy_of(config, name)
    wrapped = None
    if origin == "layer" and kind in WRAPPERS:
        if levels == 0:
            raise ModelFileError(f"layers are wrapped more deeply than {MAX_MODEL_DEPTH} levels")
        inner = an_object(config.get("layer"), f"the layer in {name!r}")
        wrapped = _layer(inner, source, levels - 1)
    return LayerRecord(name, kind, origin, config, policy, model=model, wrapped=wrapped)


def _checked_name(value: Any, what: str) -> str:
    name = a_text(value, what)
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise ModelFileError(f"{what} is {shown(name)}, which is no name")
    return name


def _unique_names(layers: list[LayerRecord], model: str) -> frozenset[str]:
    names: set[str] = set()
    for layer in layers:
        if layer.name in names:
            raise ModelFileError(f"model {model!r} has two layers of the name {layer.name!r}")
        names.add(layer.name)
    return frozenset(names)
