"""Weights in a whole model's ``.h5`` file, as Keras 2 wrote it and Keras 3 still does.

The group ``model_weights/<layer>`` has an attribute ``weight_names``, whose texts are paths below
it: ``dense_1/kernel:0``. A nested model is one layer there: the trained weights of all its layers
come first, in the order of its layers, then the others. Keras on Theano convolved where the others
correlate: its kernels are turned round here, as Keras did when it loaded them elsewhere.

Source: ``keras/src/legacy/saving/legacy_h5_format.py`` of Keras 3.15.1 and
``keras/engine/saving.py`` of Keras 2.2.4.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from einloom.keras.models.hdf5 import Group
from einloom.keras.models.kinds import Kind, Slot, kind_of
from einloom.keras.models.kinds.convolution import Conv
from einloom.keras.models.kinds.wrapping import TimeDistributed
from einloom.keras.models.record import LayerRecord, ModelRecord, Weight, read_only
from einloom_compiler.errors import ModelFileError

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one weight belongs.

    Attributes:
        path: names of the layers it lies in, outermost first.
        slot: its place in the innermost one.
        is_trained: whether it is listed among the trained weights.
    """

    path: _Path
    slot: Slot
    is_trained: bool


def with_weights(model: ModelRecord, root: Group) -> ModelRecord:
    """Return the model with the weights below the group ``model_weights``.

    Raises:
        ModelFileError: a layer's weights are missing or not those of its class.
    """
    is_flipped = model.backend == "theano"
    layers = tuple(
        _filled_layer(layer, root, model.keras_version, is_flipped) for layer in model.layers
    )
    return dataclasses.replace(model, layers=layers)


def _filled_layer(layer: LayerRecord, root: Group, version: str, is_flipped: bool) -> LayerRecord:
    leaves = list(_leaves(layer, ()))
    same: dict[_Path, _Path] = {}
    kinds = {path: kind_of(leaf, version) for path, leaf in leaves}
    group = root.group(layer.name)
    names = (group.texts("weight_names") or ()) if group is not None else ()
    if all(isinstance(kind, Kind) for kind in kinds.values()):
        if len(_places(leaves, kinds)) != len(names):
            same = _occurring_again(leaves)
        once = [(path, leaf) for path, leaf in leaves if path not in same]
        placed = _by_order(layer, once, kinds, names)
    else:
        placed = _by_layer(layer, leaves, kinds, names)
    arrays: dict[_Path, list[Weight]] = {}
    for (path, name), stored in placed:
        assert group is not None
        array = group.array(stored)
        if is_flipped and _is_convolved(kinds[path], name):
            array = read_only(np.flip(array, tuple(range(array.ndim - 2))))
        arrays.setdefault(path, []).append(Weight(name, array))
    for path, kind in kinds.items():
        if isinstance(kind, Kind) and path in arrays:
            order = {slot.name: number for number, slot in enumerate(kind.slots())}
            arrays[path].sort(key=lambda weight, order=order: order[weight.name])  # type: ignore[misc]
    for path, first in same.items():
        arrays[path] = arrays.get(first, [])
    return _with(layer, arrays, (layer.name,))


def _is_convolved(kind: object, name: str) -> bool:
    """Say whether a weight is the kernel of a convolution, which may be wrapped."""
    inner = kind.inner if isinstance(kind, TimeDistributed) else kind
    return isinstance(inner, Conv) and name.rpartition("/")[2] == "kernel"


def _occurring_again(leaves: Sequence[tuple[_Path, LayerRecord]]) -> dict[_Path, _Path]:
    """Return, for layers that occur in several nested models, the path where each occurs first.

    Their weights are in the file once. Layers are taken for the same if name, class and
    configuration are; the number of stored weights must confirm it for all of them.
    """
    firsts: dict[tuple[str, str], list[tuple[_Path, LayerRecord]]] = {}
    again: dict[_Path, _Path] = {}
    for path, leaf in leaves:
        known = firsts.setdefault((leaf.name, leaf.class_name), [])
        first = next((path for path, other in known if other.config == leaf.config), None)
        if first is None:
            known.append((path, leaf))
        else:
            again[path] = first
    return again


def _leaves(layer: LayerRecord, above: _Path) -> Iterator[tuple[_Path, LayerRecord]]:
    path = (*above, layer.name)
    if layer.model is None:
        yield path, layer
        return
    for inner in layer.model.layers:
        yield from _leaves(inner, path)


