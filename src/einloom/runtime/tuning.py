"""Choose schedules by measuring: what ``el.compile(..., tune=True)`` does for each step.

The families propose, their neighbours are tried around the best found, a few times. All contenders
are timed in turns on one thread, and the minimum counts, so that a busy neighbour on the machine
slows them alike. The policy's schedule stays unless another one is clearly faster. What was found
is kept on disk for problems of the same structure and about the same sizes.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler import __version__, families
from einloom_compiler.codegen.jit import is_jit_disabled
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import AnyProblem, Bound, Schedule
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.measuring import ensure_measured
from einloom_compiler.schedule.processor import identity
from einloom_compiler.store import tuned as store

Array = npt.NDArray[Any]

#: Contenders of one step at most, and rounds of neighbours of the best.
MOST_CONTENDERS = 24
ROUNDS = 3
#: Times each contender is timed in a round, and how long one timing takes at least, in seconds.
REPEATS = 15
LEAST_SECONDS = 100e-6
#: Seconds that the timings of one round may take; at least three are made.
BUDGET = 1.5
#: Seconds after which no further contender of a step is compiled.
PATIENCE = 20.0
#: Share of the policy's time below which another schedule replaces it.
CLEARLY = 0.97

_found: dict[str, Schedule | None] = {}


def tuned(problem: AnyProblem) -> Schedule | None:
    """Return the fastest schedule that is found for a problem, measured unless it is known.

    None where nothing can be measured: empty problems, and NUMBA_DISABLE_JIT.
    """
    schedule = known(problem)
    if schedule is not None or problem.points == 0 or is_jit_disabled():
        return schedule
    ensure_measured()
    schedule = _search(problem)
    _found[describe(problem)] = schedule
    return schedule


def known(problem: AnyProblem) -> Schedule | None:
    """Return the schedule that was measured before for problems like this one, None if none was."""
    key = describe(problem)
    if key in _found:
        return _legal(problem, _found[key])
    entry = store.load(key)
    if entry is None:
        return None
    try:
        schedule = _legal(problem, families.parse(entry.schedule))
    except ScheduleError:
        return None
    if schedule is not None:
        _found[key] = schedule
    return schedule


def describe(problem: AnyProblem) -> str:
    """Return what a problem's best schedule depends on, as text: problems of one text share it."""
    facts = problem.facts
    columns = [" ".join(_stride_class(step, column) for step in column) for column in facts.columns]
    # Loops are named by letters in schedules, so problems that differ in them share nothing.
    indices = [f"{la}={_size_class(n)}" for la, n in zip(facts.labels, facts.extents, strict=True)]
    return "; ".join(
        (
            f"einloom {__version__}",
            _facts(problem.machine),
            f"{' '.join(indices)}, {facts.n_output} of the output",
            *columns,
            facts.how,
            *(f"operand {n} is constant" for n, flag in enumerate(facts.constant) if flag),
        )
    )


def _facts(machine: Machine) -> str:
    """Return what of a machine tells schedules apart; its speeds may be measured anew."""
    processor = sha256(identity().encode()).hexdigest()[:16]
    vectors = f"{machine.simd_bits} bits, {machine.n_registers} registers"
    return f"processor {processor}, {vectors}, L1 {machine.l1_bytes}, L2 {machine.l2_bytes}"


