"""Cumulative sums and products: NumPy's and TensorFlow's values; fused, compiled and shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom import functions as F
from einloom.keras import ops
from einloom_compiler.errors import AxisError, DTypeError
from einloom_compiler.ir.graph import Rows
from einloom_compiler.ir.traversal import nodes_of
from einloom_compiler.optimizer import optimize

#: Around whole blocks of vectors across rows, one element, none.
SHAPES = [(5, 33, 67), (3, 1, 8), (2, 0, 3), (300,)]


def drawn(shape: tuple[int, ...], dtype: str) -> Any:
    values = np.random.default_rng(sum(shape)).standard_normal(shape) * 2
    return (values + 1j * values[::-1]).astype(dtype) if dtype[0] == "c" else values.astype(dtype)


def close(found: Any, wanted: Any) -> None:
    assert found.dtype == wanted.dtype
    bound = {"f": 2e-5, "F": 2e-5, "d": 1e-12, "e": 2e-3}.get(wanted.dtype.char, 0)
    scale = np.abs(wanted).max(initial=1, where=np.isfinite(wanted))
    np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound * float(scale))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "complex64", "bool"])
def test_values_are_numpys(dtype: str) -> None:
    for shape in SHAPES:
        x = drawn(shape, dtype)
        for axis in (None, 0, -1) if len(shape) == 1 else (0, 1, -1):
            close(F.cumsum(x, axis), np.cumsum(x, axis))
        few = x[..., :30][..., ::-1]
        close(F.cumprod(few, -1), np.cumprod(few, -1))


def test_halves_are_summed_in_float32() -> None:
    x = drawn((3, 40), "float16")
    close(F.cumsum(x, 1), np.cumsum(x, 1, dtype="float32").astype("float16"))


def test_infinities_and_nan_stay_behind_them() -> None:
    x = np.array([[1, np.inf, 2, -np.inf, 3], [0, np.nan, 1, 2, 3]], "float32")
    for axis in (0, 1):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(F.cumsum(x, axis), np.cumsum(x, axis))


def test_scans_are_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    import einloom.tensorflow as mine

    x = drawn((4, 5, 6), "float32")
    for exclusive in (False, True):
        for reverse in (False, True):
            options: dict[str, Any] = {"axis": 1, "exclusive": exclusive, "reverse": reverse}
            close(mine.cumsum(x, **options), np.asarray(tf.cumsum(x, **options)))
            wanted = np.asarray(tf.math.cumprod(x, **options))
            close(mine.math.cumprod(x, **options), wanted)
    empty = np.zeros((3, 0), "int32")
    wanted = tf.cumsum(empty, axis=1, exclusive=True)
    close(mine.cumsum(empty, axis=1, exclusive=True), np.asarray(wanted))
    with pytest.raises(DTypeError, match="take no bools"):
        mine.cumsum(x > 0)


def test_scans_are_keras_operations() -> None:
    flags = np.array([[True, False], [True, True]])
    close(ops.cumsum(flags, axis=1), np.cumsum(flags, 1, dtype="int32"))
    close(ops.cumprod(np.arange(1, 5, dtype="uint8")), np.array([1, 2, 6, 24], "uint8"))
    close(ops.cumsum(flags, dtype="float32"), np.array([1, 1, 2, 3], "float32"))


def test_a_scan_is_one_kernel_with_what_is_around_it() -> None:
    def smoothed(x: Any) -> Any:
        return np.tanh(np.cumsum(x * x - 0.5, axis=0)) * 2

    x = drawn((37, 50), "float32")
    close(el.jit(smoothed)(x), smoothed(x))
    expression = el.trace(smoothed, el.spec("N", "M", dtype="float32", name="x"))
    (made,) = optimize((expression.node,))
    assert isinstance(made, Rows)
    assert sum(isinstance(node, Rows) for node in nodes_of(made)) == 1


def test_reductions_of_scans_are_computed_behind_them() -> None:
    def spread(x: Any) -> Any:
        total = np.cumsum(x - x.mean(axis=1, keepdims=True), axis=1)
        return total.max(axis=1) - total.min(axis=1)

    x = drawn((6, 40), "float64")
    np.testing.assert_allclose(el.jit(spread)(x), spread(x), rtol=1e-12, atol=1e-12)


def test_a_joined_axis_is_scanned_whole() -> None:
    def scanned(x: Any) -> Any:
        return np.tanh(np.cumsum(np.exp(x).reshape(-1, 12), axis=1)).reshape(-1, 3, 4)

    x = drawn((5, 3, 4), "float64")
    np.testing.assert_allclose(el.jit(scanned)(x), scanned(x), rtol=1e-12)


@pytest.mark.parametrize("call", ["np.cumsum", "F.cumprod", "K.cumsum", "tf.math.cumprod"])
def test_an_axis_that_is_not_there_is_named(call: str) -> None:
    name = call.rpartition(".")[2]
    function = {"np": np, "F": F, "K": el.keras.backend, "tf": el.tensorflow.math}[
        call[:2].strip(".")
    ]
    with pytest.raises(AxisError, match="3"):
        getattr(function, name)(el.spec("N", "M", dtype="float32"), axis=3)


def test_a_library_scans_any_sizes(tmp_path: Path) -> None:
    x = el.spec("N", "M", dtype="float32", name="x")
    el.aot.build(F.cumsum(x, axis=0), tmp_path / "scan", cpu="native")
    scan = el.aot.load(tmp_path / "scan")
    for shape in ((1, 1), (7, 33), (64, 5), (3, 0)):
        given = drawn(shape, "float32")
        close(scan(given), np.cumsum(given, 0))
