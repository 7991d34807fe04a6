"""Interleaved timing: each round times every contender once, in random order.

Slow drifts of the machine (frequency, neighbours) then meet all contenders alike. A turn begins
when no thread of this process is busy any more (BLAS and OpenMP pools spin for a while after
their work) and with one call that is not timed.
"""

from __future__ import annotations

import gc
import itertools
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: How long a turn waits for other pools to fall asleep, and the busy share that counts as asleep.
QUIET_WAIT = 0.3
_QUIET_STEP = 0.002
_QUIET_SHARE = 0.1


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: turns of each contender.
        turn: seconds that a turn lasts at least, by repeating the call.
        limit: seconds after which a contender takes no further turn in this case.
        longest_plain: seconds that naive loops may take; peers that need longer are skipped.
    """

    rounds: int = 15
    turn: float = 0.01
    limit: float = 8.0
    longest_plain: float = 4.0


def spelled(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Callable[[], Any]:
    """Return a function that makes a call as a program spells it: ``lambda: function(x, out=y)``.

    A ``functools.partial`` merges its keywords into a new dictionary at each call, which no program
    does. Measured 2026-11 (Zen 3): that takes 95 ns, and the whole call of a 3 x 3 product 140.

    >>> spelled(max, 3, 5, key=abs)()
    5
    """
    names = [f"x{number}" for number in range(len(arguments))]
    call = f"function({', '.join([*names, *(f'{name}={name}' for name in keywords)])})"
    maker = eval(f"lambda {', '.join(['function', *names, *keywords])}: lambda: {call}")
    made: Callable[[], Any] = maker(function, *arguments, **keywords)
    return made


def timed(call: Callable[[], Any], repeats: int) -> float:
    """Return the seconds of one call, averaged over ``repeats``."""
    turns = itertools.repeat(None, repeats)
    start = time.perf_counter()
    for _ in turns:
        call()
    return (time.perf_counter() - start) / repeats


def wait_until_quiet() -> None:
    """Return when this process's threads are idle, after :data:`QUIET_WAIT` at the latest."""
    deadline = time.perf_counter() + QUIET_WAIT
    while True:
        wall, busy = time.perf_counter(), time.process_time()
        time.sleep(_QUIET_STEP)
        now = time.perf_counter()
        if time.process_time() - busy < _QUIET_SHARE * (now - wall) or now > deadline:
            return


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    estimates: Mapping[str, float],
    effort: Effort,
    seed: int,
) -> dict[str, list[float]]:
    """Return each contender's seconds a call, one sample a turn.

    Args:
        calls: what to time, by contender.
        estimates: seconds of a warm call, by contender; they settle the repeats of a turn.
        effort: how long to measure.
        seed: settles the order of the turns.
    """
    generator = random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    spent = dict.fromkeys(calls, 0.0)
    repeats = {name: max(1, math.ceil(effort.turn / max(estimates[name], 1e-8))) for name in calls}
    was_collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(effort.rounds):
            names = [name for name in calls if spent[name] < effort.limit or not samples[name]]
            generator.shuffle(names)
            for name in names:
                wait_until_quiet()
                start = time.perf_counter()
                if estimates[name] < effort.limit / 4:
                    calls[name]()
                samples[name].append(timed(calls[name], repeats[name]))
                spent[name] += time.perf_counter() - start
    finally:
        if was_collecting:
            gc.enable()
    return samples


def sampled(calls: Mapping[str, Callable[[], Any]], effort: Effort) -> dict[str, list[float]]:
    """Return seconds a call in interleaved rounds, of as many repeats as first calls suggest."""
    estimates = {name: min(timed(call, 1) for _ in range(3)) for name, call in calls.items()}
    return interleaved(calls, estimates, effort, seed=1)
