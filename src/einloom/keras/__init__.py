"""Keras's names on einloom: the classic backend, Keras 3's ``ops`` and ``layers``, whole models.

In come the calls that a Keras snippet makes, with arrays or with ``el.spec`` operands; the
front-end translators (:mod:`einloom.frontends`, modules ``keras_*``) say what they mean, and the
optimizer, the Numba code generator and its parallel CPU loops compute them. Out come arrays, or
expressions to inspect and compile::

    from einloom.keras import backend as K          # K.batch_dot of Keras 2.2.4
    from einloom.keras.v2_3 import backend as K     # K.batch_dot of Keras 2.3.1
    from einloom.keras import ops, layers           # Keras 3
    f = el.keras.compile(model)                     # a layer, model or file as a compiled function
    with el.keras.accelerate(model): model(x)       # a live model's layers, compiled

Keras itself is never imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einloom.keras import backend as backend
    from einloom.keras import layers as layers
    from einloom.keras import ops as ops
    from einloom.keras import v2_2 as v2_2
    from einloom.keras import v2_3 as v2_3
    from einloom.keras import v3 as v3
    from einloom.keras.accelerating import accelerate as accelerate
    from einloom.keras.compiling import compile as compile
    from einloom.keras.versions import backend_for as backend_for

_SUBMODULES = ("backend", "layers", "ops", "v2_2", "v2_3", "v3")

__all__ = ["accelerate", "backend", "backend_for", "compile", "layers", "ops", "v2_2", "v2_3", "v3"]


def __getattr__(name: str) -> Any:
    """Import a submodule when it is first asked for."""
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "backend_for":
        from einloom.keras.versions import backend_for

        return backend_for
    if name == "accelerate":
        from einloom.keras.accelerating import accelerate

        return accelerate
    if name == "compile":
        from einloom.keras.compiling import compile

        return compile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
