"""What el.compile lets a user settle: schedules, tuning, ranges; and what plans show."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom import schedules
from einloom.report.plan import PlanReport
from einloom.runtime import tuning
from einloom.runtime.recipe import Launch
from einloom_compiler.errors import ScheduleError, ShapeError, SpecError
from einloom_compiler.schedule.machine import host

_RNG = np.random.default_rng(0)


def test_a_printed_schedule_can_be_given_back() -> None:
    x, y = _RNG.random((40, 50)), _RNG.random((50, 60))
    specs = [el.spec(array.shape, dtype=array.dtype) for array in (x, y)]
    f = el.compile("ij,jk->ik", *specs)
    g = el.compile("ij,jk->ik", *specs, schedule=f.schedule)
    assert g.schedule == f.schedule
    np.testing.assert_array_equal(f(x, y), g(x, y))


def test_what_is_printed_is_what_calls_run() -> None:
    """Short extents are constants of the kernel, and a large result is streamed."""
    specs = el.spec(4000, 23, 23, dtype="float64"), el.spec(4000, 23, 23, dtype="float64")
    f = el.compile("bij,bjk->bik", *specs)
    x, y = np.ones((2, 4000, 23, 23))
    (launch,) = f.evaluation([x, y], np.empty_like(x)).recipe.steps
    assert isinstance(launch, Launch)
    assert f.schedule == str(launch.bound.schedule)
    assert "static='ijk'" in f.schedule
    assert "is_streamed=True" in f.schedule
    assert el.compile(f.expression, schedule=f.schedule).schedule == f.schedule


def test_a_schedule_may_be_an_object_of_any_family() -> None:
    x, y = _RNG.random((40, 50)), _RNG.random((50, 60))
    direct = schedules.Direct("ikj", (schedules.Unroll("i", 2), schedules.Parallelize(1)))
    packed = schedules.Packed(4, host().simd_bits // 64, 16, 8, 64)
    for schedule in (direct, packed):
        specs = el.spec("M", "K", dtype="float64"), el.spec("K", "N", dtype="float64")
        f = el.compile("ij,jk->ik", *specs, schedule=schedule)
        assert f.schedule == str(schedule)
        np.testing.assert_allclose(f(x, y), x @ y, rtol=1e-12)


def test_expressions_of_several_steps_take_one_schedule_a_step() -> None:
    shapes = [(40, 50), (50, 60), (60, 70)]
    arrays = [_RNG.random(shape) for shape in shapes]
    specs = [el.spec(shape, dtype="float64") for shape in shapes]
    f = el.compile("ij,jk,kl->il", *specs, optimize=[(0, 1), (0, 1)])
    assert len(f.schedule.splitlines()) == 2
    first = schedules.Direct("ikj", (schedules.Parallelize(1),))
    g = el.compile("ij,jk,kl->il", *specs, optimize=[(0, 1), (0, 1)], schedule=[first, None])
    assert g.schedule.splitlines() == [str(first), f.schedule.splitlines()[1]]
    np.testing.assert_allclose(g(*arrays), np.linalg.multi_dot(arrays), rtol=1e-12)
    h = el.compile("ij,jk,kl->il", *specs, optimize=[(0, 1), (0, 1)], schedule=f.schedule)
    np.testing.assert_array_equal(h(*arrays), f(*arrays))


def test_schedules_that_do_not_fit_are_refused_when_compiling() -> None:
    specs = el.spec(4, 5, dtype="float32"), el.spec(5, 6, dtype="float32")
    with pytest.raises(ScheduleError, match="2 schedules given for 1 steps"):
        el.compile("ij,jk->ik", *specs, schedule=[None, None])
    with pytest.raises(ScheduleError, match="misses k"):
        el.compile("ij,jk->ik", *specs, schedule="Direct('ij', ())")
    with pytest.raises(ScheduleError, match="is no schedule"):
        el.compile("ij,jk->ik", *specs, schedule=[3])
    with pytest.raises(ScheduleError, match="empty text"):
        el.compile("ij,jk->ik", *specs, schedule=" ")
    with pytest.raises(ScheduleError, match="not tuned"):
        el.compile("ij,jk->ik", *specs, schedule="None", tune=True)


def test_symbolic_extents_get_no_kernels_of_their_own() -> None:
    f = el.compile("bi,ij->bj", el.spec("B", 6), el.spec(6, 5))
    kernels = set()
    y = np.linspace(-1, 1, 30, dtype="float32").reshape(6, 5)
    for size in range(2, 34):
        x = np.linspace(-2, 3, 6 * size, dtype="float32").reshape(size, 6)
        found = f(x, y)
        np.testing.assert_allclose(found, x @ y, rtol=1e-5, atol=1e-6)
        (launch,) = f.evaluation([x, y], found).recipe.steps
        assert isinstance(launch, Launch)
        kernels.add(launch.bound.nest)
    assert len(kernels) <= 4  # few sizes of blocks, and lanes along either index


def test_ranges_are_checked_at_each_call_and_narrow_the_orders() -> None:
    specs = el.spec("I", 100), el.spec(100, 100), el.spec(100, "L")
    f = el.compile("ij,jk,kl->il", *specs, ranges={"I": (1, 8), "L": (64, None)})
    plan = f.plan_for((4, 100), (100, 100), (100, 70))
    assert isinstance(plan, PlanReport)
    assert plan.n_orders == (1,)
    arrays = [_RNG.random(shape) for shape in ((4, 100), (100, 100), (100, 70))]
    np.testing.assert_allclose(f(*arrays), np.linalg.multi_dot(arrays), rtol=1e-12)
    with pytest.raises(ShapeError, match=r"extent I is 9 in axis 0 of operand 'x'.*range 1 to 8"):
        f(_RNG.random((9, 100)), arrays[1], arrays[2])


@pytest.mark.parametrize("bounds", [(3, 2), (-1, 4), 7, (1, 2, 3), ("1", 2)])
def test_malformed_ranges_are_refused(bounds: object) -> None:
    with pytest.raises(SpecError, match="must have"):
        el.compile("ij->ji", el.spec("I", 3), ranges={"I": bounds})
    with pytest.raises(SpecError, match="'Z' is no symbol of the operands; they have I"):
        el.compile("ij->ji", el.spec("I", 3), ranges={"Z": (1, 2)})


def test_a_compiled_function_picks_the_order_of_least_flops_at_each_call() -> None:
    f = el.compile("ij,jk,kl->il", el.spec("I", "J"), el.spec("J", "K"), el.spec("K", "L"))
    for shapes, first in (
        (((2, 90), (90, 90), (90, 80)), (0, 1)),
        (((80, 90), (90, 90), (90, 2)), (1, 2)),
    ):
        plan = f.plan_for(*shapes)
        assert plan.trees[0].steps[0].positions == first
        assert plan.flops == 2 * 2 * 90 * 90 + 2 * 2 * 90 * 80
        assert isinstance(plan, PlanReport)
        assert plan.n_orders == (2,)
        arrays = [_RNG.random(shape) for shape in shapes]
        np.testing.assert_allclose(f(*arrays), np.linalg.multi_dot(arrays), rtol=1e-12)


def test_a_plan_shows_extents_flops_time_and_family_of_each_step() -> None:
    f = el.compile("ij,jk,kl->il", el.spec("I", 5), el.spec(5, 6), el.spec(6, "L"))
    head, *steps = f.plan.splitlines()
    assert head == "ij,jk,kl->il  (1 of 2 orders that calls choose from)"
    assert len(steps) == 2
    for step in steps:
        assert "FLOPs" in step
        assert re.search(r" us +\w+$", step)
    assert any("i=I" in step for step in steps)
    plan = f.plan_for((3, 5), (5, 6), (6, 7))
    assert plan.seconds > 0
    assert "i=3" in plan.table


def test_memory_of_half_intermediates_is_that_of_float32() -> None:
    shapes = [(30, 40), (40, 50), (50, 60)]
    specs = [el.spec(shape, dtype="float16") for shape in shapes]
    f = el.compile("ij,jk,kl->il", *specs, optimize="optimal")
    (tree,) = f.plan_for(*shapes).trees
    between = tree.steps[0].expr.output
    sizes = dict(zip("ijkl", (30, 40, 50, 60), strict=True))
    elements = np.prod([sizes[index.name] for index in between])
    assert f.plan_for(*shapes).peak_bytes == 4 * elements


@pytest.fixture
def few_contenders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "MOST_CONTENDERS", 3)
    monkeypatch.setattr(tuning, "REPEATS", 1)
    monkeypatch.setattr(tuning, "_found", {})
    return tmp_path / "cache" / "tuned"


def test_tuning_measures_once_and_is_remembered(
    few_contenders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = _RNG.random((20, 6, 7)), _RNG.random((20, 7, 9))
    specs = el.spec("B", 6, 7, dtype="float64"), el.spec("B", 7, 9, dtype="float64")
    f = el.compile("bij,bjk->bik", *specs, tune=True)
    np.testing.assert_allclose(f(x, y), x @ y, rtol=1e-12)
    (entry,) = few_contenders.glob("*.json")
    found = json.loads(entry.read_text())
    assert found["seconds"] <= found["policy_seconds"]
    monkeypatch.setattr(tuning, "_found", {})
    monkeypatch.setattr(tuning, "_search", None)  # a second measurement would fail
    g = el.compile("bij,bjk->bik", *specs, tune=True)
    np.testing.assert_array_equal(g(x, y), f(x, y))
    assert g.plan_for(x.shape, y.shape).schedule == found["schedule"]


def test_declared_sizes_are_tuned_when_compiling(few_contenders: Path) -> None:
    specs = el.spec(9, 8, dtype="int32"), el.spec(8, 7, dtype="int32")
    f = el.compile("ij,jk->ik", *specs, tune=True)
    assert list(few_contenders.glob("*.json"))
    x, y = np.arange(72, dtype=np.int32).reshape(9, 8), np.ones((8, 7), np.int32)
    np.testing.assert_array_equal(f(x, y), x @ y)


@pytest.mark.parametrize("damage", ["", "{}", '{"problem": 3}', "SCHEDULE"])
def test_a_damaged_entry_is_measured_anew(few_contenders: Path, damage: str) -> None:
    specs = el.spec(9, 8, dtype="float16"), el.spec(8, 7, dtype="float16")
    el.compile("ij,jk->ik", *specs, tune=True)
    (entry,) = few_contenders.glob("*.json")
    good = entry.read_text()
    bad = json.dumps({**json.loads(good), "schedule": "Direct('zz', ())"})
    entry.write_text(bad if damage == "SCHEDULE" else damage)
    tuning._found.clear()
    el.compile("ij,jk->ik", *specs, tune=True)
    schedule = json.loads(entry.read_text())["schedule"]
    assert schedule.startswith(("Direct(order='ikj'", "Direct(order='kij'", "Packed("))


def test_negative_strides_are_tuned_within_their_memory(few_contenders: Path) -> None:
    x = _RNG.random((30, 40))[::-1, ::-2]
    f = el.compile("ij->ji", el.spec("I", "J"), tune=True)
    np.testing.assert_array_equal(f(x), x.T)
    assert list(few_contenders.glob("*.json"))


# --- rows, attention, functions of elements ------------------------------------------------------


def _attention(heads: int = 2) -> Any:
    q, k, v = (el.spec("B", length, heads, 8, dtype="f4", name=n) for n, length in
               (("q", "T"), ("k", "S"), ("v", "S")))  # fmt: skip
    scores = el.einsum("bthd,bshd->bhts", q, k) * 0.25
    mixed = el.einsum("bhts,bshd->bthd", el.softmax(scores), v)
    return el.softmax(el.relu(mixed) + 1.0)


def test_schedules_of_rows_and_attention_can_be_given_back_and_changed() -> None:
    f = el.compile(_attention())
    panel, rows = f.schedule.splitlines()
    assert el.compile(_attention(), schedule=f.schedule).schedule == f.schedule
    lanes = int(rows.partition("lanes=")[2].partition(",")[0].partition(")")[0])
    given = [schedules.Panel(lanes, 1, 4, keys=16), schedules.Rows((0, 1), None)]
    g = el.compile(_attention(), schedule=given)
    assert g.schedule == f"Panel(width={lanes}, vectors=1, rows=4, keys=16)\nRows(order=(0, 1))"
    rng = np.random.default_rng(0)
    arrays = [rng.random((3, n, 2, 8), np.float32) for n in (19, 37, 37)]
    np.testing.assert_allclose(g(*arrays), f(*arrays), rtol=1e-5)
    one = el.compile(_attention(), schedule=[None, rows])
    np.testing.assert_allclose(one(*arrays), f(*arrays), rtol=1e-5)
    assert panel.startswith("Panel(")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["Panel(width=3, vectors=2, rows=6)", None], "width=3 is not allowed"),
        (["Panel(width=W, vectors=2, rows=6, keys=4)", None], "holds a register block"),
        (["Rows(order=(0, 1))", None], "schedule of rows kernels; this step takes Panel"),
        ([None, "Rows(order=(1, 0))"], "index|indices"),
        ([None, "Rows(order=(0, 1), vector=5, lanes=8)"], "do not run along index 5"),
        ([None, "Rows(order=(0, 1), vector=1, lanes=3)"], "lanes="),
        ([None], r"1 schedules given for 2 steps \(attention, rows\)"),
    ],
)
def test_illegal_schedules_of_rows_and_attention_are_named(given: Any, words: str) -> None:
    arrays = [np.ones((3, 17, 2, 8), "f4")] * 3
    width = min(16, host().simd_bits // 32)
    given = [line and line.replace("W", str(width)) for line in given]
    with pytest.raises(ScheduleError, match=words):
        el.compile(_attention(), schedule=given)(*arrays)


def test_rows_and_attention_are_tuned(few_contenders: Path) -> None:
    f = el.compile(_attention(), tune=True)
    arrays = [np.random.default_rng(0).random((2, 18, 2, 8), np.float32) for _ in range(3)]
    np.testing.assert_allclose(f(*arrays), el.compile(_attention())(*arrays), rtol=1e-5)
    assert len([*few_contenders.glob("*.json")]) == 2
