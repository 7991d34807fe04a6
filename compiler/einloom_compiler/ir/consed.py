"""Hash-consing: equal structure is the same object.

Nodes of graphs and of scalar expressions are shared wherever they are equal, so that comparing and
hashing one costs the same however deep it is and however often it reuses a part, and a common
subexpression is one object from the start (Ershov, "On programming of arithmetic
operations", 1958).
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import fields
from typing import Any

_lock = threading.Lock()
_made: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()


class Consed(type):
    """The metaclass of frozen dataclasses whose equal instances are one object.

    Such a class is declared with ``eq=False``, so that instances compare and hash by identity, and
    with ``weakref_slot=True``; its fields must be hashable. A class may define ``_key(self)`` where
    its fields compare equal too easily (0.0 and -0.0) or cannot be hashed.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the instance with these fields."""
        made = super().__call__(*args, **kwargs)
        named = getattr(made, "_key", None)
        key = named() if named else tuple(getattr(made, f.name) for f in fields(made))
        with _lock:
            return _made.setdefault((cls, *key), made)


class Structural(metaclass=Consed):
    """The base of such classes: copies and pickles are the same object again."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        """Build it again from its fields."""
        return type(self), tuple(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]
