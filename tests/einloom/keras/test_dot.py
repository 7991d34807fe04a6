"""``K.dot`` against ``tf.keras.backend.dot``, and what it says where it cannot."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import einloom as el
from einloom.keras import backend as K


def operand(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(-4, 5, shape)
    return values.astype(dtype) * (1 + 2j if dtype.startswith("complex") else 1)


TABLE = [
    ((3, 4), (4, 5), (3, 5), "ij,jk->ik"),
    ((2, 3), (4, 3, 5), (2, 4, 5), "ar,irk->aik"),
    ((2, 3, 4), (4, 5), (2, 3, 5), "abr,rk->abk"),
    ((2, 3, 4), (7, 4, 5), (2, 3, 7, 5), "abr,irk->abik"),
    ((1, 2, 3, 4), (8, 7, 4, 5), (1, 2, 3, 8, 7, 5), "abcr,ijrk->abcijk"),
    ((1, 2, 4), (8, 7, 4, 5), (1, 2, 8, 7, 5), "abr,ijrk->abijk"),
    ((4,), (3, 4, 5), (3, 5), "r,irk->ik"),
    ((0, 4), (4, 5), (0, 5), "ij,jk->ik"),
    ((2, 0), (0, 5), (2, 5), "ij,jk->ik"),
]


@pytest.mark.parametrize(("x", "y", "shape", "equation"), TABLE)
def test_the_table_of_shapes_and_equations(x: Any, y: Any, shape: Any, equation: str) -> None:
    result = K.dot(el.spec(x, dtype="float32"), el.spec(y, dtype="float32"))
    assert (result.shape, result.equation) == (shape, equation)


@pytest.mark.tensorflow
@pytest.mark.parametrize(("x", "y", "shape", "equation"), TABLE)
def test_values_are_those_of_tf_keras(x: Any, y: Any, shape: Any, equation: str) -> None:
    tf = pytest.importorskip("tensorflow")
    a, b = operand(x), operand(y, seed=1)
    want = tf.keras.backend.dot(tf.constant(a), tf.constant(b)).numpy()
    assert want.shape == shape
    np.testing.assert_array_equal(K.dot(a, b), want)


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
    a, b = (tf.cast(operand(shape), dtype) for shape in ((3, 4), (4, 5)))
    try:
        want = tf.keras.backend.dot(a, b)
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        with pytest.raises(el.DTypeError, match=f"x of dtype {dtype}"):
            K.dot(a.numpy(), b.numpy())
        return
    out = K.dot(a, b)
    assert out.dtype == want.dtype
    np.testing.assert_array_equal(out.numpy(), want.numpy())
    assert K.dot(a.numpy(), b.numpy()).dtype == want.numpy().dtype


@pytest.mark.tensorflow
@given(st.data())
def test_shapes_agree_with_tf_keras_for_random_ranks(data: st.DataObject) -> None:
    tf = pytest.importorskip("tensorflow")
    extents = st.integers(1, 3)
    x = tuple(data.draw(st.lists(extents, min_size=0, max_size=4)))
    y = tuple(data.draw(st.lists(extents, min_size=0, max_size=4)))
    a, b = operand(x), operand(y, seed=1)
    try:
        want = tf.keras.backend.dot(tf.constant(a), tf.constant(b)).numpy()
    except (ValueError, IndexError, tf.errors.InvalidArgumentError):
        with pytest.raises(el.ShapeError):
            K.dot(el.spec(x), el.spec(y))
        return
    result = K.dot(el.spec(x), el.spec(y))
    assert result.shape == want.shape
    np.testing.assert_array_equal(np.einsum(result.equation, a, b), want)


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "broadcast"])
def test_any_layout_of_the_operands(layout: str) -> None:
    y = operand((7, 4, 5), seed=1)
    x = {
        "transposed": operand((4, 3, 2)).T,
        "strided": operand((4, 3, 8))[::2, :, ::2],
        "reversed": operand((2, 3, 4))[:, ::-1, ::-1],
        "broadcast": np.broadcast_to(operand((3, 4)), (2, 3, 4)),
    }[layout]
    np.testing.assert_array_equal(K.dot(x, y), np.einsum("abr,irk->abik", x, y))


def test_results_are_arrays_that_answer_to_numpy() -> None:
    out = K.dot(np.ones((2, 3)), np.ones((3, 4)))
    assert type(out.numpy()) is np.ndarray
    assert isinstance(out, np.ndarray)


@pytest.mark.tensorflow
def test_tensors_give_tensors() -> None:
    tf = pytest.importorskip("tensorflow")
    assert tf.is_tensor(K.dot(tf.ones((2, 3)), tf.ones((3, 4))))


def test_mixed_dtypes_are_an_error_that_names_both() -> None:
    with pytest.raises(el.DTypeError, match=r"x is int32 and y is float32.*K\.cast\(x, 'float32'"):
        K.dot(operand((2, 3), "int32"), operand((3, 4)))


def test_a_python_list_counts_as_float32() -> None:
    assert K.dot([[1.0, 2.0]], K.ones((2, 3))).dtype == np.float32


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        ((4,), (4,), "needs operands of rank 2"),
        ((4,), (4, 5), r"x has shape \(4,\)"),
        ((), (4, 5), "needs operands of rank 2"),
        ((2, 3, 4), (4,), "y has no second-to-last axis"),
        ((), (3, 4, 5), "x has no last axis"),
    ],
)
def test_ranks_that_tensorflow_does_not_take(x: Any, y: Any, words: str) -> None:
    with pytest.raises(el.ShapeError, match=words) as caught:
        K.dot(operand(x), operand(y))
    assert "einloom.keras.ops.dot" in str(caught.value)


def mismatch(x: tuple[Any, ...], y: tuple[Any, ...]) -> str:
    with pytest.raises(el.ShapeError) as caught:
        K.dot(el.spec(x, dtype="float32"), el.spec(y, dtype="float32"))
    return str(caught.value)


def test_the_mismatch_of_the_post_names_axes_extents_and_the_known_phrase() -> None:
    message = mismatch((3, 4, 5, 2), (2, 5, 3, 7))
    for part in (
        "axis 3 of x (shape (3, 4, 5, 2)) has extent 2",
        "axis 2 of y (shape (2, 5, 3, 7)) has extent 3",
        "Dimensions must be equal, but are 2 and 3",
        "K.dot(x, K.permute_dimensions(y, (1, 2, 0, 3)))  ->  (3, 4, 5, 5, 3, 7)",
        "K.dot(K.permute_dimensions(x, (1, 2, 3, 0)), y)  ->  (4, 5, 2, 2, 5, 7)",
        "axes=([0, 2, 3], [2, 1, 0]))  ->  (4, 7)",
    ):
        assert part in message


@given(st.lists(st.integers(2, 4), min_size=2, max_size=4), st.lists(st.integers(2, 4), min_size=2))
def test_every_proposal_gives_the_shape_it_promises(x: list[int], y: list[int]) -> None:
    import einloom

    x, y = x[-4:], y[-4:]
    if x[-1] == y[-2] or max(len(x), len(y)) < 2:
        return
    message = mismatch(tuple(x), tuple(y))
    proposals = re.findall(r"^  (.+?)  ->  (\(.*?\))  \(", message, re.MULTILINE)
    assert bool(proposals) == (
        x[-1] in y or y[-2] in x or "that pair up" in message or "batched over" in message
    )
    names = {"K": K, "einloom": einloom, "x": el.spec(x, name="x"), "y": el.spec(y, name="y")}
    for call, shape in proposals:
        assert str(eval(call, names).shape) == shape, call


def test_without_any_equal_extents_nothing_is_proposed() -> None:
    assert "No axis of x has the extent of an axis of y" in mismatch((2, 3), (4, 5))


def test_symbolic_extents_that_cannot_be_equal_are_shown_as_an_equation() -> None:
    with pytest.raises(el.ShapeError, match=r"B == B \+ 1 cannot hold"):
        K.dot(el.parse("K.transpose(x[B,3])"), el.spec("B + 1", 4, name="y"))


def test_symbolic_extents_that_may_be_equal_leave_a_guard() -> None:
    result = K.dot(el.spec("M", "K", name="x"), el.spec("L", "N", name="y"))
    assert [(str(g.left), str(g.right)) for g in result.guards] == [("K", "L")]
    f = el.compile(result)
    assert f(np.ones((2, 3)), np.ones((3, 4))).shape == (2, 4)
    with pytest.raises(el.ShapeError, match="3 != 5"):
        f(np.ones((2, 3)), np.ones((5, 4)))


def test_an_unsettled_dtype_is_settled_at_the_call() -> None:
    f = el.compile(K.dot(el.spec(2, 3, name="x"), el.spec(3, 4, name="y")))
    for dtype in ("float32", "complex64"):
        assert f(np.ones((2, 3), dtype), np.ones((3, 4), dtype)).dtype == dtype
    with pytest.raises(el.DTypeError):
        f(np.ones((2, 3), "float32"), np.ones((3, 4), "float64"))
    with pytest.raises(el.DTypeError, match="x of dtype int8"):
        f(np.ones((2, 3), "int8"), np.ones((3, 4), "int8"))
