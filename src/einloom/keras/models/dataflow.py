"""Shapes through a model: what each call of a known layer is given, and gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from einloom.keras.models.kinds import Kind, Unknown, kind_of
from einloom.keras.models.kinds.base import Shape
from einloom.keras.models.kinds.shaping import Input
from einloom.keras.models.limits import (
    MAX_CALLS,
    MAX_EXTENT_CHARACTERS,
    MAX_EXTENT_POWER,
    MAX_RESULT_EXTENT,
)
from einloom.keras.models.record import (
    Call,
    LayerRecord,
    ModelRecord,
    TensorRef,
    TensorSpec,
    references,
)
from einloom_compiler.errors import ModelFileError, ShapeError
from einloom_compiler.extents import Extent, symbol


@dataclass(frozen=True, slots=True)
class Flow:
    """Shapes of a model's tensors.

    Attributes:
        kinds: what each layer is.
        shapes: of every tensor that follows from the inputs through known layers, nested models
            included, and of what the file states behind others; an extent that the model leaves
            open is a symbol: ``batch`` for first axes, ``<layer>_<axis>`` for others.
        given: the shapes that each layer is called with, for calls where all are known.
        order: the calls in an order in which each has its inputs: (layer, number of the call).
    """

    kinds: Mapping[str, Kind | Unknown]
    shapes: Mapping[TensorRef, Shape]
    given: Mapping[str, tuple[tuple[Shape, ...], ...]]
    order: tuple[tuple[str, int], ...]


class _Work:
    """What one :func:`flow` has done, nested models included: they may be called many times."""

    def __init__(self) -> None:
        self._n_calls = 0
        self.done: dict[tuple[int, tuple[Shape, ...]], Flow] = {}

    def count(self, n_calls: int) -> None:
        self._n_calls += n_calls
        if self._n_calls > MAX_CALLS:
            raise ModelFileError(
                f"calls of nested models amount to more than {MAX_CALLS} calls of layers"
            )


def flow(
    model: ModelRecord, inputs: Mapping[str, Shape] | None = None, work: _Work | None = None
) -> Flow:
    """Return the shapes of a model's tensors.

    Args:
        model: its layers' calls must be connected without a ring (:mod:`.verifier` checks that).
        inputs: shapes of the inputs by the names of their layers, instead of those recorded.
        work: of the model that this one is nested in.

    Raises:
        ShapeError: a layer cannot take what it is given; the message names it.
        ModelFileError: a known layer's configuration is malformed, or nested models call each
            other more often than MAX_CALLS allows.
    """
    work = work or _Work()
    kinds = {layer.name: kind_of(layer, model.keras_version) for layer in model.layers}
    layers = {layer.name: layer for layer in model.layers}
    shapes: dict[TensorRef, Shape] = {}
    for name, kind in kinds.items():
        if isinstance(kind, Input):
            shape = (inputs or {}).get(name, input_shape(name, kind))
            if shape is not None:
                shapes[TensorRef(name)] = shape
    stated: dict[tuple[str, int], list[tuple[TensorRef, TensorSpec]]] = {}
    for ref, spec in model.stated.items():
        stated.setdefault((ref.layer, ref.call), []).append((ref, spec))
    given: dict[str, list[tuple[Shape, ...]]] = {}
    order = tuple(call_order(model))
    work.count(len(order))
    for name, number in order:
        layer = layers[name]
        wanted = tensor_inputs(layer.calls[number], kinds[name])
        _claim(stated, layer, kinds[name], number, shapes)
        if wanted is None or not all(ref in shapes for ref in wanted):
            continue
        taken = tuple(shapes[ref] for ref in wanted)
        given.setdefault(name, []).append(taken)
        shapes.update(_outputs(layer, kinds[name], number, taken, work))
    return Flow(kinds, shapes, {name: tuple(taken) for name, taken in given.items()}, order)


def input_shape(name: str, kind: Input) -> Shape | None:
    """Return an input's shape with symbols for open extents, None where it is not known."""
    if kind.shape is None:
        return None
    return _with_symbols(kind.shape, name, "batch")


def tensor_inputs(call: Call, kind: Kind | Unknown) -> tuple[TensorRef, ...] | None:
    """Return the tensors a call gives to a known layer, in the order of its INPUT_NAMES.

    None where they cannot be told: a number stands among them, a name is repeated or left out.
    """
    if isinstance(kind, Unknown):
        # A nested model; its structure of inputs is flattened in the order of Keras.
        return tuple(references(call.args))
    if len(call.args) == 1 and isinstance(call.args[0], tuple | Mapping):
        positional: tuple[object, ...] = tuple(references(call.args[0]))
        if len(positional) != len(call.args[0]):
            return None
    else:
        positional = call.args
    names = kind.INPUT_NAMES
    if kind.IS_VARIADIC:
        found: list[object] = list(positional)
    else:
        found = list(positional[: len(names)])
        for name in names[len(found) :]:
            value = call.kwargs.get(name)
            if value is None:
                break
            found.append(value)
    kept = tuple(item for item in found if isinstance(item, TensorRef))
    return kept if len(kept) == len(found) else None


