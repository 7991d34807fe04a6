"""Time whole layers and models: ``python -m benchmarks.layers [NAME ...]``.

Each case is a Keras model with random weights. Contenders compute the same from the same weights:
einloom compiled in the process and ahead of time, Keras on TensorFlow eagerly and through XLA,
PyTorch eagerly and compiled, JAX jitted, ONNX Runtime. Results are held against Keras before
anything is timed; rounds are interleaved (:mod:`benchmarks.timing`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.layer_cases import Case, cases
from benchmarks.layer_checking import checked, filled, why_absent
from benchmarks.layer_peers import CONTENDERS, Call
from benchmarks.machine import THREAD_VARIABLES, cpu_name
from benchmarks.timing import Effort, sampled


def measure(case: Case, effort: Effort, names: Sequence[str]) -> dict[str, Any]:
    """Return seconds a call by contender, and why others take no part."""
    x, expected = filled(case)
    calls: dict[str, Call] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                call = CONTENDERS[name](case, x, str(Path(folder) / "built"))
                calls[name] = checked(call, expected)
            except Exception as error:  # what cannot take part is told in the report
                absent[name] = why_absent(error)
        samples = sampled(calls, effort)
    seconds = {name: min(found) for name, found in samples.items()}
    return {"case": case.name, "seconds": seconds, "absent": absent}


def best_ratio(seconds: dict[str, float]) -> float | None:
    """Return the best peer's time by the best of einloom's."""
    ours = [value for name, value in seconds.items() if name.startswith("einloom")]
    peers = [value for name, value in seconds.items() if not name.startswith("einloom")]
    return min(peers) / min(ours) if ours and peers else None


def table(results: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return the report in Markdown: microseconds a call."""
    lines = [
        f"| case | {' | '.join(names)} | best peer / einloom |",
        "|---" * (len(names) + 2) + "|",
    ]
    for result in results:
        seconds = result["seconds"]
        cells = [f"{1e6 * seconds[name]:,.1f}" if name in seconds else "-" for name in names]
        ratio = best_ratio(seconds)
        shown = "-" if ratio is None else f"{ratio:.2f}"
        lines.append(f"| {result['case']} | {' | '.join(cells)} | {shown} |")
    ratios = [r for r in (best_ratio(result["seconds"]) for result in results) if r is not None]
    if ratios:
        mean = statistics.geometric_mean(ratios)
        lines.append(
            f"\nGeometric mean of best peer / einloom: {mean:.2f} over {len(ratios)} cases."
        )
    return "\n".join(lines)


def use_cores(threads: int | None) -> None:
    """Let this process see so many cores, as all contenders' own pools then do.

    Must run before a contender is imported.
    """
    cores = sorted(os.sched_getaffinity(0))
    if threads is not None:
        os.sched_setaffinity(0, cores[:threads])
    for name in THREAD_VARIABLES:
        os.environ[name] = str(len(os.sched_getaffinity(0)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of the names of cases; all where none")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender")
    parser.add_argument("--without", action="append", default=[], help="a contender to leave out")
    parser.add_argument("--threads", type=int, help="of each contender; one a core where not given")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    use_cores(options.threads)
    if unknown := set(options.without) - set(CONTENDERS):
        parser.error(f"no contender is called {', '.join(sorted(unknown))}")
    names = [name for name in CONTENDERS if name not in options.without]
    effort = Effort(rounds=options.rounds)
    results = []
    for case in cases(options.names):
        result = measure(case, effort, names)
        results.append(result)
        print(table([result], names).splitlines()[2], flush=True)
        for name, reason in result["absent"].items():
            print(f"    without {name}: {reason}", flush=True)
    print(
        f"\n{table(results, names)}\n\n"
        f"Microseconds a call, {len(os.sched_getaffinity(0))} cores of {cpu_name()}."
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
