"""Few kernels for all sizes: those of shipped code take time to compile, and room.

A library is planned twice. At first each problem gets the schedule that is predicted to be the
fastest. Of these, some are kept that serve all problems of a structure, nearly as fast; the second
time each problem gets the fastest of them. That is a cover of sets, by the usual greedy rule: what
serves most problems for its compile time comes first. Measured 2026-11, an MLP of three layers and
any batch size for three CPU levels: 60 kernels, 4 of them packed, instead of 71 and 13 where each
size took what smaller ones had brought; they compile in 0.74 of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from einloom_compiler.errors import ScheduleError
from einloom_compiler.families.base import Family, Problem, Schedule
from einloom_compiler.families.packed import PackedSchedule
from einloom_compiler.lowering.formula import is_open

T = TypeVar("T")
#: A problem's structure, and its sizes.
_Key = tuple[Any, Any]
#: A family and its schedule.
Choice = tuple[Family, Schedule]
#: How much longer than the best a schedule of the few may take.
TOLERANCE = 1.05
#: What a packed kernel takes to compile, in times of others. Measured 2026-11: 0.6 and 0.2 s.
_PACKED_CODE = 3


@dataclass(frozen=True)
class Draft(Generic[T]):
    """What a plan gave while each problem had what is the fastest for it alone.

    Attributes:
        plan: makes it.
        result: what it gave.
        asked: keys of the problems that it chose schedules for.
    """

    plan: Callable[[], T]
    result: T
    asked: tuple[_Key, ...]


class FewKernels:
    """The schedules of contractions that one library needs."""

    def __init__(self) -> None:
        """Begin to collect."""
        self._fastest: dict[_Key, tuple[Problem, Choice]] = {}
        self._asked: list[_Key] = []
        self._few: dict[Any, list[Choice]] = {}
        self._settled: dict[_Key, Choice] = {}

    def draft(self, plan: Callable[[], T]) -> Draft[T]:
        """Return what a plan gives before anything is settled."""
        self._asked = []
        result = plan()
        return Draft(plan, result, tuple(dict.fromkeys(self._asked)))

    def final(self, draft: Draft[T]) -> T:
        """Return what the plan of a draft gives now; the same where it would choose the same."""
        is_same = all(self._settled[key] == self._fastest[key][1] for key in draft.asked)
        return draft.result if is_same else draft.plan()

    def settle(self) -> None:
        """Keep the few that serve all problems so far, and choose among them from now on."""
        structures: dict[Any, list[_Key]] = {}
        for key in self._fastest:
            structures.setdefault(key[0], []).append(key)
        for structure, keys in structures.items():
            problems = [self._fastest[key] for key in keys]
            choices = list(dict.fromkeys(best for _, best in problems))
            served = [_served(problem, best, choices) for problem, best in problems]
            kept = _cover(choices, served)
            self._few[structure] = [choices[number] for number in kept]
            for key, times in zip(keys, served, strict=True):
                found = min((number for number in kept if number in times), key=times.__getitem__)
                self._settled[key] = choices[found]

    def choose(self, problem: Problem, fastest: Callable[[Problem], Choice]) -> Choice:
        """Return a problem's schedule: the fastest, or of the few once they are settled.

        A problem that was not met before gets its own where none of the few serves it.
        """
        key = _key(problem)
        self._asked.append(key)
        if key in self._settled:
            return self._settled[key]
        if key not in self._fastest:
            self._fastest[key] = problem, fastest(problem)
        best = self._fastest[key][1]
        if not self._settled:
            return best
        few = self._few.setdefault(key[0], [])
        served = _served(problem, best, few)
        if not served:
            few.append(best)
        self._settled[key] = few[min(served, key=served.__getitem__)] if served else best
        return self._settled[key]


_collected: ContextVar[FewKernels | None] = ContextVar("collected", default=None)


@contextmanager
def few_kernels() -> Iterator[FewKernels]:
    """Collect what contractions need, and let few kernels serve it once that is settled."""
    kernels = FewKernels()
    token = _collected.set(kernels)
    try:
        yield kernels
    finally:
        _collected.reset(token)


def collected() -> FewKernels | None:
    """Return what is being collected, None where code is not made to be shipped."""
    return _collected.get()


def _key(problem: Problem) -> _Key:
    """Return what schedules of a problem are legal for, and the sizes that settle which is best."""
    space = problem.space
    columns = (*space.strides, *space.extras)
    strides = tuple(tuple({None: 0, 1: 1}.get(s, 2) for s in column) for column in columns)
    openness = bool(space.starts), tuple(map(is_open, space.extents))
    facts = problem.arithmetics, problem.machine, problem.constant
    # Open sizes are equal whatever they are at present.
    extents = tuple(map(int, space.extents))
    steps = tuple(tuple(None if s is None else int(s) for s in column) for column in columns)
    return (space.labels, space.n_output, strides, openness, *facts), (extents, steps)


def _cover(choices: Sequence[Choice], served: Sequence[Mapping[int, float]]) -> list[int]:
    """Return numbers of choices that serve all problems, the best by the greedy rule first.

    Args:
        choices: all that there are.
        served: for each problem the times of those that serve it, by number.
    """
    left, kept = list(served), []
    while left:
        chosen = max(range(len(choices)), key=lambda number: _gain(number, choices[number], left))
        kept.append(chosen)
        left = [times for times in left if chosen not in times]
    return kept


def _gain(number: int, choice: Choice, left: Sequence[Mapping[int, float]]) -> tuple[float, float]:
    """Return how many problems a choice serves for its compile time; of equal ones, how well."""
    times = [found[number] for found in left if number in found]
    weight = _PACKED_CODE if isinstance(choice[1], PackedSchedule) else 1
    return len(times) / weight, -sum(times)


def _served(problem: Problem, best: Choice, choices: Sequence[Choice]) -> dict[int, float]:
    """Return the times, as parts of the best one's, of the choices that serve a problem."""
    least = best[0].seconds(problem, best[1])
    found = {}
    for number, (family, schedule) in enumerate(choices):
        if (family, schedule) == best:
            found[number] = 1.0
            continue
        if _reads_again(schedule, best[1]):
            continue
        try:
            family.check(problem, schedule)
        except ScheduleError:
            continue
        seconds = family.seconds(problem, schedule)
        if seconds <= TOLERANCE * least:
            found[number] = seconds / least if least else 1.0
    return found


def _reads_again(schedule: Schedule, best: Schedule) -> bool:
    """Say whether a schedule reads packed constants more often, or from farther, than the best.

    Predictions call both as fast where constants come from memory. Measured 2026-11 on a 2-core
    AVX2 machine, float32: 4 rows by 512 x 512 in panels of 2 rows 63 us, of 4 rows 35 us; 32 rows
    by 1024 x 1024 on two threads in the depth that suits one panel of rows 750 us, in one whose
    columns stay in L1 while rows pass 560 us.
    """
    return (
        isinstance(schedule, PackedSchedule)
        and isinstance(best, PackedSchedule)
        and schedule.prepacked == best.prepacked == "columns"
        and (schedule.mr < best.mr or schedule.kc > best.kc)
    )