def _size_class(extent: int) -> int:
    """Return ``extent`` itself up to 16, else rounded to three binary digits."""
    if extent <= 16:
        return extent
    unit = 1 << (extent.bit_length() - 3)
    return (extent + unit // 2) // unit * unit


def _stride_class(step: int | None, column: Sequence[int | None]) -> str:
    """Return a stride's sign and rank among those of its access; 0 and 1 as they are."""
    if step is None:
        return "-"
    if step in (0, 1):
        return str(step)
    smaller = sum(other is not None and abs(other) < abs(step) for other in column)
    return f"{'n' if step < 0 else 'r'}{smaller}"


def _legal(problem: AnyProblem, schedule: Schedule | None) -> Schedule | None:
    """Return ``schedule`` where the problem allows it, else None."""
    if schedule is None:
        return None
    try:
        families.check(problem, schedule)
    except ScheduleError:
        return None
    return schedule


@dataclass(eq=False)
class _Contender:
    """A schedule and the least time that it took."""

    schedule: Schedule
    run: Callable[[], None]
    seconds: float = field(default=float("inf"))


def _search(problem: AnyProblem) -> Schedule:
    """Return the fastest schedule found, and keep it on disk."""
    _, policy = families.choose(problem)
    arrays = [*map(_operand, *_memory(problem))]
    contenders: dict[str, _Contender] = {}

    def enter(schedules: Sequence[Schedule]) -> list[_Contender]:
        entered = []
        for schedule in schedules:
            if len(contenders) < MOST_CONTENDERS and str(schedule) not in contenders:
                if _legal(problem, schedule) is None:
                    continue
                bound = families.family_of(schedule).bind(problem, schedule, _no_dump)
                contender = _Contender(schedule, _runner(bound, arrays))
                contenders[str(schedule)] = contender
                entered.append(contender)
        return entered

    proposed = [s for family in families.families_of(problem) for s in family.propose(problem)]
    first = [policy, *(s for s in proposed if s != policy)]
    deadline = time.perf_counter() + PATIENCE
    with _progress(problem) as advance:
        best: _Contender | None = None
        for number in range(ROUNDS):
            if best is None:
                entered = enter(first)
            else:
                near = families.family_of(best.schedule).neighbours(problem, best.schedule)
                entered = enter(near)
            if number == 0:
                for schedule in first:
                    near = families.family_of(schedule).neighbours(problem, schedule)
                    entered += enter(near[: MOST_CONTENDERS // (2 * len(first))])
            if not entered:
                break
            again = [] if best is None else [best, contenders[str(policy)]]
            _time([*again, *entered], deadline, advance)
            best = min(contenders.values(), key=lambda contender: contender.seconds)
    assert best is not None
    usual = contenders[str(policy)]
    if best.seconds > CLEARLY * usual.seconds:
        best = usual
    entry = store.Entry(
        describe(problem), str(best.schedule), best.seconds, str(policy), usual.seconds
    )
    store.save(entry)
    return best.schedule


def _time(
    contenders: Sequence[_Contender], deadline: float, advance: Callable[[str], None]
) -> None:
    """Time contenders in turns, and keep each one's least time; after the deadline only two."""
    counts: list[int] = []
    for contender in contenders:
        if len(counts) > 1 and time.perf_counter() > deadline:
            break
        contender.run()  # compiles
        took = _timed(contender.run, 1)
        counts.append(max(1, min(10_000, int(LEAST_SECONDS / max(took, 1e-7)))))
        contender.seconds = min(contender.seconds, took)
        advance(f"{contender.schedule}")
    start = time.perf_counter()
    for repeat in range(REPEATS):
        for contender, count in zip(contenders, counts, strict=False):
            contender.seconds = min(contender.seconds, _timed(contender.run, count))
        if repeat >= 2 and time.perf_counter() - start > BUDGET:
            break


def _timed(run: Callable[[], None], count: int) -> float:
    """Return the seconds of one of ``count`` runs, as CPU time of this thread."""
    start = time.thread_time_ns()
    for _ in range(count):
        run()
    return (time.thread_time_ns() - start) / count * 1e-9


def _memory(problem: AnyProblem) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """Return dtype name and (extent, stride) pairs of each operand and, last, of the output."""
    facts = problem.facts
    pairs = [
        [(n, step) for n, step in zip(facts.extents, column, strict=True) if step]
        for column in facts.columns
    ]
    return list(facts.dtypes), pairs


def _operand(name: str, axes: Sequence[tuple[int, int]]) -> tuple[Array, int]:
    """Return memory with small random values, and the address of its first index."""
    storage = np.dtype(arithmetic(name).storage)
    before = sum((n - 1) * -step for n, step in axes if step < 0)
    after = sum((n - 1) * step for n, step in axes if step > 0)
    n_elements = before + after + 1
    generator = np.random.default_rng(0)
    if arithmetic(name).is_half:  # the bits of 1.0
        array = np.full(n_elements, 0x3C00 if name == "float16" else 0x3F80, storage)
    elif storage.kind in "iu":
        array = generator.integers(0, 2, n_elements).astype(storage)
    else:
        array = (generator.random(n_elements, np.float32) + 0.5).astype(storage)
    return array, array.__array_interface__["data"][0] + before * storage.itemsize


def _runner(bound: Bound, arrays: Sequence[tuple[Array, int]]) -> Callable[[], None]:
    """Return a function that runs the kernel once on one thread; it holds all memory it needs."""
    operands = [arrays[position] for position in bound.operands]
    for position, packing in bound.packings:
        array, address = operands[position]
        start = (address - array.__array_interface__["data"][0]) // array.itemsize
        packed = packing.pack(array[start:])
        operands[position] = packed, packed.__array_interface__["data"][0]
    scratch = np.empty(bound.kernel.scratch_bytes + 64, np.uint8)
    addresses = [address for _, address in (*operands, arrays[-1])]
    addresses += [table.__array_interface__["data"][0] for table in bound.tables]
    at = -(-scratch.__array_interface__["data"][0] // 64) * 64
    words = (*addresses, *map(int, bound.numbers), at)
    block = (ctypes.c_int64 * len(words))(*words)
    total = int(bound.total)
    word = ctypes.c_int64
    prototype = ctypes.CFUNCTYPE(None, word, word, word, word)
    kept: list[Any] = [scratch, operands, arrays[-1], block]

    def run() -> None:
        if len(kept) == 4:
            kept.append(prototype(bound.kernel.entry))
        kept[4](ctypes.addressof(block), 0, 0, total)

    return run


@contextmanager
def _progress(problem: AnyProblem) -> Iterator[Callable[[str], None]]:
    """Show a bar while contenders are compiled and timed, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    facts = problem.facts
    sizes = " ".join(f"{la}={n}" for la, n in zip(facts.labels, facts.extents, strict=True))
    columns = (TextColumn("einloom: tuning {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(sizes, total=MOST_CONTENDERS)
        yield lambda _: progress.advance(task)


def _no_dump(stage: str, text: str) -> None:
    """Take a stage's name and its printed representation, and drop them."""
