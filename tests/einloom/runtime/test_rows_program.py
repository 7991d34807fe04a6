"""Reductions along rows in compiled functions: symbolic extents, views, threads, ``out=``."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import einloom as el
from einloom.expression import Expression
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import symbol
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Input, Strided, ViewAxis

Array = npt.NDArray[Any]
N, M = symbol("N"), symbol("M")
X = Input("x", (N, M), np.dtype("f4"))


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x.astype("f8") - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("threads", [1, 2])
def test_softmax_of_any_layout(axis: int, threads: int) -> None:
    f = el.compile(Expression(builders.softmax(X, axis)))
    whole = np.random.default_rng(5).standard_normal((70, 90)).astype("f4")
    for x in (whole, whole.T, whole[::-1, ::3], whole[:1], whole[:, :1], whole[:0]):
        out = np.empty(x.shape[::-1], "f4").T
        assert f(x, out=out, threads=threads) is out
        if x.size:
            np.testing.assert_allclose(out, _softmax(x, axis), rtol=1e-5, atol=1e-7)


def test_rows_of_a_view_and_out_over_the_operand() -> None:
    flipped = Strided(X, (0, M - 1), (ViewAxis(N, 0), ViewAxis(M, 1, -1)))
    f = el.compile(Expression(builders.softmax(flipped)))
    x = np.random.default_rng(6).standard_normal((6, 50)).astype("f4")
    expected = _softmax(x[:, ::-1], 1)
    np.testing.assert_allclose(f(x), expected, rtol=1e-5, atol=1e-7)
    f(x, out=x)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-7)


def test_the_maximum_of_nothing_is_refused() -> None:
    f = el.compile(Expression(builders.reduce(X, "max", 1)))
    with pytest.raises(ShapeError, match=r"axis 1 of operand 0 \(shape \(3, 0\)\) has extent 0"):
        f(np.empty((3, 0), "f4"))
    assert f(np.empty((0, 0), "f4")).shape == (0,)
