"""Whole models: the lowered graph against Keras, live and saved."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import (
    assert_close,
    check,
    evaluated,
    flat,
    randomized,
)

import einloom as el
from einloom.keras.lowering.target import lowered
from einloom.keras.models import read_model
from einloom.runtime.optimizing import optimized
from einloom_compiler.errors import SpecError, UnsupportedError
from einloom_compiler.ir.graph import Contraction
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.traversal import nodes_of

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = [pytest.mark.keras, pytest.mark.thinned(3)]


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


IDS = np.array([[3, 5, 0, 2, 0], [1, 0, 0, 0, 0], [7, 8, 9, 1, 2]], np.int32)


def mlp() -> Any:
    layers = [L.Dense(8, "relu"), L.Dropout(0.5), L.Dense(3, "softmax")]
    return keras.Sequential([keras.Input((6,), name="x0"), *layers])


def encoder() -> Any:
    """A block of a transformer with padding, as everybody writes it."""
    ids = keras.Input((None,), dtype="int32", name="x0")
    x = L.Embedding(11, 8, mask_zero=True)(ids)
    attended = L.MultiHeadAttention(2, 4)(x, x)
    x = L.LayerNormalization()(L.Add()([x, attended]))
    y = L.Dense(8)(L.Dense(16, "gelu")(x))
    x = L.LayerNormalization()(L.Add()([x, y]))
    return keras.Model(ids, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def masked() -> Any:
    ids = keras.Input((5,), dtype="int32", name="x0")
    x = L.Embedding(11, 4, mask_zero=True)(ids)
    x = L.Dropout(0.3)(L.Activation("tanh")(x))
    u = L.Attention()([L.Dense(4)(x), x])
    v = L.AdditiveAttention()([x, x, L.Dense(4)(x)])
    w = L.GroupQueryAttention(4, 4, 2)(u, v)
    joined = L.Concatenate()([u, v, w])
    return keras.Model(ids, [L.GlobalAveragePooling1D()(joined), u])


def masking() -> Any:
    x = keras.Input((5, 3), name="x0")
    y = L.Masking(0.0)(x)
    total = L.Concatenate(axis=1)([y, L.Dense(3)(y)])
    return keras.Model(x, [y, L.GlobalAveragePooling1D()(total)])


def several() -> Any:
    a, b = keras.Input((5, 8), name="x0"), keras.Input((6, 8), name="x1")
    shared = L.Dense(8, name="shared")
    x, y = shared(a), shared(b)
    z = L.MultiHeadAttention(2, 4)(x, y, use_causal_mask=True)
    w = L.MultiHeadAttention(2, 4, use_gate=True)(query=x, value=y, key=b)
    merged = L.Concatenate()([z, w, L.AdditiveAttention()([x, y])])
    normed = L.BatchNormalization()(L.RMSNormalization()(merged))
    out = L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", activation="gelu")(normed)
    return keras.Model([a, b], {"second": out, "first": L.Flatten()(z)})


def nesting() -> Any:
    inner_input = keras.Input((4,))
    shared = L.Dense(4, name="shared")
    inner = keras.Model(inner_input, L.Dense(4)(shared(inner_input)), name="inner")
    a, b = keras.Input((4,)), keras.Input((4,))
    total = shared(L.Add()([inner(a), inner(b)]))
    branch = keras.Sequential([L.Dense(4), L.BatchNormalization(), L.Activation("tanh")])
    outer = keras.Model([a, b], [inner(total), branch(total)], name="outer")
    x = keras.Input((4,), name="x0")
    first, second = outer([x, L.Dense(4)(x)])
    return keras.Model(x, L.Subtract()([second, first]))


def convolutional() -> Any:
    layers = [
        L.Rescaling(1 / 255),
        L.Conv2D(4, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Flatten(),
    ]
    return keras.Sequential([keras.Input((10, 9, 2), name="x0"), *layers, L.Dense(3)])


def half() -> Any:
    with _Policy("mixed_float16"):
        layers = [L.Dense(8, "relu"), L.LayerNormalization(), L.Dense(3, dtype="float32")]
        return keras.Sequential([keras.Input((6,), name="x0", dtype="float32"), *layers])


class _Policy:
    """Set Keras's dtype policy for a while."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_: object) -> None:
        keras.config.set_dtype_policy(self.before)


def operations() -> Any:
    """A model of operations that are no layers."""
    ops = keras.ops
    x, y = keras.Input((5, 4), name="x0"), keras.Input((5, 4), name="x1")
    z = ops.relu((x + y) * 2.0 - 1.0) / (1 + ops.abs(x))
    z = ops.mean(ops.concatenate([z, x], -1), axis=1)[:, 1:3]
    z = ops.softmax(ops.transpose(ops.reshape(z, (-1, 2, 1)), (0, 2, 1)))
    products = [
        ops.matmul(x, ops.transpose(y, (0, 2, 1))) ** 2,
        ops.einsum("bij,bkj->bik", x, y),
        ops.matmul(ops.expand_dims(x, 1), ops.reshape(y, (-1, 5, 4, 1))),
    ]
    views = [x[:, -1], x[:, None, ::2], x[:, -2:], ops.squeeze(ops.expand_dims(x, -1), -1)]
    flags = ops.where(ops.logical_and(x > 0, ops.logical_not(y >= x)), x, -y)
    rest = [ops.sum(x, axis=-1, keepdims=True), ops.sqrt(ops.square(x)), ops.maximum(x, 0.5)]
    rest += [ops.gelu(x, approximate=True), ops.cast(x > 0, "float32"), ops.all(x > -1, axis=1)]
    return keras.Model([x, y], [z, flags, *products, *views, *rest])


