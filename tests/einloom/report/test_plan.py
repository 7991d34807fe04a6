"""Plans: what was decided for functions of several results, and how often it is asked."""

from typing import Any

import pytest

import einloom as el


def test_functions_of_several_results_have_a_plan() -> None:
    x, y = el.spec("M", "K", name="x"), el.spec("K", "N", name="y")
    rows = el.spec("B", dtype="int32", name="rows")
    product = el.matmul(x, y)
    f = el.compile((el.softmax(product), el.relu(product), el.take(x, rows)))
    lines = f.plan.splitlines()
    assert all(line.endswith(" us") for line in lines[2:])  # a prediction each
    assert len(lines) == 2 + 4
    assert "result 2" in f.plan
    assert "lookup" in f.plan
    assert len(f.schedule.splitlines()) == 3
    at = f.plan_for((30, 40), (40, 50), (7,))
    assert at.flops == 2 * 30 * 40 * 50
    assert at.peak_bytes == 30 * 50 * 4
    assert "%0 = input x" in f.source
    assert "plan" in f.explain()
    assert str(f.cost.flops) == "2*K*M*N"


def test_the_optimizer_runs_once_for_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    from einloom.report import plan
    from einloom.runtime import optimizing, program

    counts: list[int] = []
    real = optimizing.optimized

    def counted(*arguments: Any) -> Any:
        counts.append(1)
        return real(*arguments)

    monkeypatch.setattr(plan, "optimized", counted)
    monkeypatch.setattr(program, "optimized", counted)
    x = el.spec("M", 4, dtype="float32")
    _ = el.compile(el.relu(el.softmax(x))).plan
    assert len(counts) == 1
