"""Calls seen before where there is no native runtime: the same in Python, for the common cases.

The module offers what the extension module does; see ``src/einloom/native/module.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from einloom.runtime.recipe import Recipe
from einloom.runtime.stores import keep
from einloom.runtime.threads import Backend
from einloom_compiler.dtypes import AnyDType

_KEPT = 1024
_PLAIN = (str, int, bool, type(None))
_is_enabled = True


def set_enabled(value: bool) -> bool:
    """Use what was kept, or make all calls as if they were new; return what was."""
    global _is_enabled
    before, _is_enabled = _is_enabled, value
    return before


def adopt(cls: type) -> None:
    """Let a class be called natively: nothing is."""


disown = adopt


@dataclass(frozen=True, slots=True)
class _Kept:
    """A call's recipe; of each result its shape, dtype, and whether it is a NumPy scalar."""

    recipe: Recipe
    layouts: tuple[tuple[tuple[int, ...], AnyDType, bool], ...]
    is_tuple: bool
    finish: Callable[[tuple[Any, ...]], Any] | None
    backend: Backend


class Caller:
    """What the native runtime's type of this name offers."""

    _default_threads: int = 0
    _takes_threads: bool = False

    @property
    def _kept(self) -> dict[Hashable, _Kept]:
        kept: dict[Hashable, Any] = self.__dict__.setdefault("_kept_calls", {})
        return kept

    @property
    def _n_kept(self) -> int:
        return len(self._kept)

    def _keep(self, arguments: tuple[Any, ...], keywords: dict[str, Any], plan: Any, /) -> bool:
        result, finish, *_, uses_pool, recipe = plan
        key = _key(arguments, keywords)
        results = result if isinstance(result, tuple) else (result,)
        if key is None or not all(map(_is_plain, results)):
            return False
        layouts = tuple((r.shape, r.dtype, isinstance(r, np.generic)) for r in results)
        backend: Backend = "pool" if uses_pool else "numba"
        known = _Kept(recipe, layouts, isinstance(result, tuple), finish, backend)
        keep(self._kept, key, known, _KEPT)
        return True

    def _forget(self) -> None:
        self._kept.clear()

    def _replay(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        """Return the result of a call seen before, None for any other."""
        kept = self._kept
        key = _key(arguments, keywords) if kept and _is_enabled else None
        found = kept.get(key) if key is not None else None
        if found is None:
            return None
        arrays = [value for value in arguments if isinstance(value, np.ndarray)]
        out = keywords.get("out")
        if out is None:
            outs = [np.empty(shape, dtype) for shape, dtype, _ in found.layouts]
        elif not out.flags.writeable or any(np.may_share_memory(out, array) for array in arrays):
            return None
        else:
            outs = [out]
        found.recipe.run_into(arrays, outs, self._default_threads or None, found.backend)
        scalars = (is_scalar for *_, is_scalar in found.layouts)
        results = tuple(o[()] if s else o for o, s in zip(outs, scalars, strict=True))
        if not found.is_tuple:
            return results[0]
        return results if found.finish is None else found.finish(results)


def _is_plain(result: Any) -> bool:
    """Say whether ``np.empty`` makes one like it."""
    return isinstance(result, np.generic) or (
        type(result) is np.ndarray and result.flags.c_contiguous
    )


def _key(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Hashable:
    """Return what a call's checks depend on; None for a call of other things than these."""
    key: list[Hashable] = [len(arguments), *keywords]
    for value in (*arguments, *keywords.values()):
        if type(value) is np.ndarray:
            if not value.flags.aligned:
                return None
            key += (value.shape, value.strides, value.dtype)
        elif type(value) is float:
            key.append(value.hex())  # tells -0.0 from 0.0
        elif type(value) in _PLAIN:
            key += (type(value).__name__, value)
        else:
            return None
    return tuple(key)
