"""What every family of kernels takes and gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar

from einloom_compiler.codegen import jit
from einloom_compiler.codegen.printing import Nest
from einloom_compiler.dtypes import storage_bytes
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.prepacking import Packing
from einloom_compiler.lowering.tables import Table, TableArray
from einloom_compiler.schedule.machine import Machine

T = TypeVar("T")
#: Takes each stage's name and printed representation; nothing is printed where None.
Dump = Callable[[str, str], None] | None
#: A family's own frozen, printable dataclass.
Schedule = Any


@dataclass(frozen=True, slots=True)
class Facts:
    """What tuning needs to know of a problem: its memory, and what its schedules depend on.

    Attributes:
        labels: a name for each index, as schedules call it.
        extents: of each index.
        n_output: how many of the indices are the output's.
        columns: strides of each operand and, last, of the output along the indices, in elements;
            None along those that it lacks.
        dtypes: their dtype names.
        how: what is computed.
        constant: whether each operand is the same array in all calls; empty where none is.
    """

    labels: tuple[str, ...]
    extents: tuple[int, ...]
    n_output: int
    columns: tuple[tuple[int | None, ...], ...]
    dtypes: tuple[str, ...]
    how: str
    constant: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """One contraction in memory, and the machine that computes it.

    Attributes:
        space: its indices, with extents and strides.
        arithmetics: its dtypes, and what else is computed on load and store.
        machine: the target.
        constant: whether each operand is the same array in all calls, so that it may be packed
            once; empty where none is.
        derived: what families have worked out about it, by a key of theirs: a schedule is proposed,
            priced and bound one after the other. It is no part of the problem.
    """

    space: IterationSpace
    arithmetics: Arithmetics
    machine: Machine
    constant: tuple[bool, ...] = ()
    derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Any, derive: Callable[[], T]) -> T:
        """Return what ``derive`` returns, which is called once for a key."""
        if key not in self.derived:
            self.derived[key] = derive()
        found: T = self.derived[key]
        return found

    @property
    def points(self) -> int:
        """Number of points of the loop nest."""
        return math.prod(self.space.extents)

    @property
    def facts(self) -> Facts:
        """What tuning needs to know."""
        space, how = self.space, self.arithmetics
        return Facts(
            space.labels,
            space.extents,
            space.n_output,
            (*space.strides[:-1], *space.extras, space.strides[-1]),
            (*how.inputs, *how.extras, how.output),
            str(how),
            self.constant,
        )

    @property
    def moved_bytes(self) -> int:
        """Bytes of every operand element read once and every output element written once."""
        return self.once("moved bytes", self._moved_bytes)

    def _moved_bytes(self) -> int:
        names = (*self.arithmetics.inputs, self.arithmetics.output, *self.arithmetics.extras)
        columns = (*self.space.strides, *self.space.extras)
        return sum(
            self.space.n_elements(column) * storage_bytes(name)
            for name, column in zip(names, columns, strict=True)
        )


@dataclass(frozen=True)
class Bound:
    """One contraction bound to memory: its kernel and the numbers that the kernel takes.

    Attributes:
        kernel: compiled when first run.
        schedule: what the kernel's nest was made by.
        operands: which operand each of the kernel's inputs is.
        numbers: extents and strides in the order of the kernel ABI.
        total: length of the parallel range.
        points: number of points of the loop nest.
        seconds: predicted time on one thread.
        packings: how constant operands are packed before the first launch, by their position among
            the kernel's inputs; those inputs are the packed arrays.
        built_tables: tables that the kernel reads besides its operands, as what they are made from.
    """

    kernel: jit.Kernel
    schedule: Schedule
    operands: tuple[int, ...]
    numbers: tuple[int, ...]
    total: int
    points: int
    seconds: float
    built_tables: tuple[Table, ...] = ()
    packings: tuple[tuple[int, Packing], ...] = ()

    @property
    def nest(self) -> Nest:
        """The scheduled nest that the kernel was printed from."""
        return self.kernel.nest

    @cached_property
    def tables(self) -> tuple[TableArray, ...]:
        """The tables as arrays, which live as long as this."""
        return tuple(table.array() for table in self.built_tables)


class Family(Protocol):
    """One way to compute problems of one kind; families inherit from it for :meth:`neighbours`.

    A problem is a contraction (:class:`Problem`), or of the rows' or the attention family's own
    type, with the same ``points``, ``machine`` and ``facts``.

    A schedule is a frozen dataclass of integers, text, tuples and other such dataclasses, which
    holds choices only, none of the problem's facts: it prints as a call of its name and is read
    back by :mod:`einloom_compiler.schedule.text`.
    """

    #: What messages call it.
    name: ClassVar[str]
    #: The dataclass of its schedules.
    schedule_type: ClassVar[type[Any]]

    def check(self, problem: Any, schedule: Schedule) -> None:
        """Raise unless a schedule given by hand is legal for the problem.

        Raises:
            ScheduleError: it is not; the message names the field, its value and what is allowed.
        """

    def neighbours(self, problem: Any, schedule: Schedule) -> tuple[Schedule, ...]:
        """Return schedules near ``schedule`` that measured tuning tries; they need not be legal."""
        del problem, schedule
        return ()

    def propose(self, problem: Any, below: float = math.inf) -> tuple[Schedule, ...]:
        """Return the legal schedules worth trying, the best guess first; none if it cannot.

        Those that must take more than ``below`` seconds by prediction may be left out.
        """

    def seconds(self, problem: Any, schedule: Schedule) -> float:
        """Return the predicted time on one thread, in seconds, for one of its schedules."""

    def bind(self, problem: Any, schedule: Schedule, dump: Dump) -> Bound:
        """Return the kernel of one of its schedules, bound to the problem's memory."""
