"""Maps of the compiler against Keras's activations, through a compiled contraction's epilogue."""

import math
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.frontends.build import contract
from einloom_compiler.errors import DTypeError
from einloom_compiler.ir.maps import Map, make_map

pytestmark = pytest.mark.keras

#: Keras's name and arguments, and the map.
CASES: dict[str, tuple[dict[str, Any], Map]] = {
    "relu": ({}, make_map("relu")),
    "relu ": (
        {"max_value": 2.0, "negative_slope": 0.1, "threshold": 0.5},
        make_map("relu", max_value=2.0, negative_slope=0.1, threshold=0.5),
    ),
    "relu  ": ({"threshold": -1.0}, make_map("relu", threshold=-1.0)),
    "relu6": ({}, make_map("relu6")),
    "leaky_relu": ({}, make_map("leaky_relu")),
    "elu": ({"alpha": 0.7}, make_map("elu", alpha=0.7)),
    "selu": ({}, make_map("selu")),
    "celu": ({"alpha": 0.7}, make_map("celu", alpha=0.7)),
    "gelu": ({}, make_map("gelu")),
    "gelu ": ({"approximate": True}, make_map("gelu_tanh")),
    "silu": ({}, make_map("silu")),
    "mish": ({}, make_map("mish")),
    "sigmoid": ({}, make_map("sigmoid")),
    "log_sigmoid": ({}, make_map("log_sigmoid")),
    "tanh": ({}, make_map("tanh")),
    "tanh_shrink": ({}, make_map("tanh_shrink")),
    "softplus": ({}, make_map("softplus")),
    "softsign": ({}, make_map("softsign")),
    "squareplus": ({}, make_map("squareplus")),
    "hard_sigmoid": ({}, make_map("hard_sigmoid")),
    "hard_silu": ({}, make_map("hard_silu")),
    "hard_tanh": ({}, make_map("hard_tanh")),
    "hard_shrink": ({}, make_map("hard_shrink")),
    "soft_shrink": ({}, make_map("soft_shrink")),
    "sparse_plus": ({}, make_map("sparse_plus")),
    "sparse_sigmoid": ({}, make_map("sparse_sigmoid")),
    "threshold": (
        {"threshold": 0.5, "default_value": 9.0},
        make_map("threshold", threshold=0.5, default_value=9.0),
    ),
    "exponential": ({}, make_map("exp")),
    "linear": ({}, make_map("linear")),
}
EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 30.0, -30.0, 88.0, -88.0, 1e9, math.inf, math.nan]


def _compiled(step: Map, dtype: str) -> Any:
    x, w = el.spec("N", dtype=dtype, name="x"), el.spec("N", dtype=dtype, name="w")
    return el.compile(contract("n,n->n", x, w, dtype=np.dtype(dtype), epilogue=(step,)))


@pytest.mark.thinned(2)
@pytest.mark.parametrize("name", CASES)
def test_values_are_keras_activations(name: str) -> None:
    activations = pytest.importorskip("keras").activations
    arguments, step = CASES[name]
    x = np.random.default_rng(3).normal(0, 3, 500).astype(np.float32)
    x = np.concatenate([x, np.array(EXTREMES, np.float32)])
    expected = np.asarray(getattr(activations, name.strip())(x, **arguments))
    got = _compiled(step, "float32")(x, np.ones_like(x))
    # Keras's own error where its formula cancels, as that of gelu at -5 or of elu at -1e-30.
    atol = 4e-7 * np.clip(np.nan_to_num(np.abs(x)), 0.25, 10)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    np.testing.assert_array_less(
        np.abs(got[finite] - expected[finite]),
        (2e-5 * np.abs(expected) + atol)[finite],
    )


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_activations_of_other_floats(dtype: str) -> None:
    activations = pytest.importorskip("keras").activations
    x = np.random.default_rng(3).normal(0, 2, 100).astype(dtype)
    expected = np.asarray(activations.gelu(x)).astype(np.float64)
    got = _compiled(make_map("gelu"), dtype)(x, np.ones_like(x))
    assert got.dtype == x.dtype
    # Keras takes the root of two in float32 even for float64.
    eps = max(float(np.finfo(dtype).eps), 1e-7)
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=8 * eps, atol=4 * eps)


def test_an_activation_of_integers_is_refused_before_anything_is_compiled() -> None:
    with pytest.raises(DTypeError, match="map 'tanh' is defined for floating dtypes, not for int"):
        _compiled(make_map("tanh"), "int32")
