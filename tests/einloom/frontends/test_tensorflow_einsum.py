"""Against the real ``tf.einsum``: the same equations accepted, the same results and error texts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import einloom as el
import einloom.tensorflow as etf
from einloom_compiler.errors import DTypeError, ShapeError, SubscriptError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

ACCEPTED = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ij- >ji", [(2, 3)]),
    (" i j -> j i ", [(2, 3)]),
    ("bA", [(2, 3)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("iij->ij", [(3, 3, 2)]),
    ("aab,bcc->ac", [(3, 3, 2), (2, 4, 4)]),
    ("ij,kl->ik", [(2, 3), (4, 5)]),
    ("", [()]),
    ("->", [()]),
    (",ij->ij", [(), (2, 3)]),
    (",", [(), ()]),
    ("ij->", [(2, 3)]),
    ("ij,jk->ik", [(0, 3), (3, 4)]),
    ("ij,jk->ik", [(2, 0), (0, 4)]),
    ("...i", [(2, 3)]),
    ("...->...", [(2, 3)]),
    ("...a->a...", [(2, 3, 4)]),
    ("...ij,jk", [(5, 2, 3), (3, 4)]),
    ("ij,...jk", [(2, 3), (5, 3, 4)]),
    ("...ij,...jk", [(2, 3), (3, 4)]),
    ("...ij,...jk->...ik", [(5, 2, 3), (1, 3, 4)]),
    ("...ij,...jk->...ik", [(6, 1, 2, 3), (5, 3, 4)]),
    ("i...j,j...->i...", [(2, 5, 3), (3, 5)]),
    ("ij->...ij", [(2, 3)]),
    ("...,...->...", [(2, 3), (3,)]),
    ("i...->i", [(2,)]),
    ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
    ("...ab,...bc,cd->...ad", [(5, 2, 3), (1, 3, 4), (4, 5)]),
    ("i,i,i->i", [(3,), (3,), (3,)]),
]

REJECTED = [
    ("ij,jk->ik", [(2, 3), (4, 5)], ShapeError),
    ("ij,jk->ik", [(2, 1), (3, 4)], ShapeError),
    ("ii->i", [(2, 3)], ShapeError),
    ("ii->i", [(1, 3)], ShapeError),
    ("...ij,...jk->...ik", [(5, 2, 3), (4, 3, 4)], ShapeError),
    ("ij->i", [(2, 3, 4)], SubscriptError),
    ("ij", [(2,)], SubscriptError),
    ("...ij->...", [(2,)], SubscriptError),
    ("ij,jk->ik", [(2, 3)], SubscriptError),
    ("ij,jk->ik", [(2, 3), (3, 4), (4, 5)], SubscriptError),
    ("ij,", [(2, 3)], SubscriptError),
    ("ij->ijk", [(2, 3)], SubscriptError),
    ("ij->iij", [(2, 3)], SubscriptError),
    ("i...->i", [(2, 3)], SubscriptError),
    ("...ij,...jk", [(5, 2, 3), (5, 3, 4)], SubscriptError),
    ("a...,a...->", [(2, 3), (2, 3)], SubscriptError),
    ("i_->i", [(2, 3)], SubscriptError),
    ("i0->i", [(2, 3)], SubscriptError),
    ("é->é", [(2,)], SubscriptError),
    ("i.j", [(2, 3)], SubscriptError),
    ("i..j", [(2, 3)], SubscriptError),
    ("ij>ji", [(2, 3)], SubscriptError),
    ("ij->ji->ij", [(2, 3)], SubscriptError),
    ("ij,jk->ik,", [(2, 3), (3, 4)], SubscriptError),
    ("ij\t->ij", [(2, 3)], SubscriptError),
    ("i......,j,k->ij", [(2, 3), (2,), (2,)], SubscriptError),
]


def core_text(error: Exception) -> str:
    """Return what TensorFlow says, without the names of its kernels."""
    text = re.sub(r"\{\{function_node .*?\}\} ", "", str(error))
    return re.split(r" ?\[Op:|\n", text)[0].rstrip(".")


@pytest.mark.parametrize(("equation", "shapes"), ACCEPTED)
def test_einsum_equals_tensorflow(operands: Any, equation: str, shapes: list[Any]) -> None:
    tensors = [tf.constant(operands(shape, "float32")) for shape in shapes]
    want = tf.einsum(equation, *tensors)
    got = etf.einsum(equation, *tensors)
    assert isinstance(got, tf.Tensor)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    assert etf.einsum(equation, *map(el.spec, shapes)).shape == tuple(want.shape)


@pytest.mark.parametrize(("equation", "shapes", "error"), REJECTED)
def test_einsum_rejects_what_tensorflow_rejects_in_its_words(
    equation: str, shapes: list[Any], error: type[Exception]
) -> None:
    tensors = [tf.ones(shape) for shape in shapes]
    with pytest.raises(Exception) as theirs:
        tf.einsum(equation, *tensors)
    with pytest.raises(error) as ours:
        etf.einsum(equation, *tensors)
    assert core_text(theirs.value) in str(ours.value)
    with pytest.raises(error):
        etf.einsum(equation, *map(el.spec, shapes))


def test_three_operands_whose_extents_differ_are_named() -> None:
    shapes = [(2, 3), (3, 4), (5, 6)]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.einsum("ab,bc,cd->ad", *map(tf.ones, shapes))
    with pytest.raises(ShapeError, match=r"label 'c' has extent 4 in operand 1 and 5 in operand 2"):
        etf.einsum("ab,bc,cd->ad", *map(tf.ones, shapes))


def test_two_ellipses_in_a_term_are_refused_where_eager_tensorflow_goes_wrong(
    operands: Any,
) -> None:
    x = tf.constant(operands((2, 5, 3), "float32"))
    assert tf.einsum("i......j->ij", x).shape == (5, 2, 3)
    with pytest.raises(SubscriptError, match=r"Too many ellipses in input label i\.\.\.\.\.\.j"):
        etf.einsum("i......j->ij", x)


@pytest.mark.parametrize(
    "dtype",
    [
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int8", "int16", "int32", "int64", "uint8", "bool"),
    ],
)
def test_einsum_takes_the_dtypes_that_tensorflow_takes(operands: Any, dtype: str) -> None:
    a, b = (tf.cast(operands(shape, "int8"), dtype) for shape in ((2, 3), (3, 4)))
    try:
        want = tf.einsum("ij,jk->ik", a, b)
    except tf.errors.NotFoundError:
        with pytest.raises(DTypeError, match=f"no CPU kernel for operands of {dtype}"):
            etf.einsum("ij,jk->ik", a, b)
    else:
        got = etf.einsum("ij,jk->ik", a, b)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_tensors_of_two_dtypes_are_rejected() -> None:
    x, y = tf.ones((2, 2)), tf.ones((2, 2), tf.float64)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.einsum("ij,jk->ik", x, y)
    with pytest.raises(DTypeError, match="float tensor but is a double tensor"):
        etf.einsum("ij,jk->ik", x, y)


@pytest.mark.parametrize("order", [("float32", "float64"), ("float64", "float32")])
@pytest.mark.parametrize("tensor", [0, 1, None])
def test_arrays_are_cast_to_the_first_tensors_dtype(
    operands: Any, order: tuple[str, str], tensor: int | None
) -> None:
    arrays: list[Any] = [operands((2, 2), dtype) for dtype in order]
    if tensor is not None:
        arrays[tensor] = tf.constant(arrays[tensor])
    want = tf.einsum("ij,jk->ik", *arrays)
    got = etf.einsum("ij,jk->ik", *arrays)
    assert got.dtype == want.dtype.as_numpy_dtype
    np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.parametrize("optimize", ["greedy", "optimal", True])
def test_optimize_changes_the_order_only(operands: Any, optimize: Any) -> None:
    tensors = [tf.constant(operands(shape, "float32")) for shape in ((2, 3), (3, 4), (4, 5))]
    want = tf.einsum("ij,jk,kl->il", *tensors, optimize=optimize)
    got = etf.einsum("ij,jk,kl->il", *tensors, optimize=optimize)
    np.testing.assert_array_equal(got.numpy(), want.numpy())


def test_an_unknown_optimizer_is_named() -> None:
    tensors = [tf.ones((2, 2))] * 3
    with pytest.raises(KeyError, match="bad"):
        tf.einsum("ij,jk,kl->il", *tensors, optimize="bad")
    with pytest.raises(KeyError, match="optimize='bad' names no optimizer"):
        etf.einsum("ij,jk,kl->il", *tensors, optimize="bad")


def test_sublists_and_other_keywords_are_rejected() -> None:
    x = tf.ones((2, 2))
    with pytest.raises(DTypeError, match=r"einloom\.einsum has the sublist form"):
        etf.einsum(x, [0, 1], [1, 0])
    unknown: dict[str, Any] = {"foo": 1}
    with pytest.raises(TypeError, match="foo"):
        etf.einsum("ij->ji", x, **unknown)


def test_ellipsis_axes_of_symbolic_operands_broadcast(operands: Any) -> None:
    function = etf.einsum(
        "...ij,...jk->...ik", el.spec("B", 3, 4, name="x"), el.spec(1, 4, "N", name="y")
    ).compile()
    a, b = operands((5, 3, 4)), operands((1, 4, 2))
    np.testing.assert_array_equal(function(a, b), np.matmul(a, b))
