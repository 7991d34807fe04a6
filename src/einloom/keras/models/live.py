"""Live Keras 3 layers and models to the records that their saved files give.

Keras is looked up among the loaded modules: who holds such an object has imported it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.keras.models.dataflow import flow
from einloom.keras.models.documents import frozen
from einloom.keras.models.kinds import Kind, kind_of
from einloom.keras.models.kinds.wrapping import PART
from einloom.keras.models.record import (
    Argument,
    Call,
    LayerRecord,
    ModelRecord,
    TensorRef,
    Weight,
    read_only,
)
from einloom.keras.models.structure import Source, layer_record, model_record
from einloom.keras.models.verifier import verify
from einloom_compiler.errors import ModelFileError, ShapeError, UnsupportedError

#: Layers that take their tensors as one list.
_LISTING = frozenset({"Dot", "Attention", "AdditiveAttention"})


def record_from_keras(target: Any, *specs: Any, leaves_out_code: bool = False) -> ModelRecord:
    """Return the record of a live Keras 3 model or layer, on any backend.

    It is what :func:`~einloom.keras.models.read_model` gives for the saved model. A layer alone
    becomes a model of InputLayers and one call. The weights are copied.

    Args:
        target: a ``keras.Model`` made of layers, or a ``keras.layers.Layer``.
        specs: operands (``el.spec``) or shapes of what it is called with; needed where it was
            never built, which it is then. Extents that are not integers are left open.
        leaves_out_code: whether a layer that holds Python code is kept without it, as one that is
            not known, instead of refused.

    Raises:
        UnsupportedError: ``target`` is neither, is a model of a class of its own, holds Python
            code, or was not built and no ``specs`` are given.
        ShapeError: a layer cannot take such inputs.
    """
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(target, keras.layers.Layer):
        kind = f"{type(target).__module__}.{type(target).__name__}"
        raise UnsupportedError(
            f"a {kind} is no layer or model of Keras 3; save a model of tf.keras to a file, and "
            "read that"
        )
    try:
        if specs:
            _build(keras, target, specs)
        record = _record(keras, target, specs, leaves_out_code)
        flow(record)  # what does not fit is the caller's, an error of shapes
        verify(record)
    except ModelFileError as error:
        raise UnsupportedError(str(error)) from None
    return record


def _record(keras: Any, target: Any, specs: Sequence[Any], leaves_out_code: bool) -> ModelRecord:
    source = Source(keras.__version__, leaves_out_code=leaves_out_code)
    if isinstance(target, keras.Model):
        if not target.built:
            raise _never_built(target.name)
        record = model_record(_serialized(keras, target), source)
        return _filled(keras, record, target)
    layer = layer_record(_serialized(keras, target), source)
    filled = _filled_layer(keras, layer, target, keras.__version__)
    return _model_of(filled, _shapes(target, specs), keras.__version__)


def _serialized(keras: Any, target: Any) -> Any:
    try:
        return frozen(keras.saving.serialize_keras_object(target), f"{target.name!r}")
    except (NotImplementedError, TypeError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise UnsupportedError(f"Keras cannot describe {target.name!r}: {error}") from None


def _filled(keras: Any, record: ModelRecord, model: Any) -> ModelRecord:
    live = {layer.name: layer for layer in model.layers}
    layers = tuple(
        _filled_layer(keras, layer, live[layer.name], record.keras_version)
        if layer.name in live
        else layer
        for layer in record.layers
    )
    return dataclasses.replace(record, layers=layers)


def _filled_layer(keras: Any, layer: LayerRecord, live: Any, version: str) -> LayerRecord:
    if layer.model is not None:
        return dataclasses.replace(layer, model=_filled(keras, layer.model, live))
    kind = kind_of(layer, version)
    if isinstance(kind, Kind):
        weights = _of_known(keras, layer, kind, live)
    else:
        weights = tuple(Weight(_within(w.path, layer.name), _array(keras, w)) for w in live.weights)
    return dataclasses.replace(layer, weights=weights)


def _of_known(keras: Any, layer: LayerRecord, kind: Kind, live: Any) -> tuple[Weight, ...]:
    """Return the weights as the layer would save them (a low-rank adaptation is merged)."""
    slots = kind.stored()
    found: dict[str, Weight] = {}
    for part in dict.fromkeys(slot.part for slot in slots):
        holder = _holder(live, part)
        if holder is None or not holder.built:
            raise _never_built(layer.name)
        stored: dict[str, Any] = {}
        holder.save_own_variables(stored)
        wanted = [slot.name for slot in slots if slot.part == part]
        if sorted(stored) != sorted(str(number) for number in range(len(wanted))):
            raise UnsupportedError(
                f"layer {layer.name!r} ({layer.class_name}) should hold the weights {wanted}, but "
                f"saves {len(stored)}"
            )
        for number, name in enumerate(wanted):
            found[name] = Weight(name, _array(keras, stored[str(number)]))
    return tuple(found[slot.name] for slot in kind.slots())


def _holder(live: Any, part: str) -> Any:
    """Return the layer within a layer that holds a part's weights, None where there is none."""
    for name in filter(None, part.split("/")):
        live = getattr(live, name if name == PART else f"_{name}", None)
    return live


