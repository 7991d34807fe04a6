"""Keras 2.2.4 on TensorFlow: ``backend``, in which every leading axis of ``batch_dot`` is batch.

In come the calls of a snippet written for it, out come tensors or expressions; the front-end
translator, optimizer, Numba code generator and parallel CPU loops are those of all of einloom.
"""

from einloom.keras.v2_2 import backend

__all__ = ["backend"]
