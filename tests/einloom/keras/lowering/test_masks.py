"""Padding masks on their way through layers: which hand them on, and what they do at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import check, randomized

from einloom.keras.lowering.layer_call import LayerCall, Tensor
from einloom.keras.lowering.table import lower_layer
from einloom.keras.models import kind_of, record_from_keras
from einloom.keras.models.kinds import Kind
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.ir.graph import Input
from einloom_compiler.ir.traversal import inputs_of

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


IDS = np.array([[3, 5, 0, 2, 0, 0], [1, 2, 4, 0, 0, 0], [7, 8, 9, 1, 2, 3]], np.int32)

#: Layers that take a sequence of vectors.
LAYERS: dict[str, Callable[[], Any]] = {
    "dense": lambda: L.Dense(4),
    "einsum dense": lambda: L.EinsumDense("abc,cd->abd", (None, 4)),
    "dropout": lambda: L.Dropout(0.5),
    "spatial dropout": lambda: L.SpatialDropout1D(0.5),
    "noise": lambda: L.GaussianNoise(0.5),
    "identity": lambda: L.Identity(),
    "activation": lambda: L.Activation("tanh"),
    "relu": lambda: L.ReLU(),
    "prelu": lambda: L.PReLU(),
    "layer norm": lambda: L.LayerNormalization(),
    "rms norm": lambda: L.RMSNormalization(),
    "batch norm": lambda: L.BatchNormalization(),
    "group norm": lambda: L.GroupNormalization(2),
    "unit norm": lambda: L.UnitNormalization(),
    "rescaling": lambda: L.Rescaling(2.0),
    "normalization": lambda: L.Normalization(mean=0.5, variance=2.0, axis=None),
    "layer scale": lambda: keras.src.applications.convnext.LayerScale(0.5, 4),
    "masking": lambda: L.Masking(),
    "conv": lambda: L.Conv1D(4, 3, padding="same"),
    "depthwise": lambda: L.DepthwiseConv1D(3, padding="same"),
    "separable": lambda: L.SeparableConv1D(4, 3, padding="same"),
    "transposed": lambda: L.Conv1DTranspose(4, 3),
    "padding": lambda: L.ZeroPadding1D(1),
    "cropping": lambda: L.Cropping1D(1),
    "up-sampling": lambda: L.UpSampling1D(2),
    "pooling": lambda: L.MaxPooling1D(2),
    "adaptive": lambda: L.AdaptiveMaxPooling1D(2),
    "reshape": lambda: L.Reshape((6, 2, 2)),
    "permute": lambda: L.Permute((2, 1)),
    "flatten": lambda: L.Flatten(),
    "steps": lambda: L.TimeDistributed(L.RepeatVector(2)),
}


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize("name", LAYERS)
def test_the_same_layers_hand_masks_on(name: str) -> None:
    layer = LAYERS[name]()
    x = keras.ops.convert_to_tensor(floats(3, 6, 4))
    layer(x)
    keras.src.backend.set_keras_mask(x, keras.ops.convert_to_tensor(IDS != 0))
    expected = keras.src.backend.get_keras_mask(layer(x))
    record = record_from_keras(layer, (3, 6, 4))
    held = record.layers[-1]
    kind = kind_of(held, record.keras_version)
    assert isinstance(kind, Kind)
    node = Input("x", (3, 6, 4), as_dtype("float32"))
    mask = Input("mask", (3, 6), as_dtype("bool"))
    result = lower_layer(LayerCall(held, kind, (Tensor(node, mask),)))
    assert isinstance(result, Tensor)
    assert (result.mask is None) == (expected is None)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize(
    "layers",
    [
        [L.GroupNormalization(2), L.PReLU(), L.GlobalAveragePooling1D()],
        [L.RMSNormalization(), L.GlobalAveragePooling1D()],
        [L.Conv1D(4, 3, padding="causal"), L.GlobalAveragePooling1D()],
        [L.Rescaling([1.0, 2.0, 3.0, 4.0]), L.GlobalAveragePooling1D(keepdims=True)],
        [L.UnitNormalization(), L.ZeroPadding1D(1), L.GlobalMaxPooling1D()],
    ],
)
def test_masks_of_embeddings_reach_the_end(layers: list[Any]) -> None:
    model = keras.Sequential(
        [keras.Input((6,), dtype="int32", name="x0"), L.Embedding(11, 4, mask_zero=True), *layers]
    )
    check(randomized(model), IDS)


def test_masks_of_two_sequences_meet_in_attention() -> None:
    """Of query, value and key, through a model within the model, with what a call adds."""
    ids, other = (keras.Input((n,), dtype="int32", name=f"x{i}") for i, n in enumerate((6, 5)))
    embed = L.Embedding(11, 4, mask_zero=True)
    inner_input = keras.Input((None, 4))
    inner = keras.Model(inner_input, L.Dense(4, "tanh")(L.Dropout(0.5)(inner_input)))
    x, y = inner(embed(ids)), embed(other)
    attended = L.MultiHeadAttention(2, 3, dropout=0.1)(x, y, use_causal_mask=True)
    plain = L.Attention(use_scale=True)([x, y, L.Dense(4)(y)])
    merged = L.Average()([L.Add()([x, attended]), plain])
    model = randomized(keras.Model([ids, other], [L.GlobalAveragePooling1D()(merged), attended]))
    check(model, IDS, IDS[:, :5][::-1].copy())


@pytest.mark.parametrize("name", ["Multiply", "Maximum", "Minimum"])
def test_padded_elements_leave_merges_to_the_others(name: str) -> None:
    """Two sequences padded differently, and one that is not padded, in each order."""
    ids, other = (keras.Input((6,), dtype="int32", name=f"x{i}") for i in range(2))
    plain = keras.Input((6, 4), name="x2")
    x, y = L.Embedding(11, 4, mask_zero=True)(ids), L.Embedding(11, 4, mask_zero=True)(other)
    vector = L.Embedding(11, 4, mask_zero=True)(ids)[:, 0]
    groups = ([x, y], [y, x, y], [x, plain], [plain, x, y], [x, vector], [x])
    merged = [getattr(L, name)()(group) for group in groups]
    pooled = [L.GlobalAveragePooling1D()(each) for each in merged]
    model = randomized(keras.Model([ids, other, plain], [*merged, *pooled]))
    check(model, IDS, IDS[::-1].copy(), floats(3, 6, 4), runs=name == "Maximum")


def test_padded_elements_are_like_others_in_keras_2() -> None:
    x, mask = Input("x", (3, 6, 4), as_dtype("float32")), Input("mask", (3, 6), as_dtype("bool"))
    held = record_from_keras(L.Multiply(), (3, 6, 4), (3, 6, 4)).layers[-1]
    kind = kind_of(held, "2.15.0")
    assert isinstance(kind, Kind)
    result = lower_layer(LayerCall(held, kind, (Tensor(x, mask), Tensor(x, mask))))
    assert isinstance(result, Tensor)
    assert inputs_of(result.node) == (x,)


def test_a_mask_given_to_a_softmax_over_several_axes() -> None:
    x = floats(3, 4, 5)
    mask = np.random.default_rng(0).random((3, 4, 5)) < 0.5
    mask[1] = False
    check(L.Softmax(axis=(1, 2)), x, mask=mask)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (
            L.TimeDistributed(L.GlobalAveragePooling1D()),
            "which a wrapped GlobalAveragePooling1D would read",
        ),
        (L.SpectralNormalization(L.Dense(3)), "which the wrapped layer would get"),
    ],
)
def test_masks_that_wrapped_layers_would_read(layer: Any, words: str) -> None:
    held = record_from_keras(layer, (3, 6, 5, 4)).layers[-1]
    kind = kind_of(held, keras.__version__)
    assert isinstance(kind, Kind)
    node = Input("x", (3, 6, 5, 4), as_dtype("float32"))
    mask = Input("mask", (3, 6), as_dtype("bool"))
    with pytest.raises(UnsupportedError, match=words):
        lower_layer(LayerCall(held, kind, (Tensor(node, mask),)))
