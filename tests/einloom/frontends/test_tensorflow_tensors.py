"""TensorFlow's tensors as operands: which are taken, and which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.einloom.frontends.comparing import assert_same

import einloom as el
import einloom.tensorflow as etf
from einloom_compiler.errors import DTypeError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


def test_variables_are_taken_and_tensors_returned(operands: Any) -> None:
    a, b = tf.Variable(operands((3, 4), "float32")), tf.Variable(operands((4, 5), "float32"))
    assert_same(etf.matmul(a, b), tf.matmul(a, b))


def test_a_tensor_that_a_tape_records_is_refused() -> None:
    x = tf.ones((2, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        with pytest.raises(el.UnsupportedError, match=r"GradientTape .* records this tensor"):
            etf.matmul(x, x)
        with tape.stop_recording():
            assert_same(etf.matmul(x, x), tf.matmul(x, x))
        assert_same(etf.matmul(tf.ones((2, 2)), tf.ones((2, 2))), tf.matmul(x, x))
    variable = tf.Variable(x)
    with tf.GradientTape(), pytest.raises(el.UnsupportedError, match="GradientTape"):
        etf.matmul(variable, x)
    fixed = tf.Variable(x, trainable=False)
    with tf.GradientTape():
        assert_same(etf.matmul(fixed, x), tf.matmul(fixed, x))


def test_complex_and_forward_mode_recordings_are_refused_too() -> None:
    z = tf.ones((2, 2), tf.complex64)
    with tf.GradientTape() as tape:
        tape.watch(z)
        with pytest.raises(el.UnsupportedError, match="GradientTape"):
            etf.matmul(z, z)
    x = tf.ones((2, 2))
    with (
        tf.autodiff.ForwardAccumulator(x, x),
        pytest.raises(el.UnsupportedError, match="ForwardAccumulator"),
    ):
        etf.matmul(x, x)


def test_a_graph_tensor_is_refused() -> None:
    traced = tf.function(lambda x: etf.matmul(x, x))
    # AutoGraph wraps the error in one of its own, with its text.
    with pytest.raises(Exception, match=r"UnsupportedError: .* part of a tf\.function graph"):
        traced(tf.ones((2, 2)))


def test_sparse_and_missing_operands_are_refused() -> None:
    sparse = tf.sparse.from_dense(tf.ones((2, 2)))
    with pytest.raises(DTypeError, match=r"SparseTensor.*tf\.sparse\.to_dense"):
        etf.matmul(sparse, tf.ones((2, 2)))
    with pytest.raises(el.UnsupportedError, match=r"SparseTensor is not dense.*to_dense"):
        el.matmul(sparse, np.ones((2, 2)))
    with pytest.raises(DTypeError, match="None"):
        etf.matmul(tf.ones((2, 2)), None)


def test_the_ways_out_of_a_tape_that_the_message_names_work() -> None:
    x = tf.ones((2, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        assert_same(etf.matmul(tf.stop_gradient(x), tf.ones((2, 2))), tf.fill((2, 2), 2.0))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("ij->ji", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ij->", [(2, 3)]),
        ("i,ij,j->", [(2,), (2, 3), (3,)]),
        (",i->i", [(), (3,)]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int32", "complex64", "bfloat16"])
def test_einsum_of_tensors_gives_tensors(
    equation: str, shapes: list[tuple[int, ...]], dtype: str, operands: Any
) -> None:
    tensors = [tf.cast(tf.constant(operands(shape, "float32")), dtype) for shape in shapes]
    assert_same(el.einsum(equation, *tensors), tf.einsum(equation, *tensors))


def test_einsum_in_sublist_form_and_beside_arrays_gives_tensors(operands: Any) -> None:
    a, b = operands((2, 3), "float32"), operands((3, 4), "float32")
    want = tf.matmul(a, b)
    assert_same(el.einsum(tf.constant(a), [0, 1], b, [1, 2], [0, 2]), want)
    assert_same(el.einsum("ij,jk->ik", a, tf.Variable(b)), want)
    out = np.empty((2, 4), np.float32)
    assert el.einsum("ij,jk->ik", tf.constant(a), tf.constant(b), out=out) is out
    np.testing.assert_array_equal(out, want.numpy())


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij->ji"])
def test_einsum_of_a_recorded_tensor_is_refused(equation: str) -> None:
    x = tf.ones((2, 2))
    given = (x,) * (equation.count(",") + 1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        with pytest.raises(el.UnsupportedError, match=r"tape\.stop_recording\(\)"):
            el.einsum(equation, *given)
        with tape.stop_recording():
            assert_same(el.einsum(equation, *given), tf.einsum(equation, *given))


def test_a_compiled_function_gives_tensors_for_tensors(operands: Any) -> None:
    a, b = tf.constant(operands((2, 3), "float32")), tf.constant(operands((3, 4), "float32"))
    f = el.compile("ij,jk->ik", el.spec("M", 3), el.spec(3, "N"))
    assert_same(f(a, b), tf.matmul(a, b))
    assert_same(f(a, b.numpy()), tf.matmul(a, b))
    assert type(f(a.numpy(), b.numpy())) is np.ndarray


def test_a_tensor_of_text_is_refused() -> None:
    with pytest.raises(DTypeError, match="dtype string holds no numbers"):
        el.einsum("i->", tf.constant(["a", "b"]))