def call_order(model: ModelRecord) -> Iterator[tuple[str, int]]:
    """Yield the calls in an order in which each has its inputs; leave out those that never do."""
    calls = {(layer.name, n): call for layer in model.layers for n, call in enumerate(layer.calls)}
    waiting = {
        key: {(r.layer, r.call) for r in call.references() if (r.layer, r.call) in calls}
        for key, call in calls.items()
    }
    users: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for key, needed in waiting.items():
        for other in needed:
            users.setdefault(other, []).append(key)
    ready = [key for key, needed in waiting.items() if not needed]
    for key in ready:
        yield key
        for user in users.get(key, ()):
            waiting[user].discard(key)
            if not waiting[user]:
                ready.append(user)


def call_depths(model: ModelRecord) -> Mapping[tuple[str, int], int]:
    """Return how many calls lie between each call and the outputs, on the longest way.

    Keras 3 runs calls from the deepest on; calls of one layer count as deep as its deepest one
    behind them. Source: ``map_graph`` of ``keras/src/ops/function.py``.
    """
    calls = {(layer.name, n): call for layer in model.layers for n, call in enumerate(layer.calls)}
    depths: dict[tuple[str, int], int] = {}
    of_layers: dict[str, int] = {}
    for key in reversed(tuple(call_order(model))):
        depth = max(depths.get(key, 0), of_layers.get(key[0], 0))
        depths[key] = of_layers[key[0]] = depth
        for ref in calls[key].references():
            parent = (ref.layer, ref.call)
            depths[parent] = max(depths.get(parent, 0), depth + 1)
    return depths


def _claim(
    stated: Mapping[tuple[str, int], list[tuple[TensorRef, TensorSpec]]],
    layer: LayerRecord,
    kind: Kind | Unknown,
    number: int,
    shapes: dict[TensorRef, Shape],
) -> None:
    """Take the shapes that the file states for the outputs of a layer that is not known."""
    if isinstance(kind, Kind) or layer.model is not None:
        return
    for ref, spec in stated.get((layer.name, number), ()):
        shapes[ref] = _with_symbols(spec.shape, layer.name, "batch")


def _with_symbols(shape: tuple[int | None, ...], name: str, first: str) -> Shape:
    return tuple(
        extent if extent is not None else symbol(f"{name}_{axis}" if axis else first)
        for axis, extent in enumerate(shape)
    )


def _bounded(shape: Shape, layer: str, number: int) -> Shape:
    """Return the shape with extents that have grown beyond use as symbols of their own.

    A chain of layers can square an extent at every step: without a bound, twenty layers of a
    hostile file would keep sympy busy for ever.
    """
    return tuple(
        extent if _is_simple(extent, layer) else symbol(f"{layer}#{number}_{axis}")
        for axis, extent in enumerate(shape)
    )


def _is_simple(extent: Extent, layer: str) -> bool:
    if isinstance(extent, int):
        if extent > MAX_RESULT_EXTENT:
            raise ModelFileError(f"layer {layer!r} would give an axis of more than 2**62 elements")
        return True
    shown = str(extent)
    return len(shown) <= MAX_EXTENT_CHARACTERS and all(
        int(power) <= MAX_EXTENT_POWER for power in _POWER.findall(shown)
    )


_POWER = re.compile(r"\*\*(\d+)")


def _outputs(
    layer: LayerRecord, kind: Kind | Unknown, number: int, taken: tuple[Shape, ...], work: _Work
) -> dict[TensorRef, Shape]:
    if isinstance(kind, Kind):
        try:
            shape = kind.output_shape(*taken)
        except ShapeError as error:
            raise ShapeError(f"layer {layer.name!r}: {error}") from None
        return {TensorRef(layer.name, number): _bounded(shape, layer.name, number)}
    if layer.model is None:
        return {}
    names = [ref.layer for ref in references(layer.model.inputs)]
    if len(names) != len(taken):
        return {}
    key = (id(layer.model), taken)
    inner = work.done.get(key)
    if inner is None:
        inner = work.done[key] = flow(layer.model, dict(zip(names, taken, strict=True)), work)
    return {
        TensorRef(layer.name, number, position): inner.shapes[ref]
        for position, ref in enumerate(references(layer.model.outputs))
        if ref in inner.shapes
    }
