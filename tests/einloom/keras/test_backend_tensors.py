"""The functions around ``K.dot``: against ``tf.keras.backend`` where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.keras import backend as K
from einloom_compiler.errors import AxisError, DTypeError, UnsupportedError

X = np.arange(24.0, dtype="float32").reshape(2, 1, 3, 4)


@pytest.fixture(name="keras_backend", scope="module")
def _keras_backend() -> Any:
    return pytest.importorskip("tensorflow").keras.backend


@pytest.fixture
def _restored_floatx() -> Iterator[None]:
    yield
    K.set_floatx("float32")


CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("permute_dimensions", ((3, 0, 2, 1),)),
    ("permute_dimensions", ((0, -1, 1, 2),)),
    ("transpose", ()),
    ("reshape", ((4, -1),)),
    ("reshape", ((2, 3, 4),)),
    ("reshape", ((-1,),)),
    ("expand_dims", ()),
    ("expand_dims", (0,)),
    ("expand_dims", (-5,)),
    ("squeeze", (1,)),
    ("squeeze", (-3,)),
    ("cast", ("int32",)),
    ("cast", ("float64",)),
    ("cast", ("bool",)),
    ("cast", ("complex64",)),
]


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_arrays_give_what_tf_keras_gives(
    name: str, arguments: tuple[Any, ...], keras_backend: Any
) -> None:
    want = getattr(keras_backend, name)(keras_backend.constant(X), *arguments).numpy()
    out = getattr(K, name)(X, *arguments)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want)


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_specs_give_expressions_of_the_same_value(
    name: str, arguments: tuple[Any, ...], keras_backend: Any
) -> None:
    want = getattr(keras_backend, name)(keras_backend.constant(X), *arguments).numpy()
    result = getattr(K, name)(el.spec(X.shape, dtype="float32", name="x"), *arguments)
    assert (result.shape, result.dtype) == (want.shape, want.dtype)
    assert result.call.function == f"keras.backend.{name}"
    np.testing.assert_array_equal(el.compile(result)(X), want)


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_unsettled_dtypes_are_settled_at_the_call(name: str, arguments: tuple[Any, ...]) -> None:
    result = getattr(K, name)(el.spec(X.shape, name="x"), *arguments)
    out = el.compile(result)(X)
    np.testing.assert_array_equal(out, getattr(K, name)(X, *arguments))


@pytest.mark.tensorflow
def test_tensors_of_tensorflow_stay_tensors(keras_backend: Any) -> None:
    tensor = keras_backend.constant(X)
    out = K.transpose(tensor)
    assert type(out) is type(tensor)
    np.testing.assert_array_equal(out, X.T)


def test_arrays_are_not_copied() -> None:
    for out in (K.transpose(X), K.reshape(X, (-1,)), K.squeeze(X, 1), K.cast(X, "float32")):
        assert np.shares_memory(out, X)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("variable", (np.arange(3),)),
        ("variable", (np.ones(3),)),
        ("variable", ([1, 2], "int32")),
        ("constant", (np.arange(3),)),
        ("constant", (3, None, (2, 2))),
        ("constant", ([1, 2, 3, 4], "float64", (2, 2))),
        ("ones", ((2, 3),)),
        ("ones", ((2, 3), "int32")),
        ("zeros", ((2, 0),)),
    ],
)
def test_making_tensors_gives_the_dtypes_and_values_of_tf_keras(
    name: str, arguments: tuple[Any, ...], keras_backend: Any
) -> None:
    want = getattr(keras_backend, name)(*arguments).numpy()
    out = getattr(K, name)(*arguments)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want)


def test_a_variable_is_a_copy() -> None:
    values = np.ones(3, "float32")
    variable = K.variable(values)
    values[0] = 5
    assert variable[0] == 1


def test_looking_at_tensors() -> None:
    assert K.int_shape(X) == (2, 1, 3, 4)
    assert K.ndim(X) == 4
    assert K.dtype(X) == "float32"
    assert list(K.shape(X)) == [2, 1, 3, 4]
    assert K.shape(X).dtype == np.int32
    assert type(K.eval(K.ones(2))) is np.ndarray
    assert type(K.get_value(K.ones(2))) is np.ndarray


def test_placeholders_have_unknown_extents_of_their_own() -> None:
    x = K.placeholder(shape=(None, None, 3), name="x")
    assert K.int_shape(x) == (None, None, 3)
    assert x.shape[0] != x.shape[1]
    assert (K.dtype(x), x.name) == ("float32", "x")
    assert K.ndim(K.placeholder(ndim=2, dtype="int32")) == 2
    assert K.shape(x) == x.shape


@pytest.mark.usefixtures("_restored_floatx")
def test_floatx_is_the_dtype_of_new_tensors() -> None:
    assert K.floatx() == "float32"
    K.set_floatx("float64")
    assert K.ones(2).dtype == K.variable([1]).dtype == np.float64
    assert K.placeholder((2,)).dtype == np.float64
    with pytest.raises(el.DTypeError, match="not 'int32'"):
        K.set_floatx("int32")


def test_reshape_works_out_symbolic_extents() -> None:
    x = el.spec("B", 4, 5, dtype="float32", name="x")
    assert [str(extent) for extent in K.reshape(x, (-1, 20)).shape] == ["B", "20"]
    assert [str(extent) for extent in K.reshape(x, (2, -1)).shape] == ["2", "10*B"]
    assert [str(extent) for extent in K.reshape(x, ("B", -1)).shape] == ["B", "20"]


def test_helpers_combine_with_dot() -> None:
    x, y = el.spec(3, 4, 5, 2, name="x"), el.spec(2, 5, 3, 7, name="y")
    f = el.compile(K.dot(x, K.permute_dimensions(y, (1, 2, 0, 3))))
    a, b = np.ones((3, 4, 5, 2)), np.ones((2, 5, 3, 7))
    np.testing.assert_array_equal(f(a, b), np.einsum("abcr,rijk->abcijk", a, b))


def test_bad_arguments_are_explained() -> None:
    with pytest.raises(AxisError, match=r"pattern \(0, 0, 1, 2\).*\(2, 1, 3, 4\)"):
        K.permute_dimensions(X, (0, 0, 1, 2))
    with pytest.raises(AxisError, match=r"K\.expand_dims, in its result: axis 5 is out of bounds"):
        K.expand_dims(X, 5)
    with pytest.raises(el.ShapeError, match=r"axis 0 of shape .* extent is 2, not 1"):
        K.squeeze(X, 0)
    with pytest.raises(el.ShapeError, match=r"24 elements to .* of 10"):
        K.reshape(X, (2, 5))
    with pytest.raises(el.ShapeError, match="24 is no multiple of 5"):
        K.reshape(X, (5, -1))
    with pytest.raises(el.ShapeError, match="may be -1"):
        K.reshape(X, (-1, -1))
    with pytest.raises(el.ShapeError, match="3 elements does not fill"):
        K.constant([1, 2, 3], shape=(2, 2))
    with pytest.raises(el.SpecError, match="has no values"):
        K.eval(K.placeholder((2,)))
    with pytest.raises(UnsupportedError, match="shape= or ndim="):
        K.placeholder()
    with pytest.raises(UnsupportedError, match="sparse"):
        K.placeholder((2,), sparse=True)


@pytest.mark.parametrize("x", [np.ones((2, 3)), el.spec("a", "b", 3, name="x")])
@pytest.mark.parametrize("shape", ["ab", b"ab", 6, -1, None, {2, 3}])
def test_a_shape_that_is_no_sequence_is_refused(x: Any, shape: Any) -> None:
    with pytest.raises(el.SpecError, match=r"a shape must be a tuple or list of extents, not"):
        K.reshape(x, shape)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: K.reshape(np.ones((2, 3)), ("a", -1)), r"integers, not \['a', 1\]"),
        (lambda: K.reshape(np.ones((2, 3)), (2.0, 3)), r"integers, not \[2\.0, 3\]"),
        (lambda: K.ones("23"), "K.ones: a shape must be"),
        (lambda: K.zeros(("B", 3)), r"einloom\.spec\('B', 3\)"),
        (lambda: K.ones((2, -1)), "must not be negative"),
        (lambda: K.constant([1, 2], shape="2"), "K.constant: a shape must be"),
        (lambda: K.placeholder("ab"), r"not 'ab'; write one as \('ab',\)"),
    ],
)
def test_shapes_of_other_than_extents_are_refused(call: Any, reason: str) -> None:
    with pytest.raises((el.SpecError, el.ShapeError), match=reason):
        call()


def test_shapes_may_be_integer_arrays() -> None:
    assert K.reshape(np.ones((2, 3)), np.array([3, -1])).shape == (3, 2)
    assert K.ones(np.array([2, 3])).shape == (2, 3)
    assert K.zeros(np.int64(4)).shape == (4,)


def test_axes_that_are_no_integers_are_refused() -> None:
    with pytest.raises(DTypeError, match=r"K\.expand_dims.* must be an integer, not 1.0"):
        K.expand_dims(np.ones((2, 3)), 1.0)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match=r"K\.permute_dimensions.* must be an integer, not '1'"):
        K.permute_dimensions(np.ones((2, 3)), "10")  # type: ignore[arg-type]
