"""``el.jit`` and ``el.trace``: what is traced, when again, and what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.tracing import Jit

_RNG = np.random.default_rng(6)


def _array(*shape: int) -> Any:
    return _RNG.normal(size=shape).astype("float32")


def test_results_are_nested_as_the_functions() -> None:
    @el.jit
    def function(x: Any, params: Any, n: int = 2) -> Any:
        y = x @ params["w"] + params["b"]
        return {"y": el.relu(y), "parts": (y[..., n:], [x])}

    x, w, b = _array(3, 4), _array(4, 5), _array(5)
    for n in (2, 3, 2):
        found = function(x, {"w": w, "b": b}, n=n)
        y = x @ w + b
        np.testing.assert_allclose(found["y"], np.maximum(y, 0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found["parts"][0], y[:, n:], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found["parts"][1][0], x)


def test_other_sizes_share_a_trace() -> None:
    traced = []

    @el.jit
    def function(x: Any, y: Any) -> Any:
        traced.append((x.shape, y.shape))
        return el.softmax(x @ y)

    for n in (2, 3, 4, 5, 2, 3, 4):
        x, y = _array(n, 3), _array(3, n + 1)
        z = np.exp(x @ y)
        np.testing.assert_allclose(function(x, y), z / z.sum(-1, keepdims=True), rtol=1e-5)
    assert len(traced) == 5  # with each shape, and with names
    assert _n_compiled(function) == 2  # for the first shape, and for all others
    function(_array(1, 3), _array(3, 4))
    assert _n_compiled(function) == 3  # an extent of 1 broadcasts
    function(_array(2, 3).astype("f8"), _array(3, 4).astype("f8"))
    assert _n_compiled(function) == 4


def _n_compiled(function: Jit) -> int:
    return len({id(program.run) for program in function._programs.values()})


def test_axes_that_keep_their_extent_may_be_numbers() -> None:
    """An attention divides by the root of its heads' size; batch and sequence stay symbolic."""

    @el.jit
    def scores(x: Any, y: Any) -> Any:
        return el.softmax(el.einsum("bqd,bkd->bqk", x, y) * x.shape[-1] ** -0.5)

    for d in (4, 9):
        for n in (2, 3, 4, 5, 6, 7):
            x, y = _array(n, n + 1, d), _array(n, 2 * n, d)
            z = np.exp(np.einsum("bqd,bkd->bqk", x, y) / d**0.5)
            np.testing.assert_allclose(scores(x, y), z / z.sum(-1, keepdims=True), rtol=1e-4)
    assert _n_compiled(scores) == 4


@pytest.mark.parametrize("order", [(2, 4, 5, 3, 3), (3, 2, 4, 3), (3, 4, 5)])
def test_branches_on_sizes_are_never_taken_for_others(order: tuple[int, ...]) -> None:
    @el.jit
    def function(x: Any) -> Any:
        return x * 2 if x.shape[0] == 3 or x.shape[0] % 4 == 1 else x + 1

    for n in order:
        x = _array(n, 5)
        np.testing.assert_array_equal(function(x), x * 2 if n in (3, 5) else x + 1)


@pytest.mark.parametrize("way", ["branch", "number", "loop"])
def test_functions_of_sizes_are_traced_for_each(way: str) -> None:
    @el.jit
    def function(x: Any) -> Any:
        if way == "branch":
            return x * 2 if x.shape[0] == 3 else x + 1
        if way == "number":
            return x / float(x.shape[0])
        return sum((x[number] for number in range(x.shape[0])), start=x[0])

    for n in (2, 3, 4, 3, 2, 5):
        x = _array(n, 5)
        if way == "branch":
            expected = x * 2 if n == 3 else x + 1
        else:
            expected = x / n if way == "number" else x.sum(0) + x[0]
        np.testing.assert_allclose(function(x), expected, rtol=1e-5, atol=1e-6)


def test_arguments_keep_their_order_and_may_be_unused() -> None:
    @el.jit
    def function(a: Any, b: Any, c: Any) -> Any:
        return c @ a

    a, b, c = _array(3, 4), _array(2), _array(5, 3)
    for _ in range(3):
        np.testing.assert_allclose(function(a, b, c), c @ a, rtol=1e-5, atol=1e-6)
    assert function._n_kept == 1
    np.testing.assert_allclose(function(c=c, a=a, b=b), c @ a, rtol=1e-5, atol=1e-6)


def test_compiled_functions_take_arrays_in_the_order_of_the_parameters() -> None:
    @el.jit
    def function(a: Any, b: Any, pair: Any) -> Any:
        return pair["y"] @ b @ a

    names = ("a", "b", "x", "y")
    a, b, x, y = (el.spec("N", "N", dtype="float32", name=name) for name in names)
    compiled = function.compile(a, pair={"x": x, "y": y}, b=b)
    assert [str(operand) for operand in compiled.inputs] == [str(each) for each in (a, b, x, y)]
    arrays = [_array(3, 3) for _ in names]
    expected = arrays[3] @ arrays[1] @ arrays[0]
    np.testing.assert_allclose(compiled(*arrays), expected, rtol=1e-5)


def test_symbolic_operands_give_expressions() -> None:
    @el.jit
    def function(x: Any, w: Any) -> Any:
        return el.relu(x @ w), x.T

    specs = el.spec("B", 4, name="x"), el.spec(4, 8, name="w")
    first, second = function(*specs)
    assert first.shape[1] == 8
    assert second.shape[0] == 4
    compiled = function.compile(*specs)
    x, w = _array(3, 4), _array(4, 8)
    for one, other in zip(compiled(x, w), function(x, w), strict=True):
        np.testing.assert_array_equal(one, other)
    assert el.trace(lambda x: (x * 2, np.ones(2)), specs[0])[1].shape == (2,)


def test_several_results_are_written_to_arrays_that_are_given() -> None:
    x = el.spec("N", 3, name="x", dtype="float32")
    f = el.compile((x @ np.ones((3, 2), "f4"), el.relu(x), x))
    given = _array(4, 3)
    outs = np.empty((4, 2), "f4"), given, np.empty((4, 3), "f4")
    expected = given @ np.ones((3, 2), "f4"), np.maximum(given, 0), given.copy()
    assert all(a is b for a, b in zip(f(given, out=outs), outs, strict=True))
    for one, other in zip(outs, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    with pytest.raises(el.SpecError, match="tuple of 3 arrays"):
        f(given, out=outs[0])
    with pytest.raises(el.UnsupportedError, match="several results"):
        _ = f.output_shape


def test_mistakes_are_named() -> None:
    with pytest.raises(el.SpecError, match="returns arrays, or tuples"):
        el.jit(lambda x: "text")(np.ones(2))
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        el.jit(lambda x, y: x)(np.ones(2))
    with pytest.raises(el.SpecError, match="neither an array nor hashable"):
        el.jit(lambda x, y: x)(np.ones(2), {1, 2})


def test_tensors_of_frameworks_come_back() -> None:
    torch = pytest.importorskip("torch")
    found = el.jit(lambda x: {"y": x + 1})(torch.ones(3))
    assert isinstance(found["y"], torch.Tensor)
