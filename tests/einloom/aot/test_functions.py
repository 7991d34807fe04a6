"""Traced functions as libraries: rows, views, pads, joins, lookups, several results."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import einloom as el
from einloom.aot.building import Built
from einloom.tracing import leaves_of
from einloom_compiler.errors import ShapeError, SpecError, UnsupportedError

pytestmark = pytest.mark.thinned(3)

CPU = "x86-64-v3"


class Case(NamedTuple):
    function: Any
    operands: tuple[Any, ...]


X = el.spec("B", 6, dtype="float32", name="x")
T = el.spec(9, 5, dtype="float64", name="t")
I = el.spec("B", "T", dtype="int16", name="i")  # noqa: E741  (the name of indices)


def joined(x: Any) -> Any:
    return el.concatenate([x[:, 1:4] * 2.0, x[:, ::-1], el.tanh(x)], 1)


def padded(x: Any) -> Any:
    return el.pad(el.exp(x), ((0, 2), (3, 1)))


def looked_up(t: Any, i: Any) -> Any:
    rows = el.take(t, i, axis=0)
    return el.concatenate([rows, el.take(el.transpose(t)[:, :5], i[:, ::-1], axis=0)[:, :, :2]], 2)


def two(x: Any) -> Any:
    scaled = el.layer_norm(x, axis=-1)
    return el.softmax(scaled, axis=-1), el.sum(scaled, axis=0), el.reshape(x, (-1, 3))


def causal(q: Any, k: Any) -> Any:
    """Return scores below the diagonal: positions are counted along axes of any extent."""
    return {"scores": {"lower": el.tril(el.einsum("td,sd->ts", q, k))}, "q": q * 2.0}


Q, K = (el.spec("T", 4, dtype="float32", name=name) for name in "qk")

CASES = {
    "causal": Case(causal, (Q, K)),
    "joined": Case(joined, (X,)),
    "padded": Case(padded, (X,)),
    "looked up": Case(looked_up, (T, I)),
    "several results": Case(two, (X,)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_library_does_what_the_function_does(name: str, tmp_path: Path) -> None:
    function, operands = CASES[name]
    compiled = el.jit(function)
    ranges = {s: (0, 40) for o in operands for s in map(str, o.shape) if s in "BT"}
    built = el.aot.build(compiled, tmp_path / "f", *operands, cpu=CPU, ranges=ranges)
    assert isinstance(built, Built)
    f = el.aot.load(built.folder)
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 7, 33):
        sizes = {"B": n, "T": n + 1}
        arrays = []
        for operand in operands:
            shape = [sizes.get(str(extent), extent) for extent in operand.shape]
            is_whole = operand.dtype.kind == "i"
            array = rng.integers(0, 5, shape) if is_whole else rng.standard_normal(shape)
            arrays.append(array.astype(operand.dtype))
        expected = [value for _, value in leaves_of(compiled(*arrays))]
        for threads in (1, 3):
            found = f(*arrays, threads=threads)
            listed = found if isinstance(found, tuple) else (found,)
            for got, value in zip(listed, expected, strict=True):
                np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6, err_msg=str(sizes))
    assert built.check().error < 1e-5


def test_a_library_takes_arrays_in_the_order_of_the_parameters(tmp_path: Path) -> None:
    a, b, unused = (el.spec("N", 3, dtype="float32", name=name) for name in ("a", "b", "unused"))
    function = el.jit(lambda a, b, unused: el.einsum("ni,mi->nm", b, a))
    built = el.aot.build(function, tmp_path / "f", a, b, unused, cpu=CPU)
    assert isinstance(built, Built)
    x, y = (np.random.default_rng(n).standard_normal((4, 3)).astype("f4") for n in range(2))
    np.testing.assert_allclose(el.aot.load(built.folder)(x, y, x), y @ x.T, rtol=1e-5)


def test_expressions_are_built_together(tmp_path: Path) -> None:
    x = el.spec(4, 5, name="x")
    y = el.exp(x)
    built = el.aot.build((y, el.sum(y)), tmp_path / "f", dtype="float64", cpu=CPU)
    assert isinstance(built, Built)
    assert [port["name"] for port in built.manifest["outputs"]] == ["out0", "out1"]
    a = np.arange(20.0).reshape(4, 5) / 10
    exp, total = el.aot.load(built.folder)(a)
    np.testing.assert_allclose(exp, np.exp(a), rtol=1e-14)
    np.testing.assert_allclose(total, np.exp(a).sum(), rtol=1e-14)


def test_outputs_have_the_names_of_their_keys(tmp_path: Path) -> None:
    x = el.spec(3, dtype="float64", name="x")
    outputs = {"x": x + 1.0, "double": x * 2.0, "more": [x * 3.0, x * 4.0]}
    built = el.aot.build(outputs, tmp_path / "f", cpu=CPU)
    assert isinstance(built, Built)
    names = [port["name"] for port in built.manifest["outputs"]]
    assert names == ["x_1", "double", "more_0", "more_1"]  # x is the input
    header = (built.folder / "f.h").read_text()
    assert "const double *x, double *x_1, double *double_, double *more_0" in header
    for number, got in enumerate(el.aot.load(built.folder)(np.ones(3))):
        np.testing.assert_array_equal(got, np.full(3, max(2, number + 1)))
    with pytest.raises(SpecError, match="outputs are expressions, not"):
        el.aot.build({"x": 3}, tmp_path / "g", cpu=CPU)


def test_the_widths_of_pads_are_checked(tmp_path: Path) -> None:
    x = el.spec("T", 2, dtype="float64", name="x")
    padded = el.pad(x, (("T - 3", 1), (0, 0)), 7.0)
    el.aot.build(padded, tmp_path / "f", cpu=CPU, ranges={"T": (0, 20)})
    f = el.aot.load(tmp_path / "f")
    for n in (3, 4, 20):
        a = np.arange(2.0 * n).reshape(n, 2)
        expected = np.pad(a, ((n - 3, 1), (0, 0)), constant_values=7.0)
        np.testing.assert_array_equal(f(a), expected)
    for n in (0, 2):
        with pytest.raises(ShapeError, match="the width T - 3 of a pad is not negative"):
            f(np.ones((n, 2)))
    with pytest.raises(UnsupportedError, match="no input has the axis P alone"):
        el.aot.build(el.pad(x, (("P", 0), (0, 0))), tmp_path / "f", cpu=CPU)


def test_a_slice_of_an_open_axis_is_checked(tmp_path: Path) -> None:
    x = el.spec("T", 3, dtype="float64", name="x")
    built = el.aot.build(x[2:5] * 2.0, tmp_path / "f", cpu=CPU, ranges={"T": (0, 20)})
    assert isinstance(built, Built)
    f = el.aot.load(built.folder)
    for n in (5, 6, 19):
        a = np.arange(3.0 * n).reshape(n, 3)
        np.testing.assert_array_equal(f(a), a[2:5] * 2)
    for n in (0, 1, 4):
        with pytest.raises(ShapeError, match="a slice takes no element behind an axis"):
            f(np.ones((n, 3)))


def test_only_models_have_layers_and_batches(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="batch and layers are for Keras"):
        el.aot.build("np.einsum('ab->', x[B, 2])", tmp_path / "f", batch=3)
