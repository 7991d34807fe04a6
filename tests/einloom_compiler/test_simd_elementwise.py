"""Primitives that work lane by lane: compiled for scalars and vectors as their Python twins do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.einloom_compiler.elementwise import LANES, in_python, native

from einloom_compiler.codegen import simd

pytestmark = pytest.mark.thinned(2)

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "uint8", "int32", "uint32", "int64")

#: Expressions of one value; T stands for its dtype, I for the integer of a float's width.
OF_FLOATS = {
    "vmuladd": "vmuladd({x}, {x}, np.T(1.5))",
    "vmax": "vmax({x}, np.T(0.25))",
    "vmax_of_scalar_and_value": "vmax(np.T(0.25), {x})",
    "vmin": "vmin({x}, np.T(0.25))",
    "vabs": "vabs({x})",
    "vsqrt": "vsqrt({x})",
    "vround": "vround({x})",
    "vcopysign": "vcopysign(np.T(3), {x})",
    "vselect": "vselect({x} < np.T(0.5), {x}, np.T(2))",
    "vselect_of_scalars": "vselect({x} >= np.T(0.5), np.T(1), np.T(2))",
    "bits": "vfloat(vor(vand(vbits({x}), np.I(0x7FFFF)), np.I(0x3F800000)))",
    "shifts": "vfloat(vshr(vshl(vbits({x}), 3), 5))",
    "wrapping": "vfloat(vminus(vplus(vbits({x}), vbits({x})), np.I(12345)))",
    "operators": "(-{x} * {x} + np.T(2)) / (np.T(3) - {x} * {x})",
    "not_equal": "vselect({x} != {x}, np.T(0), {x})",
    "equal": "vselect({x} == np.T(0), np.T(7), {x})",
}
OF_INTEGERS = {
    "vmax": "vmax({x}, np.T(5))",
    "vmin": "vmin({x}, np.T(5))",
    "vabs": "vabs({x})",
    "wrapping": "vminus(np.T(3), vplus({x}, {x}))",
    "vwrap": "vwrap({x} * {x}, np.T(0))",
    "shifts": "vshr(vshl({x}, 1), 2)",
    "vselect": "vselect({x} > np.T(9), {x}, np.T(1))",
}


def _compare(expression: str, x: np.ndarray) -> None:
    dtype = x.dtype.name
    text = expression.replace("np.T", f"np.{dtype}").replace("np.I", f"np.int{8 * x.itemsize}")
    expected = in_python(text, x)
    assert expected.dtype == x.dtype
    lanewise = np.array([in_python(text, value) for value in x], x.dtype)
    np.testing.assert_array_equal(lanewise, expected)
    for width in (1, LANES[dtype]):
        got = native(text, dtype, width=width)(x)
        if x.dtype.kind == "f":  # a multiply-add may be rounded once
            np.testing.assert_allclose(got, expected, rtol=4 * float(np.finfo(dtype).eps))
            np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))
        else:
            np.testing.assert_array_equal(got, expected)


SPECIAL = [0.0, -0.0, 0.25, 0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-30, -7.75]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", OF_FLOATS)
def test_primitives_of_floats(name: str, dtype: str) -> None:
    x = np.array(SPECIAL, dtype)
    with np.errstate(all="ignore"):
        if name in ("wrapping", "shifts", "operators", "vmuladd", "bits"):
            x = x[np.isfinite(x)]
        _compare(OF_FLOATS[name], x)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", OF_INTEGERS)
def test_primitives_of_integers(name: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.array([info.min, info.min + 1, 0, 1, 5, 7, 100, info.max - 1, info.max], dtype)
    with np.errstate(all="ignore"):
        _compare(OF_INTEGERS[name], x)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)))
def test_a_nan_in_the_first_argument_of_an_extreme_stays(x: np.ndarray) -> None:
    for name, extreme in (("vmax", np.maximum), ("vmin", np.minimum)):
        got = native(f"{name}({{x}}, np.float32(1))", "float32", width=8)(x)
        np.testing.assert_array_equal(got, extreme(x, np.float32(1)))


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("primitive", ["vmax_all", "vmin_all"])
def test_the_extreme_lane_of_a_vector(primitive: str, dtype: str) -> None:
    width = LANES[dtype]
    x = np.arange(3 * width).astype(dtype) * 37 % 101 - (0 if dtype.startswith("u") else 50)
    x = x.astype(dtype)
    got = native(f"vmax({primitive}({{x}}), {{x}})", dtype, width=width)(x)
    blocks = x.reshape(3, width)
    twin = np.array([getattr(simd, primitive)(block) for block in blocks])
    extreme = blocks.max(1) if primitive == "vmax_all" else blocks.min(1)
    np.testing.assert_array_equal(twin, extreme)
    np.testing.assert_array_equal(got, np.maximum(np.repeat(extreme, width), x))


def test_masks_combine() -> None:
    x = np.linspace(-3, 3, 32, dtype=np.float32)
    mask = "(({x} > np.float32(-1)) & ({x} < np.float32(1)) | ({x} > np.float32(2)))"
    got = native(f"vselect(~{mask}, {{x}}, np.float32(9))", "float32", width=8)(x)
    chosen = (x > -1) & (x < 1) | (x > 2)
    np.testing.assert_array_equal(got, np.where(chosen, np.float32(9), x))


def test_dtypes_do_not_mix() -> None:
    from numba.core.errors import TypingError

    with pytest.raises(TypingError):
        native("vmax({x}, np.float64(0))", "float32", width=8)
