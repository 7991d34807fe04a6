"""``tf.keras.backend`` of TensorFlow 2, in which only the first axis of ``batch_dot`` is batch.

TensorFlow 2.0 took the meaning over from Keras 2.2.5, and Keras 3 kept it. Source:
``keras/src/legacy/backend.py`` of Keras 3.15.1, which is ``tf.keras.backend`` there.

    >>> from einloom.tensorflow.keras import backend as K
    >>> K.batch_dot(K.ones((10, 12, 4, 5)), K.ones((10, 12, 5, 8))).shape
    (10, 12, 4, 12, 8)
"""

from __future__ import annotations

from typing import Any

from einloom.keras.versions import backend_for

#: The Keras release whose ``batch_dot`` this is; its meaning has not changed since.
VERSION = "2.3.1"

_backend = backend_for(VERSION)
batch_dot = _backend.batch_dot


def __getattr__(name: str) -> Any:
    """Take everything but ``batch_dot`` from :mod:`einloom.keras.backend`."""
    return getattr(_backend, name)


def __dir__() -> list[str]:
    """List the public names."""
    return dir(_backend)
