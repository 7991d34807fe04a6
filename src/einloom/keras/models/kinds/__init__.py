"""Keras's layers as typed configurations: what they take, what they give, which weights they hold.

In comes a :class:`~einloom.keras.models.record.LayerRecord`, out comes a :class:`Kind` (a small
frozen dataclass) or the reason why the layer is not known. Shapes may have symbolic extents. What
a layer computes is told elsewhere.
"""

from einloom.keras.models.kinds.base import Kind, Slot
from einloom.keras.models.kinds.table import KNOWN_CLASSES, Unknown, kind_of

__all__ = ["KNOWN_CLASSES", "Kind", "Slot", "Unknown", "kind_of"]
