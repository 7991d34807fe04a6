"""Stores of what is made once and looked up by later calls."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

T = TypeVar("T")


def keep(kept: dict[Any, Any], key: Hashable, value: T, most: int) -> T:
    """Remember ``value``, dropping the oldest entry of a store that has ``most``; return it.

    Threads may do so at once: then one of them drops nothing, or a value is made twice.

    >>> squares = {1: 1, 2: 4}
    >>> keep(squares, 3, 9, most=2), squares
    (9, {2: 4, 3: 9})
    """
    if len(kept) >= most:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
    return value
