"""Lowering: what kernels share is lowered once, and only what is the same is shared."""

from dataclasses import replace

import pytest

from einloom_compiler.codegen import raw_ir, simd_halves
from einloom_compiler.codegen.text import KernelText

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