def _array(keras: Any, variable: Any) -> npt.NDArray[Any]:
    """Return a copy: a framework may let its variable's memory be seen."""
    return read_only(np.array(keras.ops.convert_to_numpy(variable), order="C", copy=True))


def _within(path: str, layer: str) -> str:
    parts = path.split("/")
    if layer in parts[:-1]:
        parts = parts[parts.index(layer) + 1 :]
    return "/".join(parts)


def _never_built(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name!r} was never built, so that it has no weights: call it once, or give the shapes "
        "of its inputs"
    )


def _build(keras: Any, target: Any, specs: Sequence[Any]) -> None:
    """Build a target by calling it on symbolic tensors of the given shapes."""
    if target.built and isinstance(target, keras.Model):
        return
    tensors = [keras.KerasTensor(*_shape_and_dtype(spec)) for spec in specs]
    as_list = isinstance(target, keras.Model) or takes_a_list(type(target).__name__, len(tensors))
    try:
        target(tensors if as_list and len(tensors) > 1 else tensors[0]) if (
            as_list or len(tensors) == 1
        ) else target(*tensors)
    except (ValueError, TypeError) as error:
        shown = ", ".join(str(tensor.shape) for tensor in tensors)
        raise ShapeError(f"{target.name!r} cannot take inputs of shape {shown}: {error}") from None


def takes_a_list(class_name: str, n_tensors: int) -> bool:
    """Say whether Keras's layer of this class takes so many tensors as one list."""
    return class_name in _LISTING or (
        n_tensors > 1 and class_name not in ("MultiHeadAttention", "GroupedQueryAttention")
    )


def _shape_and_dtype(spec: Any) -> tuple[tuple[int | None, ...], str]:
    """Return the shape and dtype of an operand, or the shape that a tuple is."""
    shape = getattr(spec, "shape", spec)
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise ShapeError(f"{spec!r} is no shape and no operand; write el.spec('B', 128)")
    dtype = getattr(spec, "dtype", None)
    extents = tuple(extent if isinstance(extent, int) else None for extent in shape)
    return extents, "float32" if dtype is None else str(dtype)


def _shapes(layer: Any, specs: Sequence[Any]) -> list[tuple[tuple[int | None, ...], str]]:
    """Return shapes and dtypes of a layer's inputs: the given ones, else those it was built for."""
    if specs:
        return [_shape_and_dtype(spec) for spec in specs]
    built = layer.get_build_config() or {}
    shapes = built.get("shapes_dict") or built
    found = [shape for shape in shapes.values() if shape]
    if len(found) == 1 and isinstance(found[0][0], list | tuple):
        found = list(found[0])
    if not layer.built or not found:
        raise _never_built(layer.name)
    return [(tuple(shape), layer.compute_dtype) for shape in found]


def _model_of(
    layer: LayerRecord, shapes: Sequence[tuple[tuple[int | None, ...], str]], version: str
) -> ModelRecord:
    """Return a model that calls the layer once, on one InputLayer for each shape."""
    inputs = []
    for number, (shape, dtype) in enumerate(shapes):
        name = f"input_{number}"
        config = {"batch_shape": shape, "dtype": dtype, "sparse": False, "name": name}
        inputs.append(LayerRecord(name, "InputLayer", "layer", MappingProxyType(config), dtype))
    refs: tuple[Argument, ...] = tuple(TensorRef(item.name) for item in inputs)
    as_list = takes_a_list(layer.class_name, len(refs)) and layer.class_name not in (
        "GroupQueryAttention",
    )
    call = Call((refs,) if as_list else refs, MappingProxyType({}))
    called = dataclasses.replace(layer, calls=(call,))
    given: Any = refs[0] if len(refs) == 1 else refs
    return ModelRecord(
        layer.name, "Functional", (*inputs, called), given, TensorRef(layer.name), version
    )
