"""Reductions of few rows in stages: the same values as NumPy's, the same bits for any threads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import einloom as el
from einloom import functions as F
from einloom.runtime import reductions
from einloom.runtime.recipe import Launch
from einloom_compiler.schedule.machine import host

Array = npt.NDArray[Any]
Close = Callable[..., None]
#: So slow that a few elements are worth splitting.
SLOW = replace(
    host(), cores=3, hertz=1e2, cache_bandwidth=1e2, l3_bandwidth=1e2, memory_bandwidth=1e2
)


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reductions, "host", lambda: SLOW)


def _softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max())
    e /= e.sum()
    return e


#: Functions of all elements, what NumPy makes of them in float64, and their number of reductions.
WHOLE: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Any], int]] = {
    "max": (lambda x: F.max(x), np.max, 1),
    "prod": (lambda x: F.prod(x), np.prod, 1),
    "mean of squares": (lambda x: F.mean(x * x), lambda x: np.mean(x * x), 1),
    "variance": (lambda x: F.var(x), np.var, 2),
    "logsumexp": (lambda x: F.logsumexp(x), lambda x: np.log(np.exp(x).sum()), 2),
    "softmax": (lambda x: F.softmax(x, axis=(0, 1)), _softmax, 2),
}
SHAPES = [(7, 13), (1, 91), (64, 3), (6, 128)]


def _launches(function: Any) -> int:
    (program,) = function._programs.values()
    (recipe,) = program._recipes.values()
    return sum(isinstance(step, Launch) for step in recipe.steps)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reductions_of_everything(name: str, dtype: str, assert_close: Close) -> None:
    function, reference, n_reductions = WHOLE[name]
    for shape in SHAPES:
        x = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(dtype)
        compiled = el.compile(function(el.spec(*shape, dtype=dtype)))
        first = compiled(x, threads=1)
        assert_close(first, reference(x.astype("float64")), x.size)
        np.testing.assert_array_equal(compiled(x, threads=3), first)
        assert _launches(compiled) >= 2 * n_reductions


def test_few_rows_and_strided_operands(assert_close: Close) -> None:
    x = np.random.default_rng(1).standard_normal((2, 50, 46))[:, ::-1, ::2]
    compiled = el.compile(F.max(el.spec(2, 50, 23, dtype="float64"), axis=(1, 2)))
    np.testing.assert_array_equal(compiled(x), x.max((1, 2)))
    assert _launches(compiled) == 2  # of chunks, and of those


def test_integers_and_not_a_number() -> None:
    n = np.random.default_rng(2).integers(-99, 99, (5, 37))
    np.testing.assert_array_equal(el.compile(F.min(el.spec(5, 37, dtype="int64")))(n), n.min())
    x = np.ones(101, np.float32)
    x[97] = np.nan
    compiled = el.compile(F.max(el.spec(101, dtype="float32")))
    assert np.isnan(compiled(x))
    assert _launches(compiled) == 3  # no number of chunks divides 101: what they leave is one more


def test_bools_halves_and_many_rows_are_one_kernel(assert_close: Close) -> None:
    x = np.random.default_rng(3).standard_normal((50, 7)).astype("float16")
    compiled = el.compile(F.max(el.spec(50, 7, dtype="float16")))
    assert compiled(x) == x.max()
    assert _launches(compiled) == 1
    rows = el.compile(F.max(el.spec(50, 7, dtype="float32"), axis=1))
    np.testing.assert_array_equal(rows(x.astype("float32")), x.astype("float32").max(1))
    assert _launches(rows) == 1


@pytest.mark.parametrize(
    ("function", "reference", "n_launches"), [(F.max, np.max, 2), (F.var, np.var, 4)]
)
def test_runs_between_the_elements_of_rows_are_reduced_in_the_order_of_memory(
    function: Any, reference: Any, n_launches: int, assert_close: Close
) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (64, 32, 300)).astype("float32")
    compiled = el.compile(function(el.spec(*x.shape, dtype="float32"), axis=(0, 2)))
    found = compiled(x, threads=2)
    assert_close(found, reference(x.astype("float64"), axis=(0, 2)), 64 * 300)
    # Each reduction is one of runs and one of their results.
    assert _launches(compiled) == n_launches
