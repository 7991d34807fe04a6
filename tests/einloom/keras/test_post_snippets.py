"""The ten snippets of the post that this project started from, with only import lines changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
import einloom.tensorflow as tf
from einloom.keras import backend as K
from einloom.keras.v2_3 import backend as later


@pytest.mark.parametrize(
    ("module", "x", "y", "shape"),
    [
        (K, (3, 4), (4, 5), (3, 5)),
        (K, (2, 3, 4), (7, 4, 5), (2, 3, 7, 5)),
        (K, (1, 2, 3, 4), (8, 7, 4, 5), (1, 2, 3, 8, 7, 5)),
        (K, (1, 2, 4), (8, 7, 4, 5), (1, 2, 8, 7, 5)),
    ],
)
def test_dot_of_variables(module: Any, x: Any, y: Any, shape: Any) -> None:
    a = module.variable(np.random.default_rng(0).integers(0, 5, x))
    b = module.variable(np.random.default_rng(1).integers(0, 5, y))
    out = module.dot(a, b)
    assert (out.shape, out.dtype) == (shape, np.float32)
    np.testing.assert_array_equal(out.numpy(), np.tensordot(a, b, ([-1], [-2])))


@pytest.mark.filterwarnings("ignore::einloom.SemanticsWarning")
@pytest.mark.parametrize(
    ("x", "y", "shape", "later_shape"),
    [
        ((10, 12, 4, 5), (10, 12, 5, 8), (10, 12, 4, 8), (10, 12, 4, 12, 8)),
        ((9, 8, 7, 4, 2), (9, 8, 7, 2, 5), (9, 8, 7, 4, 5), (9, 8, 7, 4, 8, 7, 5)),
    ],
)
def test_batch_dot_and_matmul_of_ones(x: Any, y: Any, shape: Any, later_shape: Any) -> None:
    out = K.batch_dot(K.ones(shape=x), K.ones(shape=y))
    assert out.shape == shape
    assert K.int_shape(out) == shape
    assert (out.numpy() == x[-1]).all()
    assert tf.matmul(K.ones(shape=x), K.ones(shape=y)).shape == shape
    assert later.batch_dot(K.ones(shape=x), K.ones(shape=y)).shape == later_shape


def test_matmul_of_matrices() -> None:
    assert tf.matmul(K.ones((3, 4)), K.ones((4, 5))).shape == (3, 5)


def test_the_snippet_that_must_fail() -> None:
    with pytest.raises(ValueError, match="Dimensions must be equal, but are 2 and 3"):
        K.dot(K.ones((3, 4, 5, 2)), K.ones((2, 5, 3, 7)))


def test_the_same_snippets_on_placeholders_are_expressions() -> None:
    x, y = K.placeholder(shape=(2, 3, 4)), K.placeholder(shape=(7, 4, 5))
    out = K.dot(x, y)
    assert isinstance(out, el.Expression)
    assert (out.equation, K.int_shape(out), K.ndim(out)) == ("abr,irk->abik", (2, 3, 7, 5), 4)
