"""Time libraries built ahead of time: ``python -m benchmarks.aot [NAME ...]``.

einloom's library of a Keras model against what einloom compiles in the process, and what XLA
compiles ahead of time (``jax.jit(f).lower(x).compile()``), ONNX Runtime and TFLite, from the same
weights, at the same fixed shape, on the same threads. Results are held against Keras before
anything is timed; contenders have processes of their own and take turns
(:mod:`benchmarks.aot_turns`). Load times and first calls are those of fresh processes, without the
import of the packages; what a call costs without the arithmetic is measured from Python and C.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import aot_graphs
from benchmarks.aot_turns import Worker, taken
from benchmarks.layer_cases import Case, attention, dense, mlp
from benchmarks.layer_checking import checked, filled, why_absent
from benchmarks.layer_peers import jax_call
from benchmarks.machine import CpuTimes, cpu_name
from benchmarks.timing import Effort, timed

Call = Callable[[], Any]
_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Contender:
    """A way to run a case.

    Attributes:
        write: writes what is shipped to a folder and returns the lines of a program that load it
            (``f = ...``) and call it (``f(x)``): what they import, and the rest.
        is_shipped: whether the program reads a file, and needs no more than that and the package.
    """

    write: Callable[[Case, Path], tuple[str, str]]
    is_shipped: bool = True


# --- the contenders ------------------------------------------------------------------------------


def _write_einloom(case: Case, folder: Path) -> tuple[str, str]:
    import einloom as el

    el.aot.build(case.model, folder / "net", name="net", cpu="native", batch=case.shape[0])
    return f"import sys\nsys.path.insert(0, {str(folder / 'net')!r})", "from net import net as f"


def _made_there(case: Case, folder: Path, call: str) -> tuple[str, str]:
    """Return the lines that make the case in its process, which call a function of this module."""
    del folder
    load = f"case = case_of({case.name!r})\nfilled(case)\nf = {call}(case, x)"
    return f"from benchmarks.aot import {call}, case_of, filled", load


def call_jit(case: Case, x: Any) -> Callable[[Any], Any]:
    """Return einloom's function compiled in the process."""
    import einloom as el
    import einloom.keras

    del x
    compiled: Callable[[Any], Any] = el.keras.compile(case.model)
    return compiled


def call_xla(case: Case, x: Any) -> Callable[[Any], Any]:
    """Return what XLA compiles for the case, on an array that lies where JAX wants it."""
    import jax

    function, array = jax_call(case), jax.device_put(x)
    compiled = jax.jit(function).lower(array).compile()
    return lambda _: compiled(array).block_until_ready()


def _graph(case: Case, is_fused: bool) -> aot_graphs.Graph:
    weights = case.model.get_weights()
    if not case.name.startswith("attention"):
        last = "Relu" if case.name.startswith("dense") else "Softmax"
        return aot_graphs.dense_layers(weights, last)
    if is_fused:
        return aot_graphs.fused_attention(weights)
    return aot_graphs.attention(weights, case.shape)


_SESSION = """
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = {threads}
"""


def _write_onnx(case: Case, folder: Path, is_fused: bool = False) -> tuple[str, str]:
    out = (*case.shape[:-1], *case.model.output_shape[len(case.shape) - 1 :])
    path = folder / f"net{is_fused:d}.onnx"
    path.write_bytes(_graph(case, is_fused).model(case.shape, out))
    load = (
        f"session = ort.InferenceSession({str(path)!r}, options, "
        "providers=['CPUExecutionProvider'])\n"
        "f = lambda x: session.run(None, {'x': x})"
    )
    return _SESSION.format(threads=_threads()), load


def _write_tflite(case: Case, folder: Path) -> tuple[str, str]:
    path = folder / "net.tflite"
    path.write_bytes(aot_graphs.tflite(case.model, case.shape))
    load = textwrap.dedent(f"""
        net = Interpreter({str(path)!r}, num_threads={_threads()})
        net.allocate_tensors()
        given, got = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]
        def f(x):
            net.set_tensor(given, x)
            net.invoke()
            return net.get_tensor(got)
    """)
    return "from ai_edge_litert.interpreter import Interpreter", load


#: ONNX Runtime with its own operator for attention in place of ONNX's.
_FUSED = "ONNX Runtime, its attention"

#: einloom's function compiled in the process: what a library should be as fast as.
_JIT = "einloom, in the process"

CONTENDERS: dict[str, Contender] = {
    "einloom": Contender(_write_einloom),
    _JIT: Contender(functools.partial(_made_there, call="call_jit"), is_shipped=False),
    "XLA (JAX AOT)": Contender(functools.partial(_made_there, call="call_xla"), is_shipped=False),
    "ONNX Runtime": Contender(_write_onnx),
    _FUSED: Contender(functools.partial(_write_onnx, is_fused=True)),
    "TFLite": Contender(_write_tflite),
}


