"""Lowering: what kernels share is lowered once, and only what is the same is shared."""

import ctypes
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from einloom_compiler.codegen import raw_ir, simd_halves
from einloom_compiler.codegen.objects import ObjectCode, compile_object
from einloom_compiler.codegen.target import host_target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.store import kernels

_SOURCE = """
import numpy as np
from numba import njit, prange


@njit(error_model="numpy", fastmath=False)
def shifted(x):
    return x + np.float32({constant})


@njit(error_model="numpy", fastmath=False)
def doubled(x):
    return shifted(x) * np.float32(2.0)


@njit(nogil=True, error_model="numpy", fastmath=False)
def kernel(x0, out, n_i, acc, acc_0, lo, hi):
    for i in range(lo, hi):
        out[i] = doubled(x0[i]) * np.float32({factor})
"""


def _lowered(constant: str, factor: str = "3.0") -> raw_ir.RawKernel:
    pointers = (("x0", "float32"), ("out", "float32"))
    text = KernelText("a test", "", pointers, ("n_i",), 0, "float32")
    return raw_ir.lower(replace(text, source=_SOURCE.format(constant=constant, factor=factor)))


def test_functions_of_an_earlier_kernel_are_taken_from_it() -> None:
    first, second = _lowered("0.5"), _lowered("0.5", factor="4.0")
    assert first.modules[:-1] == second.modules[:-1]
    assert len(first.modules) == 3
    assert first.modules[-1] != second.modules[-1]


@pytest.mark.parametrize("constants", [("0.0", "-0.0"), ("1.0", "1")])
def test_a_function_that_calls_another_one_is_another_one(constants: tuple[str, str]) -> None:
    first, second = map(_lowered, constants)
    assert not set(first.modules) & set(second.modules)


def test_functions_are_shared_among_targets_with_the_same_conversions_only() -> None:
    with simd_halves.instructions(True):
        first = _lowered("0.25")
    with simd_halves.instructions(False):
        second = _lowered("0.25")
    assert not set(first.modules) & set(second.modules)


def test_few_functions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_ir, "_MOST_SHARED", 3)
    for n in range(6):
        assert len(_lowered(f"{n}.5").modules) == 3
    assert len(raw_ir._compiler().shared) <= 3 + 2


_NAMES = """
import numpy as np
from numba import njit, prange


@njit(nogil=True, error_model="numpy", fastmath=False)
def kernel(x0, out, n_i, acc, acc_0, lo, hi):
    for i in range(lo, hi):
        t = i
        t = t * np.float64(0.25)  # lives in its block: told apart
        a = t
        n = i + 9007199254740993  # no float64
        if x0[i] > 0.0:
            a = a + (n - 9007199254740992)
        n = np.float64(0.5)  # lives longer, as the integer does: static single assignment
        if x0[i] < 8.0:
            a = a + n
        out[i] = a
"""


def _compiled(text: KernelText) -> ObjectCode:
    return compile_object(text, "einloom_names", host_target())


@pytest.mark.parametrize("name", ["n", "m"])
def test_names_of_several_types_keep_them(name: str) -> None:
    """With ``m`` for the float, no name lives longer with two types: one walk is enough."""
    head, integer, rest = _NAMES.partition("        n = np.float64")
    source = head + (integer + rest).replace("n ", f"{name} ").replace("a + n", f"a + {name}")
    text = KernelText(
        "a test", source, (("x0", "float64"), ("out", "float64")), ("n_i",), 0, "float64"
    )
    x, out = np.arange(10.0), np.empty(10)
    block = (ctypes.c_int64 * 4)(x.ctypes.data, out.ctypes.data, 10, 0)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 3)
    entry = kind(kernels.entry_of(text, "einloom_names", partial(_compiled, text)))
    entry(ctypes.addressof(block), 0, 0, 10)
    i = np.arange(10)
    expected = i * 0.25 + np.where(i > 0, i + 1, 0) + np.where(i < 8, 0.5, 0)
    np.testing.assert_array_equal(out, expected)
