"""Code in saved models: found and refused, never run.

Keras writes Python functions into files as marshalled byte code in base64 (``Lambda`` layers,
``__lambda__`` values); others have put pickles there. All of it stays unread, and the layer that
holds it is named. A class or function of somebody's own is only a name in the file, and harmless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from einloom_compiler.errors import ModelFileError

#: Classes that hold code.
_CODE_CLASSES = frozenset({"Lambda", "__lambda__", "__pickle__"})

#: base64 of byte code (a marshalled code object begins with 0xe3 or 0x63 and small counts) and of
#: pickles (protocols 2 to 5), long enough that no name or vocabulary entry is mistaken for one.
_CODE_TEXT = re.compile(r"(?:4w[A-Z]AAA|YwA?AA|gAJ|gAN|gAS|gAW)[A-Za-z0-9+/\s]{58,}={0,2}\s*\Z")


def refuse_code(config: Any, where: str = "the model") -> None:
    """Raise if the configuration, at any depth, holds code.

    Args:
        config: immutable JSON.
        where: what it belongs to, for messages; replaced by the innermost named layer.

    Raises:
        ModelFileError: naming the layer and the kind of code.
    """
    if isinstance(config, Mapping):
        where = _name_of(config) or where
        kind = config.get("class_name")
        if isinstance(kind, str) and kind.rpartition(">")[2] in _CODE_CLASSES:
            _refuse(where, kind)
        if config.get("function_type") == "lambda":
            _refuse(where, "lambda")
        for item in config.values():
            refuse_code(item, where)
    elif isinstance(config, tuple):
        for item in config:
            refuse_code(item, where)
    elif isinstance(config, str) and len(config) > 60 and _CODE_TEXT.match(config):
        _refuse(where, "byte code or a pickle in base64")


def holds_code(config: Any) -> bool:
    """Say whether the configuration, at any depth, holds code."""
    try:
        refuse_code(config)
    except ModelFileError:
        return True
    return False


def _refuse(where: str, kind: str) -> None:
    raise ModelFileError(
        f"{where} holds Python code ({kind}), which is never run here; replace it by Keras's own "
        "layers or operations in the model and save it again, or cut the model there: cut=True "
        "(einloom build --cut) leaves the code out, and what it computes to you"
    )


def _name_of(config: Mapping[str, Any]) -> str | None:
    inner = config.get("config")
    if "class_name" not in config or not isinstance(inner, Mapping):
        return None
    name = config.get("name", inner.get("name"))
    return f"layer {name[:80]!r}" if isinstance(name, str) else None
