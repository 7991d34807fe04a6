"""``EINLOOM_COLD``: NumPy answers while a kernel is compiled, or the call waits."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.runtime import cold
from einloom_compiler.codegen.jit import Kernel, build
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.scalar import SUM, chain
from einloom_compiler.language import expand, parse_string

Close = Callable[..., None]


class _Gate:
    """Lets compiles through when opened, and counts them."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.compiled: list[str] = []
        self.error: Exception | None = None


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_Gate]:
    """Hold all compiles back, on an empty cache and without kernels in memory."""
    monkeypatch.setenv("EINLOOM_CACHE_DIR", str(tmp_path))
    gate, original = _Gate(), Kernel._compile
    build.cache_clear()
    cold._threads.clear()

    def compile_later(self: Kernel) -> Any:
        assert gate.opened.wait(60)
        gate.compiled.append(self.symbol)
        if gate.error is not None:
            raise gate.error
        return original(self)

    monkeypatch.setattr(Kernel, "_compile", compile_later)
    yield gate
    gate.opened.set()
    _wait()
    build.cache_clear()
    cold._threads.clear()


def _wait() -> None:
    for thread in threading.enumerate():
        if thread.name == "einloom-compile":
            thread.join(60)


def _function() -> el.CompiledFunction:
    return el.compile("ij,jk->ik", el.spec("M", "K"), el.spec("K", "N"))


def test_numpy_answers_until_the_kernel_is_ready(
    gate: _Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cold.VARIABLE, "numpy")
    f, x = _function(), np.arange(12.0).reshape(3, 4)
    for _ in range(3):
        np.testing.assert_array_equal(f(x, x.T), x @ x.T)
    assert gate.compiled == []
    gate.opened.set()
    _wait()
    assert len(gate.compiled) == 1
    monkeypatch.setattr(np, "einsum", None)
    np.testing.assert_array_equal(f(x, x.T), x @ x.T)


def test_a_kernel_on_disk_is_used_at_once(gate: _Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.opened.set()
    x = np.arange(12.0).reshape(3, 4)
    _function()(x, x.T)
    build.cache_clear()
    monkeypatch.setenv(cold.VARIABLE, "numpy")
    monkeypatch.setattr(np, "einsum", None)
    np.testing.assert_array_equal(_function()(x, x.T), x @ x.T)
    assert len(gate.compiled) == 1


@pytest.mark.parametrize("value", ["", "wait"])
def test_by_default_a_call_waits(value: str, gate: _Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cold.VARIABLE, value)
    monkeypatch.setattr(np, "einsum", None)
    gate.opened.set()
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(_function()(x, x.T), x @ x.T)
    assert len(gate.compiled) == 1


def test_a_failing_compile_is_raised_by_a_later_call(
    gate: _Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cold.VARIABLE, "numpy")
    gate.error = RuntimeError("no compiler today")
    f, x = _function(), np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(f(x, x.T), x @ x.T)
    gate.opened.set()
    _wait()
    with pytest.raises(RuntimeError, match="no compiler today"):
        f(x, x.T)


def test_other_values_are_refused(gate: _Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cold.VARIABLE, "fast")
    with pytest.raises(cold.ColdError, match=r"EINLOOM_COLD='fast'.*'numpy'.*'wait'"):
        _function()(np.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "int8", "uint16", "int64", "bool", "complex64", "complex128"]
)
@pytest.mark.parametrize("subscripts", ["ij,jk->ki", "ij->j", "ii->i", "ij,jk,kl->il", "i,j->ij"])
def test_numpys_answer_follows_the_kernels_dtype_rules(
    dtype: str, subscripts: str, assert_close: Close
) -> None:
    rng = np.random.default_rng(3)
    terms = subscripts.split("->")[0].split(",")
    operands = [(rng.random((6,) * len(term)) * 9 - 4).astype(dtype) for term in terms]
    if dtype == "complex64":
        operands = [operand + 1j * operand[::-1] for operand in operands]
    wanted = el.einsum(subscripts, *operands)
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    out = np.zeros_like(wanted)
    cold.evaluate(expr, np.dtype(dtype), [False] * len(operands), SUM, operands, out)
    assert_close(out, wanted, 36)


def test_conjugates_epilogues_and_broadcast_axes() -> None:
    x = np.array([[1 + 2j, 3 - 1j]])
    expr = expand(parse_string("ij,ij->i"), [2, 2])
    out = np.empty(1, complex)
    cold.evaluate(expr, out.dtype, [True, False], SUM, [x, x], out)
    np.testing.assert_array_equal(out, [15])
    epilogue = chain((Map("sqrt"), Map("maximum", (3.0,)), Map("reciprocal")))
    y, z = np.full((1, 4), 4.0), np.full((2, 4), 4.0)
    norm = np.empty(2)
    cold.evaluate(expr, norm.dtype, [False, False], epilogue, [y, z], norm)
    np.testing.assert_array_equal(norm, [1 / 8, 1 / 8])
