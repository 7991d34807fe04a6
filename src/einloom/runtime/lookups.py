"""Lookups of rows of a table: in NumPy, and as the native runtime makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy.typing as npt

from einloom.native import load
from einloom.runtime.memory import viewed
from einloom.runtime.values import Value
from einloom_compiler.errors import IndicesError
from einloom_compiler.schedule.machine import host

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Gather:
    """Look up rows of a table: ``target[i..., j...] = table[indices[i...], j...]``.

    Attributes:
        table, indices, target: where they are.
        name: what messages call the indices.
    """

    table: Value
    indices: Value
    target: Value
    name: str

    def run(self, values: Mapping[int, Array]) -> None:
        """Look the rows up.

        Raises:
            IndicesError: an index lies outside the table.
        """
        table, indices, target = (
            viewed(values, value) for value in (self.table, self.indices, self.target)
        )
        check_indices(indices, len(table), self.name)
        target[...] = table[indices]

    @property
    def seconds(self) -> float:
        """Predicted time on one thread: of reading and writing the rows."""
        moved = 2 * prod(self.target.shape) * self.target.dtype.itemsize
        return moved / host().bandwidth(moved)

    @property
    def total(self) -> int:
        """Number of rows that are looked up."""
        return prod(self.indices.shape)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The words of the native lookup's argument block behind addresses; see ``gather.h``."""
        shape, strides, dtype = self.table.layout
        n_indices = len(self.indices.shape)
        written = self.target.layout[1]
        rows = list(zip(shape[1:], strides[1:], written[n_indices:], strict=True))
        run = dtype.itemsize
        # Innermost axes that are neighbours in both are copied at once.
        while rows and (rows[-1][0] == 1 or rows[-1][1:] == (run, run)):
            run *= rows.pop()[0]
        axes = list(zip(*self.indices.layout[:2], written[:n_indices], strict=True))
        own = self.indices.dtype
        facts = (shape[0], strides[0], own.itemsize, int(own.kind == "i"), run)
        flat = (number for axis in (*axes, *rows) for number in axis)
        return 0, *facts, len(axes), len(rows), *flat


def native_entry() -> int:
    """Return the address of the native lookup; 0 where there is no native runtime."""
    native = load().module
    return 0 if native is None else int(native.gather_entry)


def check_indices(indices: Array, extent: int, name: str) -> None:
    """Refuse indices outside a table of ``extent`` rows.

    Raises:
        IndicesError: one of them is negative, or too large.
    """
    if indices.size == 0:
        return
    least, most = int(indices.min()), int(indices.max())
    if least < 0 or most >= extent:
        wrong = least if least < 0 else most
        raise IndicesError(
            f"{name} hold the index {wrong}, but axis 0 of the table has extent {extent}; indices "
            f"run from 0 to {extent - 1}"
        )