MODELS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "mlp": (mlp, (floats(3, 6),)),
    "encoder": (encoder, (IDS,)),
    "masked": (masked, (IDS,)),
    "masking": (masking, (floats(2, 5, 3) * (IDS[:2, :, None] > 0),)),
    "several": (several, (floats(2, 5, 8), floats(2, 6, 8))),
    "nesting": (nesting, (floats(3, 4),)),
    "convolutional": (convolutional, (floats(2, 10, 9, 2),)),
    "operations": (operations, (floats(2, 5, 4), floats(3, 5, 4)[:2])),
    "half": (half, (floats(3, 6),)),
}


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    make, arrays = MODELS[name]
    model = randomized(make())
    bound = 4e-3 if name == "half" else None  # stored as float16 between layers
    check(model, *arrays, bound=bound, runs=True)
    path = tmp_path / "model.keras"
    model.save(path)
    found = lowered(path)
    given = {f"x{n}": array for n, array in enumerate(arrays)}
    expected = flat(model(list(arrays) if len(arrays) > 1 else arrays[0]))
    for result, wanted in zip(evaluated(found, given), expected, strict=True):
        assert_close(result, wanted, bound)
    assert [str(root) for root in lowered(read_model(path)).roots]


def test_open_extents_are_symbols_and_inputs_are_named_as_in_keras() -> None:
    found = lowered(encoder())
    (ids,) = found.inputs
    assert (ids.name, str(ids.dtype)) == ("x0", "int32")
    assert [str(extent) for extent in ids.shape] == ["B", "x0_1"]


def test_embeddings_read_integers_also_where_keras_declares_floats() -> None:
    found = lowered(keras.Sequential([keras.Input((5,), name="x0"), L.Embedding(11, 4)]))
    assert str(found.inputs[0].dtype) == "int32"


def test_an_uncovered_layer_names_where_to_cut() -> None:
    x = keras.Input((5, 4))
    y = L.Dense(4, name="before")(x)
    y = L.LSTM(3, name="recurrent")(y)
    model = keras.Model(x, L.Dense(2, name="behind")(y))
    with pytest.raises(UnsupportedError, match=r"'recurrent' \(LSTM\)") as caught:
        lowered(model)
    message = str(caught.value)
    assert "Before it these layers are covered: before" in message
    assert "Behind it these are: behind" in message
    head = keras.Model(model.inputs, model.get_layer("recurrent").input)
    check(head, floats(2, 5, 4))


def test_an_operation_in_a_model_is_named() -> None:
    x = keras.Input((4,))
    with pytest.raises(UnsupportedError, match="the operation Sort is not interpreted"):
        lowered(keras.Model(x, L.Dense(2)(keras.ops.sort(x, 1))))


def test_functions_of_models() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    plain = [L.Dense(3, use_bias=False), L.Dense(3, use_bias=False)]
    outputs = {"u": L.Dense(2, use_bias=False)(plain[0](b)), "v": plain[1](a)}
    model = keras.Model([a, b], outputs)
    x, y = floats(3, 4), floats(2, 4)[:1].repeat(3, 0)
    f = el.keras.compile(model)
    expected = model([x, y])
    for found in (f(x, y), f([x, y]), f({"a": x, "b": y}), pickle.loads(pickle.dumps(f))(x, y)):
        assert list(found) == list(expected)
        for name, value in found.items():
            assert_close(value, np.asarray(expected[name]))
    with pytest.raises(SpecError, match="takes 2 arrays"):
        f(x)
    with pytest.raises(SpecError, match="takes inputs a, b"):
        f({"a": x, "c": y})
    assert repr(f) == f"<einloom {model.name} of (a, b)>"


def test_batch_normalizations_go_into_the_weights_before_them() -> None:
    """No operand but a bias is left behind a product, and the numbers are Keras's."""
    x = keras.Input((8, 7, 6))
    y = L.BatchNormalization()(L.Conv2D(8, 3, groups=2, use_bias=False)(x))
    y = L.BatchNormalization()(L.DepthwiseConv2D(2, depth_multiplier=2)(L.ReLU()(y)))
    y = L.BatchNormalization()(L.SeparableConv2D(6, 2)(L.Activation("silu")(y)))
    z = L.BatchNormalization()(L.EinsumDense("abcd,def->abcef", (4, 3, 3, 5))(y))
    z = L.BatchNormalization(axis=1)(L.Dense(7)(L.Flatten()(L.Activation("tanh")(z))))
    shared = L.Conv2D(6, 1)(y)
    model = randomized(keras.Model(x, [L.ReLU()(z), shared, L.BatchNormalization()(shared)]))
    found = lowered(model)
    roots = optimized(found.roots, order=True)
    products = [node for node in nodes_of(*roots) if isinstance(node, Contraction)]
    assert [len(node.epilogue.operands) for node in products] == [1] * len(products)
    assert len(products) == 6
    images = floats(3, 8, 7, 6)
    for root, wanted in zip(roots, flat(model(images)), strict=True):
        assert_close(evaluate_graph(root, {found.inputs[0].name: images}, {"B": 3}), wanted)
