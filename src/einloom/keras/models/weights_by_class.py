"""Weights in ``model.weights.h5``, the member of a ``.keras`` archive.

A layer's group is named after its class: ``layers/dense``, ``layers/dense_1``, and within a nested
model ``layers/functional/layers/dense``; its variables are ``vars/0``, ``vars/1``, ..., those of a
layer within a layer ``query_dense/vars/0``. A layer that occurs in several models is stored where
Keras saw it first.

Source: ``keras/src/saving/saving_lib.py`` of Keras 3.15.1 and tf_keras 2.21 (``H5IOStore``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from einloom.keras.models.hdf5 import Group
from einloom.keras.models.kinds import Kind, kind_of
from einloom.keras.models.record import LayerRecord, ModelRecord, Weight
from einloom_compiler.errors import ModelFileError

#: Where tf.keras 2.12 and 2.13 put the layers.
_OLD_LAYERS = "_layer_checkpoint_dependencies"
#: Classes whose exported name is not their own.
_OWN_NAMES = {"GroupQueryAttention": "GroupedQueryAttention"}
#: State that is no weight.
_NO_WEIGHTS = re.compile(r"(?:^|/)_?seed_generator/")


def with_weights(model: ModelRecord, root: Group) -> ModelRecord:
    """Return the model with the weights below the root group of its weights' file.

    Raises:
        ModelFileError: a layer's weights are missing or not those of its class.
    """
    return _filled(model, root, [])


def _filled(model: ModelRecord, group: Group | None, seen: list[LayerRecord]) -> ModelRecord:
    holder = None
    if group is not None:
        holder = group.group("layers") or group.group(_OLD_LAYERS)
    names = _group_names(model)
    layers = tuple(
        _filled_layer(layer, holder, name, model.keras_version, seen)
        for layer, name in zip(model.layers, names, strict=True)
    )
    return dataclasses.replace(model, layers=layers)


def _group_names(model: ModelRecord) -> Iterator[str | None]:
    """Yield the name of each layer's group; None for what is no layer to the file."""
    counts: dict[str, int] = {}
    for layer in model.layers:
        is_left_out = model.class_name == "Sequential" and layer.class_name == "InputLayer"
        if layer.origin == "operation" or is_left_out:
            yield None
            continue
        own = _OWN_NAMES.get(layer.class_name, layer.class_name)
        name = snake_case(own.rpartition(">")[2])
        number = counts.get(name, 0)
        counts[name] = number + 1
        yield f"{name}_{number}" if number else name


def _filled_layer(
    layer: LayerRecord,
    holder: Group | None,
    name: str | None,
    version: str,
    seen: list[LayerRecord],
) -> LayerRecord:
    group = holder.group(name) if holder is not None and name is not None else None
    if layer.model is not None:
        return dataclasses.replace(layer, model=_filled(layer.model, group, seen))
    if group is not None:
        _check_name(layer, group)
    kind = kind_of(layer, version)
    weights = _of_known(layer, kind, group, seen) if isinstance(kind, Kind) else _of_unknown(group)
    filled = dataclasses.replace(layer, weights=weights)
    if weights:
        seen.append(filled)
    return filled


def _check_name(layer: LayerRecord, group: Group) -> None:
    """Compare the layer's name with the one that Keras 3 writes beside its variables."""
    variables = group.group("vars")
    stated = variables.texts("name") if variables is not None else None
    if stated is not None and stated != (layer.name,):
        raise ModelFileError(
            f"the weights of layer {layer.name!r} ({layer.class_name}) would be at "
            f"{group.path!r}, but those are of a layer {stated[:1]}"
        )


def _of_known(
    layer: LayerRecord, kind: Kind, group: Group | None, seen: list[LayerRecord]
) -> tuple[Weight, ...]:
    slots = kind.stored()
    holders = {part: _variables(group, part) for part in {slot.part for slot in slots}}
    if slots and all(holder is None for holder in holders.values()):
        return _of_shared(layer, seen)
    found: dict[str, Weight] = {}
    for part, holder in sorted(holders.items()):
        wanted = [slot for slot in slots if slot.part == part]
        stored = holder.members() if holder is not None else ()
        if holder is None or sorted(stored) != sorted(str(n) for n in range(len(wanted))):
            raise ModelFileError(
                f"layer {layer.name!r} ({layer.class_name}) needs the weights "
                f"{', '.join(slot.name for slot in wanted)}, but its file holds {len(stored)}"
            )
        # Keras reads a layer's own variables before those of its parts, which count.
        found |= {s.name: Weight(s.name, holder.array(str(n))) for n, s in enumerate(wanted)}
    return tuple(found[slot.name] for slot in kind.slots())


def _variables(group: Group | None, part: str) -> Group | None:
    """Return the group of a part's variables; tf.keras and old Keras 3 write ``_query_dense``."""
    for name in filter(None, part.split("/")):
        if group is not None:
            group = group.group(name) or group.group(f"_{name}")
    return group.group("vars") if group is not None else None


def _of_shared(layer: LayerRecord, seen: list[LayerRecord]) -> tuple[Weight, ...]:
    """Return the weights of a layer that a nested model has, too, and that were stored there."""
    same = [
        other
        for other in seen
        if (other.name, other.class_name) == (layer.name, layer.class_name)
        and other.config == layer.config
    ]
    if len(same) != 1:
        raise ModelFileError(
            f"the file holds no weights of layer {layer.name!r} ({layer.class_name}); was the "
            "model saved before it was built?"
        )
    return same[0].weights


def _of_unknown(group: Group | None) -> tuple[Weight, ...]:
    if group is None:
        return ()
    paths = [path for path in group.datasets() if not _NO_WEIGHTS.search(path)]
    return tuple(Weight(path, group.array(path)) for path in paths)


def snake_case(name: str) -> str:
    """Return a class name as Keras writes it in lower case.

    Source: ``keras/src/utils/naming.py``.

    >>> snake_case("MultiHeadAttention"), snake_case("GlobalMaxPooling1D"), snake_case("ReLU")
    ('multi_head_attention', 'global_max_pooling1d', 're_lu')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
