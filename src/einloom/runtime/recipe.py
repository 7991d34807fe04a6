"""Recipes: how a function is evaluated on arrays of one layout, as a sequence of launches.

The values of a call have numbered slots: its arrays, then its results, then intermediates;
constants are numbered from -1 downwards. A view is no step: kernels know only where a value's first
element is, so that it is its operand's slot and an offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from einloom.runtime import cold
from einloom.runtime.launch import (
    RELEASING_SECONDS,
    address_of,
    entry_of,
    is_large,
    launch,
)
from einloom.runtime.threads import Backend
from einloom.runtime.values import Value, c_layout, layout
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import IndicesError
from einloom_compiler.ir.einsum import EinsumExpr, Term
from einloom_compiler.ir.scalar import Scalar
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.pipeline import Bound, Stages

Array = npt.NDArray[Any]

#: Constants as kernels want them, by the constant's slot and how it is packed.
PackedConstants = dict[tuple[int, Packing], Array]

#: Intermediates begin at multiples of it, in bytes.
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Launch:
    """Run a bound kernel on the values in these slots.

    Attributes:
        bound: the kernel.
        operands: slot of each operand.
        target: the slot that is written.
        offsets: of each operand and, last, the target: bytes from the slot's first element to the
            value's; all 0 where empty.
    """

    bound: Bound
    operands: tuple[int, ...]
    target: int
    offsets: tuple[int, ...] = ()


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


Step = Launch | Gather


@dataclass(frozen=True, slots=True)
class Contracted:
    """A contraction whose steps these are, as NumPy can make it while kernels are compiled.

    Attributes:
        steps: their numbers.
        expr: the einsum expression.
        dtype: dtype that operands are cast to.
        conjugated: whether each operand is conjugated.
        epilogue: what is computed from each finished sum.
        extras: indices of its further operands' axes.
        operands: where each is, those of the epilogue last.
        target: where the result is.
    """

    steps: range
    expr: EinsumExpr
    dtype: AnyDType
    conjugated: tuple[bool, ...]
    epilogue: Scalar
    extras: tuple[Term, ...]
    operands: tuple[Value, ...]
    target: Value


@dataclass(frozen=True)
class Recipe:
    """The steps of one evaluation.

    Attributes:
        n_inputs: number of arrays of a call.
        constants: arrays that are the same in all calls, as given and as packed for kernels.
        buffers: shape and dtype of each intermediate; they are in C order.
        steps: what is done, in order.
        contractions: what the launches among them are parts of.
        n_results: number of results.
    """

    n_inputs: int
    constants: tuple[Array, ...]
    buffers: tuple[tuple[tuple[int, ...], AnyDType], ...]
    steps: tuple[Step, ...]
    contractions: tuple[Contracted, ...] = ()
    n_results: int = 1

    @property
    def first_buffer(self) -> int:
        """The slot of the first intermediate."""
        return self.n_inputs + self.n_results

    def run(
        self, arrays: Sequence[Array], out: Array, threads: int | None, backend: Backend
    ) -> None:
        """Evaluate on ``arrays``, writing ``out``, which overlaps none of them."""
        self.run_into(arrays, (out,), threads, backend)

    def run_into(
        self, arrays: Sequence[Array], outs: Sequence[Array], threads: int | None, backend: Backend
    ) -> None:
        """Evaluate on ``arrays``, writing ``outs``, which overlap none of them nor each other."""
        values: dict[int, Array] = dict(enumerate((*arrays, *outs)))
        values.update((-1 - number, array) for number, array in enumerate(self.constants))
        for number, (shape, dtype) in enumerate(self.buffers):
            values[self.first_buffer + number] = np.empty(shape, dtype)
        number, is_ready = 0, self.is_ready
        while number < len(self.steps):
            step = self.steps[number]
            number += 1
            if isinstance(step, Gather):
                step.run(values)
            elif not is_ready and (answered := self._answered(number - 1, values)) is not None:
                number = answered.steps.stop
            else:
                slots = (*step.operands, step.target)
                offsets = step.offsets or (0,) * len(slots)
                *operands, target = (
                    _shifted(values[slot], offset)
                    for slot, offset in zip(slots, offsets, strict=True)
                )
                launch(step.bound, operands, target, threads, backend)

    @property
    def is_ready(self) -> bool:
        """Whether all kernels are in this process, so that no call need wait."""
        return all(step.bound.kernel.is_ready for step in self.launches)

    @cached_property
    def launches(self) -> tuple[Launch, ...]:
        """The steps that run kernels."""
        return tuple(step for step in self.steps if isinstance(step, Launch))

    def _answered(self, start: int, values: Mapping[int, Array]) -> Contracted | None:
        """Return the contraction that starts with this step if NumPy has made it, else None."""
        for whole in self.contractions:
            if whole.steps.start != start:
                continue
            steps = [self.steps[number] for number in whole.steps]
            kernels = [step.bound.kernel for step in steps if isinstance(step, Launch)]
            if cold.numpy_answers(whole.expr, kernels):
                arrays = [viewed(values, value) for value in whole.operands]
                out = viewed(values, whole.target)
                cold.evaluate(
                    *(whole.expr, whole.dtype, whole.conjugated, whole.epilogue),
                    *(arrays, out, whole.extras),
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
            life = self.life(self.first_buffer + number)
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
        """What the native runtime keeps of it: record.h says what; None if it has other steps.

        Kernels that are not ready are compiled.
        """
        if len(self.launches) < len(self.steps) or self.n_results > 1:
            return None
        seconds = sum(step.bound.seconds for step in self.launches)
        steps = tuple(map(self._native_step, self.launches))
        return steps, self.offsets, self.workspace_bytes, seconds >= RELEASING_SECONDS

    def _native_step(self, step: Launch) -> tuple[Any, ...]:
        bound, kernel = step.bound, step.bound.kernel
        offsets = step.offsets or (0,) * (len(step.operands) + 1)
        slots = [*(step.operands[position] for position in bound.operands), step.target]
        # Words of operands hold their offsets, to which the native runtime adds the address.
        addresses = [*(offsets[position] for position in bound.operands), offsets[-1]]
        for word, slot in enumerate(slots):
            if slot < 0:
                addresses[word] += address_of(self.constants[-1 - slot])
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
            if slot == _target(step) or slot in _sources(step)
        ]
        return range(min(uses, default=0), max(uses, default=0) + 1)


def _target(step: Step) -> int:
    return step.target.slot if isinstance(step, Gather) else step.target


def _sources(step: Step) -> tuple[int, ...]:
    match step:
        case Launch(operands=operands):
            return operands
        case Gather(table=table, indices=indices):
            return table.slot, indices.slot


def viewed(values: Mapping[int, Array], value: Value) -> Array:
    """Return a value of a running recipe as an array."""
    base, (shape, strides, dtype) = values[value.slot], value.layout
    view: Array = as_strided(_shifted(base, value.offset, dtype), shape, strides)
    return view


def _shifted(array: Array, offset: int, dtype: AnyDType | None = None) -> Array:
    """Return an array whose first element is ``offset`` bytes behind that of ``array``."""
    if not offset and dtype is None:
        return array
    element: Array = np.asarray(_Memory(array, array.size and offset))  # keeps the array alive
    shifted: Array = element.view(dtype or array.dtype)[0]
    return shifted


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


class Builder:
    """A recipe in the making."""

    def __init__(
        self,
        n_inputs: int,
        constants: Sequence[Array] = (),
        packed: PackedConstants | None = None,
        n_results: int = 1,
        *,
        packs: bool = True,
        is_shipped: bool = False,
    ) -> None:
        """Start without steps.

        Args:
            n_inputs: number of arrays of a call.
            constants: arrays that are the same in all calls.
            packed: those that were packed for other layouts; what is missing is added.
            n_results: number of results.
            packs: whether kernels may want constants packed.
            is_shipped: whether lookups must be of arrays in C order, which is all that shipped code
                knows.
        """
        self.n_inputs = n_inputs
        self.n_results = n_results
        self.packs = packs
        self.is_shipped = is_shipped
        self._n_given = len(constants)
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
        if not self.packs or not -self._n_given <= value.slot < 0 or value.offset:
            return False
        return value.layout == layout(self._constants[-1 - value.slot])

    def launch(self, bound: Bound, operands: Sequence[Value], target: Value) -> None:
        """Append the launch of a kernel, with its constant operands packed as it wants them."""
        slots = self._packed_for(bound, tuple(value.slot for value in operands))
        offsets = (*(value.offset for value in operands), target.offset)
        is_shifted = any(type(offset) is not int or offset for offset in offsets)
        self.add(Launch(bound, slots, target.slot, offsets if is_shifted else ()))

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
            self.n_results,
        )


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
