"""Typed access to a layer's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from einloom.keras.models.documents import shown
from einloom.keras.models.limits import MAX_EXTENT, MAX_WEIGHT_RANK
from einloom_compiler.errors import ModelFileError

#: A number, or nested tuples of numbers.
Numbers: TypeAlias = "float | tuple[Any, ...]"


class NotKnownError(Exception):
    """A layer's configuration is one that is not interpreted; never leaves this package."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A layer's configuration, with what its meaning depends on.

    Attributes:
        layer: the layer's name, for messages.
        class_name: its class, for messages.
        config: the configuration.
        release: major, minor and patch number of the Keras that wrote it; some names meant
            something else in earlier ones. tf.keras of TensorFlow 1.13 to 2.1 called itself 2.2.4.
    """

    layer: str
    class_name: str
    config: Mapping[str, Any]
    release: tuple[int, int, int]

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 or later wrote it."""
        return self.release[0] >= 3

    def get(self, name: str) -> Any:
        """Return the field's value, None where it is missing."""
        return self.config.get(name)

    def wrong(self, name: str, expected: str) -> ModelFileError:
        """Return the error that says what the field must be."""
        value = shown(self.config[name]) if name in self.config else "missing"
        return ModelFileError(
            f"layer {self.layer!r} ({self.class_name}): {name} must be {expected}, but is {value}"
        )

    def integer(self, name: str, low: int = 1, high: int = MAX_EXTENT) -> int:
        """Return a whole number between ``low`` and ``high``.

        Raises:
            ModelFileError: the field is something else.
        """
        value = _whole(self.get(name))
        if value is None or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def optional_integer(self, name: str, low: int = 1) -> int | None:
        """Return a whole number, or None where the field is missing or null.

        Raises:
            ModelFileError: the field is something else.
        """
        return None if self.get(name) is None else self.integer(name, low)

    def axis(self, name: str) -> int:
        """Return an axis, which may be negative; a list of one counts as its entry.

        Raises:
            ModelFileError: the field is something else.
        """
        found = self.axes(name)
        if len(found) != 1:
            raise self.wrong(name, "one axis")
        return found[0]

    def axes(self, name: str) -> tuple[int, ...]:
        """Return one axis or several, each of which may be negative.

        Raises:
            ModelFileError: the field is something else.
        """
        value = self.get(name)
        numbers = tuple(map(_whole, value if isinstance(value, tuple) else (value,)))
        kept = tuple(n for n in numbers if n is not None and abs(n) <= MAX_WEIGHT_RANK)
        if not kept or len(kept) != len(numbers):
            raise self.wrong(name, "an axis or a list of axes")
        return kept

    def lengths(self, name: str, count: int) -> tuple[int, ...]:
        """Return ``count`` lengths of 1 or more: that many numbers, or one for all.

        Raises:
            ModelFileError: the field is something else.
        """
        value = self.get(name)
        listed = value if isinstance(value, tuple) else (value,) * count
        numbers = tuple(map(_whole, listed))
        kept = tuple(n for n in numbers if n is not None and 1 <= n <= MAX_EXTENT)
        if len(kept) != count or len(numbers) != count:
            raise self.wrong(
                name, f"{count} lengths of 1 or more" if count > 1 else "a length of 1 or more"
            )
        return kept

    def extents(self, name: str, *, with_none: bool = False) -> tuple[int | None, ...]:
        """Return a list of extents, or one extent as a list of one.

        Raises:
            ModelFileError: the field is something else, -1 included where it is not None.
        """
        value = self.get(name)
        listed = value if isinstance(value, tuple) else (value,)
        if len(listed) > MAX_WEIGHT_RANK:
            raise self.wrong(name, f"at most {MAX_WEIGHT_RANK} extents")
        found: list[int | None] = []
        for item in listed:
            number = _whole(item)
            if item is None and with_none and isinstance(value, tuple):
                found.append(None)
            elif number is None or not 0 <= number <= MAX_EXTENT:
                raise self.wrong(name, "a list of extents")
            else:
                found.append(number)
        return tuple(found)

    def amounts(self, name: str, count: int) -> tuple[tuple[int, int], ...]:
        """Return for each of ``count`` axes a pair of amounts: before and after.

        One number stands for all of them; in place of a pair, one stands for both; of one axis,
        the pair itself may be given.

        Raises:
            ModelFileError: the field is something else.
        """
        value = self.get(name)
        is_one_pair = count == 1 and isinstance(value, tuple) and len(value) == 2
        listed = value if isinstance(value, tuple) and not is_one_pair else (value,) * count
        pairs = []
        for item in listed:
            both = item if isinstance(item, tuple) else (item, item)
            numbers = tuple(map(_whole, both))
            kept = tuple(n for n in numbers if n is not None and 0 <= n <= MAX_EXTENT)
            if len(kept) != 2 or len(numbers) != 2:
                raise self.wrong(name, "amounts before and after each axis, 0 or more")
            pairs.append((kept[0], kept[1]))
        if len(pairs) != count:
            raise self.wrong(name, f"amounts before and after each of {count} axes")
        return tuple(pairs)

    def numbers(self, name: str) -> Numbers | None:
        """Return a number, or nested tuples of numbers of one length each; None where missing.

        Raises:
            ModelFileError: the field is something else.
        """
        value = self.get(name)
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            value = value["config"].get("value")  # Keras 3's form of an array
        if value is None:
            return None
        found = _nested(value, MAX_WEIGHT_RANK)
        if found is None:
            raise self.wrong(name, "a number, or a list of numbers")
        return found

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """Return true or false; ``default`` where the field is missing.

        Raises:
            ModelFileError: the field is something else, or missing without a default.
        """
        value = self.get(name)
        if name not in self.config and default is not None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number; ``default`` where the field is missing.

        Raises:
            ModelFileError: the field is something else, or missing without a default.
        """
        if name not in self.config and default is not None:
            return default
        value = _number(self.get(name))
        if value is None:
            raise self.wrong(name, "a number")
        return value

    def optional_number(self, name: str) -> float | None:
        """Return a number, or None where the field is missing or null.

        Raises:
            ModelFileError: the field is something else.
        """
        return None if self.get(name) is None else self.number(name)

    def choice(self, name: str, *choices: str, default: str | None = None) -> str:
        """Return one of ``choices``; ``default`` where the field is missing or null.

        Raises:
            ModelFileError: the field is something else.
        """
        value = self.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, "one of " + ", ".join(choices))
        return value

    def refuse_unless_default(self, name: str, default: Any, meaning: str) -> None:
        """Do not know the layer where a field asks for what is not interpreted.

        Raises:
            NotKnownError: the field is given and is not ``default``.
        """
        value = self.get(name)
        if value is not None and value != default:
            raise NotKnownError(f"{name}={shown(value)} ({meaning}) is not interpreted")


def _nested(value: Any, depth: int) -> Numbers | None:
    """Return numbers as they are nested; None where lists differ in length or hold other things."""
    if not isinstance(value, tuple):
        return _number(value)
    parts = tuple(_nested(item, depth - 1) for item in value) if depth and value else (None,)
    if any(part is None for part in parts) or len({_lengths(part) for part in parts}) > 1:
        return None
    return parts


def _lengths(value: Any) -> tuple[int, ...]:
    return (len(value), *_lengths(value[0])) if isinstance(value, tuple) else ()


def _whole(value: Any) -> int | None:
    """Return a whole number; Keras 2 wrote some as 2.0."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXTENT:
        return int(value)
    return value if isinstance(value, int) else None


def _number(value: Any) -> float | None:
    """Return a number, also where it was written as an array of rank 0."""
    if isinstance(value, Mapping):  # Keras 3: __numpy__; tf.keras: type ndarray
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, Mapping) else value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
