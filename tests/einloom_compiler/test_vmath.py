"""Elementary functions of generated source: accuracy, special values, vectorised code."""

import re
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.einloom_compiler.elementwise import (
    LANES,
    Array,
    in_python,
    native,
    units_in_last_place,
)
from tests.einloom_compiler.minimax import fits

from einloom_compiler.codegen import vmath
from einloom_compiler.codegen.coefficients import COEFFICIENTS

pytestmark = pytest.mark.thinned(2)

DTYPES = ("float32", "float64")
#: Largest error in units of the last place, as the module's docstring states: where multiply-adds
#: are rounded once (jitted here), and where they are not (as Python).
BOUNDS = {
    "exp": (0.95, 1.2),
    "expm1": (1.9, 1.9),
    "log": (0.95, 1.0),
    "log1p": (1.5, 1.5),
    "tanh": (2.1, 2.6),
    "sigmoid": (1.7, 1.7),
    "erf": (1.3, 1.4),
    "rsqrt": (1.5, 1.5),
    "log1p_unit": (1.6, 1.9),
}
#: Where values are neither saturated nor out of the domain: float32's ends, float64's ends.
RANGES = {
    "exp": ((-104, 89), (-746, 710)),
    "expm1": ((-20, 89), (-40, 710)),
    "log": ((0.3, 3), (0.3, 3)),
    "log1p": ((-0.9, 3), (-0.9, 3)),
    "tanh": ((-10, 10), (-20, 20)),
    "sigmoid": ((-104, 20), (-746, 40)),
    "erf": ((-4.2, 4.2), (-6.2, 6.2)),
    "rsqrt": ((0.3, 5), (0.3, 5)),
    "log1p_unit": ((0, 1), (0, 1)),
    "normal_cdf": ((-13, 6), (-37, 9)),
}
MANY = {"float32": 1 << 17, "float64": 1 << 15}


def _exact(name: str, x: Array) -> Array:
    """Return values of more precision than ``x``; float64's erf from multiple precision."""
    wide: Any = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    with np.errstate(all="ignore"):
        match name:
            case "sigmoid":
                e = np.exp(-np.abs(wide))
                return np.asarray(np.where(wide < 0, e, 1) / (1 + e))
            case "rsqrt":
                return np.asarray(1 / np.sqrt(wide))
            case "log1p_unit":
                return np.asarray(np.log1p(wide))
            case "erf":
                return _multiple(mp.erf, x, wide.dtype)
            case "normal_cdf":
                return _multiple(mp.ncdf, x, wide.dtype)
        return np.asarray(getattr(np, name)(wide))


def _multiple(function: Callable[[Any], Any], x: Array, dtype: Any) -> Array:
    with mp.workdps(40):
        texts = [
            "nan" if np.isnan(v) else mp.nstr(function(mp.mpf(float(np.clip(v, -60, 60)))), 25)
            for v in x
        ]
    return np.array([np.dtype(dtype).type(text) for text in texts])


