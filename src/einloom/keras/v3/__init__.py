"""Keras 3: ``ops``, ``layers``, and the ``backend`` that ``tf.keras.backend`` is beside it.

In come the calls of a snippet written for it, out come tensors or expressions; the front-end
translator, optimizer, Numba code generator and parallel CPU loops are those of all of einloom.
"""

from einloom.keras import layers, ops
from einloom.keras.v3 import backend

__all__ = ["backend", "layers", "ops"]
