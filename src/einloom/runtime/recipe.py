"""Recipes: how a function is evaluated on arrays of one layout, as a sequence of launches.

The values of a call have numbered slots: its arrays, then its results, then intermediates;
constants are numbered from -1 downwards. A view is no step: kernels know only where a value's first
element is, so that it is its operand's slot and an offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime import cold
from einloom.runtime.first_call import compile_missing
from einloom.runtime.launch import (
    PARALLEL_SECONDS,
    RELEASING_SECONDS,
    address_of,
    entry_of,
    is_large,
    launch,
    most_awake,
)
from einloom.runtime.lookups import Gather, native_entry
from einloom.runtime.memory import shifted, viewed
from einloom.runtime.threads import Backend
from einloom.runtime.values import Value
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.families import Schedule
from einloom_compiler.ir.einsum import EinsumExpr, Term
from einloom_compiler.ir.scalar import Scalar
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]


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
        written_bytes: of the target.
    """

    bound: Bound
    operands: tuple[int, ...]
    target: int
    offsets: tuple[int, ...] = ()
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Positions:
    """Write 0, 1, 2, ... to a vector of int64 in C order, as long as an open axis."""

    target: Value
    seconds: float = 0.0

    def run(self, values: Mapping[int, Array]) -> None:
        """Write them."""
        target = viewed(values, self.target)
        target[...] = np.arange(len(target))


Step = Launch | Gather | Positions


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
        schedules: of each step that one can be given for: steps of contractions, rows, attention,
            functions of elements; None where a step is no single kernel.
        packed: slots of packed constants: what they are packed from, and how. Recipes that are
            shipped hold no packed arrays.
    """

    n_inputs: int
    constants: tuple[Array, ...]
    buffers: tuple[tuple[tuple[int, ...], AnyDType], ...]
    steps: tuple[Step, ...]
    contractions: tuple[Contracted, ...] = ()
    n_results: int = 1
    schedules: tuple[Schedule | None, ...] = ()
    packed: Mapping[int, tuple[int, Packing]] = field(default_factory=dict)

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
        if not is_ready and cold.waits():
            compile_missing([step.bound.kernel for step in self.launches])
        while number < len(self.steps):
            step = self.steps[number]
            number += 1
            if not isinstance(step, Launch):
                step.run(values)
            elif not is_ready and (answered := self._answered(number - 1, values)) is not None:
                number = answered.steps.stop
            else:
                slots = (*step.operands, step.target)
                offsets = step.offsets or (0,) * len(slots)
                *operands, target = (
                    shifted(values[slot], offset)
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
    def native_plan(self) -> tuple[Any, ...]:
        """What the native runtime keeps of it: record.h says what.

        Kernels that are not ready are compiled.
        """
        seconds = sum(
            step.bound.seconds if isinstance(step, Launch) else step.seconds for step in self.steps
        )
        steps = tuple(map(self._native_step, self.steps))
        return steps, self.offsets, self.workspace_bytes, seconds >= RELEASING_SECONDS

    def _native_step(self, step: Step) -> tuple[Any, ...]:
        match step:
            case Launch():
                return self._native_launch(step)
            case Gather():
                return self._native_lookup(step)
        raise InternalCompilerError("recipe", "axes are open in libraries only", str(step))

    def _native_launch(self, step: Launch) -> tuple[Any, ...]:
        bound, kernel = step.bound, step.bound.kernel
        given = step.offsets or (0,) * (len(step.operands) + 1)
        slots = [*(step.operands[position] for position in bound.operands), step.target]
        offsets = [*(given[position] for position in bound.operands), given[-1]]
        addresses = [*self._addresses(slots, offsets), *map(address_of, bound.tables)]
        return (
            entry_of(kernel),
            bound.total,
            kernel.text.scratch_elements,
            kernel.scratch_bytes,
            is_large(bound),
            most_awake(bound.seconds, step.written_bytes),
            (*addresses, *bound.numbers, 0),
            tuple(max(slot, -1) for slot in slots),
        )

    def _native_lookup(self, step: Gather) -> tuple[Any, ...]:
        values = (step.table, step.indices, step.target)
        slots = [value.slot for value in values]
        addresses = self._addresses(slots, [value.offset for value in values])
        return (
            *(native_entry(), step.total, 0, 0, step.seconds >= PARALLEL_SECONDS, 1),
            (*addresses, *step.numbers, 0),
            tuple(max(slot, -1) for slot in slots),
        )

    def _addresses(self, slots: Sequence[int], offsets: Sequence[int]) -> list[int]:
        """Return the addresses of constants, and the offsets to which those of others are added."""
        return [
            offset + (address_of(self.constants[-1 - slot]) if slot < 0 else 0)
            for slot, offset in zip(slots, offsets, strict=True)
        ]

    def life(self, slot: int) -> range:
        """Return the steps during which the value in a slot is needed."""
        uses = [
            number
            for number, step in enumerate(self.steps)
            if slot == _target(step) or slot in _sources(step)
        ]
        return range(min(uses, default=0), max(uses, default=0) + 1)


def _target(step: Step) -> int:
    return step.target if isinstance(step, Launch) else step.target.slot


def _sources(step: Step) -> tuple[int, ...]:
    match step:
        case Launch(operands=operands):
            return operands
        case Gather(table=table, indices=indices):
            return table.slot, indices.slot
        case Positions():
            return ()
