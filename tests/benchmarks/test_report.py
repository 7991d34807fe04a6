from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from benchmarks.machine import describe
from benchmarks.peaks import fma_kernel, vector_bytes
from benchmarks.report import markdown, table, write
from benchmarks.results import (
    CALL,
    CaseResult,
    Measurement,
    Memory,
    Run,
    geometric_mean,
    run_from_json,
    run_to_json,
    summarised,
)
from benchmarks.timing import Effort, interleaved, timed


def measured(peer: str, minimum: float, median: float | None = None) -> Measurement:
    return Measurement(peer, "ok", "", 0.0, 0.25, minimum, median or 2 * minimum, 5)


def result(name: str, *measurements: Measurement, memory: Memory | None = None) -> CaseResult:
    extents = {"i": 2, "j": 3, "k": 4}
    return CaseResult(name, "gemm", "ij,jk->ik", "float32", extents, 48, 104, measurements, memory)


def canned_run(*cases: CaseResult) -> Run:
    machine: dict[str, Any] = {
        "cpu": "Some CPU (znver9)",
        "cores": 2,
        "vector_bytes": 64,
        "caches": {"L1d": "48K"},
        "threads": 2,
        "python": "3.11.0",
        "system": "Linux 6",
        "fma": {dtype: {"one": 1e11, "all": 2e11} for dtype in ("float32", "float64")},
        "blas_gemm": {"float32": 9e10, "float64": 8e10},
        "copy": {"one": 1e10, "all": 2e10},
    }
    options = {
        "command": "python -m benchmarks.run",
        "date": "2026-01-02",
        "rounds": 5,
        "seconds": 1.5,
        "foreign_cpu_share": 0.25,
    }
    peers = {"einloom": "0.1", "numpy": "2.4", "torch": "absent: not installed"}
    return Run(machine, options, peers, cases, {"gemm-2048": "the time budget was used up"})


# --- timing --------------------------------------------------------------------------------------


def test_every_contender_takes_one_turn_a_round() -> None:
    turns: list[str] = []
    calls = {name: (lambda name=name: turns.append(name)) for name in "ab"}
    effort = Effort(rounds=3, turn=1e-9, limit=100.0)
    samples = interleaved(calls, dict.fromkeys(calls, 1e-3), effort, seed=1)
    assert {name: len(times) for name, times in samples.items()} == {"a": 3, "b": 3}
    # Each turn is a call that is not timed and a timed one.
    rounds = [turns[start : start + 4] for start in range(0, 12, 4)]
    assert all(sorted(four) == ["a", "a", "b", "b"] for four in rounds)


def test_a_contender_over_its_limit_takes_one_turn_only() -> None:
    effort = Effort(rounds=4, turn=1e-9, limit=0.0)
    samples = interleaved({"slow": lambda: None}, {"slow": 1.0}, effort, seed=1)
    assert len(samples["slow"]) == 1


def test_the_time_of_a_call_is_averaged_over_the_repeats() -> None:
    calls: list[None] = []
    assert timed(lambda: calls.append(None), 7) > 0
    assert len(calls) == 7


# --- the machine ---------------------------------------------------------------------------------


def test_the_best_of_several_measurements_of_a_peak_counts() -> None:
    first: dict[str, Any] = {"fma": {"float32": {"one": 4.0, "all": 5.0}}, "copy": {"one": 2.0}}
    second: dict[str, Any] = {"fma": {"float32": {"one": 3.0, "all": 6.0}}, "copy": {"one": 1.0}}
    machine = describe(2, first, second)
    assert machine["fma"] == {"float32": {"one": 4.0, "all": 6.0}}
    assert machine["copy"] == {"one": 2.0}
    assert machine["threads"] == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_fma_kernel_does_the_turns_it_is_timed_for(dtype: str) -> None:
    kernel, _engine = fma_kernel(dtype, vector_bytes())
    # 12 accumulators of a = a / 4 + 1 / 4 from a = 1, the first one counted twice.
    assert kernel(1, 0.25) == 13 * 0.5
    assert kernel(2, 0.25) == 13 * 0.375
    assert kernel(3, 0.25) == 13 * 0.34375


