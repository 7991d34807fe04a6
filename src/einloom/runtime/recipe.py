"""Recipes: how a function is evaluated on arrays of one layout, as a sequence of launches.

The values of a call have numbered slots: its arrays, then its result, then intermediates; constants
are numbered from -1 downwards. A reshape that needs no copy is no step: kernels know only where a
value's first element is, so that the view is its operand's slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime import cold
from einloom.runtime.launch import (
    RELEASING_SECONDS,
    address_of,
    entry_of,
    is_large,
    launch,
)
from einloom.runtime.threads import Backend
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.ir.einsum import EinsumExpr
from einloom_compiler.ir.maps import Map
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]
#: Shape, strides in bytes, dtype.
Layout = tuple[tuple[int, ...], tuple[int, ...], AnyDType]

#: Constants as kernels want them, by the constant's slot and how it is packed.
PackedConstants = dict[tuple[int, Packing], Array]

#: Intermediates begin at multiples of it, in bytes.
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Launch:
    """Run a bound kernel on the values in these slots."""

    bound: Bound
    operands: tuple[int, ...]
    target: int


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy a value to a slot that has as many elements, in C order of both."""

    source: int
    target: int


Step = Launch | Copy


@dataclass(frozen=True, slots=True)
class Contracted:
    """A contraction whose steps these are, as NumPy can make it while kernels are compiled.

    Attributes:
        steps: their numbers.
        expr: the einsum expression.
        dtype: dtype that operands are cast to.
        conjugated: whether each operand is conjugated.
        epilogue: maps applied to each finished sum.
        operands: slot and shape of each.
        target: slot and shape of the result.
    """

    steps: range
    expr: EinsumExpr
    dtype: AnyDType
    conjugated: tuple[bool, ...]
    epilogue: tuple[Map, ...]
    operands: tuple[tuple[int, tuple[int, ...]], ...]
    target: tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class Recipe:
    """The steps of one evaluation.

    Attributes:
        n_inputs: number of arrays of a call.
        constants: arrays that are the same in all calls, as given and as packed for kernels.
        buffers: shape and dtype of each intermediate; they are in C order.
        steps: what is done, in order.
        contractions: what the launches among them are parts of.
    """

    n_inputs: int
    constants: tuple[Array, ...]
    buffers: tuple[tuple[tuple[int, ...], AnyDType], ...]
    steps: tuple[Step, ...]
    contractions: tuple[Contracted, ...] = ()

    def run(
        self, arrays: Sequence[Array], out: Array, threads: int | None, backend: Backend
    ) -> None:
        """Evaluate on ``arrays``, writing ``out``, which overlaps none of them."""
        values: dict[int, Array] = dict(enumerate((*arrays, out)))
        values.update((-1 - number, array) for number, array in enumerate(self.constants))
        for number, (shape, dtype) in enumerate(self.buffers):
            values[self.n_inputs + 1 + number] = np.empty(shape, dtype)
        number, is_ready = 0, self.is_ready
        while number < len(self.steps):
            step = self.steps[number]
            number += 1
            if isinstance(step, Copy):
                target = values[step.target]
                target[...] = values[step.source].reshape(target.shape)
            elif not is_ready and (answered := self._answered(number - 1, values)) is not None:
                number = answered.steps.stop
            else:
                operands = [values[slot] for slot in step.operands]
                launch(step.bound, operands, values[step.target], threads, backend)

    @property
    def is_ready(self) -> bool:
        """Whether all kernels are in this process, so that no call need wait."""
        return all(step.bound.kernel.is_ready for step in self.launches)

    @cached_property
    def launches(self) -> tuple[Launch, ...]:
        """The steps that are no copies."""
        return tuple(step for step in self.steps if isinstance(step, Launch))

    def _answered(self, start: int, values: Mapping[int, Array]) -> Contracted | None:
        """Return the contraction that starts with this step if NumPy has made it, else None."""
        for whole in self.contractions:
            if whole.steps.start != start:
                continue
            steps = [self.steps[number] for number in whole.steps]
            kernels = [step.bound.kernel for step in steps if isinstance(step, Launch)]
            if cold.numpy_answers(whole.expr, kernels):
                arrays = [values[slot].reshape(shape) for slot, shape in whole.operands]
                slot, shape = whole.target
                out = values[slot].reshape(shape, copy=False)
                cold.evaluate(
                    whole.expr, whole.dtype, whole.conjugated, whole.epilogue, arrays, out
                )
                return whole
        return None

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each intermediate begins in a common workspace, in bytes.

        Each takes the lowest place that none needed at the same time occupies.
        """
        placed: list[tuple[int, int, range]] = []
        for number, (shape, dtype) in enumerate(self.buffers):
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            size = -(-size // ALIGNMENT) * ALIGNMENT
            life = self.life(self.n_inputs + 1 + number)
            start = 0
            for begin, length, other in sorted(placed, key=lambda place: place[0]):
                is_concurrent = other.start < life.stop and life.start < other.stop
                if is_concurrent and begin < start + size and start < begin + length:
                    start = begin + length
            placed.append((start, size, life))
        return tuple(start for start, _, _ in placed)

    @cached_property
    def workspace_bytes(self) -> int:
        """Size of the workspace that holds all intermediates."""
        sizes = (int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.buffers)
        return max((o + n for o, n in zip(self.offsets, sizes, strict=True)), default=0)

    @cached_property
    def native_plan(self) -> tuple[Any, ...] | None:
        """What the native runtime keeps of it: record.h says what; None if it copies anything.

        Kernels that are not ready are compiled.
        """
        if len(self.launches) < len(self.steps):
            return None
        seconds = sum(step.bound.seconds for step in self.launches)
        steps = tuple(map(self._native_step, self.launches))
        return steps, self.offsets, self.workspace_bytes, seconds >= RELEASING_SECONDS

    def _native_step(self, step: Launch) -> tuple[Any, ...]:
        bound, kernel = step.bound, step.bound.kernel
        slots = [*(step.operands[position] for position in bound.operands), step.target]
        addresses = [address_of(self.constants[-1 - slot]) if slot < 0 else 0 for slot in slots]
        addresses += [address_of(table) for table in bound.tables]
        return (
            entry_of(kernel),
            bound.total,
            kernel.text.scratch_elements,
            kernel.scratch_bytes,
            is_large(bound),
            (*addresses, *bound.numbers, 0),
            tuple(max(slot, -1) for slot in slots),
        )

    def life(self, slot: int) -> range:
        """Return the steps during which the value in a slot is needed."""
        uses = [
            number
            for number, step in enumerate(self.steps)
            if slot == step.target or slot in _sources(step)
        ]
        return range(min(uses, default=0), max(uses, default=0) + 1)


def _sources(step: Step) -> tuple[int, ...]:
    return step.operands if isinstance(step, Launch) else (step.source,)


class Builder:
    """A recipe in the making."""

    def __init__(
        self,
        n_inputs: int,
        constants: Sequence[Array] = (),
        packed: PackedConstants | None = None,
        *,
        packs: bool = True,
    ) -> None:
        """Start without steps.

        Args:
            n_inputs: number of arrays of a call.
            constants: arrays that are the same in all calls.
            packed: those that were packed for other layouts; what is missing is added.
            packs: whether kernels may want constants packed.
        """
        self.n_inputs = n_inputs
        self.packs = packs
        self._constants = list(constants)
        self._packed = {} if packed is None else packed
        self._packed_slots: dict[tuple[int, Packing], int] = {}
        self._buffers: list[tuple[tuple[int, ...], AnyDType]] = []
        self._steps: list[Step] = []
        self._contractions: list[Contracted] = []

    @property
    def n_steps(self) -> int:
        """How many steps there are so far."""
        return len(self._steps)

    @property
    def result(self) -> int:
        """The result's slot."""
        return self.n_inputs

    def buffer(self, shape: tuple[int, ...], dtype: AnyDType) -> int:
        """Return the slot of a new intermediate in C order."""
        self._buffers.append((shape, dtype))
        return self.n_inputs + len(self._buffers)

    def packed(self, bound: Bound, operands: tuple[int, ...]) -> tuple[int, ...]:
        """Return the operands' slots, those of packed arrays where the kernel wants them."""
        slots = list(operands)
        for position, packing in bound.packings:
            number = bound.operands[position]
            key = slots[number], packing
            if key not in self._packed_slots:
                array = self._packed.get(key)
                if array is None:
                    array = packing.pack(self._constants[-1 - key[0]])
                    array.flags.writeable = False
                    self._packed[key] = array
                self._constants.append(array)
                self._packed_slots[key] = -len(self._constants)
            slots[number] = self._packed_slots[key]
        return tuple(slots)

    def add(self, step: Step) -> None:
        """Append a step."""
        self._steps.append(step)

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
        )


def layout(array: Array) -> Layout:
    """Return what a recipe depends on: shape, strides in bytes, and dtype of an array."""
    return array.shape, array.strides, array.dtype


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
