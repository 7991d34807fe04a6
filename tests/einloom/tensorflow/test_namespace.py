"""``import einloom.tensorflow as tf`` in place of ``import tensorflow as tf``."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import einloom as el
import einloom.tensorflow as etf
from einloom_compiler.errors import DTypeError, ShapeError, SpecError

#: Snippets that run unchanged on either namespace; from tf.matmul's own documentation where marked.
SNIPPETS = {
    "documentation, rank 2": (
        "a = tf.constant([1, 2, 3, 4, 5, 6], shape=[2, 3])\n"
        "b = tf.constant([7, 8, 9, 10, 11, 12], shape=[3, 2])\n"
        "c = tf.matmul(a, b)"
    ),
    "documentation, rank 3": (
        "a = tf.constant(np.arange(1, 13, dtype=np.int32), shape=[2, 2, 3])\n"
        "b = tf.constant(np.arange(13, 25, dtype=np.int32), shape=[2, 3, 2])\n"
        "c = tf.matmul(a, b)"
    ),
    "documentation, operator": (
        "a = tf.constant([[1., 2.], [3., 4.]])\n"
        "b = tf.constant([[1., 1.], [0., 1.]])\n"
        "c = a @ b @ [[10.], [11.]]"
    ),
    "array on the left": "c = np.ones((2, 3)) @ tf.ones((3, 2), tf.float64)",
    "variables": (
        "a = tf.Variable(tf.ones((10, 12, 4, 5)))\n"
        "b = tf.Variable(tf.ones(shape=(10, 12, 5, 8)))\n"
        "a.assign(tf.zeros((10, 12, 4, 5)))\n"
        "c = tf.matmul(a, b)"
    ),
    "einsum": "c = tf.einsum('bij,bjk->bik', tf.ones((2, 3, 4)), tf.fill((2, 4, 5), 2.0))",
    "linalg": "c = tf.linalg.matvec(tf.ones((2, 3)), tf.convert_to_tensor([1., 2., 3.]))",
    "tensordot": "c = tf.tensordot([[1, 2], [3, 4]], tf.constant([1, 2]), axes=1)",
    "cast and reshape": (
        "c = tf.reshape(tf.cast(tf.constant([1.5, 2.5, -1.5, 0.0]), tf.int32), [2, -1])"
    ),
    "transpose": "c = tf.transpose(tf.constant([[1, 2, 3]]), perm=[1, 0])",
    "keras.backend": (
        "K = tf.keras.backend\nc = K.batch_dot(tf.ones((10, 12, 4, 5)), tf.ones((10, 12, 5, 8)))"
    ),
}


def run(snippet: str, namespace: Any) -> Any:
    names = {"tf": namespace, "np": np}
    exec(snippet, names)
    return names["c"]


@pytest.mark.tensorflow
@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS.keys())
def test_a_snippet_gives_the_same_with_its_import_changed(snippet: str) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    if "keras" in snippet:
        pytest.importorskip("keras")
    want = run(snippet, tensorflow)
    got = run(snippet, etf)
    assert got.dtype == want.dtype.as_numpy_dtype
    assert got.shape == tuple(want.shape)
    assert type(got.numpy()) is np.ndarray
    np.testing.assert_array_equal(got.numpy(), want.numpy())


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, 1j, [1, 2], [1.0, 2], [[True], [False]], np.float64(1), np.arange(3), [[]]],
    ids=repr,
)
def test_values_become_tensors_of_tensorflows_dtypes(value: Any) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    want = tensorflow.constant(value)
    got = etf.constant(value)
    assert got.dtype == want.dtype.as_numpy_dtype
    assert got.shape == tuple(want.shape)
    np.testing.assert_array_equal(got, want.numpy())


def test_scalar_results_answer_to_numpy_as_well() -> None:
    result = etf.tensordot(etf.ones((3,)), etf.ones((3,)), 1)
    assert result.numpy().shape == ()
    assert result.numpy() == 3


def test_a_variable_keeps_its_copy_and_its_shape() -> None:
    source = np.ones((2, 2), np.float32)
    variable = etf.Variable(source)
    source[:] = 5
    before = variable.value()
    variable.assign(np.zeros((2, 2)))
    np.testing.assert_array_equal(before, np.ones((2, 2)))
    np.testing.assert_array_equal(variable, np.zeros((2, 2)))
    with pytest.raises(ShapeError, match=r"variable shape \(2, 2\) and the assigned value shape"):
        variable.assign(np.zeros(2))


def test_values_that_are_no_tensors_are_rejected() -> None:
    with pytest.raises(DTypeError, match="int32"):
        etf.constant([2**40])
    with pytest.raises(DTypeError, match="non-rectangular"):
        etf.constant([[1], [2, 3]])
    with pytest.raises(DTypeError, match="'text'"):
        etf.constant("text")
    with pytest.raises(ShapeError, match=r"3 elements does not fill shape \(2, 2\) of 4"):
        etf.constant([1, 2, 3], shape=(2, 2))
    with pytest.raises(SpecError, match="symbolic"):
        etf.constant(el.spec(2))


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nn'"):
        etf.nn  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'models'"):
        etf.keras.models  # noqa: B018


def test_the_post_tf_matmul_snippets_have_their_shapes() -> None:
    assert etf.matmul(etf.ones((10, 12, 4, 5)), etf.ones((10, 12, 5, 8))).shape == (10, 12, 4, 8)
    assert etf.matmul(etf.ones((3, 4)), etf.ones((4, 5))).shape == (3, 5)
    x, y = etf.ones((9, 8, 7, 4, 2)), etf.ones((9, 8, 7, 2, 5))
    assert etf.matmul(x, y).shape == (9, 8, 7, 4, 5)
    expression = etf.matmul(el.spec(x.shape), el.spec(y.shape))
    assert expression.equation == "abcij,abcjk->abcik"


def test_tensorflow_itself_is_not_imported() -> None:
    code = (
        "import sys, einloom.tensorflow as tf; tf.matmul(tf.ones((2, 2)), tf.ones((2, 2)));"
        "tf.keras.backend; print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
