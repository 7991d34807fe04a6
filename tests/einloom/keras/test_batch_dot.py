"""``K.batch_dot`` of Keras 2.2.5 and later against ``tf.keras.backend``, and the facts of 2.2.4."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.keras import backend as K
from einloom.keras import backend_for
from einloom_compiler.errors import AxisError

NEW = backend_for("2.3.1")
OLD = backend_for("2.2.4")


def operand(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(-4, 5, shape)
    return values.astype(dtype) * (1 + 2j if dtype.startswith("complex") else 1)


def specs(
    x: tuple[Any, ...], y: tuple[Any, ...], dtype: str | None = "float32"
) -> tuple[el.Expression, el.Expression]:
    return el.spec(x, dtype=dtype, name="x"), el.spec(y, dtype=dtype, name="y")


TABLE = [
    ((32, 20), (32, 20), None, (32, 1), "bi,bi->b"),
    ((32, 20), (32, 20), 1, (32, 1), "bi,bi->b"),
    ((32, 20), (32, 20, 5), None, (32, 5), "bi,bij->bj"),
    ((32, 20), (32, 5, 20), (1, 2), (32, 5), "bi,bji->bj"),
    ((32, 4, 20), (32, 20), None, (32, 4), "bij,bj->bi"),
    ((2, 3, 4, 5), (2, 5), None, (2, 3, 4), "bijk,bk->bij"),
    ((32, 20, 1), (32, 30, 20), (1, 2), (32, 1, 30), "bij,bki->bjk"),
    ((3, 4, 5), (3, 5, 6), None, (3, 4, 6), "bij,bjk->bik"),
    ((3, 4, 5), (3, 4, 6), 1, (3, 5, 6), "bij,bik->bjk"),
    ((3, 4, 5), (3, 6, 5), 2, (3, 4, 6), "bij,bkj->bik"),
    ((3, 4, 5), (3, 6, 5), -1, (3, 4, 6), "bij,bkj->bik"),
    ((2, 3, 4, 5), (2, 5, 6), None, (2, 3, 4, 6), "bijk,bkl->bijl"),
    ((2, 3, 4), (2, 5, 4, 6), None, (2, 3, 5, 6), "bij,bkjl->bikl"),
    ((2, 3, 4, 5), (2, 4, 6, 7), (2, 1), (2, 3, 5, 6, 7), "bijk,bjlm->biklm"),
    ((2, 3, 4, 5), (2, 7, 6, 3), (1, 3), (2, 4, 5, 7, 6), "bijk,blmi->bjklm"),
    ((1, 2, 1), (1, 2, 1, 16), (2, 2), (1, 2, 2, 16), "bij,bkjl->bikl"),
    ((10, 12, 4, 5), (10, 12, 5, 8), None, (10, 12, 4, 12, 8), "abij,acjk->abick"),
    ((2, 3, 2, 4, 2), (2, 3, 2, 2, 5), None, (2, 3, 2, 4, 3, 2, 5), "abcij,adejk->abcidek"),
]


@pytest.mark.parametrize(("x", "y", "axes", "shape", "equation"), TABLE)
def test_the_table_of_the_later_meaning(
    x: Any, y: Any, axes: Any, shape: Any, equation: str
) -> None:
    result = NEW.batch_dot(*specs(x, y), axes)
    assert (result.shape, result.equation) == (shape, equation)


@pytest.mark.tensorflow
@pytest.mark.parametrize(("x", "y", "axes", "shape", "equation"), TABLE)
def test_values_of_the_table_are_those_of_tf_keras(
    x: Any, y: Any, axes: Any, shape: Any, equation: str
) -> None:
    tf = pytest.importorskip("tensorflow")
    a, b = operand(x), operand(y, seed=1)
    want = tf.keras.backend.batch_dot(tf.constant(a), tf.constant(b), axes).numpy()
    assert want.shape == shape
    np.testing.assert_array_equal(NEW.batch_dot(a, b, axes), want)


@pytest.mark.tensorflow
@given(st.data())
def test_random_shapes_and_axes_agree_with_tf_keras(data: st.DataObject) -> None:
    tf = pytest.importorskip("tensorflow")
    extents = st.lists(st.integers(0, 3), min_size=1, max_size=4)
    axis = st.integers(-4, 4)
    x = tuple(data.draw(extents))
    y = tuple(data.draw(extents))
    if data.draw(st.booleans()):
        y = (x[0], *y[1:])
    axes = data.draw(st.none() | axis | st.tuples(axis, axis))
    _agrees_with_tf_keras(tf, x, y, axes)


@pytest.mark.tensorflow
@given(st.data())
def test_random_fitting_calls_agree_with_tf_keras(data: st.DataObject) -> None:
    tf = pytest.importorskip("tensorflow")
    extents = st.lists(st.integers(1, 3), min_size=2, max_size=4)
    x, y = data.draw(extents), data.draw(extents)
    left = data.draw(st.integers(1, len(x) - 1))
    right = data.draw(st.integers(1, len(y) - 1))
    x[0], x[left] = y[0], y[right]
    assert _agrees_with_tf_keras(tf, tuple(x), tuple(y), (left - len(x), right))


def _agrees_with_tf_keras(tf: Any, x: Any, y: Any, axes: Any) -> bool:
    """Compare shape and values; both must reject, or neither. Returns whether they accept."""
    a, b = operand(x), operand(y, seed=1)
    try:
        want = tf.keras.backend.batch_dot(tf.constant(a), tf.constant(b), axes).numpy()
    except (ValueError, IndexError):
        with pytest.raises(el.ShapeError):
            NEW.batch_dot(*specs(x, y), axes)
        return False
    except tf.errors.InvalidArgumentError:  # its reshapes to (-1, 0) break on some empty operands
        assert 0 in (*x, *y)
        return False
    result = NEW.batch_dot(*specs(x, y), axes)
    assert result.shape == want.shape
    np.testing.assert_array_equal(np.einsum(result.equation, a, b).reshape(result.shape), want)
    return True


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "dtype",
    [
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int16", "int32", "int64", "uint8", "bool", "int8"),
    ],
)
def test_the_dtypes_taken_are_those_of_tf_keras(dtype: str) -> None:
    tf = pytest.importorskip("tensorflow")
    a, b = (tf.cast(operand(shape), dtype) for shape in ((3, 4, 5), (3, 5, 6)))
    try:
        want = tf.keras.backend.batch_dot(a, b)
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        with pytest.raises(el.DTypeError, match=f"x of dtype {dtype}"):
            NEW.batch_dot(a.numpy(), b.numpy())
        return
    out = NEW.batch_dot(a, b)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want.numpy())


@pytest.mark.parametrize(
    ("x", "y", "axes", "error", "words"),
    [
        ((3,), (3,), None, el.ShapeError, r"rank < 2.*\(3,\) and \(3,\)"),
        ((3, 4, 5), (1, 5, 6), None, el.ShapeError, r"different batch sizes.*\(1, 5, 6\)"),
        ((3, 4, 5), (3, 6, 5), (2, 1), el.ShapeError, r"x\.shape\[2\] != y\.shape\[1\] \(5 != 6\)"),
        ((3, 4, 5), (3, 4, 5), 0, AxisError, "batch_dot over axis 0"),
        ((3, 4, 5), (3, 4, 5), (-3, 1), AxisError, "batch_dot over axis 0"),
        ((3, 4, 5), (3, 4, 5), ((1,), (2,)), AxisError, "Multiple target dimensions"),
        ((3, 4, 5), (3, 4, 5), 3, AxisError, "axis 3 is out of range for x of rank 3"),
        ((3, 4, 5), (3, 4, 5), (1,), AxisError, r"pair of ints, not \(1,\)"),
        ((3, 4, 5), (3, 4, 5), (1, 2, 2), AxisError, r"not \(1, 2, 2\)"),
        ((3, 4, 5), (3, 4, 5), "1", AxisError, "Provided: '1'"),
        ((3, 4, 5), (3, 4, 5), (1, 1.5), AxisError, "1.5"),
    ],
)
@pytest.mark.parametrize("given_as", ["arrays", "specs"])
def test_errors_of_the_later_meaning(
    x: Any, y: Any, axes: Any, error: Any, words: str, given_as: str
) -> None:
    a, b = specs(x, y) if given_as == "specs" else (operand(x), operand(y))
    with pytest.raises(error, match=words):
        NEW.batch_dot(a, b, axes)


@pytest.mark.parametrize("version", ["2.2.4", "2.3.1", "2.2.4-theano"])
def test_mixed_dtypes_are_an_error_that_names_both(version: str) -> None:
    with pytest.raises(el.DTypeError, match="x is float32 and y is float64"):
        K.batch_dot(operand((2, 3)), operand((2, 3), "float64"), 1, version=version)


@pytest.mark.parametrize(
    ("x", "y", "axes", "shape", "equation"),
    [
        ((32, 20), (32, 20), 1, (32, 1), "ab,ab->a"),
        ((32, 20), (32, 20), 0, (20, 1), "ab,ab->b"),
        ((32, 20), (20, 32), None, (32, 1), "ab,ba->a"),
        ((32, 20), (20, 32), (1, 0), (32, 1), "ab,ba->a"),
        ((32, 20), (20, 32), (0, 1), (20, 1), "ab,ba->b"),
        ((10, 12, 4, 5), (10, 12, 5, 8), None, (10, 12, 4, 8), "abij,abjk->abik"),
        ((9, 8, 7, 4, 2), (9, 8, 7, 2, 5), None, (9, 8, 7, 4, 5), "abcij,abcjk->abcik"),
        ((9, 8, 4, 2), (9, 8, 5, 2), (3, 3), (9, 8, 4, 5), "abij,abkj->abik"),
        ((32, 20, 1), (32, 30, 20), (1, 2), (32, 1, 30), "bij,bki->bjk"),
        ((3, 4, 5), (3, 4, 6), 0, (3, 5, 6), "bij,bik->bjk"),
        ((3, 4, 5), (3, 4, 6), 1, (3, 5, 6), "bij,bik->bjk"),
        ((2, 3, 4), (2, 3, 4, 6), (2, 2), (2, 3, 6), "bij,bijk->bik"),
        ((32, 20), (32, 20, 5), None, (32, 5), "bi,bij->bj"),
        ((32, 4, 20), (32, 20), None, (32, 4), "bij,bj->bi"),
    ],
)
def test_shapes_and_equations_of_the_earlier_meaning(
    x: Any, y: Any, axes: Any, shape: Any, equation: str
) -> None:
    result = OLD.batch_dot(*specs(x, y), axes)
    assert (result.shape, result.equation) == (shape, equation)
    assert OLD.batch_dot(operand(x), operand(y), axes).shape == shape


@pytest.mark.parametrize(
    ("x", "y", "axes", "words"),
    [
        ((32, 20), (32, 20), None, "Dimensions must be equal, but are 20 and 32"),
        (
            (2, 3, 4, 5),
            (2, 5, 6),
            None,
            "cannot multiply ranks 4 and 3.*drops axis 4 of a product of rank 4",
        ),
        ((1, 3, 4), (2, 4, 5), None, "axis 0 of x has extent 1 but axis 0 of y has 2"),
        ((32, 20), (32, 20), 2, "axis 2 is out of range for y of rank 2"),
        ((2, 3), (2, 3, 4), (2, 1), "padded with 1"),
        ((4,), (4,), None, "rank < 2"),
    ],
)
def test_errors_of_the_earlier_meaning(x: Any, y: Any, axes: Any, words: str) -> None:
    with pytest.raises(el.ShapeError, match=words):
        OLD.batch_dot(*specs(x, y), axes)


def test_swapped_axes_conjugate_complex_operands_in_the_earlier_meaning_only() -> None:
    x = np.array([[[1 + 2j], [3]]])
    assert OLD.batch_dot(x, np.ones_like(x), (1, 1)).ravel() == [4 - 2j]
    assert OLD.batch_dot(np.ones_like(x), x, (1, 1)).ravel() == [4 + 2j]
    assert NEW.batch_dot(x, np.ones_like(x), (1, 1)).ravel() == [4 + 2j]


def test_the_theano_backend_transposes_an_operand_over_axis_zero() -> None:
    result = K.batch_dot(*specs((3, 4, 5), (3, 4, 5)), 0, version="2.2.4-theano")
    assert (result.shape, result.equation) == ((5, 4, 4), "jib,jkb->bik")
    x, y = operand((3, 4, 5)), operand((3, 4, 5), seed=1)
    out = K.batch_dot(x, y, 0, version="2.2.4-theano")
    want = [x.T[b] @ y.T[b].T for b in range(5)]
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize(
    ("version", "axes"), [("2.2.4-theano", -1), ("2.2.4-theano", 3), ("2.1.5-theano", 0)]
)
def test_axes_that_the_theano_backend_does_not_take(version: str, axes: int) -> None:
    with pytest.raises(AxisError, match=f"axis {axes} of x is not taken"):
        K.batch_dot(*specs((3, 4, 5), (3, 4, 5)), axes, version=version)


def test_releases_before_2_1_6_have_no_default_axes_for_matrices() -> None:
    with pytest.raises(AxisError, match=r"Keras 2\.1\.5 on TensorFlow has no default axes"):
        K.batch_dot(*specs((3, 3), (3, 3)), version="2.1.5")


def test_releases_before_2_0_4_need_equal_ranks() -> None:
    with pytest.raises(el.ShapeError, match=r"x has rank 2 .* and y rank 3"):
        K.batch_dot(*specs((2, 3), (2, 3, 4)), 1, version="1.2.2")


# --- symbolic extents ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [OLD, NEW], ids=["2.2.4", "2.3.1"])
def test_a_symbolic_batch_is_compiled_once_for_all_sizes(backend: Any) -> None:
    f = el.compile(backend.batch_dot(*specs(("B", "T", 5), ("B", 5, "S"))))
    for batch, rows, columns in ((1, 2, 3), (4, 3, 2), (0, 2, 2)):
        x, y = operand((batch, rows, 5)), operand((batch, 5, columns), seed=1)
        np.testing.assert_array_equal(f(x, y), x @ y)


def test_the_trailing_one_of_two_matrices_is_kept_with_symbols() -> None:
    f = el.compile(NEW.batch_dot(*specs(("B", "I"), ("B", "I"))))
    assert f(operand((3, 4)), operand((3, 4))).shape == (3, 1)


@pytest.mark.parametrize("backend", [OLD, NEW], ids=["2.2.4", "2.3.1"])
def test_extents_that_may_differ_leave_guards(backend: Any) -> None:
    result = backend.batch_dot(*specs(("B", 4, "K"), ("C", "L", 5)))
    assert {(str(g.left), str(g.right)) for g in result.guards} == {("B", "C"), ("K", "L")}
    f = el.compile(result)
    assert f(operand((2, 4, 3)), operand((2, 3, 5))).shape == (2, 4, 5)
    with pytest.raises(el.ShapeError, match="guard"):
        f(operand((2, 4, 3)), operand((1, 3, 5)))


@pytest.mark.parametrize("extent", [1, 2])
def test_an_extent_that_padding_needs_to_be_one_leaves_a_guard(extent: int) -> None:
    # Keras 2.2.4 pads x to (2, 1, 1), and contracts its last axis with y's L.
    result = OLD.batch_dot(*specs((2, 1), (2, "L", 4)), (2, 1))
    assert [(str(g.left), str(g.right)) for g in result.guards] == [("1", "L")]
    f = el.compile(result)
    x, y = operand((2, 1)), operand((2, extent, 4), seed=1)
    if extent == 1:
        np.testing.assert_array_equal(f(x, y), x * y[:, 0])
    else:
        with pytest.raises(el.ShapeError, match="guard"):
            f(x, y)


@pytest.mark.parametrize(("sizes", "fits"), [((3, 1), True), ((3, 2), False)])
def test_an_axis_that_is_dropped_must_have_extent_one(sizes: Any, fits: bool) -> None:
    # Keras 2.2.4 pads x to (2, I, 1), swaps nothing, and drops axis 1 of the product.
    result = OLD.batch_dot(*specs((2, "I"), (2, "J", "K")), (2, 1))
    f = el.compile(result)
    x, y = operand((2, sizes[1])), operand((2, 1, sizes[0]))
    if fits:
        np.testing.assert_array_equal(f(x, y), x * y[:, 0])
    else:
        with pytest.raises(el.ShapeError, match="guard"):
            f(x, y)


def test_symbolic_extents_that_cannot_be_equal_are_shown_as_an_equation() -> None:
    with pytest.raises(el.ShapeError, match=r"T == T \+ 1 cannot hold"):
        NEW.batch_dot(*specs((2, 3, "T"), (2, "T + 1", 4)))


def test_an_unsettled_dtype_keeps_the_conjugation_for_complex_calls() -> None:
    f = el.compile(OLD.batch_dot(*specs((1, 2, 1), (1, 2, 1), None), (1, 1)))
    x = np.array([[[1 + 2j], [3]]])
    assert f(x, x).ravel() == [14]
    assert f(x.real.copy(), x.real.copy()).ravel() == [10]


@given(st.lists(st.integers(1, 4), min_size=3, max_size=4), st.integers(1, 4))
def test_the_earlier_meaning_is_numpys_matmul_for_equal_ranks(shape: list[int], n: int) -> None:
    other = (*shape[:-2], shape[-1], n)
    result = OLD.batch_dot(*specs(tuple(shape), other))
    x, y = operand(tuple(shape)), operand(other, seed=1)
    np.testing.assert_array_equal(np.einsum(result.equation, x, y), np.matmul(x, y))
    assert math.prod(result.shape) == np.matmul(x, y).size
