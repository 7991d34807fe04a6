"""Builders of rows against NumPy's and the frameworks' definitions."""

from typing import Any

import numpy as np
import pytest

from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError
from einloom_compiler.extents import symbol
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Input, Node
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.verify_graph import verify_graph

F32 = as_dtype("float32")
X = np.random.default_rng(3).standard_normal((3, 4, 5))
NODE = Input("x", X.shape, as_dtype("float64"))


def _check(node: Node, expected: Any, **further: Any) -> None:
    verify_graph(node, stage="test")
    found = evaluate_graph(node, {"x": X, **further}, widened=True)
    assert shape_of(node) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("axes", [-1, 0, (1, 2), (2, 0), None])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_are_numpys(axes: Any, keepdims: bool) -> None:
    for kind in ("sum", "mean", "max", "min", "prod"):
        expected = getattr(np, kind)(X, axis=axes, keepdims=keepdims)
        _check(builders.reduce(NODE, kind, axes, keepdims), expected)
    _check(builders.variance(NODE, axes, keepdims), np.var(X, axis=axes, keepdims=keepdims))
    expected = np.log(np.exp(X).sum(axes, keepdims=keepdims))
    _check(builders.logsumexp(NODE, axes, keepdims), expected)


@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_along_no_axis_keep_every_element(keepdims: bool) -> None:
    _check(builders.reduce(NODE, "max", (), keepdims), X)


@pytest.mark.parametrize("axes", [-1, 0, (1, 2), (2, 0)])
def test_softmax_and_norms_are_their_definitions(axes: Any) -> None:
    e = np.exp(X)
    softmax = e / e.sum(axes, keepdims=True)
    _check(builders.softmax(NODE, axes), softmax)
    _check(builders.log_softmax(NODE, axes), np.log(softmax))
    square = np.square(X)
    _check(builders.l2_normalize(NODE, axes), X / np.sqrt(square.sum(axes, keepdims=True)))
    along = axes if isinstance(axes, tuple) else (axes,)
    shape = tuple(X.shape[axis] for axis in along)
    rng = np.random.default_rng(4)
    gamma, beta = rng.standard_normal((2, *shape))
    frame = [X.shape[a] if a in {b % 3 for b in along} else 1 for a in range(3)]
    order = np.argsort([axis % 3 for axis in along])
    g, b = gamma.transpose(order).reshape(frame), beta.transpose(order).reshape(frame)
    nodes = tuple(Input(name, shape, as_dtype("float64")) for name in ("gamma", "beta"))
    centered = X - X.mean(axes, keepdims=True)
    normed = centered / np.sqrt(X.var(axes, keepdims=True) + 1e-3)
    arrays = {"gamma": gamma, "beta": beta}
    _check(builders.layer_norm(NODE, axes), normed)
    _check(builders.layer_norm(NODE, axes, 1e-3, *nodes), normed * g + b, **arrays)
    _check(builders.layer_norm(NODE, axes, 1e-3, beta=nodes[1]), normed + b, **arrays)
    rms = X / np.sqrt(square.mean(axes, keepdims=True) + 1e-6)
    _check(builders.rms_norm(NODE, axes, gamma=nodes[0]), rms * g, **arrays)


def test_logsumexp_of_infinities() -> None:
    inf = np.inf
    x = np.array([[-inf, -inf], [inf, 0], [np.nan, 0], [1e30, 0]], "f4")
    node = builders.logsumexp(Input("x", x.shape, F32), 1)
    np.testing.assert_array_equal(evaluate_graph(node, {"x": x}), x.max(1))


def test_symbolic_extents_stay() -> None:
    n = symbol("N")
    node = builders.softmax(Input("x", (n, 4), F32))
    assert shape_of(node) == (n, 4)
    assert shape_of(builders.reduce(Input("x", (n, 4), F32), "sum", 1, keepdims=True)) == (n, 1)


def test_mistakes_are_named() -> None:
    with pytest.raises(AxisError, match=r"axis 3 lies outside an operand of rank 3"):
        builders.softmax(NODE, 3)
    with pytest.raises(SpecError, match="name one axis twice"):
        builders.reduce(NODE, "sum", (0, -3))
    with pytest.raises(SpecError, match="no axis is given"):
        builders.softmax(NODE, ())
    with pytest.raises(ShapeError, match=r"gamma has shape \(4\), but axes \(2,\)"):
        builders.rms_norm(NODE, gamma=Input("g", (4,), F32))
    with pytest.raises(DTypeError, match="a mean of int32 is no int32"):
        builders.reduce(Input("i", (3,), as_dtype("int32")), "mean")
