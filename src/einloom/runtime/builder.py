"""Recipes in the making: slots and steps are added one after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.recipe import Contracted, Launch, Recipe, Step
from einloom.runtime.values import Value, c_layout, layout
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.families import Schedule
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.pipeline import Bound, Stages

Array = npt.NDArray[Any]


#: Constants as kernels want them, by the constant's slot and how it is packed.
PackedConstants = dict[tuple[int, Packing], Array]


class Builder:
    """A recipe in the making."""

    def __init__(
        self,
        n_inputs: int,
        constants: Sequence[Array] = (),
        packed: PackedConstants | None = None,
        n_results: int = 1,
        *,
        is_shipped: bool = False,
    ) -> None:
        """Start without steps.

        Args:
            n_inputs: number of arrays of a call.
            constants: arrays that are the same in all calls.
            packed: those that were packed for other layouts; what is missing is added.
            n_results: number of results.
            is_shipped: whether the recipe is for a library: lookups are of arrays in C order, which
                is all that shipped code knows, and constants are packed where it runs.
        """
        self.n_inputs = n_inputs
        self.n_results = n_results
        self.is_shipped = is_shipped
        self._n_given = len(constants)
        self._constants = list(constants)
        self._packed = {} if packed is None else packed
        self._packed_slots: dict[tuple[int, Packing], int] = {}
        self._buffers: list[tuple[tuple[int, ...], AnyDType]] = []
        self._steps: list[Step] = []
        self._contractions: list[Contracted] = []
        self._schedules: list[Schedule | None] = []

    @property
    def n_steps(self) -> int:
        """How many steps there are so far."""
        return len(self._steps)

    @property
    def result(self) -> int:
        """The first result's slot."""
        return self.n_inputs

    def buffer(self, shape: tuple[int, ...], dtype: AnyDType) -> Value:
        """Return a new intermediate in C order."""
        self._buffers.append((shape, dtype))
        slot = self.n_inputs + self.n_results + len(self._buffers) - 1
        return Value(slot, c_layout(shape, dtype))

    def constant(self, array: Array) -> Value:
        """Return the value of an array that is the same in all calls of the recipe."""
        self._constants.append(array)
        return Value(-len(self._constants), layout(array))

    def is_constant(self, value: Value) -> bool:
        """Say whether a kernel may want a value packed: a given constant, whole and as given."""
        if not -self._n_given <= value.slot < 0 or value.offset:
            return False
        return value.layout == layout(self._constants[-1 - value.slot])

    def launch(self, bound: Bound, operands: Sequence[Value], target: Value) -> None:
        """Append the launch of a kernel, with its constant operands packed as it wants them."""
        slots = self._packed_for(bound, tuple(value.slot for value in operands))
        offsets = (*(value.offset for value in operands), target.offset)
        is_shifted = any(type(offset) is not int or offset for offset in offsets)
        shape, _, dtype = target.layout
        written = math.prod(shape) * dtype.itemsize
        self.add(Launch(bound, slots, target.slot, offsets if is_shifted else (), written))

    def stages(
        self,
        stages: Stages,
        operands: Sequence[Value],
        target: Value,
        extras: Sequence[Value] = (),
    ) -> None:
        """Append the launches of a contraction's stages; ``extras`` are its epilogue's operands."""
        partial = [self.buffer(stages.shape, as_dtype(stages.dtype))] if stages.shape else []
        for stage in stages.stages:
            written = partial[0] if stage.writes_partial else target
            read = partial if stage.reads_partial else operands
            self.launch(stage.bound, (*read, *extras), written)

    def _packed_for(self, bound: Bound, operands: tuple[int, ...]) -> tuple[int, ...]:
        """Return the operands' slots, those of packed arrays where the kernel wants them."""
        slots = list(operands)
        for position, packing in bound.packings:
            number = bound.operands[position]
            key = slots[number], packing
            if key not in self._packed_slots:
                self._constants.append(self._packed_array(key))
                self._packed_slots[key] = -len(self._constants)
            slots[number] = self._packed_slots[key]
        return tuple(slots)

    def _packed_array(self, key: tuple[int, Packing]) -> Array:
        slot, packing = key
        if self.is_shipped:
            return np.empty(0, packing.element)
        array = self._packed.get(key)
        if array is None:
            array = packing.pack(self._constants[-1 - slot])
            array.flags.writeable = False
            self._packed[key] = array
        return array

    def add(self, step: Step) -> None:
        """Append a step."""
        self._steps.append(step)

    def scheduled(self, schedule: Schedule | None) -> None:
        """Say what the schedule of the last step is, as one can be given for it; see `Recipe`."""
        self._schedules.append(schedule)

    def contracted(self, whole: Contracted) -> None:
        """Say that the last steps are one contraction."""
        self._contractions.append(whole)

    def recipe(self) -> Recipe:
        """Return what has been built."""
        return Recipe(
            self.n_inputs,
            tuple(self._constants),
            tuple(self._buffers),
            tuple(self._steps),
            tuple(self._contractions),
            self.n_results,
            tuple(self._schedules),
            {slot: key for key, slot in self._packed_slots.items()},
        )