def _samples(name: str, dtype: str, n: int) -> Array:
    """Return arguments spread over the interesting range and over all magnitudes of the dtype."""
    rng = np.random.default_rng(list(map(ord, name + dtype)))
    info: Any = np.finfo(dtype)
    low, high = RANGES[name][DTYPES.index(dtype)]
    linear = np.concatenate([rng.uniform(low, high, n // 2), rng.uniform(-1, 1, n // 4)])
    least, most = np.log2(float(info.smallest_subnormal)), np.log2(float(info.max))
    magnitudes = np.exp2(rng.uniform(least, most, n // 4)) * rng.choice([-1, 1], n // 4)
    ends = [0.0, -0.0, 1, -1, info.max, -info.max, info.tiny, info.smallest_subnormal, low, high]
    x = np.concatenate([linear, magnitudes, ends]).astype(dtype)
    return np.abs(x[np.abs(x) <= 1]) if name == "log1p_unit" else x


def _all_ways(name: str, x: Array) -> dict[str, Array]:
    dtype = x.dtype.name
    call = f"{name}_{dtype}({{x}})"
    return {
        "python": in_python(call, x),
        "scalar": native(call, dtype, width=1)(x),
        "vector": native(call, dtype, width=LANES[dtype])(x),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_errors_in_units_of_the_last_place(name: str, dtype: str) -> None:
    x = _samples(name, dtype, 4000 if name == "erf" else MANY[dtype])
    exact = _exact(name, x)
    got = _all_ways(name, x)
    np.testing.assert_array_equal(got["scalar"], got["vector"])
    for way, bound in zip(("vector", "python"), BOUNDS[name], strict=True):
        units = units_in_last_place(got[way], exact)
        worst = int(np.argmax(units))
        assert units[worst] <= bound, (way, x[worst], got[way][worst], exact[worst])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_normal_distribution_is_exact_in_its_lower_tail(dtype: str) -> None:
    x = _samples("normal_cdf", dtype, 4000)
    exact = _exact("normal_cdf", x)
    got = _all_ways("normal_cdf", x)
    np.testing.assert_array_equal(got["scalar"], got["vector"])
    assert units_in_last_place(got["vector"], exact).max() <= 7
    # Without multiply-adds that are rounded once, half the square of x is off by half a unit.
    allowed = 7 + np.square(np.minimum(np.abs(x.astype(np.float64)), 40)) / 2
    assert np.all(units_in_last_place(got["python"], exact) <= allowed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_are_exact_beside_one(dtype: str) -> None:
    low, _ = RANGES["exp"][DTYPES.index(dtype)]
    x = np.linspace(low, 0, MANY[dtype], dtype=dtype)
    exact, info = _exact("exp", x), np.finfo(dtype)
    got = _all_ways("exp_weight", x)
    np.testing.assert_array_equal(got["scalar"], got["vector"])
    # The rounded logarithm of 2 is off by a part of x; what is no normal number may be 0.
    allowed = exact * info.eps * (1 - x) + info.tiny
    for way in ("vector", "python"):
        assert np.all(np.abs(got[way] - exact) <= allowed)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "rsqrt"]),
    st.one_of(
        arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32)),
        arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(width=64)),
    ),
)
@example("exp", np.array([88.72283, 88.72284, -103.97208, -103.97209, -87.33655], np.float32))
@example("log1p", np.array([2.8383184e38, 3.4e38, -0.99999994, 1e-45], np.float32))
@example("log1p", np.array([1.6575272066575705e308]))
@example("expm1", np.array([709.782712893384, 709.7827128933841, -37.5]))
def test_any_floats(name: str, x: np.ndarray) -> None:
    exact = _exact(name, x)
    for way, got in _all_ways(name, x).items():
        units = units_in_last_place(got, exact)
        assert units.max() <= BOUNDS[name][way == "python"], (way, x, got, exact)


INF, NAN = np.inf, np.nan
SPECIALS = {
    "exp": ([-INF, INF, NAN, 0.0, -0.0], [0.0, INF, NAN, 1.0, 1.0]),
    "exp_weight": ([-INF, NAN, 0.0, -0.0], [0.0, NAN, 1.0, 1.0]),
    "expm1": ([-INF, INF, NAN, 0.0, -0.0], [-1.0, INF, NAN, 0.0, -0.0]),
    "log": ([0.0, -0.0, -1.0, -INF, INF, NAN, 1.0], [-INF, -INF, NAN, NAN, INF, NAN, 0.0]),
    "log1p": ([-1.0, -2.0, -INF, INF, NAN, 0.0, -0.0], [-INF, NAN, NAN, INF, NAN, 0.0, -0.0]),
    "tanh": ([-INF, INF, NAN, 0.0, -0.0], [-1.0, 1.0, NAN, 0.0, -0.0]),
    "sigmoid": ([-INF, INF, NAN, 0.0, -0.0], [0.0, 1.0, NAN, 0.5, 0.5]),
    "erf": ([-INF, INF, NAN, 0.0, -0.0], [-1.0, 1.0, NAN, 0.0, -0.0]),
    "normal_cdf": ([-INF, INF, NAN], [0.0, 1.0, NAN]),
    "rsqrt": ([0.0, -0.0, -1.0, INF, NAN], [INF, -INF, NAN, 0.0, NAN]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIALS)
def test_special_values(name: str, dtype: str) -> None:
    given_values, wanted = SPECIALS[name]
    for got in _all_ways(name, np.array(given_values, dtype)).values():
        np.testing.assert_array_equal(got, np.array(wanted, dtype))
        comparable = ~np.isnan(wanted)
        signs = np.signbit(got)[comparable], np.signbit(wanted)[comparable]
        np.testing.assert_array_equal(*signs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*BOUNDS, "normal_cdf"])
def test_loops_of_scalars_become_vector_code_without_calls(name: str, dtype: str) -> None:
    from llvmlite import binding

    kernel = native(f"{name}_{dtype}({{x}})", dtype, width=1)
    called = set(re.findall(r'call [^@\n]*@"?([^"(]+)"?\(', kernel.llvm))
    ours = {name for name in called if "kernel" in name}
    allowed = ("llvm.fmuladd.", "llvm.sqrt.", "llvm.fabs.", "llvm.copysign.", "llvm.assume")
    assert called
    assert not [name for name in called - ours if not name.startswith(allowed)]
    if binding.get_host_cpu_features().get("avx512f"):
        assert kernel.asm.count("zmm") > kernel.asm.count("ymm")


def test_flags_of_the_kernel_do_not_reach_the_functions() -> None:
    for text in vmath.helpers().values():
        assert text.startswith('@njit(forceinline=True, error_model="numpy", fastmath=False)\n')


@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_are_those_of_the_best_polynomials(dtype: str) -> None:
    """Each table is as long as its fit, and less than a quarter of a unit off."""
    eps = np.finfo(dtype).eps / 2
    found = fits(dtype)
    assert found.keys() == COEFFICIENTS[dtype].keys()
    for name, fit in found.items():
        table = COEFFICIENTS[dtype][name]
        assert len(table) == fit.degree + 1
        assert all(float(np.dtype(dtype).type(number)) == number for number in table)
        assert fit.error([mp.mpf(number) for number in table], 200) < eps / 2, name