def _with(layer: LayerRecord, arrays: dict[_Path, list[Weight]], path: _Path) -> LayerRecord:
    if layer.model is None:
        return dataclasses.replace(layer, weights=tuple(arrays.get(path, ())))
    inner = tuple(_with(item, arrays, (*path, item.name)) for item in layer.model.layers)
    return dataclasses.replace(layer, model=dataclasses.replace(layer.model, layers=inner))


def _places(
    leaves: Sequence[tuple[_Path, LayerRecord]], kinds: Mapping[_Path, object]
) -> list[_Place]:
    return [
        _Place(path, slot, slot.is_trained and leaf.config.get("trainable", True) is not False)
        for path, leaf in leaves
        if isinstance(kind := kinds[path], Kind)
        for slot in kind.slots()
    ]


def _by_order(
    layer: LayerRecord,
    leaves: Sequence[tuple[_Path, LayerRecord]],
    kinds: Mapping[_Path, object],
    names: Sequence[str],
) -> list[tuple[tuple[_Path, str], str]]:
    """Pair stored names with places by their order, which the names must not contradict."""
    places = _places(leaves, kinds)
    if len(places) != len(names):
        raise ModelFileError(
            f"layer {layer.name!r} ({layer.class_name}) needs {len(places)} weights, but the file "
            f"holds {len(names)}"
        )
    orders: tuple[Callable[[_Place], bool], ...] = (
        lambda place: not place.is_trained,
        lambda place: not place.slot.is_trained,
        lambda place: False,
    )
    for order in orders:
        ordered = sorted(places, key=order)
        if not any(_contradicts(p, name) for p, name in zip(ordered, names, strict=True)):
            return [
                ((place.path, place.slot.name), name)
                for place, name in zip(ordered, names, strict=True)
            ]
    raise ModelFileError(
        f"layer {layer.name!r} ({layer.class_name}) needs the weights "
        f"{', '.join(place.slot.name for place in places[:20])}, but the file lists "
        f"{', '.join(name[:60] for name in names[:20])}"
    )


def _contradicts(place: _Place, stored: str) -> bool:
    """Say whether a stored name is that of another weight of Keras's layers."""
    last = _variable(stored).rpartition("/")[2]
    return last in _VARIABLES and last != place.slot.last_name


_VARIABLES = frozenset(
    {
        *("kernel", "bias", "embeddings", "gamma", "beta", "moving_mean", "moving_variance"),
        *("scale", "concat_score_weight", "recurrent_kernel", "depthwise_kernel", "vector_u"),
    }
)


def _by_layer(
    layer: LayerRecord,
    leaves: Sequence[tuple[_Path, LayerRecord]],
    kinds: Mapping[_Path, object],
    names: Sequence[str],
) -> list[tuple[tuple[_Path, str], str]]:
    """Pair stored names with layers by the layers' names in them; some layer is not known."""
    found: dict[_Path, list[str]] = {path: [] for path, _ in leaves}
    for name in names:
        parts = _variable(name).split("/")
        fitting = [path for path, leaf in leaves if leaf.name in parts]
        fitting = [layer_path(layer)] if layer.model is None else fitting
        if len(fitting) != 1:
            raise ModelFileError(
                f"which layer of nested model {layer.name!r} has the weight {name[:80]!r} cannot "
                "be told; save the model as .keras"
            )
        found[fitting[0]].append(name)
    placed: list[tuple[tuple[_Path, str], str]] = []
    for path, leaf in leaves:
        if isinstance(kinds[path], Kind):
            placed += _by_order(leaf, [(path, leaf)], kinds, found[path])
        else:
            placed += [((path, _within(name, leaf.name)), name) for name in found[path]]
    return placed


def layer_path(layer: LayerRecord) -> _Path:
    """Return the path of a layer that is no nested model."""
    return (layer.name,)


def _within(stored: str, layer: str) -> str:
    """Return a weight's name within its layer."""
    parts = _variable(stored).split("/")
    if layer in parts[:-1]:
        parts = parts[parts.index(layer) + 1 :]
    return "/".join(parts)


def _variable(stored: str) -> str:
    """Return a stored name without TensorFlow's number of an operation's output."""
    return re.sub(r":\d+\Z", "", stored)
