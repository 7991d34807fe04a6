"""Contenders of :mod:`benchmarks.aot` in processes of their own, which take turns.

Each contender's threads go to sleep in its own way: they spin for a while after their work, and
keep the others from the cores. In one process nobody else can tell when they are done, and their
memory is in the way, too. So each contender has a process that holds nothing else, as it has where
it is shipped. A turn begins with calls that are not timed, until clocks and threads are awake
(:data:`AWAKE`), and ends when the process uses no CPU any more, or does not come to rest: threads
of ONNX Runtime spin on. It is stopped then (``SIGSTOP``), so that it takes nothing from the others.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.timing import Effort, timed, wait_until_quiet

Array = npt.NDArray[Any]
#: Seconds of calls that a turn begins with.
AWAKE = 0.005
#: Turns that settle how often the call is repeated in later ones.
_ESTIMATES = 3


class Worker:
    """A contender's process.

    Args:
        imports: lines of a program: what is imported, and set.
        load: those that load the contender: ``f = ...``.
        folder: where it may write.
        x: the file of the array that ``f`` takes.
    """

    def __init__(self, imports: str, load: str, folder: Path, x: Path) -> None:
        folder.mkdir()
        self._result, self._errors = folder / "result.npy", folder / "errors.txt"
        script = (
            # What others print is no answer.
            "import os\nanswers = os.dup(1)\nos.dup2(2, 1)\n"
            f"import numpy as np\n{imports}\nfrom benchmarks.aot_turns import serve\n"
            f"x = np.load({str(x)!r})\n{load}\n"
            f"serve(lambda: f(x), {str(self._result)!r}, answers)\n"
        )
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Worker:
        """Return itself; its process ends where the ``with`` does."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def result(self) -> Array:
        """Return what the first call gives.

        Raises:
            RuntimeError: the process ends before; the message is its last line.
        """
        if not self._answer():
            said = self._errors.read_text(errors="replace").strip()
            raise RuntimeError(said.splitlines()[-1] if said else "it says nothing")
        self._process.send_signal(signal.SIGSTOP)
        found: Array = np.load(self._result)
        return found

    def turn(self, repeats: int) -> float:
        """Return the seconds of a call, averaged over ``repeats``, once the process is idle."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(f"{repeats}\n")
        self._process.stdin.flush()
        seconds = float(self._answer())
        self._process.send_signal(signal.SIGSTOP)
        return seconds

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def serve(call: Callable[[], Any], result: str, descriptor: int) -> None:
    """Write what a first call gives to a file, then take turns: repeats in, seconds a call out."""
    with os.fdopen(descriptor, "w") as answers:
        found = call()
        np.save(result, np.asarray(found[0] if isinstance(found, list) else found))
        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            call()
            while time.perf_counter() - start < AWAKE:
                call()
            seconds = timed(call, int(line))
            wait_until_quiet()
            print(seconds, file=answers, flush=True)


def taken(workers: Mapping[str, Worker], effort: Effort, seed: int) -> dict[str, list[float]]:
    """Return each contender's seconds a call, one sample a turn, in interleaved rounds.

    Args:
        workers: by contender, of whom none is at work.
        effort: how long to measure.
        seed: settles the order of the turns.
    """
    generator = random.Random(seed)
    estimates = {
        name: min(worker.turn(1) for _ in range(_ESTIMATES)) for name, worker in workers.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in workers}
    names = list(workers)
    for _ in range(effort.rounds):
        generator.shuffle(names)
        for name in names:
            repeats = max(1, round(effort.turn / estimates[name]))
            samples[name].append(workers[name].turn(repeats))
    return samples
