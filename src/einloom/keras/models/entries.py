"""A layer's entry in a model's configuration: whose class it is, what of it is kept.

{"class_name": "Dense", "config": {...}, "module": "keras.layers", "registered_name": null, ...}
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from einloom.keras.models.code import holds_code, refuse_code
from einloom.keras.models.documents import a_text, an_object
from einloom.keras.models.record import Origin

#: Classes whose configuration is a graph of layers; ``Model`` is what Keras 2 wrote before 2.4.
_FUNCTIONAL = ("Functional", "Model")
#: Classes that do not say whether they are trained, although they are no operations.
_UNTRAINED = ("InputLayer", "Sequential", *_FUNCTIONAL)
#: A number by which Keras finds an object that occurs twice again: it differs from run to run.
_SHARED = "shared_object_id"
#: Marks an entry whose code was left out.
_LEFT_OUT = "einloom: code left out"


def is_model(entry: Mapping[str, Any]) -> bool:
    """Say whether a layer's entry is a nested model whose structure is in the file."""
    kind, config = entry.get("class_name"), entry.get("config")
    if origin_of(entry) != "layer":
        return False
    if kind == "Sequential":
        return True
    return kind in _FUNCTIONAL and isinstance(config, Mapping) and "layers" in config


def origin_of(entry: Mapping[str, Any]) -> Origin:
    """Return whose class a layer is of."""
    if entry.get(_LEFT_OUT) is True:
        return "code"
    kind, registered = entry.get("class_name"), entry.get("registered_name")
    module, config = entry.get("module"), entry.get("config")
    if any(isinstance(name, str) and ">" in name for name in (kind, registered)):
        return "custom"
    if "module" not in entry:  # the older form, which does not say; operations have a name alone
        # Layers say whether they are trained; a dtype may be an operation's own, as cumsum's is.
        is_bare = isinstance(config, Mapping) and "trainable" not in config
        return "operation" if is_bare and kind not in _UNTRAINED else "layer"
    if not isinstance(module, str):
        return "custom"
    root, _, inner = module.removeprefix("tf_").partition(".")
    inner = inner.removeprefix("src.")
    if root != "keras":
        return "custom"
    return "operation" if inner.partition(".")[0] == "ops" else "layer"


def policy_of(config: Mapping[str, Any], layer: str) -> str:
    """Return the name of a layer's dtype policy."""
    policy = config.get("dtype")
    if policy is None:
        return "float32"
    if isinstance(policy, str):
        return policy
    where = f"the dtype of layer {layer!r}"
    inner = an_object(an_object(policy, where).get("config"), where)
    if "mode" in inner and "source_name" in inner:
        mode, from_name = (a_text(inner[key], where) for key in ("mode", "source_name"))
        return f"{mode}_from_{from_name}"
    return a_text(inner.get("name"), where)


def without_shared(value: Any) -> Any:
    """Return a configuration without the numbers by which a file shares objects."""
    if isinstance(value, Mapping):
        kept = {key: without_shared(item) for key, item in value.items() if key != _SHARED}
        return MappingProxyType(kept)
    if isinstance(value, tuple):
        return tuple(map(without_shared, value))
    return value


def code_left_out(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a layer's entry without its configuration where that holds code.

    Raises:
        ModelFileError: other code stands beside it: among the arguments of a call, in a nested
            model.
    """
    if is_model(entry):
        refuse_code(without_layers(entry))
        return entry
    name = entry.get("name")
    where = f"a call of layer {name[:80]!r}" if isinstance(name, str) else "a call of a layer"
    refuse_code(entry.get("inbound_nodes"), where)
    if not holds_code(MappingProxyType({**entry, "inbound_nodes": ()})):
        return entry
    config = entry.get("config")
    settings = config if isinstance(config, Mapping) else {}
    kept = {
        key: value
        for key, value in settings.items()
        if key != "function" and not holds_code(MappingProxyType({key: value}))
    }
    kept.setdefault("name", name)
    return MappingProxyType({**entry, "config": MappingProxyType(kept), _LEFT_OUT: True})


def without_layers(entry: Any) -> Any:
    """Return a model's configuration without its layers."""
    if not isinstance(entry, Mapping):
        return entry
    config = entry.get("config")
    if isinstance(config, tuple):
        config = ()
    elif isinstance(config, Mapping):
        config = MappingProxyType({k: v for k, v in config.items() if k != "layers"})
    return MappingProxyType({**entry, "config": config})