# --- ratios and the report -----------------------------------------------------------------------


def test_a_ratio_is_best_peer_over_einloom() -> None:
    found = result(
        "gemm-64",
        measured("einloom", 2.0, 8.0),
        measured(CALL, 4.0),
        measured("numpy", 6.0, 7.0),
        measured("torch", 3.0, 12.0),
        Measurement("jax", "wrong", "off"),
    )
    assert found.ratio() == 3.0 / 2.0
    assert found.ratio(CALL) == 3.0 / 4.0
    # By median another peer is the best one.
    assert found.ratio(by="median") == 7.0 / 8.0
    assert found.best_peer is not None and found.best_peer.peer == "torch"
    assert math.isnan(result("x", measured("einloom", 1.0)).ratio())
    assert math.isnan(result("x", measured("numpy", 1.0)).ratio())


def test_a_geometric_mean_leaves_out_what_was_not_measured() -> None:
    assert geometric_mean([2.0, 8.0, math.nan]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([math.nan]))


def test_samples_are_summarised_by_minimum_and_median() -> None:
    found = summarised("numpy", [3.0, 1.0, 2.0], prepare=0.5, first=4.0, error=0.0)
    assert (found.minimum, found.median, found.n_samples, found.first) == (1.0, 2.0, 3, 4.0)


def test_a_run_survives_json() -> None:
    run = canned_run(
        result("gemm-64", measured("einloom", 2.0), memory=Memory(10, 20)),
        result("gemm-256", measured("numpy", 1.0), Measurement("jax", "failed", "ValueError: x")),
    )
    text = json.dumps(run_to_json(run), allow_nan=False)
    again = run_from_json(json.loads(text))
    assert run_to_json(again) == run_to_json(run)
    assert again.cases[0].memory == Memory(10, 20)
    assert again.cases[1].measurements[1].status == "failed"


def test_the_report_shows_wins_losses_and_what_was_not_timed() -> None:
    text = markdown(
        canned_run(
            result("won", measured("einloom", 1e-3), measured("numpy", 4e-3)),
            result(
                "lost",
                measured("einloom", 2e-3),
                measured("numpy", 1e-3),
                Measurement("jax", "unsupported", "has no float16"),
                memory=Memory(1 << 30, 1 << 20),
            ),
        )
    )
    summary = "| gemm | 2 | 1.41 | – | 1 | ▼ 0.50 (lost) |"
    assert summary in text
    assert "## Where we lose the most (1 in all)" in text
    assert "| lost | `ij,jk->ik` | float32 | ▼ 0.50 | 2 ms | numpy 1 ms |" in text
    assert "| won | `ij,jk->ik` | float32 | 1 ms | – | numpy 4 ms | 4.00 | – | 4.8e-05 (0%)" in text
    assert "- jax unsupported: has no float16 (lost)" in text
    assert "- all not run: the time budget was used up (gemm-2048)" in text
    assert "- torch: absent: not installed" in text
    assert "Other processes used 25% of the CPU time" in text
    assert "| lost | 1.02e+03 MiB | 1 MiB |" in text


def test_the_report_is_written_as_markdown_and_json(tmp_path: Path) -> None:
    run = canned_run(result("won", measured("einloom", 1e-3), measured("numpy", 4e-3)))
    write(run, tmp_path / "new", plots=False)
    document = json.loads((tmp_path / "new" / "results.json").read_text())
    assert document == json.loads(json.dumps(run_to_json(run)))
    assert document["cases"][0]["ratio"] == 4.0
    assert (tmp_path / "new" / "report.md").read_text() == markdown(run_from_json(document))


def test_each_group_gets_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = canned_run(result("won", measured("einloom", 1e-3), measured("numpy", 4e-3)))
    write(run, tmp_path)
    assert (tmp_path / "gemm.png").stat().st_size > 1000
    assert "![gemm](gemm.png)" in (tmp_path / "report.md").read_text()


def test_a_table_aligns_names_left_and_numbers_right() -> None:
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| :-- | --: |\n| x | 1 |"
