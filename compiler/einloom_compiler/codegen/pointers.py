"""Pointers for un-jitted runs: the Python twin of what compiled kernels get.

Compiled code indexes raw memory by element offset, negative offsets included, which a NumPy array
cannot do (it would count from its end).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Pointer:
    """Memory of one array, indexed by element offset from the array's first element."""

    def __init__(self, array: npt.NDArray[Any], storage: str) -> None:
        """Point at ``array``, whose elements are read and written as dtype ``storage``."""
        self._owner = array
        self._dtype = np.dtype(storage)
        self._address: int = array.__array_interface__["data"][0]

    def _element(self, offset: int) -> npt.NDArray[Any]:
        address = self._address + int(offset) * self._dtype.itemsize
        interface = {
            "shape": (1,),
            "typestr": self._dtype.str,
            "data": (address, False),
            "version": 3,
        }
        return np.asarray(_Element(interface, self._owner))

    def __getitem__(self, offset: int) -> Any:
        """Return the element at ``offset`` as a NumPy scalar."""
        return self._element(offset)[0]

    def __setitem__(self, offset: int, value: Any) -> None:
        """Store ``value`` at ``offset``, wrapping integers around."""
        self._element(offset)[0] = value


class _Element:
    def __init__(self, interface: dict[str, Any], owner: object) -> None:
        self.__array_interface__ = interface
        self.owner = owner
