"""Sums in two stages: the same values, whatever the extents, and the same bits for any threads."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import einloom as el
from einloom.report import program
from einloom.report.plan import PlanReport
from einloom.runtime import contractor
from einloom_compiler.ir.einsum import EinsumExpr
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.iteration import c_strides
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.pipeline import Stages, bind
from einloom_compiler.schedule.machine import Machine, host

pytestmark = pytest.mark.thinned(2)

Array = npt.NDArray[Any]
Close = Callable[..., None]
#: So slow that a sum of a few elements is worth splitting.
SLOW = replace(
    host(), cores=3, hertz=1e2, cache_bandwidth=1e2, l3_bandwidth=1e2, memory_bandwidth=1e2
)

EQUATIONS = ["i->", "ij->", "ij->j", "ij->i", "abc->b", "i,i->", "ij,ij->", "bii->b", "ki,kj->ij"]


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (contractor, program):
        monkeypatch.setattr(module, "host", lambda: SLOW)


def _operands(equation: str, extents: dict[str, int], dtype: str) -> list[Array]:
    rng = np.random.default_rng(7)
    found = []
    for term in equation.split("->")[0].split(","):
        shape = tuple(extents[letter] for letter in term)
        values = rng.uniform(-1, 1, shape) + (1j * rng.uniform(-1, 1, shape) if "c" in dtype else 0)
        scaled = values if dtype.startswith(("f", "c")) else np.abs(values) * 3
        found.append(np.asarray(scaled).astype(dtype))
    return found


def _expected(equation: str, operands: list[Array]) -> Array:
    wide = [x.astype(np.float64) if x.dtype.name == "float16" else x for x in operands]
    return np.asarray(np.einsum(equation, *wide))


@contextmanager
def _no_jit() -> Iterator[None]:
    settings = vars(numba.config)
    before = settings["DISABLE_JIT"]
    settings["DISABLE_JIT"] = 1
    try:
        yield
    finally:
        settings["DISABLE_JIT"] = before


def _stages(equation: str, machine: Machine, **extents: int) -> Stages:
    terms = equation.split("->")[0].split(",")
    expr: EinsumExpr = expand(parse_string(equation), [len(term) for term in terms])
    shapes = [tuple(extents[letter] for letter in term) for term in terms]
    shape = tuple(extents[letter] for letter in equation.split("->")[1])
    n = len(terms)
    arithmetics = Arithmetics(("float32",) * n, "float32", "float32", (False,) * n)
    strides = [c_strides(s) for s in shapes]
    return bind(expr, shapes, strides, c_strides(shape), arithmetics, machine)


@pytest.mark.thinned(6)
@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64", "int64", "int8", "bool"])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_every_rung_gives_the_same(equation: str, dtype: str, assert_close: Close) -> None:
    extents = dict.fromkeys("ijkabc", 47) | {"b": 3, "j": 5 if equation != "ij->i" else 301}
    operands = _operands(equation, extents, dtype)
    expected = _expected(equation, operands)
    f = el.compile(equation, *(el.spec(x.shape, dtype=x.dtype) for x in operands))
    with _no_jit():
        assert_close(f(*operands), expected, 47 * 47)
    serial = f(*operands, threads=1)
    assert_close(serial, expected, 47 * 47)
    np.testing.assert_array_equal(serial, f(*operands, threads=3))


@settings(
    max_examples=settings().max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    equation=st.sampled_from(EQUATIONS),
    extents=st.tuples(*[st.integers(0, 40)] * 2, st.integers(0, 4)),
    step=st.sampled_from([1, 2, -1, -3]),
)
def test_any_extents_and_strides(
    equation: str, extents: tuple[int, int, int], step: int, assert_close: Close
) -> None:
    i, j, b = extents
    sizes = {"i": i, "j": j, "k": i, "a": i, "b": b, "c": j}
    operands = [x[..., ::step] for x in _operands(equation, sizes, "float64")]
    if "ii" in equation:
        operands = [x[:, ::step] for x in operands]
    expected = _expected(equation, operands)
    with _no_jit():
        assert_close(el.einsum(equation, *operands), expected, 1600)


def test_the_printed_program_has_both_stages_and_their_memory(assert_close: Close) -> None:
    x = _operands("ij->j", {"i": 1009, "j": 5}, "float64")[0]
    f = el.compile("ij->j", el.spec(("I", 5), dtype="float64"))
    plan = f.plan_for(x.shape)
    assert isinstance(plan, PlanReport)
    assert len(plan.text.calls) == 3
    assert "p_out = np.empty((13, 5), np.float64)" in plan.source
    assert plan.peak_bytes == 13 * 5 * 8
    scope: dict[str, Any] = {}
    exec(plan.source, scope)
    for name, value in list(scope.items()):
        scope[name] = getattr(value, "py_func", value)
    assert_close(scope["run"](x), x.sum(0), 1009)


def test_a_sum_is_split_where_too_few_outputs_occupy_the_cores() -> None:
    two = replace(SLOW, cores=2)
    assert _stages("ij->", two, i=64, j=64).shape == (8,)
    assert _stages("ij->j", two, i=997, j=4).shape == (9, 4)
    assert _stages("ij->i", two, i=64, j=64).shape == ()
    assert _stages("i,j->ij", two, i=64, j=64).shape == ()


def test_a_sum_is_not_split_for_one_core_nor_where_it_is_short() -> None:
    assert _stages("ij->", replace(SLOW, cores=1), i=64, j=64).shape == ()
    fast = replace(SLOW, hertz=1e12, cache_bandwidth=1e12, l3_bandwidth=1e12, memory_bandwidth=1e12)
    assert _stages("ij->", fast, i=64, j=64).shape == ()


def test_the_partial_result_is_small_against_what_is_summed() -> None:
    assert _stages("ij->j", SLOW, i=8, j=2).shape == ()
    many = _stages("ij->j", replace(SLOW, cores=64), i=4000, j=4)
    assert 8 * many.shape[0] * 4 <= 0.1 * 4 * (4000 * 4 + 4)


def test_blocks_bound_the_rounding_error_of_a_long_sum() -> None:
    x = np.full(1 << 20, np.float32(0.1))
    got = float(el.einsum("i->", x))
    assert abs(got - float(np.float32(0.1)) * 2**20) <= 2**20 * 0.1 * 40 * np.finfo(np.float32).eps
