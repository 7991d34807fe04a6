"""``tf.keras`` of TensorFlow 2: ``backend``, and Keras 3's ``layers`` and ``ops``.

In come the calls of a snippet written for it, out come tensors or expressions; the front-end
translator, optimizer, Numba code generator and parallel CPU loops are those of
:mod:`einloom.keras`. Only ``backend.batch_dot`` differs from there: it has the later meaning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einloom.keras import layers as layers
    from einloom.keras import ops as ops
    from einloom.tensorflow.keras import backend as backend

_HOME = {
    "backend": "einloom.tensorflow.keras.backend",
    "layers": "einloom.keras.layers",
    "ops": "einloom.keras.ops",
}

__all__ = ["backend", "layers", "ops"]


def __getattr__(name: str) -> Any:
    """Import a submodule when it is first asked for."""
    if name in _HOME:
        return importlib.import_module(_HOME[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
