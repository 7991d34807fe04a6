"""Keras 2.3.1: ``backend``, in which only the first axis of ``batch_dot`` is batch.

In come the calls of a snippet written for it, out come tensors or expressions; the front-end
translator, optimizer, Numba code generator and parallel CPU loops are those of all of einloom.
"""

from einloom.keras.v2_3 import backend

__all__ = ["backend"]
