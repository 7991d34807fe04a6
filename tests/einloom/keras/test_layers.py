"""The ``Dot`` layer against the real ``keras.layers.Dot``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.keras import layers
from einloom_compiler.errors import AxisError

pytestmark = [pytest.mark.keras, pytest.mark.tensorflow]


@pytest.fixture(name="keras_layers", scope="module")
def _keras_layers() -> Any:
    pytest.importorskip("tensorflow")
    return pytest.importorskip("keras").layers


def operand(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(-3, 4, shape)
    return (values * (1 + 2j)).astype(dtype) if "complex" in dtype else values.astype(dtype)


CASES = [
    ((32, 20), (32, 20), 1),
    ((32, 20), (32, 20), -1),
    ((2, 3, 5), (2, 10, 3), (1, 2)),
    ((2, 3, 5), (2, 10, 3), [-2, -1]),
    ((2, 4, 3), (2, 3), (2, 1)),
    ((2, 3, 4, 5), (2, 6, 5, 7), (3, 2)),
]


@pytest.mark.parametrize(("x", "y", "axes"), CASES)
@pytest.mark.parametrize("normalize", [False, True])
def test_values_are_those_of_keras(
    x: Any, y: Any, axes: Any, normalize: bool, keras_layers: Any
) -> None:
    a, b = operand(x), operand(y, seed=1)
    want = keras_layers.Dot(axes, normalize=normalize)([a, b]).numpy()
    layer = layers.Dot(axes, normalize=normalize)
    out = layer([a, b])
    assert (out.shape, out.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(out, want, rtol=0, atol=2e-6 if normalize else 0)
    assert layer.compute_output_shape([x, y]) == want.shape
    np.testing.assert_array_equal(layers.dot([a, b], axes, normalize=normalize), out)


@given(st.data())
def test_random_shapes_and_axes_agree_with_keras(data: st.DataObject) -> None:
    keras_layers = pytest.importorskip("keras").layers
    extents = st.lists(st.integers(1, 3), min_size=2, max_size=4)
    x, y = tuple(data.draw(extents)), tuple(data.draw(extents))
    axes = data.draw(st.integers(-2, 3) | st.tuples(st.integers(-2, 3), st.integers(-2, 3)))
    a, b = operand(x), operand(y, seed=1)
    try:
        want = keras_layers.Dot(axes)([a, b]).numpy()
    except (ValueError, IndexError):
        with pytest.raises(el.ShapeError):
            layers.Dot(axes)([el.spec(x), el.spec(y)])
        return
    result = layers.Dot(axes)([el.spec(x), el.spec(y)])
    assert result.shape == want.shape
    np.testing.assert_array_equal(np.einsum(result.equation, a, b).reshape(result.shape), want)


@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    ],
)
def test_the_result_has_the_dtype_of_keras(dtype: str, keras_layers: Any) -> None:
    a, b = np.abs(operand((2, 3), "int64")), np.abs(operand((2, 3), "int64", seed=1))
    a, b = a.astype(dtype), b.astype(dtype)
    want = keras_layers.Dot(1)([a, b]).numpy()
    out = layers.Dot(1)([a, b])
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out, want)


def test_the_layers_dtype_decides_for_floating_inputs(keras_layers: Any) -> None:
    a = operand((2, 3), "float64")
    for dtype in ("float16", "float64"):
        want = keras_layers.Dot(1, dtype=dtype)([a, a.astype("float32")]).numpy()
        out = layers.Dot(1, dtype=dtype)([a, a.astype("float32")])
        assert out.dtype == want.dtype == dtype
        np.testing.assert_array_equal(out, want)


def test_a_zero_vector_has_cosine_zero(keras_layers: Any) -> None:
    a = np.array([[0, 0, 0], [3, 4, 0]], "float32")
    b = np.array([[1, 2, 3], [1e-9, 0, 0]], "float32")
    want = keras_layers.Dot(1, normalize=True)([a, b]).numpy()
    out = layers.Dot(1, normalize=True)([a, b])
    np.testing.assert_allclose(out, want, rtol=1e-5)
    assert out[0] == 0
    assert 0 < out[1] < 0.01  # a norm below 1e-7 counts as 1e-7


def test_halves_are_normalized_in_single_precision(keras_layers: Any) -> None:
    a = np.array([[0, 0], [300, 400]], "float16")
    out = layers.Dot(1, normalize=True, dtype="float16")([a, a])
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, [[0], [1]])
    assert np.isnan(keras_layers.Dot(1, normalize=True, dtype="float16")([a, a]).numpy()[0])


def test_specs_give_an_expression_that_compiles_for_every_size() -> None:
    x = el.spec("B", "T", 5, dtype="float32", name="x")
    y = el.spec("B", "S", 5, dtype="float32", name="y")
    for normalize in (False, True):
        result = layers.Dot(2, normalize=normalize)([x, y])
        assert result.equation == "bij,bkj->bik"
        assert [str(extent) for extent in result.shape] == ["B", "T", "S"]
        assert result.call.function == "keras.layers.Dot"
        f = el.compile(result)
        for sizes in ((2, 3, 4), (1, 1, 2)):
            a, b = operand((sizes[0], sizes[1], 5)), operand((sizes[0], sizes[2], 5), seed=1)
            expected = layers.Dot(2, normalize=normalize)([a, b])
            # Compiled, products are scaled by the norms; called, the operands are.
            np.testing.assert_allclose(f(a, b), expected, rtol=1e-6, atol=2e-7)


def test_unsettled_dtypes_are_settled_at_the_call() -> None:
    f = el.compile(
        layers.Dot(1, normalize=True)([el.spec(2, 3, name="x"), el.spec(2, 3, name="y")])
    )
    a = operand((2, 3), "float64") + 4
    assert f(a, a).dtype == np.float32
    np.testing.assert_allclose(f(a, a), [[1], [1]], rtol=1e-6)


def test_tensors_give_tensors() -> None:
    tf = pytest.importorskip("tensorflow")
    assert tf.is_tensor(layers.Dot(1)([tf.ones((2, 3)), tf.ones((2, 3))]))


@pytest.mark.parametrize(
    ("axes", "error"),
    [("a", TypeError), (1.0, TypeError), ((1,), ValueError), ((1, 2.0), ValueError)],
)
def test_axes_that_are_none(axes: Any, error: type[Exception], keras_layers: Any) -> None:
    with pytest.raises(error) as theirs:
        keras_layers.Dot(axes)
    with pytest.raises(error) as ours:
        layers.Dot(axes)
    assert isinstance(ours.value, AxisError)
    assert str(ours.value)[:50] == str(theirs.value)[:50]


@pytest.mark.parametrize(
    ("x", "y", "axes", "words"),
    [
        ((2, 3), (2, 4), 1, r"axis values 3 \(at axis 1\) != 4 \(at axis 1\).*\(2, 3\), \(2, 4\)"),
        ((2, 3), (2, 3), 0, "cannot contract axis 0"),
        ((2, 3), (2, 3), 2, "axis 2 is out of range for input 1"),
        ((2, 3), (4, 3), 1, "different batch sizes"),
        ((3,), (3,), 0, r"input 1 has shape \(3,\)"),
    ],
)
def test_inputs_that_do_not_fit(x: Any, y: Any, axes: Any, words: str, keras_layers: Any) -> None:
    with pytest.raises(el.ShapeError, match=words):
        layers.Dot(axes)([operand(x), operand(y)])
    with pytest.raises((ValueError, IndexError)):
        keras_layers.Dot(axes)([operand(x), operand(y)])


def test_a_layer_takes_a_list_of_two() -> None:
    inputs: Any
    for inputs in (operand((2, 3)), [operand((2, 3))], [operand((2, 3))] * 3):
        with pytest.raises(el.ShapeError, match="should be called on a list of 2 inputs"):
            layers.Dot(1)(inputs)
    with pytest.raises(el.ShapeError, match="list of 2 inputs"):
        layers.Dot(1).compute_output_shape([(2, 3)])
    with pytest.raises(AxisError, match="axis 3 is out of range"):
        layers.Dot(3).compute_output_shape([(2, 3), (2, 3)])


@pytest.mark.parametrize("dtype", ["int32", "complex64", "bool"])
def test_only_floating_inputs_are_normalized(dtype: str, keras_layers: Any) -> None:
    tf = pytest.importorskip("tensorflow")
    a = operand((2, 3), dtype)
    with pytest.raises(tf.errors.InvalidArgumentError):
        keras_layers.Dot(1, normalize=True)([a, a])
    with pytest.raises(el.DTypeError, match=f"input 1 is {dtype}"):
        layers.Dot(1, normalize=True)([a, a])


def test_unknown_extents_stay_unknown_in_output_shapes(keras_layers: Any) -> None:
    for axes, shapes in ((1, [(None, 3), (None, 3)]), ((3, 2), [(None, 3, 4, 5), (None, 6, 5, 7)])):
        want = keras_layers.Dot(axes).compute_output_shape(shapes)
        assert layers.Dot(axes).compute_output_shape(shapes) == want


def test_the_configuration_makes_an_equal_layer(keras_layers: Any) -> None:
    layer = layers.Dot((1, 2), normalize=True, name="cosine", dtype="float64")
    config = layer.get_config()
    theirs = keras_layers.Dot((1, 2), normalize=True, name="cosine", dtype="float64").get_config()
    assert set(config) == set(theirs)
    assert config["axes"] == theirs["axes"]
    assert config["dtype"] == theirs["dtype"]["config"]["name"]
    assert layers.Dot.from_config(config).get_config() == config
    assert repr(layer) == "<Dot axes=(1, 2) normalize=True>"
