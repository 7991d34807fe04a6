"""Compile many kernels, for this machine or named CPUs, in several processes.

A kernel takes half a second, most of it in Numba's typing and lowering, which serve one thread of a
process. Further processes run :mod:`.worker`: a kernel goes in as JSON, its object code comes out.
Code does not depend on the process that compiles it, so that bytes stay the same.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import PurePath
from typing import IO

from einloom_compiler.codegen import jit
from einloom_compiler.codegen.elf import renamed
from einloom_compiler.codegen.objects import ObjectCode
from einloom_compiler.codegen.target import Target, host_target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.store import objects
from einloom_compiler.store.folder import making, subfolder
from einloom_compiler.store.kernels import FOLDER

#: A kernel and what it is compiled for.
Job = tuple[KernelText, Target]
#: The symbol of all code that comes out; see :func:`einloom_compiler.codegen.elf.renamed`.
SYMBOL = "einloom_kernel"
#: Kernels for which a further process is started. It spends 1.7 s of CPU time on imports and on
#: Numba's first kernel, as long as five kernels take. Measured 2026-12 (2 idle cores of a Zen 3):
#: the first call of a network takes 4.8 s with 8 kernels and 6.6 with 12, with a further process
#: 3.6 and 4.5; on a machine that is busy with other things it gained nothing.
_LEAST_SHARE = 8
_MOST_PROCESSES = 16
#: Seconds between looks at what other processes have done.
_PATIENCE = 0.1


def compile_together(kernels: Sequence[jit.Kernel], n_processes: int) -> None:
    """Compile and load kernels, if they are many, and keep them on disk.

    A few are left to their first run, which takes no longer. Of many processes that lack the same
    kernels at once, one compiles them and the others wait.

    Args:
        kernels: different ones that neither this process nor the disk holds.
        n_processes: how many may run at once, this one included.

    Raises:
        InternalCompilerError: a kernel cannot be compiled.
    """
    folder = subfolder(FOLDER)
    if folder is None or _n_further(n_processes, len(kernels)) == 0:
        return
    target = host_target()
    if not target.triple.endswith(("linux-gnu", "linux-musl")):
        return  # symbols are renamed in ELF objects
    names = "".join(sorted(kernel.symbol for kernel in kernels))
    with making(folder / f"several-{sha256(names.encode()).hexdigest()[:40]}"):
        missing = [kernel for kernel in kernels if not kernel.load()]
        jobs = [(kernel.text, target) for kernel in missing]
        codes = compile_several(jobs, n_processes, lambda n_done: None)
        for kernel, code in zip(missing, codes, strict=True):
            kernel.take(ObjectCode(kernel.symbol, renamed(code, SYMBOL, kernel.symbol)))


def _n_further(n_processes: int, n_kernels: int) -> int:
    """Return how many processes help this one."""
    is_python = "python" in PurePath(sys.executable or "").name  # not a program that embeds it
    return min(n_processes - 1, _MOST_PROCESSES, n_kernels // _LEAST_SHARE) if is_python else 0


def compile_several(
    jobs: Sequence[Job], n_processes: int, progress: Callable[[int], None]
) -> list[bytes]:
    """Return the object code of each kernel, from disk or compiled now and kept there.

    Args:
        jobs: kernels and their CPUs; equal ones are compiled once.
        n_processes: how many may run at once, this one included.
        progress: called with how many are done, now and then.

    Raises:
        InternalCompilerError: a kernel cannot be compiled.
    """
    work = _Work(jobs)
    helpers = [
        threading.Thread(target=_with_worker, args=(work,), daemon=True)
        for _ in range(_n_further(n_processes, len(work.missing)))
    ]
    for helper in helpers:
        helper.start()
    while not work.failed:
        progress(len(work.done))
        try:
            job = work.todo.get_nowait()
        except queue.Empty:
            if work.is_done():
                break
            _wait(helpers, work)
            continue
        work.finish(job, jit.compile_for(job[0], SYMBOL, job[1]).contents)
    if work.failed:
        raise work.failed[0]
    return [work.done[job] for job in jobs]


class _Work:
    """Jobs that this process's threads share.

    Attributes:
        done: the code that was on disk or has been compiled.
        missing: different jobs that were not on disk, the longest first, so that none of them is
            left for the end.
        todo: those that nobody has taken.
        failed: why kernels could not be compiled; the work ends with the first.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        different = dict.fromkeys(jobs)
        found = {job: objects.find(*job, SYMBOL) for job in different}
        self.done = {job: code for job, code in found.items() if code is not None}
        self.missing = [job for job in different if job not in self.done]
        self.missing.sort(key=lambda job: len(job[0].source), reverse=True)
        self.todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.failed: list[InternalCompilerError] = []
        self.offer_missing()

    def offer_missing(self) -> None:
        """Let anybody take what is not done."""
        for job in self.missing:
            if job not in self.done:
                self.todo.put(job)

    def finish(self, job: Job, contents: bytes) -> None:
        """Keep a job's code."""
        objects.keep(*job, SYMBOL, contents)
        self.done[job] = contents

    def is_done(self) -> bool:
        """Say whether all code is there."""
        return all(job in self.done for job in self.missing)


def _wait(helpers: Sequence[threading.Thread], work: _Work) -> None:
    """Wait a while for helpers; where all are gone, offer what they took and lost again."""
    for helper in helpers:
        helper.join(_PATIENCE)
    if not any(helper.is_alive() for helper in helpers) and work.todo.empty():
        work.offer_missing()


def _with_worker(work: _Work) -> None:
    """Let a process of its own compile what is to be done, until nothing is."""
    command = "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    command += "from einloom_compiler.codegen.worker import main; main()"
    try:
        worker = subprocess.Popen(
            [sys.executable, "-c", command, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    except OSError:
        return  # the others do it
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        while not work.failed:
            try:
                job = work.todo.get_nowait()
            except queue.Empty:
                return
            try:
                contents, error = _asked(worker.stdin, worker.stdout, job)
            except (OSError, ValueError):
                work.todo.put(job)  # it was killed: another one does its work
                return
            if error:
                work.failed.append(InternalCompilerError("objects", error, job[0].source))
                return
            work.finish(job, contents)
    finally:
        with suppress(OSError):
            worker.stdin.close()
        worker.stdout.close()
        worker.wait()


def _asked(stdin: IO[bytes], stdout: IO[bytes], job: Job) -> tuple[bytes, str]:
    """Return a worker's code or error for a kernel.

    Raises:
        OSError, ValueError: the worker is gone.
    """
    text, target = job
    stdin.write(json.dumps({"text": asdict(text), "target": asdict(target)}).encode() + b"\n")
    stdin.flush()
    answer = json.loads(stdout.readline())
    contents = stdout.read(answer["n_bytes"])
    if len(contents) < answer["n_bytes"]:
        raise ValueError("the worker's answer ends early")
    return contents, answer["error"]
