"""Single layers: the lowered graph against the real layer of Keras 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import check, randomized

import einloom as el
from einloom.keras.lowering.target import lowered
from einloom_compiler.errors import ShapeError, UnsupportedError
from einloom_compiler.ir.graph import Contraction, Rows

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras

RNG = np.random.default_rng(3)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def built(layer: Any, *arrays: Any) -> Any:
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    is_projecting = isinstance(layer, L.MultiHeadAttention | L.GroupQueryAttention)
    if len(tensors) == 1:
        layer(tensors[0])
    elif is_projecting:
        layer(*tensors)
    else:
        layer(tensors)
    return randomized(layer)


ONE: dict[str, tuple[Any, Any]] = {
    "dense": (lambda: L.Dense(5), floats(3, 7)),
    "dense without bias": (lambda: L.Dense(5, use_bias=False), floats(2, 3, 7)),
    "dense rank 4": (lambda: L.Dense(5, "gelu"), floats(2, 3, 4, 7)),
    "dense softmax": (lambda: L.Dense(5, "softmax"), floats(3, 7)),
    "dense log_softmax": (lambda: L.Dense(5, "log_softmax"), floats(3, 2, 7)),
    "dense of integers": (lambda: L.Dense(5), np.arange(21, dtype=np.int32).reshape(3, 7)),
    "dense half": (lambda: L.Dense(5, "tanh", dtype="mixed_float16"), floats(3, 7)),
    "dense bfloat16": (lambda: L.Dense(5, "tanh", dtype="bfloat16"), floats(3, 7)),
    "dense double": (lambda: L.Dense(5, "tanh", dtype="float64"), floats(3, 7)),
    "einsum dense": (lambda: L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"),
                     floats(2, 3, 5)),
    "einsum dense bias be": (lambda: L.EinsumDense("abc,cde->abde", (3, 4, 5), bias_axes="be"),
                             floats(2, 3, 7)),
    "einsum dense bias d": (lambda: L.EinsumDense("abc,cd->adb", (6, 3), bias_axes="d"),
                            floats(2, 3, 7)),
    "einsum dense left": (lambda: L.EinsumDense("...x,xy->...y", 6, bias_axes="y",
                                                activation="relu"), floats(2, 3, 7)),
    "einsum dense right": (lambda: L.EinsumDense("ab...,bc->ac...", 6, bias_axes="c",
                                                 activation="softmax"), floats(2, 3, 4, 5)),
    "einsum dense batch": (lambda: L.EinsumDense("abc,bcd->ad", 6, bias_axes="d"),
                           floats(2, 3, 4)),
    "embedding": (lambda: L.Embedding(11, 4), np.array([[1, 0, 10], [3, 3, 2]], np.int32)),
    "embedding half": (lambda: L.Embedding(11, 4, dtype="mixed_bfloat16"),
                       np.array([[1, 0, 10]], np.int32)),
    "embedding of floats": (lambda: L.Embedding(11, 4), np.array([[1.0, 0.0]], np.float32)),
    "flatten": (lambda: L.Flatten(), floats(2, 3, 4)),
    "flatten channels": (lambda: L.Flatten("channels_first"), floats(2, 3, 4, 5)),
    "reshape": (lambda: L.Reshape((2, -1)), floats(2, 3, 4)),
    "permute": (lambda: L.Permute((3, 1, 2)), floats(2, 3, 4, 5)),
    "repeat vector": (lambda: L.RepeatVector(3), floats(2, 4)),
    "dropout": (lambda: L.Dropout(0.5), floats(2, 3)),
    "noise": (lambda: L.GaussianNoise(0.5), floats(2, 3)),
    "relu": (lambda: L.ReLU(2.0, 0.1, 0.5), floats(20, 3)),
    "leaky relu": (lambda: L.LeakyReLU(0.1), floats(20, 3)),
    "elu": (lambda: L.ELU(0.7), floats(20, 3)),
    "prelu": (lambda: L.PReLU(), floats(20, 3, 4)),
    "prelu shared": (lambda: L.PReLU(shared_axes=[1]), floats(20, 3, 4)),
    "softmax axis": (lambda: L.Softmax(axis=1), floats(4, 3, 5)),
    "layer norm": (lambda: L.LayerNormalization(), floats(3, 4, 5)),
    "layer norm axes": (lambda: L.LayerNormalization(axis=(1, 2)), floats(3, 4, 5)),
    "layer norm -1 1": (lambda: L.LayerNormalization(axis=(-1, 1)), floats(3, 4, 5)),
    "layer norm plain": (lambda: L.LayerNormalization(center=False, scale=False), floats(3, 4)),
    "layer norm axis 1": (lambda: L.LayerNormalization(axis=1, epsilon=0.1), floats(3, 4, 5)),
    "layer norm rms": (lambda: L.LayerNormalization(rms_scaling=True), floats(3, 4, 5)),
    "layer norm half": (lambda: L.LayerNormalization(dtype="mixed_float16"), floats(3, 4, 5)),
    "rms norm": (lambda: L.RMSNormalization(), floats(3, 4, 5)),
    "rms norm half": (lambda: L.RMSNormalization(dtype="mixed_bfloat16"), floats(3, 4, 5)),
    "rms norm of one": (lambda: L.RMSNormalization(axis=1), floats(3, 1, 4)),
    "rms norm of equal axes": (lambda: L.RMSNormalization(axis=1), floats(3, 4, 4)),
    "unit norm": (lambda: L.UnitNormalization(axis=1), floats(3, 4, 5)),
    "unit norm zero": (lambda: L.UnitNormalization(), np.zeros((2, 3), np.float32)),
    "batch norm": (lambda: L.BatchNormalization(), floats(3, 4, 5)),
    "batch norm axis 1": (lambda: L.BatchNormalization(axis=1, scale=False), floats(3, 4, 5)),
    "batch norm half": (lambda: L.BatchNormalization(dtype="mixed_float16"), floats(3, 4)),
    "rescaling": (lambda: L.Rescaling(1 / 127.5, -1), floats(3, 4)),
    "rescaling bytes": (lambda: L.Rescaling(1 / 255), np.arange(12, dtype=np.uint8).reshape(3, 4)),
    "rescaling channels": (lambda: L.Rescaling([1.0, 2.0, 3.0], [0.1, 0.2, 0.3]), floats(2, 4, 3)),
    "group norm": (lambda: L.GroupNormalization(2), floats(2, 3, 4)),
    "group norm each": (lambda: L.GroupNormalization(-1, scale=False), floats(2, 3, 5, 4)),
    "group norm axis 1": (lambda: L.GroupNormalization(2, axis=1, center=False),
                          floats(2, 4, 5, 3)),
    "group norm half": (lambda: L.GroupNormalization(2, dtype="mixed_float16"), floats(2, 4, 5, 4)),
    "normalization": (lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 0.0]),
                      floats(2, 4, 3)),
    "normalization number": (lambda: L.Normalization(axis=None, mean=1.0, variance=2.0),
                             floats(2, 4, 3)),
    "normalization last of two": (lambda: L.Normalization(axis=(1, 2), mean=[1.0, 2.0, 3.0],
                                                          variance=[1.0, 2.0, 3.0]),
                                  floats(2, 4, 3)),
    "normalization inverted": (lambda: L.Normalization(mean=[1.0, 2.0, 3.0], invert=True,
                                                       variance=[1.0, 4.0, 1.0]),
                               np.arange(12, dtype=np.int32).reshape(4, 3)),
    "softmax axes": (lambda: L.Softmax(axis=(1, -1)), floats(4, 3, 5)),
    "glu": (lambda: L.Activation("glu"), floats(2, 4, 6)),
    "sparsemax": (lambda: L.Activation("sparsemax"),
                  np.array([[1, 1, 1, 0], [5, 0, 0, 0], [-1e30, 1, 2, 0.5], [1, 0.5, 0.5, 0.25],
                            [0.25, 0.25, 0.5, 0.25]], np.float32)),
    "dense sparsemax": (lambda: L.Dense(5, "sparsemax"), floats(2, 4)),
    "sparsemax half": (lambda: L.Activation("sparsemax", dtype="float16"), floats(3, 5)),
    "zeros before and after": (lambda: L.ZeroPadding1D((1, 2)), floats(2, 3, 4)),
    "zeros channels": (lambda: L.ZeroPadding2D((1, 2), data_format="channels_first"),
                       floats(2, 3, 4, 5)),
    "zeros 3d": (lambda: L.ZeroPadding3D(((1, 2), (0, 3), (1, 0))), floats(2, 3, 4, 5, 2)),
    "cropping": (lambda: L.Cropping1D((1, 2)), floats(2, 5, 4)),
    "cropping 2d": (lambda: L.Cropping2D(((1, 2), (0, 3))), floats(2, 5, 4, 5)),
    "cropping 3d": (lambda: L.Cropping3D(1), floats(2, 3, 4, 5, 2)),
    "up-sampling": (lambda: L.UpSampling1D(3), floats(2, 5, 4)),
    "up-sampling channels": (lambda: L.UpSampling2D((2, 3), data_format="channels_first"),
                             floats(2, 5, 4, 3)),
    "up-sampling 3d": (lambda: L.UpSampling3D((2, 3, 1)), floats(2, 2, 4, 3, 2)),
    "adaptive average": (lambda: L.AdaptiveAveragePooling1D(3), floats(2, 7, 4)),
    "adaptive max even": (lambda: L.AdaptiveMaxPooling1D(3), floats(2, 6, 4)),
    "adaptive max 2d": (lambda: L.AdaptiveMaxPooling2D((3, 2)), floats(2, 7, 4, 3)),
    "adaptive average channels": (
        lambda: L.AdaptiveAveragePooling2D((3, 2), data_format="channels_first"),
        floats(2, 3, 7, 4)),
    "adaptive average 3d": (lambda: L.AdaptiveAveragePooling3D(2), floats(2, 5, 4, 3, 2)),
    "max 3d same": (lambda: L.MaxPooling3D(2, 1, "same"), floats(2, 5, 4, 3, 2)),
    "average 3d channels": (lambda: L.AveragePooling3D(2, data_format="channels_first"),
                            floats(2, 2, 5, 4, 3)),
    "average same channels": (
        lambda: L.AveragePooling2D(2, padding="same", data_format="channels_first"),
        floats(2, 2, 5, 4)),
    "global average": (lambda: L.GlobalAveragePooling1D(), floats(3, 4, 5)),
    "global average keep": (lambda: L.GlobalAveragePooling1D(keepdims=True), floats(3, 4, 5)),
    "global max channels": (lambda: L.GlobalMaxPooling1D("channels_first"), floats(3, 4, 5)),
    "global average 2d": (lambda: L.GlobalAveragePooling2D(), floats(3, 4, 5, 2)),
    "global max 2d": (lambda: L.GlobalMaxPooling2D(keepdims=True), floats(3, 4, 5, 2)),
    "average": (lambda: L.AveragePooling1D(2), floats(3, 7, 5)),
    "average same": (lambda: L.AveragePooling1D(3, 2, padding="same"), floats(3, 8, 5)),
    "max same": (lambda: L.MaxPooling1D(3, 2, padding="same"), floats(3, 8, 5)),
    "max 2d": (lambda: L.MaxPooling2D(2), floats(3, 7, 6, 5)),
    "average 2d": (lambda: L.AveragePooling2D((2, 3), (1, 2), padding="same"), floats(3, 7, 6, 5)),
    "conv1d": (lambda: L.Conv1D(4, 3, activation="relu"), floats(3, 8, 5)),
    "conv1d same": (lambda: L.Conv1D(4, 3, 2, padding="same"), floats(3, 8, 5)),
    "conv1d causal": (lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2), floats(3, 8, 5)),
    "conv1d groups": (lambda: L.Conv1D(4, 3, groups=2), floats(3, 8, 6)),
    "conv2d": (lambda: L.Conv2D(4, (3, 2), activation="relu"), floats(2, 8, 7, 5)),
    "conv2d same": (lambda: L.Conv2D(4, 3, (2, 1), padding="same"), floats(2, 8, 7, 5)),
    "steps of dense": (lambda: L.TimeDistributed(L.Dense(5, "tanh")), floats(2, 3, 4, 6)),
    "steps half": (
        lambda: L.TimeDistributed(L.Dense(5, dtype="mixed_float16"), dtype="mixed_float16"),
        floats(2, 3, 6)),
    "steps of conv2d": (lambda: L.TimeDistributed(L.Conv2D(4, (3, 2))), floats(2, 3, 8, 7, 5)),
    "steps of batch norm": (lambda: L.TimeDistributed(L.BatchNormalization()), floats(2, 3, 4, 5)),
    "steps of flatten": (lambda: L.TimeDistributed(L.Flatten()), floats(2, 3, 4, 5)),
    "steps of repeat": (lambda: L.TimeDistributed(L.RepeatVector(3)), floats(2, 4, 5)),
    "steps of embedding": (lambda: L.TimeDistributed(L.Embedding(11, 4, mask_zero=True)),
                           np.arange(24, dtype=np.int32).reshape(2, 3, 4) % 11),
    "steps of steps": (lambda: L.TimeDistributed(L.TimeDistributed(L.Dense(5))),
                       floats(2, 3, 4, 6)),
    "spectral dense": (lambda: L.SpectralNormalization(L.Dense(5, "tanh")), floats(3, 4)),
    "spectral conv2d half": (
        lambda: L.SpectralNormalization(L.Conv2D(5, 2), dtype="mixed_float16"),
        floats(3, 6, 5, 4)),
    "spectral embedding": (lambda: L.SpectralNormalization(L.Embedding(11, 4)),
                           np.array([[1, 0, 10]], np.int32)),
    "steps of spectral dense": (
        lambda: L.TimeDistributed(L.SpectralNormalization(L.Dense(5))), floats(2, 3, 4)),
    "conv2d 1x1": (lambda: L.Conv2D(4, 1, use_bias=False), floats(2, 3, 4, 5)),
}  # fmt: skip


#: Those that are compiled and run, too; the others differ from one of them in configuration alone.
RUN = {
    *("dense", "dense softmax", "dense half", "dense bfloat16", "einsum dense bias be"),
    *("einsum dense right", "embedding", "flatten channels", "permute", "prelu", "softmax axis"),
    *("layer norm", "layer norm axes", "rms norm half", "unit norm zero", "batch norm axis 1"),
    *("rescaling bytes", "global average", "average same", "max 2d", "conv1d groups"),
    *("conv1d causal", "conv2d same", "steps of dense"),
}


@pytest.mark.parametrize("name", ONE)
def test_layers_of_one_input(name: str) -> None:
    make, array = ONE[name]
    check(built(make(), array), array, runs=name in RUN)


ACTIVATIONS = [
    *("relu", "leaky_relu", "relu6", "softmax", "log_softmax", "elu", "celu", "selu", "softplus"),
    *("softsign", "squareplus", "soft_shrink", "hard_shrink", "tanh_shrink", "sparse_plus"),
    *("sparse_sigmoid", "silu", "hard_silu", "gelu", "tanh", "hard_tanh", "sigmoid"),
    *("hard_sigmoid", "log_sigmoid", "exponential", "mish", "linear"),
]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    x = floats(6, 5) * 3
    check(L.Activation(name), x)
    dense = built(L.Dense(4, name), x)
    found = check(dense, x)
    is_rows = name in ("softmax", "log_softmax")
    assert isinstance(found.outputs, Rows if is_rows else Contraction)


MANY: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "add": (L.Add, (floats(2, 3), floats(2, 3), floats(2, 3))),
    "add broadcast": (L.Add, (floats(2, 3, 4), floats(2, 1, 4))),
    "add ranks": (L.Add, (floats(2, 3, 4), floats(2, 4))),
    "subtract": (L.Subtract, (floats(2, 3), floats(2, 3))),
    "multiply": (L.Multiply, (floats(2, 3), floats(2, 3), floats(2, 1))),
    "average": (L.Average, (floats(2, 3), floats(2, 3), floats(2, 3))),
    "maximum": (L.Maximum, (floats(2, 3), floats(2, 3))),
    "minimum": (L.Minimum, (floats(2, 3), floats(2, 3))),
    "concatenate": (L.Concatenate, (floats(2, 3), floats(2, 4))),
    "concatenate axis 1": (lambda: L.Concatenate(axis=1), (floats(2, 3, 4), floats(2, 2, 4))),
    "dot": (lambda: L.Dot(1), (floats(2, 3), floats(2, 3))),
    "dot ranks": (lambda: L.Dot((1, 2)), (floats(2, 3, 4), floats(2, 5, 3))),
    "dot high": (lambda: L.Dot((3, 2)), (floats(2, 3, 4, 5), floats(2, 6, 5, 7))),
    "dot normalized": (lambda: L.Dot(-1, normalize=True), (floats(2, 3), floats(2, 3))),
    "dot half": (lambda: L.Dot(1, dtype="mixed_float16"), (floats(2, 3, 4), floats(2, 3, 5))),
}


@pytest.mark.parametrize("name", MANY)
def test_layers_of_several_inputs(name: str) -> None:
    make, arrays = MANY[name]
    check(make(), *arrays)


def test_softmax_leaves_masked_elements_out() -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    check(L.Softmax(), floats(2, 3), mask=mask)
    check(L.Softmax(axis=1), floats(4, 2, 3), mask=mask)


def test_a_mean_over_positions_leaves_masked_ones_out() -> None:
    mask = np.array([[True, False, True], [True, True, True]])
    check(L.GlobalAveragePooling1D(), floats(2, 3, 4), mask=mask)
    check(L.GlobalAveragePooling1D(keepdims=True), floats(2, 3, 4), mask=mask)


def test_batch_and_sequence_stay_symbolic() -> None:
    layer = built(L.Dense(5, "relu"), floats(2, 3, 7))
    found = lowered(layer, el.spec("B", "S", 7, name="x"))
    (x,) = found.inputs
    assert [str(extent) for extent in x.shape] == ["B", "S", "7"]
    bare = lowered(layer)
    assert bare.inputs[0].name == "inputs"


def test_what_does_not_fit_is_refused() -> None:
    dense = built(L.Dense(5), floats(2, 7))
    with pytest.raises(ShapeError, match="expected axis -1 of input shape to have value 7"):
        lowered(dense, el.spec("B", 8))
    with pytest.raises(ShapeError, match="cannot take inputs of shape"):
        lowered(dense, el.spec(8))
    with pytest.raises(ShapeError, match="expects 1 input"):
        lowered(dense, el.spec("B", 7), el.spec("B", 7))
    with pytest.raises(UnsupportedError, match="training=True"):
        lowered(dense, training=True)
    with pytest.raises(UnsupportedError, match=r"'lstm' \(LSTM\)"):
        lowered(built(L.LSTM(3, name="lstm"), floats(2, 3, 4)), el.spec("B", 3, 4))


def test_a_scale_that_keras_multiplies_along_another_axis() -> None:
    """RMSNormalization's is broadcast along the last axes, whatever its ``axis`` is."""
    layer = L.RMSNormalization(axis=1)
    layer.build((None, 4, 5))
    with pytest.raises(ShapeError, match="goes along the last axes: extents 5 and 4 differ"):
        lowered(layer, el.spec("B", 4, 5))


def test_a_layer_over_steps_of_another_policy_is_refused() -> None:
    layer = L.TimeDistributed(L.Dense(5), dtype="mixed_float16")
    with pytest.raises(UnsupportedError, match="policy 'float32' in one of 'mixed_float16'"):
        lowered(layer, el.spec("B", 3, 6))