def _threads() -> int:
    return len(os.sched_getaffinity(0))


# --- measuring -----------------------------------------------------------------------------------


def cases() -> list[Callable[[], Case]]:
    """Return what makes each case."""
    return [
        *(functools.partial(dense, batch, width) for width in (256, 1024) for batch in (1, 32)),
        *(functools.partial(mlp, batch, 64, 3) for batch in (1, 32)),
        *(functools.partial(mlp, batch, width, 4) for width in (256, 1024) for batch in (1, 32)),
        functools.partial(attention, 1, 128),
    ]


def case_of(name: str) -> Case:
    """Return the case of a name."""
    return next(case for case in (make() for make in cases()) if case.name == name)


def measure(case: Case, effort: Effort, without: Sequence[str]) -> dict[str, Any]:
    """Return seconds a call by contender, load times, sizes, and why others take no part."""
    x, expected = filled(case)
    absent: dict[str, str] = {}
    starts: dict[str, Any] = {}
    samples: dict[str, list[float]] = {}
    size = 0
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        np.save(folder / "x.npy", x)
        workers: dict[str, Worker] = {}
        for number, (name, contender) in enumerate(CONTENDERS.items()):
            if name in without or (name == _FUSED and not case.name.startswith("attention")):
                continue
            try:
                program = contender.write(case, folder)
                worker = Worker(*program, folder / f"worker{number}", folder / "x.npy")
                stack.enter_context(worker)
                checked(worker.result, expected)
                if contender.is_shipped:
                    starts[name] = _start(*program, folder)
            except Exception as error:  # what cannot take part is told in the report
                absent[name] = why_absent(error)
                continue
            workers[name] = worker
        if "einloom" in workers:
            size = _beyond_weights(folder / "net")
        samples = taken(workers, effort, seed=1)
    return {
        "case": case.name,
        "least": {name: min(found) for name, found in samples.items()},
        "median": {name: statistics.median(found) for name, found in samples.items()},
        "starts": starts,
        "bytes_beyond_weights": size,
        "absent": absent,
    }


def _beyond_weights(folder: Path) -> int:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return int((folder / manifest["library"]).stat().st_size - manifest["weights_bytes"])


def _start(imports: str, load: str, folder: Path, repeats: int = 3) -> dict[str, float]:
    """Return the least seconds to load, of the first and of a later call, in fresh processes."""
    script = (
        f"import time\nimport numpy as np\n{imports}\n"
        f"x = np.load({str(folder / 'x.npy')!r})\n"
        f"start = time.perf_counter()\n{load}\n"
        "loaded = time.perf_counter()\nf(x)\nfirst = time.perf_counter()\nf(x)\n"
        "print(loaded - start, first - loaded, time.perf_counter() - first)\n"
    )
    found = []
    for _ in range(repeats):
        run = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        found.append(tuple(map(float, run.stdout.split()[-3:])))
    names = ("load", "first", "second")
    return {name: min(column) for name, column in zip(names, zip(*found, strict=True), strict=True)}


# --- what a call costs ---------------------------------------------------------------------------

_C_LOOP = """\
#include <stdio.h>
#include <time.h>
#include "tiny.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void) {
  static float a[12], b[20], out[15];
  double best = 1;
  for (int i = 0; i < 12; i++) a[i] = (float)i;
  for (int i = 0; i < 20; i++) b[i] = (float)i;
  for (int turn = 0; turn < 2000; turn++) {
    double start = now();
    for (int i = 0; i < 1000; i++)
      if (tiny_call(a, b, out, 1)) return 1;
    double took = (now() - start) / 1000;
    if (took < best) best = took;
  }
  printf("%g %g\\n", 1e9 * best, (double)out[14]);
  return 0;
}
"""


def call_cost() -> dict[str, float]:
    """Return nanoseconds of a call of a library of 3x4 by 4x5, from Python and from C."""
    import einloom as el
    from einloom.native.build import find_compiler

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        el.aot.build("ij,jk->ik", folder / "tiny", (3, 4), (4, 5), dtype="float32", cpu="native")
        tiny = el.aot.load(folder / "tiny")
        a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
        out = np.empty((3, 5), np.float32)
        calls: dict[str, Call] = {
            "Python, new result": functools.partial(tiny, a, b),
            "Python, out=": functools.partial(tiny, a, b, out=out),
            "numpy.matmul": functools.partial(np.matmul, a, b),
        }
        for name, call in calls.items():
            found[name] = 1e9 * min(timed(call, 2000) for _ in range(200))
        compiler = find_compiler()
        if compiler is not None:
            (folder / "loop.c").write_text(_C_LOOP)
            home = str(folder / "tiny")
            command = [*compiler, "-O2", str(folder / "loop.c"), f"-I{home}", f"-L{home}"]
            command += ["-ltiny", f"-Wl,-rpath,{home}", "-o", str(folder / "loop")]
            subprocess.run(command, check=True)
            run = subprocess.run([folder / "loop"], capture_output=True, text=True, check=True)
            nanoseconds, last = map(float, run.stdout.split())
            if last != 8 * 4 + 9 * 9 + 10 * 14 + 11 * 19:
                raise RuntimeError(f"the C program computed {last}")
            found["C"] = nanoseconds
    return found


