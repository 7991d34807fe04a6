"""Elementwise functions and reductions of ``keras.backend`` against the legacy backend of Keras 3.

Expressions are evaluated by the reference: what is compared is meaning, and nothing is compiled.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.keras import backend as K
from einloom_compiler.ir.reference import evaluate_graph

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

pytestmark = [
    pytest.mark.keras,
    pytest.mark.tensorflow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras 2 on TensorFlow"),
]

_RNG = np.random.default_rng(4)
X = _RNG.normal(0, 2, (3, 4, 5)).astype("float32")
Y = _RNG.normal(0, 2, (3, 4, 5)).astype("float32")
EDGES = np.array([0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 88.0, np.inf, -np.inf, np.nan], "float32")
FLAGS = X > 0
INTEGERS = _RNG.integers(-5, 6, (3, 4, 5)).astype("int32")

#: Function and arguments; arrays among them become operands.
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, (X,), {}) for name in ("exp", "square", "abs", "tanh", "sigmoid", "softplus")),
    *((name, (X,), {}) for name in ("softsign", "sqrt", "hard_sigmoid", "softmax", "relu", "elu")),
    *((name, (EDGES,), {}) for name in ("exp", "abs", "tanh", "sigmoid", "softplus", "relu")),
    ("log", (np.abs(X),), {}),
    ("square", (INTEGERS,), {}),
    ("abs", (INTEGERS,), {}),
    *((name, (X, Y), {}) for name in ("maximum", "minimum", "greater", "less")),
    *((name, (INTEGERS, INTEGERS[::-1]), {}) for name in ("equal", "not_equal")),
    *((name, (INTEGERS, INTEGERS[::-1]), {}) for name in ("greater_equal", "less_equal")),
    ("maximum", (X, Y[:, :1]), {}),
    ("softmax", (X,), {"axis": 1}),
    ("relu", (X,), {"alpha": 0.1}),
    ("relu", (X,), {"max_value": 1.5}),
    ("relu", (X,), {"alpha": 0.2, "max_value": 1.5, "threshold": 0.5}),
    ("relu", (X,), {"threshold": -0.5}),
    ("elu", (X,), {"alpha": 0.3}),
    ("pow", (np.abs(X), 1.5), {}),
    ("pow", (X, 2), {}),
    ("clip", (X, -1.0, 0.5), {}),
    ("clip", (INTEGERS, -2, 3), {}),
    ("switch", (FLAGS, X, Y), {}),
    *(
        (name, (X,), {"axis": axis, "keepdims": keepdims})
        for name in ("sum", "mean", "max", "min", "var", "logsumexp")
        for axis, keepdims in ((None, False), (1, True), (-1, False), ([0, 2], False))
    ),
    ("sum", (INTEGERS,), {"axis": 1}),
    ("mean", (FLAGS,), {"axis": 1}),
    ("max", (INTEGERS,), {"axis": 0}),
    ("l2_normalize", (X,), {"axis": -1}),
    ("l2_normalize", (X,), {"axis": 1}),
    ("l2_normalize", (np.zeros((2, 3), "float32"),), {"axis": 1}),
    ("batch_flatten", (X,), {}),
    ("concatenate", ([X, Y],), {"axis": 1}),
    ("concatenate", ([X, Y],), {}),
    ("stack", ([X, Y],), {"axis": 1}),
]


def evaluated(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what einloom's function of operands means at the arrays."""
    given: dict[str, Any] = {}

    def operand(value: Any) -> Any:
        if isinstance(value, list):
            return [operand(item) for item in value]
        if not isinstance(value, np.ndarray):
            return value
        key = f"x{len(given)}"
        given[key] = value
        return el.spec(*value.shape, dtype=value.dtype, name=key)

    expression = getattr(K, name)(*map(operand, args), **kwargs)
    return evaluate_graph(expression.node, given, {})


def theirs(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what Keras gives: its legacy backend, or ``keras.ops`` for what that has not."""
    from keras.src.legacy import backend as legacy

    def tensor(value: Any) -> Any:
        if isinstance(value, list):
            return [tensor(item) for item in value]
        return keras.ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value

    function = getattr(legacy, name, None) or getattr(keras.ops, name)
    return np.asarray(function(*map(tensor, args), **kwargs))


@pytest.mark.parametrize(("name", "args", "kwargs"), CASES)
def test_functions_mean_what_they_meant(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    expected = theirs(name, args, kwargs)
    found = evaluated(name, args, kwargs)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("name", ["exp", "sqrt", "sigmoid", "hard_sigmoid", "softmax", "mean"])
def test_the_dtype_is_kept(name: str, dtype: str) -> None:
    x = X.astype(dtype)
    expected, found = theirs(name, (x,), {}), evaluated(name, (x,), {})
    assert found.dtype == expected.dtype == dtype
    bound = 4e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound)


def test_operands_have_the_names_of_keras() -> None:
    assert list(inspect.signature(K.exp).parameters) == ["x"]
    assert list(inspect.signature(K.maximum).parameters) == ["x", "y"]
    x = el.spec(3, dtype="float32")
    assert K.maximum(x=x, y=0.0).shape == K.exp(x=x).shape == (3,)
    with pytest.raises(TypeError, match=r"exp\(\) .*argument"):
        K.exp()
    with pytest.raises(TypeError, match=r"maximum\(\) .*'y'"):
        K.maximum(x)
