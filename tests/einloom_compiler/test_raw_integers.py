"""Lowered ranges, division, ``min`` and ``max`` of int64 give what Python gives."""

import ctypes
from functools import cache

import numpy as np
import pytest

from einloom_compiler.codegen import raw_ir
from einloom_compiler.codegen.objects import compile_object
from einloom_compiler.codegen.target import host_target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.store.loading import load_object

_LEAST = -(2**63)
_DIVISORS = (1, 2, 6, -1, -4, 0)
_STEPS = (1, 3, -1, -4)
_HEAD = """
import numpy as np
from numba import njit, prange


@njit(error_model="{model}")
def split(a, b):
    return a // b, a % b


@njit(nogil=True, error_model="numpy")
def kernel(x0, out, acc, acc_0, lo, hi):
    for p in range(lo, hi):
        a, b, at = x0[2 * p], x0[2 * p + 1], {width} * p
"""
#: Each line writes the next number of a row.
_DIVIDED = (
    "a // b",
    "a % b",
    "sum(split(a, b))",
    *(f"a {operator} {divisor}" for divisor in _DIVISORS for operator in ("//", "%")),
    *(f"{number} {operator} b" for number in (7, -7) for operator in ("//", "%")),
    "min(a, b)",
    "max(a, 3, b)",
    "min(max(a, -2), 2)",
)


def _kernel(body: list[str], width: int, model: str = "numpy") -> KernelText:
    source = _HEAD.format(model=model, width=width) + "".join(f"        {line}\n" for line in body)
    return KernelText("a test", source, (("x0", "int64"), ("out", "int64")), (), 0, "int64")


def _run(text: KernelText, pairs: np.ndarray, width: int) -> np.ndarray:
    entry = load_object(
        compile_object(text, "einloom_test", host_target()).contents, "einloom_test"
    )
    out = np.full((len(pairs), width), -99)
    block = (ctypes.c_void_p * 3)(pairs.ctypes.data, out.ctypes.data, None)
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 3)
    signature(entry)(ctypes.addressof(block), 0, 0, len(pairs))
    return out


@cache
def _pairs() -> np.ndarray:
    small = range(-9, 10)
    pairs = [(a, b) for a in small for b in small]
    return np.array([*pairs, (_LEAST, -1), (_LEAST, 0), (_LEAST, 3), (2**63 - 1, -1)], np.int64)


def _divided(a: int, b: int, operator: str) -> int:
    if b == 0 or (a, b) == (_LEAST, -1):
        return 0
    return a // b if operator == "//" else a % b


def test_division_rounds_down_and_gives_0_where_there_is_no_quotient() -> None:
    body = [f"out[at + {n}] = {text}" for n, text in enumerate(_DIVIDED)]
    body[2] = "q, r = split(a, b)\n        out[at + 2] = q * 3 + r"
    got = _run(_kernel(body, len(_DIVIDED)), _pairs(), len(_DIVIDED))
    for (a, b), row in zip(_pairs().tolist(), got.tolist(), strict=True):
        expected = [_divided(a, b, "//"), _divided(a, b, "%")]
        expected += [(expected[0] * 3 + expected[1] + 2**63) % 2**64 - 2**63]
        expected += [_divided(a, d, operator) for d in _DIVISORS for operator in ("//", "%")]
        expected += [_divided(n, b, operator) for n in (7, -7) for operator in ("//", "%")]
        expected += [min(a, b), max(a, 3, b), min(max(a, -2), 2)]
        assert row == expected, (a, b)


def test_ranges_have_pythons_numbers() -> None:
    loops = ["range(a)", "range(a, b)", *(f"range(a, b, {step})" for step in _STEPS)]
    body = [
        line
        for n, loop in enumerate(loops)
        for line in (
            "total = 0",
            f"for i in {loop}:",
            "    total = 3 * total + i + 20",
            f"out[at + {n}] = total",
        )
    ]
    pairs = _pairs()[:-4]
    got = _run(_kernel(body, len(loops)), pairs, len(loops))
    for (a, b), row in zip(pairs.tolist(), got.tolist(), strict=True):
        for loop, value in zip(loops, row, strict=True):
            total = 0
            for i in eval(loop, {"a": a, "b": b}):
                total = 3 * total + i + 20
            assert value == total, (loop, a, b)


def test_a_step_that_is_no_constant_is_left_to_numba() -> None:
    body = ["for i in range(a, 5, b):", "    out[at] = i"]
    with pytest.raises(InternalCompilerError, match="can raise"):
        compile_object(_kernel(body, 1), "einloom_test", host_target())


def test_a_function_that_raises_is_told_by_the_kernel_that_calls_it() -> None:
    body = ["q, r = split(a, b)", "out[at] = q + r"]
    with pytest.raises(InternalCompilerError, match="can raise"):
        compile_object(_kernel(body, 1, model="python"), "einloom_test", host_target())


def test_a_loop_is_few_instructions() -> None:
    module = raw_ir.lower(_kernel(["out[p] = a // 6 + b"], 1)).modules[-1]
    assert "picklebuf" not in module
    assert module.count("\n  br ") < 12
