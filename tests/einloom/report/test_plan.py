"""Plans: what was decided for functions of several results, and how often it is asked."""

from typing import Any

import numpy as np
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


def test_memory_of_attention_grows_linearly_with_the_sequence() -> None:
    heads, size = 4, 16
    x = el.spec("B", "T", heads * size, dtype="float32", name="x")
    rng = np.random.default_rng(0)
    kernels = [rng.random((heads * size, heads, size), np.float32) for _ in range(3)]
    query, key, value = (el.einsum("btc,chd->bthd", x, kernel) for kernel in kernels)
    scores = el.einsum("bthd,bshd->bhts", query, key) * size**-0.5
    mixed = el.einsum("bhts,bshd->bthd", el.softmax(scores), value)
    back = rng.random((heads, size, heads * size), np.float32)
    layer = el.compile(el.einsum("bthd,hdc->btc", mixed, back) + x)
    plans = {length: layer.plan_for((2, length, heads * size)) for length in (512, 4096, 32768)}
    # Projections of the tokens and what is mixed of them are all that is between the kernels.
    for length, plan in plans.items():
        assert plan.peak_bytes == 4 * 2 * length * heads * size * 4
    assert len({plan.scratch_bytes for plan in plans.values()}) == 1
    # The scores alone would take 32 GB.
    assert plans[32768].memory_bytes(threads=2) < 140e6
