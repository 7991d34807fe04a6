"""Known layers against the real ones: output shapes, weights and their shapes, configurations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from einloom.keras.models import LayerRecord, kind_of, record_from_keras
from einloom.keras.models.documents import frozen
from einloom.keras.models.kinds import KNOWN_CLASSES, Kind, Unknown
from einloom.keras.models.kinds.activation import FUNCTIONS, Activation, Function
from einloom.keras.models.kinds.shaping import Input
from einloom_compiler.errors import ModelFileError, ShapeError
from einloom_compiler.extents import replaced, symbol

keras = pytest.importorskip("keras")
L = keras.layers
LayerScale = keras.src.applications.convnext.LayerScale

pytestmark = pytest.mark.keras

Shapes = list[tuple[int | None, ...]]
#: A layer, and the shapes it is called with. None is an extent left open.
CASES: list[tuple[Callable[[], Any], Shapes]] = [
    (lambda: L.Dense(5), [(2, 3)]),
    (lambda: L.Dense(5, use_bias=False, activation="gelu"), [(None, None, 4, 3)]),
    (lambda: L.EinsumDense("ab,bc->ac", 64, bias_axes="c"), [(None, 32)]),
    (lambda: L.EinsumDense("abc,cd->abd", (None, 64), bias_axes="d"), [(2, 32, 7)]),
    (lambda: L.EinsumDense("...x,xy->...y", 64, bias_axes="y"), [(2, 32, 7)]),
    (lambda: L.EinsumDense("...x,xy->...y", 64), [(2, 5, 3, 7)]),
    (lambda: L.EinsumDense("abc,cde->abde", (None, 4, 5), bias_axes="d"), [(2, 3, 7)]),
    (lambda: L.EinsumDense("abc,cde->abde", (3, 4, 5), bias_axes="be"), [(None, 3, 7)]),
    (lambda: L.EinsumDense("ab...,bc->ac...", 6, bias_axes="c"), [(2, 3, 9, 8)]),
    (lambda: L.EinsumDense("abc,cd->adb", (64, 32), bias_axes="d"), [(2, 32, 12)]),
    (lambda: L.EinsumDense("abc,bcd->ad", 6, bias_axes="d"), [(2, 3, 4)]),
    (lambda: L.EinsumDense("abc,abd->acd", (3, 4)), [(2, 5, 3)]),
    (lambda: L.Embedding(11, 4), [(2, 3)]),
    (lambda: L.Embedding(11, 4, mask_zero=True), [(None, None)]),
    (lambda: L.Flatten(), [(2, 3, 4)]),
    (lambda: L.Flatten(data_format="channels_first"), [(2, 3, 4)]),
    (lambda: L.Flatten(), [(2,)]),
    (lambda: L.Flatten(), [(None, None, 3)]),
    (lambda: L.Reshape((2, -1)), [(3, 4, 6)]),
    (lambda: L.Reshape((2, -1)), [(None, 4, 6)]),
    (lambda: L.Reshape((4, 6)), [(None, 24)]),
    (lambda: L.Permute((2, 1, 3)), [(2, 3, 4, 5)]),
    (lambda: L.RepeatVector(3), [(None, 4)]),
    (lambda: L.Masking(1.5), [(None, 3, 4)]),
    (lambda: L.TimeDistributed(L.Dense(5)), [(None, 3, 4)]),
    (lambda: L.TimeDistributed(L.SeparableConv1D(5, 2)), [(2, None, 6, 4)]),
    (lambda: L.SpectralNormalization(L.Dense(5)), [(None, 4)]),
    (lambda: L.TimeDistributed(L.SpectralNormalization(L.Conv1D(5, 2))), [(None, 3, 7, 4)]),
    (lambda: LayerScale(1e-6, 4), [(None, None, 3, 4)]),
    (lambda: L.PReLU(), [(None, 3, 4)]),
    (lambda: L.PReLU(shared_axes=[2]), [(None, 3, 4)]),
    (lambda: L.UnitNormalization(axis=[1, -1]), [(None, 3, 4)]),
    (lambda: L.Rescaling(0.5, 1), [(None, 3, 4)]),
    (lambda: L.Dropout(0.5), [(None, 3)]),
    (lambda: L.SpatialDropout1D(0.5), [(2, 3, 4)]),
    (lambda: L.SpatialDropout2D(0.5), [(2, 3, 4, 5)]),
    (lambda: L.SpatialDropout3D(0.5), [(2, 3, 4, 5, 6)]),
    (lambda: L.GaussianDropout(0.5), [(2, 3)]),
    (lambda: L.GaussianNoise(0.5), [(2, 3)]),
    (lambda: L.AlphaDropout(0.5), [(2, 3)]),
    (lambda: L.ActivityRegularization(0.1), [(2, 3)]),
    (lambda: L.Identity(), [(2, 3)]),
    (lambda: L.Activation("relu"), [(None, 3)]),
    (lambda: L.ReLU(max_value=6.0), [(2, 3)]),
    (lambda: L.LeakyReLU(0.1), [(2, 3)]),
    (lambda: L.ELU(), [(2, 3)]),
    (lambda: L.Softmax(axis=1), [(2, 3, 4)]),
    (lambda: L.Add(), [(2, 3), (2, 3), (2, 3)]),
    (lambda: L.Add(), [(None, None, 4), (None, 1, 1)]),
    (lambda: L.Multiply(), [(2, 5, 3), (2, 3)]),
    (lambda: L.Subtract(), [(2, 1, 4), (2, 3, 1)]),
    (lambda: L.Average(), [(2, 3), (2, 3)]),
    (lambda: L.Maximum(), [(2, 3), (2, 3)]),
    (lambda: L.Minimum(), [(2, 3), (2, 3)]),
    (lambda: L.Concatenate(), [(2, 3), (2, 4), (2, 5)]),
    (lambda: L.Concatenate(axis=1), [(None, 3, 4), (None, None, 4)]),
    (lambda: L.Dot(axes=1), [(2, 3), (2, 3)]),
    (lambda: L.Dot(axes=(2, 1)), [(2, 3, 4), (2, 4, 5)]),
    (lambda: L.Dot(axes=(3, 2), normalize=True), [(None, 3, 4, 5), (None, 6, 5, 7)]),
    (lambda: L.Dot(axes=-1), [(2, 3, 4), (2, 4)]),
    (lambda: L.LayerNormalization(), [(None, 3, 4)]),
    (lambda: L.LayerNormalization(axis=[1, -1], center=False), [(2, 3, 4)]),
    (lambda: L.LayerNormalization(axis=[2, 1], scale=False), [(2, 3, 4)]),
    (lambda: L.LayerNormalization(axis=1), [(2, 3, 4)]),
    (lambda: L.RMSNormalization(), [(2, 3, 4)]),
    (lambda: L.RMSNormalization(axis=(-2, -1)), [(2, 3, 4)]),
    (lambda: L.BatchNormalization(), [(None, 3, 4)]),
    (lambda: L.BatchNormalization(axis=1, scale=False, center=False), [(2, 3, 4)]),
    (lambda: L.MultiHeadAttention(2, 3), [(None, 5, 4), (None, 6, 4)]),
    (lambda: L.MultiHeadAttention(2, 3, 7, use_bias=False), [(2, 5, 4), (2, 6, 8), (2, 6, 9)]),
    (lambda: L.MultiHeadAttention(2, 3, output_shape=(9, 10)), [(2, 5, 4), (2, 6, 4)]),
    (lambda: L.MultiHeadAttention(2, 3, output_shape=9), [(2, 5, 4), (2, 6, 4)]),
    (lambda: L.MultiHeadAttention(2, 3, attention_axes=(2,)), [(2, 5, 4, 3), (2, 5, 6, 3)]),
    (lambda: L.GroupQueryAttention(3, 4, 2), [(None, 5, 8), (None, 6, 8)]),
    (lambda: L.GroupQueryAttention(3, 4, 2, use_bias=False), [(2, 5, 8), (2, 6, 8), (2, 6, 8)]),
    (lambda: L.Attention(), [(2, 5, 4), (2, 6, 4)]),
    (lambda: L.Attention(use_scale=True, score_mode="concat"), [(2, 5, 4), (2, 6, 7), (2, 6, 4)]),
    (lambda: L.AdditiveAttention(), [(None, 5, 4), (None, 6, 4)]),
    (lambda: L.AdditiveAttention(use_scale=False), [(2, 5, 4), (2, 6, 4)]),
    (lambda: L.GlobalAveragePooling1D(), [(None, None, 4)]),
    (lambda: L.GlobalAveragePooling1D(keepdims=True), [(2, 3, 4)]),
    (lambda: L.GlobalMaxPooling1D(data_format="channels_first"), [(2, 3, 4)]),
    (lambda: L.AveragePooling1D(2), [(2, 7, 4)]),
    (lambda: L.AveragePooling1D(3, 2, padding="same"), [(None, 8, 4)]),
    (lambda: L.MaxPooling1D(3, 1), [(2, 7, 4)]),
    (lambda: L.MaxPooling1D(2), [(2, None, 4)]),
    (lambda: L.GlobalMaxPooling2D(), [(2, 3, 4, 5)]),
    (lambda: L.GlobalMaxPooling3D(keepdims=True), [(2, 3, 4, 5, 6)]),
    (lambda: L.GlobalAveragePooling2D(data_format="channels_first"), [(2, 3, 4, 5)]),
    (lambda: L.GlobalAveragePooling3D(), [(2, 3, 4, 5, 6)]),
    (lambda: L.MaxPooling2D((2, 3), 1, "same"), [(2, 7, 6, 5)]),
    (lambda: L.AveragePooling2D(2), [(2, 7, None, 5)]),
    (lambda: L.MaxPooling3D(2), [(2, 7, 6, 5, 4)]),
    (lambda: L.AveragePooling3D(2), [(2, 7, 6, 5, 4)]),
    (lambda: L.Conv2D(6, (3, 2), strides=(1, 2), activation="relu"), [(None, 9, 8, 4)]),
    (lambda: L.Conv2D(6, 3, padding="same", groups=2, use_bias=False), [(2, 9, 8, 4)]),
    (lambda: L.Conv3D(6, 2), [(2, 9, 8, 7, 4)]),
    (lambda: L.Conv1D(6, 3), [(None, 9, 4)]),
    (lambda: L.Conv1D(6, 3, strides=2, padding="same", use_bias=False), [(2, 9, 4)]),
    (lambda: L.Conv1D(6, 3, padding="causal", dilation_rate=2), [(2, 9, 4)]),
    (lambda: L.Conv1D(6, 3, dilation_rate=2, groups=2, activation="relu"), [(2, 9, 4)]),
    (lambda: L.Conv1D(6, 3, strides=2), [(2, None, 4)]),
    (lambda: L.DepthwiseConv1D(3, depth_multiplier=2), [(None, 9, 4)]),
    (lambda: L.DepthwiseConv2D((2, 3), 2, data_format="channels_first"), [(2, 4, 9, 8)]),
    (lambda: L.SeparableConv1D(6, 3, depth_multiplier=2, use_bias=False), [(2, None, 4)]),
    (lambda: L.SeparableConv2D(6, 3, padding="same"), [(2, 9, 8, 4)]),
    (lambda: L.Conv1DTranspose(6, 3), [(None, 9, 4)]),
    (lambda: L.Conv1DTranspose(6, 2, strides=3), [(None, None, 4)]),
    (lambda: L.Conv2DTranspose(6, 3, 2, "same", use_bias=False), [(2, 9, 8, 4)]),
    (lambda: L.Conv2DTranspose(6, 3, 2, output_padding=1), [(2, 9, None, 4)]),
    (lambda: L.Conv2DTranspose(6, 3, 3, "same", output_padding=(1, 2)), [(2, 9, 8, 4)]),
    (lambda: L.Conv3DTranspose(6, (1, 2, 3)), [(2, 3, 5, 6, 4)]),
    (lambda: L.ZeroPadding1D((1, 2)), [(2, None, 4)]),
    (lambda: L.ZeroPadding2D(((1, 2), (0, 3)), data_format="channels_first"), [(2, 3, 4, 5)]),
    (lambda: L.ZeroPadding3D((1, 2, 3)), [(2, 3, None, 5, 6)]),
    (lambda: L.Cropping1D((1, 2)), [(2, 5, 4)]),
    (lambda: L.Cropping2D(((1, 2), (0, 3))), [(2, 5, 4, 3)]),
    (lambda: L.Cropping3D(1), [(2, 3, 4, 5, 6)]),
    (lambda: L.UpSampling1D(3), [(2, None, 4)]),
    (lambda: L.UpSampling2D((2, 3), data_format="channels_first"), [(2, 3, 4, 5)]),
    (lambda: L.UpSampling3D(2), [(2, 3, 4, 5, 6)]),
    (lambda: L.AdaptiveMaxPooling2D((3, 2), data_format="channels_first"), [(2, 4, 7, 5)]),
    (lambda: L.GroupNormalization(2), [(None, 3, 4)]),
    (lambda: L.GroupNormalization(-1, axis=1, scale=False), [(2, 3, 4)]),
    (lambda: L.Normalization(), [(None, 3, 4)]),
    (lambda: L.Normalization(axis=(2, 1), invert=True), [(2, 3, 4)]),
    (lambda: L.Normalization(mean=[0.1, 0.2], variance=[1.0, 2.0]), [(2, 3, 2)]),
    (lambda: L.Normalization(axis=None, mean=0.5, variance=2.0), [(2, 3, 2)]),
    (lambda: L.Rescaling([1.0, 2.0], [0.5, 0.25]), [(None, 3, 2)]),
    (lambda: L.Softmax(axis=(1, -1)), [(2, 3, 4)]),
    (lambda: L.Activation("sparsemax"), [(2, 3)]),
    (lambda: L.AdaptiveAveragePooling1D(3), [(None, 7, 4)]),
    (lambda: L.AdaptiveAveragePooling2D(3), [(2, 7, 5, 4)]),
    (lambda: L.AdaptiveAveragePooling3D(2), [(2, 7, 5, 3, 4)]),
    (lambda: L.AdaptiveMaxPooling1D(3), [(2, 7, 4)]),
    (lambda: L.AdaptiveMaxPooling3D(2), [(2, 7, 5, 3, 4)]),
]
#: Layers that pass images on; ``lowering/test_coverage.py`` has them.
AUGMENTATIONS = {
    *("AugMix", "CutMix", "MixUp", "RandAugment"),
    *(name for name in KNOWN_CLASSES if name.startswith("Random")),
}


def opened(shape: tuple[Any, ...]) -> tuple[int | None, ...]:
    return tuple(extent if isinstance(extent, int) else None for extent in shape)


def called(layer: Any, shapes: Shapes) -> tuple[Any, LayerRecord, Kind]:
    """Call the layer on symbolic tensors; return what Keras says, its record and its kind."""
    tensors = [keras.KerasTensor(shape, "float32") for shape in shapes]
    is_separate = type(layer).__name__ in ("MultiHeadAttention", "GroupedQueryAttention")
    output = layer(*tensors) if is_separate or len(tensors) == 1 else layer(tensors)
    record = record_from_keras(layer, *shapes)
    held = record.layers[-1]
    kind = kind_of(held, record.keras_version)
    assert isinstance(kind, Kind), kind
    return output, held, kind


@pytest.mark.parametrize(("make", "shapes"), CASES)
def test_shapes_and_weights_are_keras_own(make: Callable[[], Any], shapes: Shapes) -> None:
    layer = make()
    output, held, kind = called(layer, shapes)
    named: list[tuple[Any, ...]] = []
    values: dict[str, int] = {}
    for number, shape in enumerate(shapes):
        extents = []
        for axis, extent in enumerate(shape):
            # One name for all batches; others differ, as Keras knows nothing of them.
            name = f"x{number}_{axis}" if axis else "batch"
            values.setdefault(name, 8 + axis)
            extents.append(symbol(name) if extent is None else extent)
        named.append(tuple(extents))
    found = kind.output_shape(*named)
    stated = tuple(output.shape)
    assert len(found) == len(stated)
    # Keras 3.15 states the axes under a left ellipsis in reverse; what runs below is not reversed.
    is_reversed = getattr(kind, "elided", "") == "left" and len(shapes[0]) > 3
    for mine, theirs in zip(found, stated, strict=True):
        # Keras leaves open some extents that follow (EinsumDense); a known one of its is ours.
        assert theirs is None or mine == theirs or is_reversed
    assert [slot.name for slot in kind.slots()] == [weight.name for weight in held.weights]
    assert kind.weight_shapes(*named) == tuple(weight.shape for weight in held.weights)
    # The symbolic shape holds at a size, where the layer really runs.
    at_size = [tuple(replaced(extent, values) for extent in shape) for shape in named]
    zeros = [keras.ops.zeros(shape, "float32") for shape in at_size]
    is_separate = type(layer).__name__ in ("MultiHeadAttention", "GroupedQueryAttention")
    ran = layer(*zeros) if is_separate or len(zeros) == 1 else layer(zeros)
    assert tuple(replaced(extent, values) for extent in found) == tuple(ran.shape)
    assert kind.output_shape(*at_size) == tuple(ran.shape)


def test_every_known_class_has_a_case() -> None:
    tested = {type(make()).__name__ for make, _ in CASES} | {"InputLayer", "GroupQueryAttention"}
    assert tested >= set(KNOWN_CLASSES) - AUGMENTATIONS


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_activations_by_name(name: str) -> None:
    layer = L.Activation(name)
    record = record_from_keras(layer, (2, 4))
    kind = kind_of(record.layers[-1], record.keras_version)
    if name == "sparsemax":  # what this release computes is another function
        assert kind == Activation(Function(name, (("axis", -1), ("is_exact", False))))
        assert kind_of(record.layers[-1], "3.16.0") == Activation(FUNCTIONS[name])
    else:
        assert kind == Activation(FUNCTIONS[name])


def test_every_activation_of_keras_is_known() -> None:
    from keras.src.activations import ALL_OBJECTS_DICT

    aliases = {"swish", "hard_swish"}
    without_a_default = {"threshold"}
    assert set(ALL_OBJECTS_DICT) - aliases - without_a_default == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (lambda: L.Dense(2, activation="swish"), "silu"),
        (lambda: L.Dense(2, activation=L.LeakyReLU(0.25)), "leaky_relu(negative_slope=0.25)"),
        (
            lambda: L.Dense(2, activation=L.ReLU(6.0)),
            "relu(negative_slope=0.0, max_value=6.0, threshold=0.0)",
        ),
        (lambda: L.Dense(2, activation=L.Softmax(axis=1)), "softmax(axis=1)"),
        (lambda: L.Dense(2), "linear"),
        (lambda: L.Dense(2, activation="gelu"), "gelu(approximate=False)"),
    ],
)
def test_activations_of_a_layer(layer: Callable[[], Any], shown: str) -> None:
    kind: Any = kind_of(record_from_keras(layer(), (2, 4)).layers[-1], "3.0")
    assert str(kind.activation) == shown


def entry(class_name: str, **config: Any) -> LayerRecord:
    return LayerRecord("d", class_name, "layer", frozen(config), "float32")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (entry("LSTM"), "the layer LSTM is not interpreted"),
        (dataclasses.replace(entry("Dense"), origin="custom"), "Dense is no class of Keras"),
        (dataclasses.replace(entry("Multiply"), origin="operation"), "operation Multiply"),
        (
            dataclasses.replace(entry("Dense", units=3), dtype_policy="int8_from_float32"),
            "weights are quantized",
        ),
        (entry("Dense", units=3, quantization_config={"a": 1}), "quantized weights"),
        (entry("Dense", units=3, activation="my_function"), "'my_function' is none of Keras's"),
        (entry("Dense", units=4, activation="glu"), "use a layer Activation('glu') behind it"),
        (entry("UpSampling2D", size=2, interpolation="bilinear"), "between positions"),
        (entry("BatchNormalization", axis=1, epsilon=1e-3, renorm=True), "renorm"),
        (entry("EinsumDense", equation="ii,ij->j", output_shape=3), "repeats a letter"),
        (entry("EinsumDense", equation="ab, bc->ac", output_shape=3), "is none that EinsumDense"),
        (entry("InputLayer", batch_shape=[None], sparse=True), "sparse input"),
        (dataclasses.replace(entry("LayerScale"), origin="custom"), "LayerScale is no class of K"),
        (entry("Attention", causal=True), "causal"),
    ],
)
def test_layers_that_are_not_known_say_why(layer: LayerRecord, words: str) -> None:
    kind = kind_of(layer, "3.15.1")
    assert isinstance(kind, Unknown)
    assert words in kind.reason


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (entry("Dense", units="3"), r"layer 'd' \(Dense\): units must be a whole number"),
        (entry("Dense"), "units must be .* but is missing"),
        (entry("Permute", dims=[0, 1]), "dims must be a permutation of 1"),
        (entry("Reshape", target_shape=[-1, -1]), "at most one -1"),
        (entry("Dot", axes=[1, 2, 3]), "axes must be one axis, or one for each"),
        (entry("Embedding", input_dim=0, output_dim=1), "input_dim must be"),
        (entry("LayerNormalization", axis=-1, epsilon=None), "epsilon must be a number"),
        (entry("LayerNormalization", axis=[1, "2"], epsilon=1.0), "axis must be an axis or a list"),
        (entry("GroupQueryAttention", num_query_heads=3, num_key_value_heads=2), "a multiple of"),
        (entry("MaxPooling1D", pool_size=[2, 2]), "pool_size must be a length"),
        (entry("MaxPooling1D", pool_size=2, padding="full"), "padding must be one of valid, same"),
        (entry("Conv1D", filters=4, kernel_size=1, groups=3), "filters must be a multiple"),
        (entry("InputLayer", batch_shape=[1] * 99), "at most 32 extents"),
        (entry("ZeroPadding2D", padding=[1, 2, 3]), "padding must be amounts .* each of 2 axes"),
        (entry("Cropping1D", cropping=[1, -2]), "cropping must be amounts .* 0 or more"),
        (entry("Rescaling", scale=[1.0, [2.0]]), "scale must be a number, or a list of numbers"),
        (entry("Normalization", axis=-1, mean=[1.0], variance=1.0), "of the shape of mean"),
        (entry("GroupNormalization", groups=0, axis=-1, epsilon=1.0), "a number of groups, or -1"),
        (
            entry("Conv1DTranspose", filters=1, kernel_size=2, strides=2, output_padding=2),
            r"output_padding must be 1 numbers below the strides \(2,\)",
        ),
        (entry("EinsumDense", equation=3, output_shape=3), "equation must be an equation"),
        (entry("EinsumDense", equation="ab,bc->ad", output_shape=3), "whose letters all occur"),
    ],
)
def test_malformed_configurations(layer: LayerRecord, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        kind_of(layer, "3.15.1")


@pytest.mark.parametrize(
    ("layer", "shapes", "words"),
    [
        (L.Dense(3), [(3,)], "Dense takes rank 2 or more, but inputs has shape (3,)"),
        (L.Add(), [(2, 3), (2, 4)], "extents 3 and 4 differ"),
        (L.Add(), [(2, 3), (3, 3)], "extents 2 and 3 differ"),
        (L.Subtract(), [(2, 3)], "Subtract takes 2 inputs, not 1"),
        (L.Concatenate(1), [(2, 3), (2, 3, 4)], "ranks differ"),
        (L.Concatenate(5), [(2, 3)], "axis 5"),
        (L.Dot(1), [(2, 3), (2, 4)], "extents 3 and 4 differ"),
        (L.Permute((2, 1)), [(2, 3)], "Permute of 2 axes cannot take shape (2, 3)"),
        (L.Reshape((5,)), [(2, 4)], "takes a multiple of 5 elements"),
        (L.Conv1D(2, 5), [(1, 4, 2)], "cannot take a sequence of 4"),
        (L.Attention(), [(1, 2, 3), (1, 2, 4)], "extents 3 and 4 differ"),
        (L.Cropping1D((2, 3)), [(1, 5, 2)], "leaves nothing of axis 1 of shape (1, 5, 2)"),
        (LayerScale(1.0, 2), [(1, 3)], "LayerScale's gamma has shape (2,)"),
        (L.GroupNormalization(2), [(1, 3)], "2 groups cannot split the 3 channels"),
        (L.Rescaling([1.0, 2.0]), [(1, 3)], "Rescaling's scale has shape (2,)"),
        (L.Normalization(mean=[1, 2], variance=[1, 2]), [(1, 3)], "mean has shape (2,)"),
        (L.Activation("glu"), [(1, 3)], "glu halves axis 1, whose extent in shape (1, 3) is odd"),
        (L.MultiHeadAttention(1, 1), [(1, 2, 3)], "takes 2 to 3 inputs, not 1"),
        (L.EinsumDense("ab,bc->ac", 4), [(1, 2, 3)], "does not fit an input of shape (1, 2, 3)"),
        (L.GroupQueryAttention(1, 1, 1), [(1, 2, 3), (1, 2, 4)], "extents 3 and 4 differ"),
    ],
)
def test_inputs_that_a_layer_cannot_take(layer: Any, shapes: list[Any], words: str) -> None:
    serialized = frozen(keras.saving.serialize_keras_object(layer))
    from einloom.keras.models.structure import Source, layer_record

    kind = kind_of(layer_record(serialized, Source("3.15.1")), "3.15.1")
    assert isinstance(kind, Kind)
    with pytest.raises(ShapeError) as caught:
        kind.output_shape(*shapes)
    assert words in str(caught.value)


def test_an_input_layer() -> None:
    for name in ("batch_shape", "batch_input_shape"):
        layer = entry("InputLayer", **{name: [None, 3]}, dtype="int32")
        assert kind_of(layer, "3.0") == Input((None, 3), "int32")
