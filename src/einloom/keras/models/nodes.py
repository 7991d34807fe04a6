"""Calls of layers as Keras writes them, in the form of Keras 3 and the older one.

Keras 3 writes a node as ``{"args": [...], "kwargs": {...}}`` with tensors as
``{"class_name": "__keras_tensor__", "config": {"keras_history": [layer, call, output], ...}}``.
Keras 2 wrote a list ``[[layer, call, output, kwargs], ...]`` of its tensors, one such entry alone
for a call of a TensorFlow operation, or an object of them for named inputs; tensors among the
keyword arguments are ``[layer, call, output]``, constants ``["_CONSTANT_VALUE", -1, value]``.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any

from einloom.keras.models.documents import a_list, a_text, a_whole_number, an_object, shown
from einloom.keras.models.limits import MAX_EXTENT, MAX_WEIGHT_RANK
from einloom.keras.models.record import Argument, Call, Structure, TensorRef, TensorSpec
from einloom_compiler.errors import ModelFileError

_CONSTANT = "_CONSTANT_VALUE"


def calls_of(entry: Mapping[str, Any], layers: Container[str]) -> tuple[Call, ...]:
    """Return the calls of a functional model's layer.

    Args:
        entry: the layer's entry in the model's configuration.
        layers: names of all layers of the model.

    Raises:
        ModelFileError: a node is malformed or names a layer that the model does not have.
    """
    where = f"inbound_nodes of layer {shown(entry.get('name'))}"
    nodes = a_list(entry.get("inbound_nodes", ()), where)
    return tuple(_call(node, layers, where) for node in nodes)


def stated_by(entry: Mapping[str, Any]) -> Mapping[TensorRef, TensorSpec]:
    """Return what a layer's calls say of the tensors they take.

    Raises:
        ModelFileError: a shape or dtype is malformed.
    """
    found: dict[TensorRef, TensorSpec] = {}
    pending = [entry.get("inbound_nodes")]
    while pending:
        value = pending.pop()
        if isinstance(value, tuple):
            pending += value
        elif isinstance(value, Mapping):
            config, is_tensor = value.get("config"), value.get("class_name") == "__keras_tensor__"
            if is_tensor and isinstance(config, Mapping):
                found |= _stated(config)
            else:
                pending += value.values()
    return found


def _stated(config: Mapping[str, Any]) -> dict[TensorRef, TensorSpec]:
    history: Any = config.get("keras_history")
    shape, dtype = config.get("shape"), config.get("dtype")
    if not _is_reference(history) or not isinstance(shape, tuple) or not isinstance(dtype, str):
        return {}
    return {TensorRef(*history): TensorSpec(a_shape(shape, history[0]), dtype)}


def built_for(entry: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """Return the shape of the one tensor that a layer was built for, None where it is not said.

    Raises:
        ModelFileError: what is said is no shape.
    """
    built = entry.get("build_config")
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    if not isinstance(shape, tuple) or any(isinstance(item, tuple) for item in shape):
        return None
    return a_shape(shape, entry.get("name"))


def a_shape(shape: tuple[Any, ...], layer: Any) -> tuple[int | None, ...]:
    """Return a shape that a file states.

    Raises:
        ModelFileError: it is none.
    """
    extents = [extent for extent in shape if extent is not None]
    if len(shape) > MAX_WEIGHT_RANK or not all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= MAX_EXTENT for n in extents
    ):
        raise ModelFileError(f"a tensor of layer {shown(layer)} has the shape {shown(shape)}")
    return shape


def is_old_form(entry: Mapping[str, Any]) -> bool:
    """Say whether the layer's calls are written as Keras 2 did."""
    nodes = entry.get("inbound_nodes")
    return isinstance(nodes, tuple) and any(
        not isinstance(node, Mapping) or "args" not in node for node in nodes
    )


def structure_of(value: Any, layers: Container[str], where: str) -> Structure:
    """Return a model's inputs or outputs: one tensor, a list of them, or named ones.

    Raises:
        ModelFileError: it is malformed or names a layer that the model does not have.
    """
    if _is_reference(value):
        return _reference(value, layers, where)
    if isinstance(value, tuple):
        return tuple(structure_of(item, layers, where) for item in value)
    if isinstance(value, Mapping):
        named = {name: structure_of(item, layers, where) for name, item in value.items()}
        return MappingProxyType(named)
    raise ModelFileError(f"{where} must be lists [layer, call, output], not {shown(value)}")


