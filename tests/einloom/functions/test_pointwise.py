"""Functions of corresponding elements against NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import einloom as el
from einloom import functions as F

pytestmark = pytest.mark.thinned(2)

_RNG = np.random.default_rng(5)
_TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}
_BINARY = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
}


def _check(found: Any, expected: Any) -> None:
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    assert np.shape(found) == np.shape(expected)
    tolerance = _TOLERANCE.get(np.asarray(expected).dtype.name, 0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def _array(*shape: int, dtype: str = "float32") -> npt.NDArray[Any]:
    return (4 * _RNG.normal(size=shape)).astype(dtype)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", _BINARY)
def test_functions_of_two_broadcast_and_promote_as_numpys(name: str) -> None:
    for dtypes in (("float32", "float32"), ("int8", "int32"), ("float32", "int16"), ("bool",) * 2):
        if name == "subtract" and "bool" in dtypes:
            continue
        x, y = _array(3, 1, 4, dtype=dtypes[0]), _array(2, 1, dtype=dtypes[1])
        with np.errstate(all="ignore"):
            _check(getattr(F, name)(x, y), _BINARY[name](x, y))
    x = _array(5)
    for number in (2, 0.5, True):
        _check(getattr(F, name)(x, number), _BINARY[name](x, number))
        _check(getattr(F, name)(number, x), _BINARY[name](number, x))


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=4))
@settings(max_examples=settings().max_examples // 2, deadline=None)
def test_any_shapes_that_broadcast(shapes: hnp.BroadcastableShapes) -> None:
    c, x, y = (_array(*shape, dtype="float64") for shape in shapes.input_shapes)
    found = el.jit(lambda c, x, y: F.where(c > 0, x * 2 + y, x))(c, x, y)
    np.testing.assert_allclose(found, np.where(c > 0, x * 2 + y, x), rtol=1e-15)


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(el.ShapeError, match=r"\(3, 2\), \(3\) do not broadcast: axis -1 of operan"):
        F.add(np.ones((3, 2)), np.ones(3))
    with pytest.raises(el.SpecError, match="two different operands are called 'x'"):
        F.add(el.spec(3, name="x"), el.spec(2, 3, name="x"))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "bool", "float16"])
def test_floats_are_made_of_integers_as_numpy_does(dtype: str) -> None:
    x = np.array([0, 1, 1, 0], dtype)
    for name in ("exp", "sqrt", "tanh", "expm1", "log1p"):
        with np.errstate(all="ignore"):
            _check(getattr(F, name)(x), getattr(np, name)(x))
    _check(F.mean(x), np.mean(x))
    _check(F.sum(x), np.sum(x))


@pytest.mark.parametrize("exponent", [2, 0.5, -1, 1, 3, 2.5])
def test_powers(exponent: float) -> None:
    x = np.abs(_array(7)) + np.float32(0.1)
    np.testing.assert_allclose(F.power(x, exponent), np.power(x, exponent), rtol=1e-5)
    _check(F.power(np.arange(4), 2), np.arange(4) ** 2)


def test_casts_clips_and_conditions() -> None:
    x = _array(3, 4)
    _check(F.cast(x, "float64"), x.astype("float64"))
    _check(F.cast(np.array([0.5, 0, -0.0], "f4"), "bool"), np.array([True, False, False]))
    _check(F.cast(np.array([True, False]), "float32"), np.array([1, 0], "f4"))
    _check(F.clip(x, -1, 2), np.clip(x, -1, 2))
    _check(F.clip(x, None, 2.5), np.clip(x, None, 2.5))
    _check(F.where(x, 1.5, x), np.where(x != 0, np.float32(1.5), x))
    _check(F.where(np.array([0.5, 0], "f4"), np.array([1, 2], "i4"), 7), np.array([1, 7], "i4"))
    _check(F.logical_not(x), np.logical_not(x))
    with pytest.raises(el.DTypeError, match="drops imaginary parts"):
        F.cast(np.ones(2, "complex64"), "float32")


def test_numbers_tell_zeros_and_nans_apart() -> None:
    x = np.array([1, 2], "f4")
    for _ in range(2):
        assert np.signbit(F.multiply(x, -0.0)).all()
        assert not np.signbit(F.multiply(x, 0.0)).any()
        assert np.isnan(F.add(x, float("nan"))).all()


def test_activations_agree_with_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = _array(64)
    tensor, nn = torch.from_numpy(x), torch.nn.functional
    for found, expected in (
        (F.relu(x), nn.relu(tensor)),
        (F.gelu(x), nn.gelu(tensor)),
        (F.gelu(x, approximate=True), nn.gelu(tensor, approximate="tanh")),
        (F.silu(x), nn.silu(tensor)),
        (F.elu(x, 0.5), nn.elu(tensor, 0.5)),
        (F.softplus(x), nn.softplus(tensor)),
        (F.sigmoid(x), torch.sigmoid(tensor)),
        (F.log_sigmoid(x), nn.logsigmoid(tensor)),
        (F.leaky_relu(x, negative_slope=0.1), nn.leaky_relu(tensor, 0.1)),
        (F.erf(x), torch.erf(tensor)),
    ):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_operators_are_the_functions() -> None:
    x, y = _array(3, 4), _array(4, 3)

    def function(a: Any, b: Any) -> Any:
        return abs(-(2 * a + 1 - a / 2) @ (b**2)) - np.float32(3), a.T, a <= b.T, a[..., None, 1]

    found = el.jit(function)(x, y)
    expected = function(x, y)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    a = el.spec(3, name="a")
    with pytest.raises(el.SpecError, match="whether it holds is not known"):
        bool(a > 0)
    assert isinstance(np.ones(3) * a, el.Expression)


def test_settled_and_written() -> None:
    e = F.softmax(F.relu(el.spec("B", 4, name="x")) * 0.5 + el.spec(4, name="b"), axis=-1)
    assert el.Expression.from_json(e.to_json()) == e
    f = e.compile()
    for dtype in ("float32", "float64"):
        x, b = _array(3, 4, dtype=dtype), _array(4, dtype=dtype)
        z = np.exp(np.maximum(x, 0) * np.asarray(0.5, dtype) + b)
        _check(f(x, b), (z / z.sum(-1, keepdims=True)).astype(dtype))
    assert "softmax" in e.explain()


@given(st.data())
@settings(max_examples=settings().max_examples // 6, deadline=None)
def test_reductions_along_any_axes(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(max_dims=4, max_side=5))
    x = _array(*shape, dtype="float64")
    axes = data.draw(st.none() | hnp.valid_tuple_axes(len(shape), min_size=1))
    keepdims = data.draw(st.booleans())
    for name in ("sum", "mean", "max", "min", "prod", "var"):
        expected = getattr(np, name)(x, axis=axes, keepdims=keepdims)
        found = getattr(F, name)(x, axis=axes, keepdims=keepdims)
        assert np.shape(found) == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    if axes != ():
        e = np.exp(x - x.max(axis=axes, keepdims=True))
        np.testing.assert_allclose(F.softmax(x, axes), e / e.sum(axis=axes, keepdims=True))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_the_square_root_of_complex_numbers_is_numpys(dtype: str) -> None:
    parts = [0.0, -0.0, 1.0, -1.0, 2.5, 3e30, -2e-30, np.inf, -np.inf]
    x = np.array([complex(a, b) for a in parts for b in parts], dtype)
    found, expected = F.sqrt(x), np.sqrt(x)
    assert found.dtype == x.dtype
    precision = 8 * float(np.finfo(dtype).eps)
    for part in (np.real, np.imag):
        np.testing.assert_allclose(part(found), part(expected), rtol=precision, atol=0)
        np.testing.assert_array_equal(np.signbit(part(found)), np.signbit(part(expected)))
