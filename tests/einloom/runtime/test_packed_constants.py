"""Constants of compiled functions: packed once, shared by layouts, shown and counted."""

from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.runtime.recipe import Launch
from einloom_compiler.schedule.machine import host

_RNG = np.random.default_rng(0)


def _dense(
    dtype: str = "float32", extents: tuple[int, int] = (400, 500), schedule: str | None = None
) -> tuple[el.CompiledFunction, Any]:
    """Return a function and its constant: by default of a size that is packed on any machine."""
    weights = _RNG.uniform(-1, 1, extents).astype(dtype)
    x = el.spec("B", extents[0], dtype=dtype)
    return el.compile("bk,kn->bn", x, weights, schedule=schedule), weights


def _constants(f: el.CompiledFunction, x: Any) -> list[Any]:
    """Return the arrays that the launches of a call read besides its own."""
    (program,) = f._programs.values()
    recipe = program.recipe_for([x], np.empty((len(x), 500), x.dtype))
    steps = [step for step in recipe.steps if isinstance(step, Launch)]
    return [recipe.constants[-1 - slot] for step in steps for slot in step.operands if slot < 0]


def test_a_packed_constant_is_shared_by_all_batch_sizes(assert_close: Any) -> None:
    f, weights = _dense()
    found = []
    for batch in (128, 129, 1000):
        x = _RNG.uniform(-1, 1, (batch, 400)).astype(np.float32)
        assert_close(f(x), x.astype(np.float64) @ weights, 400)
        found += _constants(f, x)
    assert len(found) == 3
    assert found[0] is found[1] is found[2]
    assert found[0] is not weights
    assert not found[0].flags.writeable


@pytest.mark.parametrize("dtype", ["float64", "complex64", "float16", "int32"])
def test_kept_calls_read_the_packed_constant(dtype: str, assert_close: Any) -> None:
    f, weights = _dense(dtype)
    x = _RNG.uniform(-1, 1, (64, 400)).astype(dtype)
    wide = {"float64": "float64", "complex64": "complex128", "int32": "int32"}
    expected = x.astype(wide.get(dtype, "float64")) @ weights.astype(wide.get(dtype, "float64"))
    first = f(x)
    assert_close(first, expected, 400)
    for threads in (None, 1, 2):
        np.testing.assert_array_equal(f(x, threads=threads), first)
        np.testing.assert_array_equal(f(x), first)


def test_a_view_of_a_constant_is_packed_from_its_first_element(assert_close: Any) -> None:
    whole = _RNG.uniform(-1, 1, (500, 800)).astype(np.float32)
    weights = whole[::-1, ::-2].T
    f = el.compile("bk,kn->bn", el.spec("B", 400, dtype="float32"), weights)
    x = _RNG.uniform(-1, 1, (64, 400)).astype(np.float32)
    assert_close(f(x), x.astype(np.float64) @ weights, 400)


def test_schedule_and_plan_show_what_is_packed_once() -> None:
    f, _ = _dense()
    assert "prepacked='columns'" in f.schedule
    report = f.plan_for((128, 400))
    lanes = host().simd_bits // 32
    assert report.packed_bytes >= 4 * 400 * 500
    assert report.packed_bytes % (4 * 400 * lanes) == 0
    assert f"constants packed once: {report.packed_bytes} bytes" in report.table
    plain = el.compile("bk,kn->bn", el.spec("B", 400), el.spec(400, 500))
    assert plain.plan_for((128, 400), (400, 500)).packed_bytes == 0
    assert "packed once" not in plain.plan


def test_a_printed_schedule_with_a_packed_constant_can_be_given_back() -> None:
    f, weights = _dense()
    g = el.compile("bk,kn->bn", el.spec("B", 400, dtype="float32"), weights, schedule=f.schedule)
    x = _RNG.uniform(-1, 1, (64, 400)).astype(np.float32)
    assert g.schedule == f.schedule
    assert np.allclose(g(x), f(x), rtol=1e-4, atol=1e-5)


def test_the_source_packs_the_constant(monkeypatch: pytest.MonkeyPatch, assert_close: Any) -> None:
    f, weights = _dense("complex64", (20, 30), _dense("complex64")[0].schedule)
    namespace: dict[str, Any] = {
        "njit": lambda *given, **_: given[0] if given else (lambda function: function),
        "prange": range,
    }
    source = f.source.replace("from numba import njit, prange\n", "")
    assert "packed_panels(" in source
    exec(compile(source, "<source>", "exec"), namespace)
    x = _RNG.uniform(-1, 1, (5, 20)).astype(np.complex64)
    assert_close(namespace["run"](x, weights), x.astype(np.complex128) @ weights, 20)
