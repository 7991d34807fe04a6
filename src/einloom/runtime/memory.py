"""Arrays as kernels address them, and views of the memory that slots of a recipe name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from einloom.runtime.launch import address_of
from einloom.runtime.values import Value
from einloom_compiler.dtypes import AnyDType

Array = npt.NDArray[Any]


def viewed(values: Mapping[int, Array], value: Value) -> Array:
    """Return a value of a running recipe as an array."""
    base, (shape, strides, dtype) = values[value.slot], value.layout
    view: Array = as_strided(shifted(base, value.offset, dtype), shape, strides)
    return view


def shifted(array: Array, offset: int, dtype: AnyDType | None = None) -> Array:
    """Return an array whose first element is ``offset`` bytes behind that of ``array``."""
    if not offset and dtype is None:
        return array
    byte: Array = np.asarray(_Memory(array, array.size and offset))  # keeps the array alive
    first: Array = byte.view(dtype or array.dtype)[0]
    return first


class _Memory:
    """One element's bytes somewhere in an array's memory."""

    def __init__(self, array: Array, offset: int) -> None:
        self.array = array
        self.__array_interface__ = {
            "version": 3,
            "data": (address_of(array) + offset, not array.flags.writeable),
            "shape": (1, array.itemsize),
            "typestr": "|u1",
        }


def kernel_ready(array: Array) -> Array:
    """Return ``array``, or a copy where its bytes cannot be addressed element by element.

    Copies are made of arrays in foreign byte order, unaligned ones, and ones whose strides are no
    multiples of the itemsize.
    """
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
        return array.copy()
    return array
