"""Conversions that generated code makes, held against NumPy's casts over all 16-bit values."""

import warnings
from typing import Any

import numba
import numpy as np
import pytest

from einloom_compiler.codegen.casts import HELPERS, cast, load, store
from einloom_compiler.dtypes import _ARITHMETIC, as_dtype


def _helper(name: str) -> Any:
    namespace: dict[str, Any] = {"np": np, "njit": numba.njit}
    exec(HELPERS[name], namespace)
    return namespace[name]


@numba.njit
def _apply(function: Any, values: Any, out: Any) -> None:
    for i in range(values.size):
        out[i] = function(values[i])


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_16_bit_floats_load_as_numpy_casts_them(name: str) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    out = np.empty(65536, np.float32)
    _apply(_helper(f"float32_from_{name}"), bits, out)
    np.testing.assert_array_equal(out, bits.view(as_dtype(name)).astype(np.float32))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_16_bit_floats_store_rounded_to_nearest_even(name: str) -> None:
    rng = np.random.default_rng(5)
    exact = np.arange(65536, dtype=np.uint16).view(as_dtype(name)).astype(np.float32)
    exact = exact[np.isfinite(exact)]
    between = exact[:-1] / 2 + exact[1:] / 2
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65519.9, 65520.0, 6e-8, 1e-45, 3.4e38])
    noise = rng.normal(size=20000) * 10.0 ** rng.integers(-9, 6, 20000)
    values = np.concatenate([exact, between, special, noise]).astype(np.float32)
    out = np.empty(values.size, np.uint16)
    _apply(_helper(f"{name}_from_float32"), values, out)
    with np.errstate(all="ignore"):
        expected = values.astype(as_dtype(name))
    got = out.view(as_dtype(name)).astype(np.float32)
    np.testing.assert_array_equal(got, expected.astype(np.float32))


_PAIRS = [(a, b) for a in _ARITHMETIC for b in _ARITHMETIC if "bfloat16" not in (a, b)]


@pytest.mark.parametrize(("source", "target"), _PAIRS)
def test_every_cast_gives_numpys_values(source: str, target: str) -> None:
    values = np.array([0, 1, 2, 5, 100, 127]).astype(source)
    memory = _ARITHMETIC[source].storage
    scope: dict[str, Any] = {"np": np, "njit": lambda f: f}
    for text in HELPERS.values():
        exec(text, scope)
    got = []
    for value in values.view(memory):
        scope["value"] = value
        scope["loaded"] = eval(load("value", source, target), scope)
        got.append(eval(store("loaded", target, target), scope))
    out = np.array(got).astype(_ARITHMETIC[target].storage).view(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        expected = values.astype(target)
    np.testing.assert_array_equal(out, expected)


def test_a_cast_to_half_rounds() -> None:
    assert "float16_from_float32" in cast("v", "float64", "float16")
