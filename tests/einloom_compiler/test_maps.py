"""Elementwise maps: values of every form, parameters, dtypes, errors."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.einloom_compiler.elementwise import LANES, Array, in_python, native

from einloom_compiler.codegen.maps import apply_map, helpers_in
from einloom_compiler.errors import (
    DTypeError,
    InternalCompilerError,
    SpecError,
    UnsupportedError,
)
from einloom_compiler.ir.maps import ALIASES, MAPS, Map, check_map, make_map

pytestmark = pytest.mark.thinned(2)

#: Maps with other parameters than their defaults.
VARIANTS = [
    make_map("relu", max_value=6.0),
    make_map("relu", threshold=0.5),
    make_map("relu", threshold=-1.0),
    make_map("relu", negative_slope=0.1),
    make_map("relu", negative_slope=0.1, max_value=2.0),
    make_map("relu", negative_slope=0.1, max_value=2.0, threshold=0.5),
    make_map("relu", negative_slope=0.1, threshold=-1.0),
    make_map("leaky_relu", negative_slope=0.01),
    make_map("elu", alpha=0.3),
    make_map("celu", alpha=0.3),
    make_map("squareplus", b=0.0),
    make_map("squareplus", b=1e-3),
    make_map("hard_tanh", low=-0.5, high=2.0),
    make_map("hard_shrink", threshold=0.0),
    make_map("soft_shrink", threshold=1.5),
    make_map("threshold", threshold=0.1, default_value=20.0),
    make_map("add", -0.75),
    make_map("multiply", 0.1),
    make_map("maximum", 1e-7),
    make_map("minimum", math.inf),
]
FLOATING = [
    *(
        make_map(name)
        for name, definition in MAPS.items()
        if all(default is not None for _, default in definition.parameters)
    ),
    *VARIANTS,
]
POINTS = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, 1e-6, -1e-6, 1e-30, -1e-30),
    *(20.0, -20.0, 80.0, -80.0, 1e9, -1e9, math.inf, -math.inf, math.nan),
]


def _arguments(dtype: str) -> Array:
    rng = np.random.default_rng(7)
    drawn = [rng.normal(0, 2, 300), rng.uniform(-8, 8, 300), np.linspace(-1.5, 1.5, 101)]
    return np.concatenate([POINTS, *drawn]).astype(dtype)


def _ways(step: Map, x: Array) -> dict[str, Array]:
    dtype = x.dtype.name
    text = apply_map(step, "{x}", dtype)
    return {
        "python": in_python(text, x),
        "scalar": native(text, dtype, width=1)(x),
        "vector": native(text, dtype, width=LANES[dtype])(x),
    }


def _bounds(step: Map, x: Array, exact: Array) -> Array:
    """Return the errors allowed: relative to the result, or to what the definition subtracts."""
    eps = np.finfo(x.dtype).eps
    wide = np.nan_to_num(np.abs(x.astype(np.float64)))
    relative = 8 * eps * np.abs(exact)
    parameter = abs(step.parameters[0]) if step.parameters else 1.0
    match step.function:
        case "gelu" | "gelu_tanh":  # exp(-x*x/2) is as exact as its argument
            relative = relative * (1 + np.minimum(wide, 40) ** 2)
        case "tanh_shrink" | "sparse_sigmoid" | "sparse_plus" | "hard_sigmoid" | "hard_silu":
            relative += 4 * eps * np.minimum(wide, 8) * np.maximum(1, np.minimum(wide, 8))
        case "squareplus":  # the square of a small number vanishes, in Keras too
            relative += np.where(wide < 1e-15, wide, 0)
        case "add" | "soft_shrink" | "relu":
            relative += 2 * eps * (wide + parameter + 1)
    return np.asarray(relative + 2 * float(np.finfo(x.dtype).tiny))


@pytest.mark.thinned(8)
@pytest.mark.parametrize(
    ("step", "dtype"),
    [
        *((step, "float32") for step in FLOATING),
        *((step, "float64") for step in FLOATING if step not in VARIANTS),
    ],
    ids=str,
)
def test_values(step: Map, dtype: str) -> None:
    x = _arguments(dtype)
    with np.errstate(all="ignore"):
        exact = MAPS[step.function].reference(x.astype(np.longdouble), *step.parameters)
        exact = exact.astype(np.float64)
        limit = np.finfo(dtype).max
        exact[np.abs(exact) > limit] *= math.inf
    for way, got in _ways(step, x).items():
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact), err_msg=way)
        infinite = np.isinf(exact)
        np.testing.assert_array_equal(got[infinite], exact[infinite], err_msg=way)
        finite = np.isfinite(exact)
        with np.errstate(all="ignore"):
            error = np.abs(got.astype(np.float64) - exact) - _bounds(step, x, exact)
        worst = np.flatnonzero(finite)[np.argmax(error[finite])]
        assert error[worst] <= 0, (way, x[worst], got[worst], exact[worst])


INTEGRAL = [
    *(make_map(name) for name in ("linear", "abs", "square", "relu6", "relu")),
    make_map("relu", max_value=9),
    make_map("relu", threshold=3),
    make_map("relu", threshold=3, max_value=9),
    *(make_map(name, 3) for name in ("add", "multiply", "maximum", "minimum")),
]


@pytest.mark.thinned(4)
@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64"])
@pytest.mark.parametrize("step", [*INTEGRAL, make_map("negative")], ids=str)
def test_integers_wrap_around_as_numpys(step: Map, dtype: str) -> None:
    if step.function == "negative" and dtype.startswith("u"):
        with pytest.raises(DTypeError, match=f"'negative' is defined for .*, not for {dtype}"):
            check_map(step, dtype)
        return
    check_map(step, dtype)
    info = np.iinfo(dtype)
    x = np.array([info.min, info.min + 1, 0, 1, 2, 3, 4, 9, 10, 90, info.max], dtype)
    with np.errstate(all="ignore"):
        expected = MAPS[step.function].reference(x, *step.parameters)
    for way, got in _ways(step, x).items():
        np.testing.assert_array_equal(got, expected.astype(dtype), err_msg=way)


COMPLEX = ["linear", "negative", "square", "sqrt", "reciprocal"]


@pytest.mark.parametrize("step", [*map(make_map, COMPLEX), make_map("add", 2)], ids=str)
def test_complex_maps(step: Map) -> None:
    x = (np.linspace(-2, 2, 16) + 1j * np.linspace(1, -3, 16)).astype(np.complex64)
    text = apply_map(step, "{x}", "complex64")
    expected = MAPS[step.function].reference(x, *step.parameters)
    got = [in_python(text, element) for element in x]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(FLOATING), min_size=2, max_size=4),
    arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(-4, 4, width=32)),
)
def test_chains_are_applied_in_order(steps: list[Map], x: np.ndarray) -> None:
    text, expected = "{x}", x
    for step in steps:
        text = apply_map(step, text, "float32")
        expected = in_python(apply_map(step, "{x}", "float32"), expected)
    np.testing.assert_array_equal(in_python(text, x), expected)


def test_helpers_come_after_those_they_call() -> None:
    names = [text.split("def ")[1].split("(")[0] for text in helpers_in("softplus_float32(a)")]
    assert names[-1] == "softplus_float32"
    assert names.index("exp_core_float32") < names.index("exp_falling_float32")
    assert len(names) == len(set(names)) == 4
    assert helpers_in("x + softplus(a)") == []


def test_aliases_are_maps() -> None:
    assert set(ALIASES.values()) <= set(MAPS)
    assert not set(ALIASES) & set(MAPS)


def test_a_map_is_printed_with_its_numbers() -> None:
    assert str(make_map("leaky_relu")) == "leaky_relu(0.2)"
    assert str(make_map("tanh")) == "tanh"
    assert str(make_map("relu")) == "relu(0, inf, 0)"


ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "unknown": (lambda: make_map("softmax"), UnsupportedError, "no elementwise map 'softmax'"),
    "unknown parameter": (
        lambda: make_map("elu", slope=1.0),
        SpecError,
        "map 'elu' takes the parameters alpha, not 'slope'",
    ),
    "none": (lambda: make_map("tanh", 1.0), SpecError, "'tanh' takes no parameters, but 1 value"),
    "twice": (lambda: make_map("elu", 1.0, alpha=2.0), SpecError, "'alpha' .* is given twice"),
    "missing": (lambda: make_map("maximum"), SpecError, "needs a value for its parameter 'const"),
    "nan": (lambda: make_map("elu", math.nan), SpecError, "'alpha' of map 'elu' is nan"),
    "not positive": (lambda: make_map("celu", 0.0), SpecError, "it must be positive"),
    "negative": (lambda: make_map("relu", max_value=-1.0), SpecError, "must not be negative"),
    "too few": (lambda: check_map(Map("elu")), SpecError, r"parameters alpha, but has .* \(\)"),
    "integer": (lambda: check_map(Map("tanh"), "int32"), DTypeError, "'tanh' .* not for int32"),
    "complex": (lambda: check_map(make_map("relu"), "complex64"), DTypeError, "for complex64"),
    "bool": (lambda: check_map(Map("square"), "bool"), DTypeError, "not for bool"),
    "fraction": (
        lambda: check_map(make_map("maximum", 0.5), "int8"),
        DTypeError,
        "'constant' of map 'maximum' is 0.5, which is no value of int8; give an integer from -128",
    ),
    "range": (lambda: check_map(make_map("add", 300), "uint8"), DTypeError, "from 0 to 255"),
    "slope": (
        lambda: check_map(make_map("relu", negative_slope=1), "int32"),
        DTypeError,
        "slope of map 'relu' in int32",
    ),
    "no source": (
        lambda: apply_map(Map("tanh"), "x", "complex64"),
        InternalCompilerError,
        "no source is known for map tanh in complex64",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_map_and_the_way_out(name: str) -> None:
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()
