"""Convolutions: the lowered graph against the real layers of Keras 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.einloom.keras.lowering.differential import assert_close, check, evaluated, randomized

import einloom as el
from einloom.keras.lowering.target import lowered
from einloom_compiler.errors import ShapeError

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def compared(layer: Any, x: Any, *, runs: bool = False) -> None:
    layer.build(x.shape)
    check(randomized(layer), x, runs=runs)


CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "3d same": (lambda: L.Conv3D(4, 2, padding="same", activation="relu"), (2, 5, 4, 3, 2)),
    "3d strides": (lambda: L.Conv3D(4, (2, 1, 2), strides=2), (2, 5, 4, 3, 2)),
    "depthwise": (lambda: L.DepthwiseConv1D(3, depth_multiplier=2, activation="tanh"), (2, 7, 4)),
    "depthwise strides": (lambda: L.DepthwiseConv1D(3, strides=2, padding="same"), (2, 7, 4)),
    "depthwise 2d": (lambda: L.DepthwiseConv2D((3, 2), depth_multiplier=2, padding="same"),
                     (2, 7, 6, 4)),
    "depthwise channels": (lambda: L.DepthwiseConv2D(3, strides=2, data_format="channels_first"),
                           (2, 4, 7, 6)),
    "depthwise dilated": (lambda: L.DepthwiseConv2D(3, dilation_rate=2, use_bias=False),
                          (2, 7, 6, 4)),
    "separable": (lambda: L.SeparableConv1D(5, 3, depth_multiplier=2, activation="relu"),
                  (2, 7, 4)),
    "separable 2d": (lambda: L.SeparableConv2D(5, 3, strides=2, padding="same"), (2, 7, 6, 4)),
    "separable channels": (lambda: L.SeparableConv2D(5, 3, data_format="channels_first"),
                           (2, 4, 7, 6)),
    "separable half": (lambda: L.SeparableConv2D(5, 3, dtype="mixed_bfloat16"), (2, 7, 6, 4)),
    "transposed 2d": (lambda: L.Conv2DTranspose(3, (3, 2), strides=(2, 3), padding="same",
                                                activation="softmax"), (2, 5, 4, 3)),
    "transposed 3d": (lambda: L.Conv3DTranspose(3, (3, 2, 1), strides=(2, 1, 2)),
                      (2, 3, 5, 4, 2)),
    "softmax across groups": (lambda: L.Conv1D(4, 2, groups=2, activation="softmax"), (2, 7, 4)),
    "softmax across depths": (lambda: L.DepthwiseConv1D(2, depth_multiplier=2,
                                                        activation="log_softmax"), (2, 7, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_convolutions(name: str) -> None:
    make, shape = CASES[name]
    compared(make(), floats(*shape))


def test_convolutions_run_as_kernels() -> None:
    """Windows of padded axes, products of channels alone, and phases that are joined."""
    layers = [
        L.Conv2D(3, 3, strides=2, padding="same", activation="relu"),
        L.DepthwiseConv2D(2, depth_multiplier=2),
        L.Conv2DTranspose(2, 3, strides=2, padding="same"),
    ]
    model = keras.Sequential([keras.Input((9, 8, 2), name="x0"), *layers])
    check(randomized(model), floats(3, 9, 8, 2), runs=True)


@given(st.data())
def test_transposed_convolutions(data: st.DataObject) -> None:
    """Every way in which kernel, stride and what is added at the end meet."""
    length, stride = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    extra = data.draw(st.none() | st.integers(0, stride - 1))
    padding = data.draw(st.sampled_from(("valid", "same")))
    if padding == "same" and extra is not None and length % 2 + extra == 0:
        extra = None  # TensorFlow cannot compute the output that Keras asks it for
    options = {"strides": stride, "padding": padding, "output_padding": extra}
    if extra == 0 and padding == "same" and length % 2 == 0:
        return
    compared(L.Conv1DTranspose(2, length, **options), floats(2, data.draw(st.integers(1, 6)), 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda form: L.Conv2D(4, (3, 2), groups=2, data_format=form, activation="relu"),
        lambda form: L.Conv2DTranspose(4, (3, 2), strides=2, data_format=form),
    ],
)
def test_channels_before_positions(make: Any) -> None:
    """TensorFlow's CPU kernels take channels last only: the same weights, with axes moved."""
    last, first = make("channels_last"), make("channels_first")
    x = floats(2, 6, 5, 4)
    last.build(x.shape)
    first.build((2, 4, 6, 5))
    first.set_weights(randomized(last).get_weights())
    found = lowered(first, el.spec("B", 4, 6, 5, name="x"))
    (result,) = evaluated(found, {"x": x.transpose(0, 3, 1, 2)})
    assert_close(result.transpose(0, 2, 3, 1), np.asarray(last(x)))


def test_a_softmax_of_channels_before_positions_goes_along_the_last_axis() -> None:
    layer = L.Conv1D(4, 3, data_format="channels_first", activation="softmax")
    compared(layer, floats(2, 3, 7))


def test_a_transposed_convolution_keeps_its_sequence_symbolic() -> None:
    layer = L.Conv1DTranspose(2, 3, strides=2)
    layer.build((None, None, 3))
    found = lowered(randomized(layer), el.spec("B", "S", 3, name="x"))
    (root,) = found.roots
    assert [str(extent) for extent in root.shape] == ["B", "2*S + 1", "2"]  # type: ignore[union-attr]


def test_channels_that_groups_cannot_split_are_named() -> None:
    layer = L.Conv1D(4, 3, groups=2)
    layer.build((None, 8, 6))
    with pytest.raises(ShapeError, match="5"):
        lowered(layer, el.spec("B", 8, 5))
