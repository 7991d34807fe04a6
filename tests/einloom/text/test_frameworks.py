"""Calls as text give what the frameworks themselves compute for the same text."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import einloom as el

_OPERAND = re.compile(r"(\b[a-z]\w*)\[([\d, ]*)\]")

NUMPY = (
    "np.einsum('abr,irk->abik', x[2, 3, 4], y[7, 4, 5])",
    "np.tensordot(x[2, 3, 4], y[4, 3, 5], axes=([1, 2], [1, 0]))",
    "np.linalg.multi_dot([x[4, 3], y[3, 4], z[4, 5]])",
    "np.dot(np.transpose(x[4, 3]), y[4, 5])",
)
TENSORFLOW = (
    "tf.matmul(x[2, 4, 3], y[2, 4, 5], transpose_a=True)",
    "tf.tensordot(x[2, 3, 4], y[4, 3, 5], axes=[[1, 2], [1, 0]])",
    "tf.linalg.matvec(x[7, 2, 3], y[7, 3])",
    "tf.keras.backend.batch_dot(x[2, 3, 4, 5], y[2, 3, 5, 6])",
    "tf.keras.backend.batch_dot(x[3, 4], y[3, 4], axes=1)",
    "tf.keras.backend.dot(x[2, 3, 4], y[7, 4, 5])",
)
KERAS = (
    "keras.ops.matmul(x[2, 3, 4], y[4, 5])",
    "keras.ops.dot(x[2, 3, 4], y[7, 4, 5])",
    "keras.layers.Dot(axes=(1, 2))([x[2, 3, 4], y[2, 5, 3]])",
    "keras.layers.Dot(axes=-1, normalize=True)([x[3, 4], y[3, 4]])",
)


def check(text: str, convert: Callable[[Any], Any] = np.asarray, **modules: ModuleType) -> None:
    """Compare the compiled text with Python's own evaluation of the same text.

    ``convert`` makes of an array what the framework's function takes.
    """
    shapes = {name: tuple(map(int, s.split(","))) for name, s in _OPERAND.findall(text)}
    generator = np.random.default_rng(4)
    arrays: dict[str, Any] = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    code = _OPERAND.sub(r"\1", text)
    tensors = {name: convert(array) for name, array in arrays.items()}
    expected = np.asarray(eval(code, dict(modules), tensors))
    compiled = el.compile(text)
    given = [arrays[operand.name] for operand in compiled.expression.inputs]
    value = compiled(*given)
    assert value.shape == expected.shape == compiled.output_shape
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("text", NUMPY)
def test_numpys_calls(text: str) -> None:
    check(text, np=np)


@pytest.mark.tensorflow
@pytest.mark.parametrize("text", TENSORFLOW)
def test_tensorflows_calls(text: str) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    check(text, tensorflow.constant, tf=tensorflow)


@pytest.mark.keras
@pytest.mark.parametrize("text", KERAS)
def test_keras_calls(text: str) -> None:
    check(text, keras=pytest.importorskip("keras"))


def test_the_comparison_notices_a_difference() -> None:
    wrong: Any = SimpleNamespace(dot=lambda x, y: x @ y + 1)
    with pytest.raises(AssertionError):
        check("np.dot(x[2, 3], y[3, 4])", np=wrong)
