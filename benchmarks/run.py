"""The command line: ``python -m benchmarks.run --quick``.

Threads are settled before NumPy and the frameworks are imported: their pools read the environment
and the CPU affinity once. So this module imports neither before ``main`` runs.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.peers import Peer
    from benchmarks.problems import Case
    from benchmarks.results import CaseResult
    from benchmarks.timing import Effort

RESULTS = Path(__file__).parent / "results"
#: Seconds of a quick run after which no further case begins.
QUICK_BUDGET = 230.0
#: Exit codes beside click's 2 for bad arguments.
WRONG_RESULT = 1


@click.command()
@click.option("--group", "groups", multiple=True, help="Only this group's cases; repeatable.")
@click.option("--case", "names", multiple=True, help="Only this case; repeatable.")
@click.option("--peer", "peer_names", multiple=True, help="Only this peer beside einloom.")
@click.option("--quick", is_flag=True, help="Some cases of each group, in less than 5 minutes.")
@click.option(
    "--rounds", type=click.IntRange(1), help="Turns of each contender; 15, or 5 if quick."
)
@click.option("--budget", type=float, help="Seconds after which no further case begins.")
@click.option("--threads", type=click.IntRange(1), help="Threads of every contender; all cores.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the report; benchmarks/results, or its quick/ if quick.",
)
@click.option("--plots/--no-plots", default=True, help="Draw a plot for each group.")
def main(
    groups: tuple[str, ...],
    names: tuple[str, ...],
    peer_names: tuple[str, ...],
    quick: bool,
    rounds: int | None,
    budget: float | None,
    threads: int | None,
    out: Path | None,
    plots: bool,
) -> None:
    """Measure einloom against its peers and write a report."""
    command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    cores = len(os.sched_getaffinity(0))
    threads = min(threads or cores, cores)
    settle_threads(threads)
    with tempfile.TemporaryDirectory() as cache:
        # Kernels are compiled as on the first day: what an earlier run left on disk is not used.
        os.environ["EINLOOM_CACHE_DIR"] = cache

        from rich.console import Console

        from benchmarks.problems import CaseError, load_cases, quick_names, select
        from benchmarks.timing import Effort

        console = Console(stderr=True)
        try:
            cases = select(load_cases(), groups, names)
        except CaseError as error:
            raise click.UsageError(str(error)) from None
        if quick and not names:
            chosen = quick_names()
            cases = [case for case in cases if case.name in chosen]
        effort = Effort(5, 0.002, 0.4, 0.4) if quick else Effort()
        if rounds is not None:
            effort = Effort(rounds, effort.turn, effort.limit, effort.longest_plain)
        if budget is None:
            budget = QUICK_BUDGET if quick else float("inf")
        from benchmarks.machine import describe, measured_peaks

        started = time.perf_counter()
        before = measured_peaks(threads)
        peers, versions = start_peers(peer_names, threads, effort, console)
        document = measure_all(
            cases, peers, effort, budget - (time.perf_counter() - started), console
        )

    from benchmarks.report import write
    from benchmarks.results import Run

    foreign = document.pop("foreign_share")
    run = Run(
        machine=describe(threads, before, measured_peaks(threads)),
        options={
            "command": command,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "rounds": effort.rounds,
            "turn_seconds": effort.turn,
            "limit_seconds": effort.limit,
            "foreign_cpu_share": round(foreign, 3),
            "seconds": round(time.perf_counter() - started, 1),
        },
        peers=versions,
        **document,
    )
    folder = out or (RESULTS / "quick" if quick else RESULTS)
    write(run, folder, plots=plots)
    console.print(f"report: {folder / 'report.md'}")
    wrong = [c.name for c in run.cases for m in c.measurements if _is_our_fault(m)]
    wrong += [case.name for case in run.cases if case.memory_failure]
    if wrong:
        console.print(f"[red]einloom was wrong or failed on {', '.join(dict.fromkeys(wrong))}")
        sys.exit(WRONG_RESULT)


def settle_threads(threads: int) -> None:
    """Tell every library, before it is imported, how many threads to use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    # The names are those of benchmarks.machine, which must not be imported yet.
    for library in ("EINLOOM", "MKL", "NUMBA", "OMP", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    # Idle threads of OpenBLAS spin for 2 ** this cycles: by default for 0.1 s, through the turns of
    # the contenders that come after it.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def start_peers(
    names: tuple[str, ...], threads: int, effort: Effort, console: Console
) -> tuple[list[Peer], dict[str, str]]:
    """Return the contenders that are installed, warmed up, and the version or absence of each."""
    from benchmarks.measure import warm_up
    from benchmarks.peers import PEERS, AbsentError
    from benchmarks.results import OURS

    known = {peer.name for peer in PEERS}
    for name in names:
        if name not in known:
            raise click.UsageError(f"no peer is named {name!r}; known: {', '.join(sorted(known))}")
    peers, versions = [], {}
    for kind in PEERS:
        if names and kind.name not in (*names, *OURS):
            continue
        peer = kind(threads, effort.longest_plain)
        try:
            versions[kind.name] = peer.start()
        except AbsentError as absent:
            versions[kind.name] = f"absent: {absent}"
            console.print(f"{kind.name}: {absent}")
            continue
        peers.append(peer)
    warm_up(peers)
    return peers, versions


def measure_all(
    cases: Sequence[Case], peers: list[Peer], effort: Effort, budget: float, console: Console
) -> dict[str, Any]:
    """Return the results, the cases that were not reached, and the share of foreign CPU time."""
    from rich.progress import Progress

    from benchmarks.machine import CpuTimes
    from benchmarks.measure import measure
    from benchmarks.timing import wait_until_quiet

    results: list[CaseResult] = []
    not_run: dict[str, str] = {}
    start, before = time.perf_counter(), CpuTimes.now()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        for case in by_turns(cases):
            progress.update(task, description=case.name)
            if time.perf_counter() - start > budget:
                not_run[case.name] = f"the time budget of {budget:.0f} s was used up"
                continue
            wait_until_quiet()
            results.append(measure(case, peers, effort))
            progress.advance(task)
    foreign = before.foreign_share(CpuTimes.now(), len(os.sched_getaffinity(0)))
    place = {case.name: number for number, case in enumerate(cases)}
    results.sort(key=lambda result: place[result.name])
    return {"cases": tuple(results), "not_run": not_run, "foreign_share": foreign}


def by_turns(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with the groups taking turns, so that a budget cuts none off entirely."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    turns = itertools.zip_longest(*groups.values())
    return [case for turn in turns for case in turn if case is not None]


def _is_our_fault(measurement: Any) -> bool:
    from benchmarks.results import OURS

    return measurement.peer in OURS and measurement.status in ("wrong", "failed", "unsupported")


if __name__ == "__main__":
    main()