# --- the report ----------------------------------------------------------------------------------


def best_ratio(result: dict[str, Any]) -> float | None:
    """Return the best peer's least time by einloom's."""
    least = result["least"]
    peers = [value for name, value in least.items() if not name.startswith("einloom")]
    return min(peers) / least["einloom"] if peers and "einloom" in least else None


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return microseconds a call in Markdown: least and median."""
    names = list(CONTENDERS)
    lines = [
        f"| case | {' | '.join(names)} | best peer / einloom | in the process / einloom |",
        "|---" * (len(names) + 3) + "|",
    ]
    for result in results:
        cells = [
            f"{1e6 * result['least'][name]:,.2f} ({1e6 * result['median'][name]:,.2f})"
            if name in result["least"]
            else "-"
            for name in names
        ]
        ratio = best_ratio(result)
        shown = "-" if ratio is None else f"{ratio:.2f}" + (" ▼" if ratio < 1 else "")
        least = result["least"]
        same = f"{least[_JIT] / least['einloom']:.2f}" if {_JIT, "einloom"} <= set(least) else "-"
        lines.append(f"| {result['case']} | {' | '.join(cells)} | {shown} | {same} |")
    return "\n".join(lines)


def starts_table(results: Sequence[dict[str, Any]]) -> str:
    """Return milliseconds to load and of the first call, and what the library is beyond weights."""
    names = [name for name in CONTENDERS if any(name in result["starts"] for result in results)]
    lines = [f"| case | {' | '.join(names)} | beyond weights |", "|---" * (len(names) + 2) + "|"]
    for result in results:
        cells = []
        for name in names:
            start = result["starts"].get(name)
            cells.append(
                "-" if start is None else f"{1e3 * start['load']:.2f} + {1e3 * start['first']:.3f}"
            )
        size = f"{result['bytes_beyond_weights'] / 1000:.0f} kB"
        lines.append(f"| {result['case']} | {' | '.join(cells)} | {size} |")
    return "\n".join(lines)


def report(results: Sequence[dict[str, Any]], costs: dict[str, float], foreign: float) -> str:
    """Return the whole report."""
    ratios = [ratio for ratio in map(best_ratio, results) if ratio is not None]
    parts = [
        "# Libraries built ahead of time",
        f"{cpu_name()}, {_threads()} cores, all contenders on {_threads()} threads; other "
        f"processes used {100 * foreign:.0f} % of the cores. "
        "Written by `python -m benchmarks.aot`.",
        "## Microseconds a call: least (median)",
        table(results),
    ]
    if ratios:
        mean = statistics.geometric_mean(ratios)
        parts.append(f"Geometric mean of best peer / einloom: {mean:.2f}; `▼` marks a loss.")
    parts += [
        "## Milliseconds to load and of the first call, in fresh processes",
        starts_table(results),
    ]
    if costs:
        parts.append("## Nanoseconds a call of 3x4 by 4x5")
        parts.append("\n".join(f"- {name}: {value:.0f}" for name, value in costs.items()))
    absent = {(name, reason) for result in results for name, reason in result["absent"].items()}
    if absent:
        parts.append("## Took no part")
        parts.append("\n".join(f"- {name}: {reason}" for name, reason in sorted(absent)))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of the names of cases; all where none")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender")
    parser.add_argument("--without", action="append", default=[], help="a contender to leave out")
    parser.add_argument(
        "--merge", action="store_true", help="keep the other cases' earlier numbers"
    )
    parser.add_argument("--output", type=Path, default=_RESULTS, help="folder of the report")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    file = options.output / "aot.json"
    before = json.loads(file.read_text()) if options.merge and file.exists() else {}
    known = {result["case"]: result for result in before.get("results", [])}
    costs, foreign, start = before.get("costs", {}), before.get("foreign", 0.0), CpuTimes.now()
    for make in cases():
        case = make()
        if options.names and not any(part in case.name for part in options.names):
            continue
        known[case.name] = measure(case, Effort(rounds=options.rounds), options.without)
        print(table([known[case.name]]).splitlines()[2], flush=True)
    if not options.names or "calls" in options.names:
        costs = call_cost()
    foreign = max(foreign, start.foreign_share(CpuTimes.now(), _threads()))
    titles = [make().name for make in cases()]
    results = [known[title] for title in titles if title in known]
    text = report(results, costs, foreign)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "aot.md").write_text(text, encoding="utf-8")
    file.write_text(json.dumps({"results": results, "costs": costs, "foreign": foreign}, indent=1))
    print(f"\n{text}")


if __name__ == "__main__":
    main()
