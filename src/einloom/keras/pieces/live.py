"""The layers of a live Keras model that are not compiled, as functions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from einloom.keras.models.record import ModelRecord, TensorRef, TensorSpec


def layer_at(model: Any, path: str) -> Any:
    """Return the layer or operation of a live model at ``encoder/memory``.

    Raises:
        KeyError: the model has none.
    """
    found = model
    for name in path.split("/"):
        inner = (*found.layers, *getattr(found, "operations", ()))
        found = next((item for item in inner if item.name == name), None)
        if found is None:
            raise KeyError(path)
    return found


def function_of(layer: Any) -> Callable[..., Any]:
    """Return a live layer's inference as a function of arrays, to what Keras gives as arrays."""
    keras = sys.modules["keras"]
    has_training = "training" in inspect.signature(layer.call).parameters
    settings = {"training": False} if has_training else {}

    def function(*args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs, **settings)
        return keras.tree.map_structure(
            lambda tensor: np.asarray(keras.ops.convert_to_numpy(tensor)), result
        )

    return function


def masking_of(layer: Any) -> tuple[bool, bool]:
    """Return whether a live layer's call takes a mask, and whether it hands its input's on.

    Raises:
        NotImplementedError: it computes a mask of its own.
    """
    keras = sys.modules["keras"]
    takes = "mask" in inspect.signature(layer.call).parameters
    if not layer.supports_masking:
        return takes, False
    if type(layer).compute_mask is not keras.layers.Layer.compute_mask:
        raise NotImplementedError(layer.name)
    return takes, True


def with_shapes(record: ModelRecord, model: Any) -> ModelRecord:
    """Return a live model's record with the shapes of what the layers of Sequential ones give.

    Functional ones state them.
    """
    live = {layer.name: layer for layer in model.layers}
    layers = tuple(
        replace(layer, model=with_shapes(layer.model, live[layer.name]))
        if layer.model is not None
        else layer
        for layer in record.layers
    )
    stated = dict(record.stated)
    if record.class_name == "Sequential":
        keras = sys.modules["keras"]
        (given,) = model.inputs
        tensor = keras.KerasTensor(given.shape, given.dtype)
        for layer in model.layers:
            tensor = layer.compute_output_spec(tensor)
            if isinstance(tensor, keras.KerasTensor):
                stated[TensorRef(layer.name)] = TensorSpec(tuple(tensor.shape), tensor.dtype)
    return replace(record, layers=layers, stated=MappingProxyType(stated))
