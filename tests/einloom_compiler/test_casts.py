"""Conversions that generated code makes, held against NumPy's casts over all 16-bit values."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numba
import numpy as np
import pytest
from numba import types

from einloom_compiler.codegen import simd, simd_halves, simd_lowering
from einloom_compiler.codegen.casts import cast, load, store
from einloom_compiler.dtypes import _ARITHMETIC, as_dtype


@cache
def _jitted(name: str, wide: bool) -> Any:
    """Return ``run(values, out)`` that converts every element, one by one or in vectors of 8."""
    simd_lowering.register()
    body = f"vstore8(out, i, {name}(vload8(values, i)))" if wide else f"out[i] = {name}(values[i])"
    source = (
        f"def run(values, out, n):\n    for i in range(0, n, {8 if wide else 1}):\n        {body}"
    )
    scope: dict[str, Any] = dict(simd.PRIMITIVES)
    exec(source, scope)
    kinds = (types.float32, types.uint16)
    given, made = kinds if name.endswith("from_float32") else kinds[::-1]
    pointer: Any = types.CPointer
    signature = types.void(pointer(given), pointer(made), types.int64)
    return numba.cfunc(signature)(scope["run"]).ctypes


def _convert(name: str, values: Any, dtype: Any) -> list[Any]:
    """Return what scalars, vectors and the plain-Python twin make of ``values``."""
    padded = np.concatenate([values, np.zeros(-len(values) % 8, values.dtype)])
    found = []
    for wide in (False, True):
        out = np.empty(len(padded), dtype)
        run = _jitted(name, wide)
        pointers = [a.ctypes.data_as(t) for a, t in zip((padded, out), run.argtypes, strict=False)]
        run(*pointers, len(padded))
        found.append(out[: len(values)])
    with np.errstate(all="ignore"):
        return [*found, simd.PRIMITIVES[name](values)]


@pytest.fixture(params=[True, False], ids=["f16c", "integers"])
def halves(request: pytest.FixtureRequest) -> Iterator[None]:
    """Convert by the CPU's instructions where it has them, and by integers on any."""
    _jitted.cache_clear()
    with simd_halves.instructions(request.param):
        yield
    _jitted.cache_clear()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.usefixtures("halves")
def test_16_bit_floats_load_as_numpy_casts_them(name: str) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    expected = bits.view(as_dtype(name)).astype(np.float32)
    for out in _convert(f"float32_from_{name}", bits, np.float32):
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.usefixtures("halves")
def test_16_bit_floats_store_rounded_to_nearest_even(name: str) -> None:
    rng = np.random.default_rng(5)
    exact = np.arange(65536, dtype=np.uint16).view(as_dtype(name)).astype(np.float32)
    exact = exact[np.isfinite(exact)]
    between = exact[:-1] / 2 + exact[1:] / 2
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65519.9, 65520.0, 6e-8, 1e-45, 3.4e38])
    noise = rng.normal(size=20000) * 10.0 ** rng.integers(-9, 6, 20000)
    values = np.concatenate([exact, between, special, noise]).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = values.astype(as_dtype(name)).astype(np.float32)
    for out in _convert(f"{name}_from_float32", values, np.uint16):
        np.testing.assert_array_equal(out.view(as_dtype(name)).astype(np.float32), expected)


_PAIRS = [(a, b) for a in _ARITHMETIC for b in _ARITHMETIC if "bfloat16" not in (a, b)]


@pytest.mark.parametrize(("source", "target"), _PAIRS)
def test_every_cast_gives_numpys_values(source: str, target: str) -> None:
    values = np.array([0, 1, 2, 5, 100, 127]).astype(source)
    memory = _ARITHMETIC[source].storage
    scope: dict[str, Any] = {"np": np, **simd.PRIMITIVES}
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
