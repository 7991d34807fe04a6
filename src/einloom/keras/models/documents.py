"""JSON from untrusted files: bounded in size and depth, without duplicate keys, made immutable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

from einloom.keras.models.limits import MAX_JSON_BYTES, MAX_JSON_DEPTH
from einloom_compiler.errors import ModelFileError

#: An immutable JSON value: objects are read-only mappings, lists are tuples.
Json: TypeAlias = "bool | int | float | str | tuple[Any, ...] | Mapping[str, Any] | None"


def read_json(text: bytes | str, what: str) -> Json:
    """Return the JSON value in ``text``, immutable.

    Args:
        text: UTF-8 where it is bytes.
        what: the name of the document, for messages.

    Raises:
        ModelFileError: it is too long, too deep, no JSON, or an object has a key twice (which two
            readers would understand differently).
    """
    if len(text) > MAX_JSON_BYTES:
        raise ModelFileError(f"{what} has {len(text)} bytes; at most {MAX_JSON_BYTES} are read")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise _too_deep(what) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{what} is no JSON that Keras writes: {error}") from None
    return frozen(value, what)


def frozen(value: Any, what: str = "the configuration") -> Json:
    """Return ``value`` made of read-only mappings and tuples.

    Args:
        value: JSON as Python has it; tuples count as lists.
        what: its name, for messages.

    Raises:
        ModelFileError: it is nested more deeply than MAX_JSON_DEPTH, or holds something else.
    """
    return _frozen(value, what, MAX_JSON_DEPTH)


def _frozen(value: Any, what: str, levels: int) -> Json:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if levels == 0:
        raise _too_deep(what)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ModelFileError(f"{what} has the key {key!r}, which is no text")
        return MappingProxyType({k: _frozen(v, what, levels - 1) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return tuple(_frozen(item, what, levels - 1) for item in value)
    raise ModelFileError(f"{what} holds a {type(value).__name__}, which is no JSON")


def thawed(value: Json) -> Any:
    """Return ``value`` made of dicts and lists, for :mod:`json`."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [thawed(item) for item in value]
    return value


def an_object(value: Any, what: str) -> Mapping[str, Any]:
    """Return ``value`` if it is a JSON object.

    Raises:
        ModelFileError: it is something else.
    """
    if isinstance(value, Mapping):
        return value
    _wrong(value, what, "an object")


def a_list(value: Any, what: str) -> tuple[Any, ...]:
    """Return ``value`` if it is a JSON list.

    Raises:
        ModelFileError: it is something else.
    """
    if isinstance(value, tuple):
        return value
    _wrong(value, what, "a list")


def a_text(value: Any, what: str) -> str:
    """Return ``value`` if it is a JSON string.

    Raises:
        ModelFileError: it is something else.
    """
    if isinstance(value, str):
        return value
    _wrong(value, what, "a text")


def a_whole_number(value: Any, what: str) -> int:
    """Return ``value`` if it is a JSON integer; true and false are none.

    Raises:
        ModelFileError: it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    _wrong(value, what, "an integer")


def _wrong(value: Any, what: str, expected: str) -> NoReturn:
    raise ModelFileError(f"{what} must be {expected}, not {shown(value)}")


def shown(value: Any, limit: int = 60) -> str:
    """Return ``value`` for a message, cut to ``limit`` characters."""
    if isinstance(value, Mapping | tuple) and len(value) > limit:
        kind = "an object" if isinstance(value, Mapping) else "a list"
        return f"{kind} of {len(value)} entries"
    text = repr(thawed(value))
    return text if len(text) <= limit else f"{text[:limit]}..."


def _without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"an object has the key {key[:60]!r} twice")
        found[key] = value
    return found


def _too_deep(what: str) -> ModelFileError:
    return ModelFileError(f"{what} is nested more deeply than {MAX_JSON_DEPTH} levels")