def _call(node: Any, layers: Container[str], where: str) -> Call:
    if isinstance(node, Mapping) and "args" in node:
        args = _argument(a_list(node["args"], f"args in {where}"), layers, where)
        kwargs = _argument(
            an_object(node.get("kwargs", MappingProxyType({})), f"kwargs in {where}"), layers, where
        )
        assert isinstance(args, tuple)
        assert isinstance(kwargs, Mapping)
        return Call(args, kwargs)
    return _old_call(node, layers, where)


def _argument(value: Any, layers: Container[str], where: str) -> Argument:
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            config = an_object(value.get("config"), f"a tensor in {where}")
            return _reference(config.get("keras_history"), layers, where)
        return MappingProxyType({k: _argument(v, layers, where) for k, v in value.items()})
    if isinstance(value, tuple):
        return tuple(_argument(item, layers, where) for item in value)
    return value  # type: ignore[no-any-return]  # JSON


def _old_call(node: Any, layers: Container[str], where: str) -> Call:
    if isinstance(node, Mapping):
        items = {name: _old_entry(item, layers, where) for name, item in node.items()}
        tensors: Argument = MappingProxyType({name: tensor for name, (tensor, _) in items.items()})
        given = [kwargs for _, kwargs in items.values()]
    else:
        entries = a_list(node, f"a node in {where}")
        if entries and isinstance(entries[0], str):
            entries = (entries,)
        pairs = [_old_entry(item, layers, where) for item in entries]
        tensors = pairs[0][0] if len(pairs) == 1 else tuple(tensor for tensor, _ in pairs)
        given = [kwargs for _, kwargs in pairs]
    kwargs = next((found for found in given if found), MappingProxyType({}))
    return Call((tensors,), MappingProxyType({k: _old_value(v, layers) for k, v in kwargs.items()}))


def _old_entry(
    entry: Any, layers: Container[str], where: str
) -> tuple[Argument, Mapping[str, Any]]:
    items = a_list(entry, f"an entry in {where}")
    if len(items) not in (3, 4):
        raise ModelFileError(f"an entry in {where} has {len(items)} parts; expected 3 or 4")
    kwargs: Mapping[str, Any] = MappingProxyType({})
    if len(items) == 4 and items[3] is not None:
        kwargs = an_object(items[3], f"keyword arguments in {where}")
    if items[0] == _CONSTANT:
        return items[2], kwargs
    return _reference(items[:3], layers, where), kwargs


def _old_value(value: Any, layers: Container[str]) -> Argument:
    """Return a keyword argument, the tensors in it told from lists by the names of layers."""
    if isinstance(value, tuple):
        if _is_reference(value) and value[0] in layers:
            return TensorRef(value[0], value[1], value[2])
        if len(value) in (3, 4) and value[0] == _CONSTANT:
            return value[2]  # type: ignore[no-any-return]  # JSON
        return tuple(_old_value(item, layers) for item in value)
    if isinstance(value, Mapping):
        return MappingProxyType({k: _old_value(v, layers) for k, v in value.items()})
    return value  # type: ignore[no-any-return]  # JSON


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(n, int) and not isinstance(n, bool) for n in value[1:])
    )


def _reference(value: Any, layers: Container[str], where: str) -> TensorRef:
    items = a_list(value, f"a tensor in {where}")
    if len(items) != 3:
        raise ModelFileError(f"a tensor in {where} has {len(items)} parts; expected 3")
    name = a_text(items[0], f"a layer's name in {where}")
    if name not in layers:
        raise ModelFileError(f"{where} names a layer {name[:80]!r}, which the model does not have")
    call, output = (a_whole_number(n, f"a number in {where}") for n in items[1:])
    if not (0 <= call <= MAX_EXTENT and 0 <= output <= MAX_EXTENT):
        raise ModelFileError(f"{where} names call {call}, output {output} of layer {name[:80]!r}")
    return TensorRef(name, call, output)
