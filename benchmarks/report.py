"""Write a run as Markdown, JSON and plots.

Cases where einloom loses are marked with a triangle, here and in the plots.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.machine import peak_of
from benchmarks.results import (
    CALL,
    COMPILED,
    CaseResult,
    Run,
    geometric_mean,
    run_to_json,
)

#: Below this ratio a case counts as lost; two runs of one program differ by some percent.
LOST = 0.98
_MARK = "▼"
_WORST_SHOWN = 12


def write(run: Run, folder: Path, *, plots: bool = True) -> None:
    """Write ``report.md``, ``results.json`` and, where asked for, ``<group>.png`` to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    plotted: list[str] = []
    if plots:
        from benchmarks.plots import plot_groups

        plotted = plot_groups(run, folder)
    (folder / "report.md").write_text(markdown(run, plotted))
    (folder / "results.json").write_text(_json_lines(run))


def _json_lines(run: Run) -> str:
    """Return the run as JSON with a line for each case, which keeps it small and its diff short."""
    document = run_to_json(run)
    cases = ",\n".join(f"  {json.dumps(case)}" for case in document.pop("cases"))
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items())
    return f'{{\n{head},\n "cases": [\n{cases}\n ]\n}}\n'


def markdown(run: Run, plotted: Sequence[str] = ()) -> str:
    """Return the report as Markdown; ``plotted`` names the groups that have a plot."""
    parts = [
        "# Benchmarks",
        _machine(run),
        _summary(run),
        _losses(run),
        *(_group(run, group, cases, group in plotted) for group, cases in run.groups.items()),
        _compile_times(run),
        _memory(run),
        _absences(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first ``left`` columns are aligned left, the others right."""
    rule = [":--" if column < left else "--:" for column in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def duration(seconds: float) -> str:
    """Return a time in the unit that fits, with three digits."""
    if not math.isfinite(seconds):
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def marked(ratio: float) -> str:
    """Return a ratio, with the mark of a loss where it is one."""
    if not math.isfinite(ratio):
        return "–"
    return f"{_MARK} {ratio:.2f}" if ratio < LOST else f"{ratio:.2f}"


def _machine(run: Run) -> str:
    machine, options = run.machine, run.options
    fma, copy = machine["fma"], machine["copy"]
    sizes = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    rates = "; ".join(
        f"{dtype}: {_giga(fma[dtype]['one'])} on one core, {_giga(fma[dtype]['all'])} on "
        f"{machine['threads']} (NumPy's GEMM: {_giga(machine['blas_gemm'][dtype])})"
        for dtype in fma
    )
    versions = "\n".join(f"- {name}: {version}" for name, version in run.peers.items())
    noise = options["foreign_cpu_share"]
    warning = (
        f"\n\n**Other processes used {noise:.0%} of the CPU time during this run: times are noisy, "
        "ratios less so, since all contenders take turns in each round.**"
        if noise > 0.03
        else ""
    )
    return f"""\
`{options["command"]}` on {options["date"]}: {len(run.cases)} cases, {options["rounds"]} rounds, \
{options["seconds"]} s.

{machine["cpu"]}, {machine["cores"]} cores, {8 * machine["vector_bytes"]}-bit vectors; {sizes}; \
{machine["system"]}, Python {machine["python"]}. Every contender may use {machine["threads"]} \
threads.

- FMA peak in GFLOP/s, measured (independent multiply-adds, no memory): {rates}.
- Copy bandwidth in GB/s, measured (64 MiB, read and written): {_giga(copy["one"])} on one core, \
{_giga(copy["all"])} on {machine["threads"]}.

Times are minima over rounds in which every contender takes one turn, in random order. A ratio is \
the time of the best peer divided by einloom's: above 1 einloom is faster; {_MARK} marks where it \
loses. Every result was checked against NumPy in float64 before it was timed.{warning}

{versions}"""


def _summary(run: Run) -> str:
    rows = []
    for group, cases in run.groups.items():
        ratios = {case.name: case.ratio() for case in cases if math.isfinite(case.ratio())}
        if not ratios:
            continue
        worst = min(ratios, key=ratios.__getitem__)
        lost = sum(ratio < LOST for ratio in ratios.values())
        calls = geometric_mean(case.ratio(CALL) for case in cases)
        rows.append(
            (
                *(group, str(len(ratios)), marked(geometric_mean(ratios.values())), marked(calls)),
                *(str(lost), f"{marked(ratios[worst])} ({worst})"),
            )
        )
    header = ("group", "cases", "ratio (geometric mean)", "plain call", "lost", "worst")
    return "## Summary\n\n" + table(header, rows)


def _losses(run: Run) -> str:
    lost = sorted(
        (case for case in run.cases if case.ratio() < LOST), key=lambda case: case.ratio()
    )
    if not lost:
        return ""
    rows = []
    for case in lost[:_WORST_SHOWN]:
        best, ours = case.best_peer, case.of(COMPILED)
        assert best is not None and ours is not None
        rows.append(
            (
                *(case.name, f"`{case.einsum}`", case.dtype, marked(case.ratio())),
                *(duration(ours.minimum), f"{best.peer} {duration(best.minimum)}"),
            )
        )
    header = ("case", "einsum", "dtype", "ratio", "einloom", "best peer")
    return f"## Where we lose the most ({len(lost)} in all)\n\n" + table(header, rows, left=3)


def _group(run: Run, group: str, cases: Sequence[CaseResult], is_plotted: bool) -> str:
    rows = []
    for case in cases:
        ours, call, best = case.of(COMPILED), case.of(CALL), case.best_peer
        seconds = ours.minimum if ours else math.nan
        peak = peak_of(dict(run.machine), case.dtype)
        rate, bandwidth = case.flops / seconds, case.n_bytes / seconds
        rows.append(
            (
                *(case.name, f"`{case.einsum}`", case.dtype, duration(seconds)),
                duration(call.minimum if call else math.nan),
                f"{best.peer} {duration(best.minimum)}" if best else "–",
                *(marked(case.ratio()), marked(case.ratio(CALL))),
                _with_share(rate, peak) if case.flops else "–",
                _with_share(bandwidth, run.machine["copy"]["all"]),
            )
        )
    header = (
        *("case", "einsum", "dtype", "einloom", "plain call", "best peer", "ratio"),
        *("call ratio", "GFLOP/s (of peak)", "GB/s (of copy)"),
    )
    plot = f"![{group}]({group}.png)\n\n" if is_plotted else ""
    return f"## {group}\n\n{plot}{table(header, rows, left=3)}\n\n{_peer_table(cases)}"


def _peer_table(cases: Sequence[CaseResult]) -> str:
    """Return every contender's minimum / median on every case."""
    names = list(dict.fromkeys(m.peer for case in cases for m in case.measurements))
    rows = []
    for case in cases:
        cells = []
        for name in names:
            found = case.of(name)
            cells.append(f"{duration(found.minimum)} / {duration(found.median)}" if found else "–")
        rows.append((case.name, *cells))
    return "Minimum / median:\n\n" + table(("case", *names), rows)


def _compile_times(run: Run) -> str:
    names = [
        *("einloom", "einloom-call", "jax", "xla", "numba-loops", "opt_einsum", "torch"),
        *("tensorflow", "sesum", "numpy"),
    ]
    rows = []
    for case in run.cases:
        found = [case.of(name) for name in names]
        cells = [duration(m.prepare + m.first) if m else "–" for m in found]
        rows.append((case.name, *cells))
    return (
        "## First call\n\n"
        "Building the function and calling it once, compiling included; einloom's disk cache is "
        "empty, but a structure that an earlier case of the run compiled is found in the process, "
        "as a plain call finds what the compiled function left there.\n\n"
        + table(("case", *names), rows)
    )


def _memory(run: Run) -> str:
    known = [case for case in run.cases if case.memory is not None]
    if not known and not any(case.memory_failure for case in run.cases):
        return ""
    over = [case for case in known if case.memory and not case.memory.is_within]
    text = (
        f"## Memory\n\nIn {len(known) - len(over)} of {len(known)} cases a warm call allocated no "
        "more than the plan predicts (intermediates and scratch)."
    )
    failures = [
        f"- {case.name}: not measured, {case.memory_failure}"
        for case in run.cases
        if case.memory_failure
    ]
    if failures:
        text += "\n\n" + "\n".join(failures)
    if not over:
        return text
    rows = [
        (case.name, _mebi(case.memory.measured), _mebi(case.memory.predicted))
        for case in over
        if case.memory
    ]
    return f"{text}\n\nBeyond it:\n\n" + table(("case", "measured", "predicted"), rows)


def _absences(run: Run) -> str:
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for name, reason in run.not_run.items():
        reasons.setdefault(("all", "not run", reason), []).append(name)
    for case in run.cases:
        for m in case.measurements:
            if m.status != "ok":
                reasons.setdefault((m.peer, m.status, m.reason), []).append(case.name)
    lines = [
        f"- {peer} {status}: {reason} ({', '.join(names)})"
        for (peer, status, reason), names in reasons.items()
    ]
    return "## Not timed\n\n" + "\n".join(lines) if lines else ""


def _giga(value: float) -> str:
    return f"{value / 1e9:.3g}"


def _mebi(value: int) -> str:
    return f"{value / 2**20:.3g} MiB"


def _with_share(value: float, limit: float) -> str:
    return f"{_giga(value)} ({value / limit:.0%})" if math.isfinite(value) else "–"
