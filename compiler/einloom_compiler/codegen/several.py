"""Compile many kernels, for this machine or named CPUs, in as many processes as there are CPUs.

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
#: Kernels that a further process compiles at least; it takes a second to start.
_LEAST_SHARE = 4
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
    done: dict[Job, bytes] = {}
    for job in dict.fromkeys(jobs):
        if (contents := objects.find(*job, SYMBOL)) is not None:
            done[job] = contents
    missing = [job for job in dict.fromkeys(jobs) if job not in done]
    # The longest first, so that none of them is left for the end.
    missing.sort(key=lambda job: len(job[0].source), reverse=True)
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in missing:
        todo.put(job)
    failed: list[InternalCompilerError] = []

    def finish(job: Job, contents: bytes) -> None:
        objects.keep(*job, SYMBOL, contents)
        done[job] = contents

    helpers = [
        threading.Thread(target=_with_worker, args=(todo, finish, failed), daemon=True)
        for _ in range(_n_further(n_processes, len(missing)))
    ]
    for helper in helpers:
        helper.start()
    while not failed:
        progress(len(done))
        try:
            job = todo.get_nowait()
        except queue.Empty:
            if len(done) == len(dict.fromkeys(jobs)):
                break
            for helper in helpers:
                helper.join(_PATIENCE)
            if not any(helper.is_alive() for helper in helpers) and todo.empty():
                for job in missing:  # what a helper took and lost
                    if job not in done:
                        todo.put(job)
            continue
        finish(job, jit.compile_for(job[0], SYMBOL, job[1]).contents)
    if failed:
        raise failed[0]
    return [done[job] for job in jobs]


def _with_worker(
    todo: queue.SimpleQueue[Job],
    finish: Callable[[Job, bytes], None],
    failed: list[InternalCompilerError],
) -> None:
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
        while not failed:
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            try:
                contents, error = _asked(worker.stdin, worker.stdout, job)
            except (OSError, ValueError):
                todo.put(job)  # it was killed: another one does its work
                return
            if error:
                failed.append(InternalCompilerError("objects", error, job[0].source))
                return
            finish(job, contents)
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
