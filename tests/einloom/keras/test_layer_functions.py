"""``einloom.keras.layers`` against the real layers: arguments, values, weights, errors."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import assert_close, flat, randomized
from tests.einloom.keras.lowering.test_convolution import CASES as CONVOLUTIONS
from tests.einloom.keras.lowering.test_layers import MANY, ONE

import einloom as el
from einloom.keras import layers
from einloom.keras.models.kinds.table import KNOWN_CLASSES
from einloom_compiler.errors import SpecError, UnsupportedError
from einloom_compiler.ir.reference import evaluate_graph

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras

#: Options of Keras's layers that only matter while training, or say nothing about values.
IDLE = {
    *("name", "dtype", "kwargs", "seed", "noise_shape", "synchronized", "flash_attention"),
    *("lora_rank", "lora_alpha", "gptq_unpacked_column_size", "quantization_config", "weights"),
    *("renorm", "renorm_clipping", "renorm_momentum"),
}
NAMES = [n for n in layers.__all__ if n[0].isupper() and n not in ("Layer", "Dot")]


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def mine(theirs: Any) -> Any:
    """Return einloom's layer of a Keras layer's configuration."""
    name = {"GroupedQueryAttention": "GroupQueryAttention"}.get(
        type(theirs).__name__, type(theirs).__name__
    )
    make = getattr(layers, name)
    if name == "Dot":
        return make(theirs.axes, theirs.normalize, dtype=theirs.dtype_policy.name)
    known = set(inspect.signature(make).parameters) | {"rms_scaling"}
    config = {k: v for k, v in theirs.get_config().items() if k in known - {"dtype", "options"}}
    return make(**config, dtype=theirs.dtype_policy.name)


def as_operands(layer: Any, arrays: list[Any], weights: list[Any], **arguments: Any) -> Any:
    """Return what an expression of the call gives by the reference evaluator."""
    specs = [el.spec("B", *a.shape[1:], dtype=a.dtype, name=f"x{n}") for n, a in enumerate(arrays)]
    held = [el.spec(*w.shape, dtype=w.dtype, name=f"w{n}") for n, w in enumerate(weights)]
    given = {f"x{n}": a for n, a in enumerate(arrays)} | {f"w{n}": w for n, w in enumerate(weights)}
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            given[name] = value
            arguments[name] = el.spec(*value.shape, dtype=value.dtype, name=name)
    separate = type(layer).__name__ in ("MultiHeadAttention", "GroupQueryAttention")
    inputs = specs if separate or len(specs) == 1 else [specs]
    if weights:
        arguments["weights"] = held
    found = layer(*inputs, **arguments)
    several = found if isinstance(found, tuple) else (found,)
    sizes = {"B": arrays[0].shape[0]}
    return [evaluate_graph(each.node, given, sizes) for each in several]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_keras_own(name: str) -> None:
    theirs = dict(list(inspect.signature(getattr(L, name).__init__).parameters.items())[1:])
    own = dict(inspect.signature(getattr(layers, name)).parameters)
    del own["options"]
    rest = {
        k
        for k in set(theirs) - set(own) - IDLE
        if not k.endswith(("_initializer", "_regularizer", "_constraint"))
    }
    assert rest == set()
    assert set(own) <= set(theirs)
    positional = [k for k, p in own.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == list(theirs)[: len(positional)]
    for key, parameter in own.items():
        default = theirs[key].default
        if isinstance(default, tuple) and len(set(map(str, default))) == 1:
            default = default[0]
            if isinstance(default, tuple) and len(set(default)) == 1:
                default = default[0]
        given = parameter.default
        if isinstance(given, tuple) and len(set(map(str, given))) == 1:
            given = given[0]
            given = given[0] if isinstance(given, tuple) and len(set(given)) == 1 else given
        assert given == default, key


def test_the_layers_are_those_that_are_compiled() -> None:
    """But for inputs, layers that make masks, and augmentations, which do nothing."""
    for name in KNOWN_CLASSES:
        if hasattr(layers, name):
            continue
        with pytest.raises(AttributeError, match=rf"no layer '{name}': .+"):
            getattr(layers, name)
        assert name in ("InputLayer", "Masking", "RandAugment", "AugMix", "CutMix", "MixUp") or (
            name.startswith("Random")
        )
    with pytest.raises(AttributeError, match="no layer 'LSTM': recurrent"):
        _ = layers.LSTM
    with pytest.raises(AttributeError, match=r"no layer 'Nonsense'$"):
        _ = layers.Nonsense


SINGLE = {**ONE, **{f"conv: {name}": (make, floats(*shape)) for name, (make, shape) in
                    CONVOLUTIONS.items()}}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_values_of_layers_of_one_input(name: str) -> None:
    make, x = SINGLE[name]
    theirs = make()
    theirs(keras.ops.convert_to_tensor(x))
    if type(theirs).__name__ == "Masking":
        pytest.skip("masks do not travel with arrays")
    weights = randomized(theirs).get_weights()
    (found,) = as_operands(mine(theirs), [x], weights)
    assert_close(found, np.asarray(theirs(keras.ops.convert_to_tensor(x))))


@pytest.mark.parametrize("name", MANY)
def test_values_of_layers_of_several_inputs(name: str) -> None:
    make, arrays = MANY[name]
    theirs = make()
    (found,) = as_operands(mine(theirs), list(arrays), [])
    assert_close(found, np.asarray(theirs([keras.ops.convert_to_tensor(a) for a in arrays])))


MASK = np.random.default_rng(0).random((2, 3, 5)) < 0.6
ATTENTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "heads": (lambda: L.MultiHeadAttention(2, 3), {"attention_mask": MASK}),
    "heads scores": (
        lambda: L.MultiHeadAttention(2, 3, value_dim=4, use_bias=False, output_shape=7),
        {"return_attention_scores": True, "use_causal_mask": True},
    ),
    "heads gate": (lambda: L.MultiHeadAttention(2, 3, dropout=0.1, use_gate=True), {}),
    "heads half": (lambda: L.MultiHeadAttention(2, 3, dtype="mixed_float16"), {}),
    "groups": (lambda: L.GroupQueryAttention(3, 4, 2), {"use_causal_mask": True}),
    "dot": (lambda: L.Attention(use_scale=True), {"use_causal_mask": True}),
    "dot scores": (lambda: L.Attention(use_scale=True), {"return_attention_scores": True}),
    "concat": (lambda: L.Attention(use_scale=True, score_mode="concat"), {}),
    "additive": (lambda: L.AdditiveAttention(), {}),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_values_of_attention(name: str) -> None:
    make, arguments = ATTENTIONS[name]
    theirs = make()
    arrays = [floats(2, 3, 6), floats(2, 5, 6)]
    tensors = [keras.ops.convert_to_tensor(a) for a in arrays]
    is_separate = "MultiHead" in type(theirs).__name__ or "Group" in type(theirs).__name__
    inputs = tensors if is_separate else [tensors]
    theirs(*inputs, **arguments)
    weights = randomized(theirs).get_weights()
    found = as_operands(mine(theirs), arrays, weights, **arguments)
    for result, wanted in zip(found, flat(theirs(*inputs, **arguments)), strict=True):
        assert_close(result, wanted, 6e-3 if name == "heads half" else None)


def test_masks_are_given_where_keras_finds_them_attached() -> None:
    ids = np.array([[1, 2, 0], [3, 0, 0]], np.int32)
    embedding, attention = L.Embedding(5, 4, mask_zero=True), L.MultiHeadAttention(2, 3)
    x = embedding(ids)
    attention(x, x)
    randomized(attention)
    expected = np.asarray(attention(embedding(ids), embedding(ids)))
    vectors, mask = np.asarray(embedding(ids)), ids != 0
    layer = layers.MultiHeadAttention(2, 3)
    layer.set_weights(attention.get_weights())
    found = layer(vectors, vectors, query_mask=mask, value_mask=mask)
    assert_close(np.asarray(found), expected)
    pool = layers.GlobalAveragePooling1D()
    wanted = np.asarray(L.GlobalAveragePooling1D()(vectors, mask=mask))
    assert_close(np.asarray(pool(vectors, mask=mask)), wanted)
    plain = L.Attention()([vectors, vectors], mask=[mask, mask])
    assert_close(
        np.asarray(layers.Attention()([vectors, vectors], mask=[mask, mask])), np.asarray(plain)
    )
    only = L.Attention()([vectors, vectors], mask=[None, mask])
    assert_close(
        np.asarray(layers.Attention()([vectors, vectors], mask=[None, mask])), np.asarray(only)
    )


def test_a_layer_over_steps_wraps_one_of_these() -> None:
    dense = layers.TimeDistributed(layers.Dense(5, activation="tanh"))
    assert dense.weight_names == ("layer/kernel", "layer/bias")
    assert dense.compute_output_shape((None, 3, 4)) == (None, 3, 5)
    again = layers.TimeDistributed.from_config(dense.get_config())
    short = layers.TimeDistributed({"class_name": "Dense", "config": {"name": "d", "units": 5}})
    assert short.compute_output_shape((None, 3, 4)) == (None, 3, 5)
    x, kernel, bias = floats(2, 3, 4), floats(4, 5), floats(5)
    wanted = np.tanh(x @ kernel + bias)
    np.testing.assert_allclose(dense(x, weights=[kernel, bias]), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again(x, weights=[kernel, bias]), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(SpecError, match=r"such as layers.Dense\(4\), not a int"):
        layers.TimeDistributed(3)
    with pytest.raises(SpecError, match="class_name"):
        layers.TimeDistributed({"config": {}})
    with pytest.raises(UnsupportedError, match="it wraps 'lstm': the layer LSTM"):
        layers.TimeDistributed({"class_name": "LSTM", "config": {"name": "lstm", "dtype": None}})


def test_a_spectrally_normalized_layer_is_the_wrapped_one() -> None:
    layer = layers.SpectralNormalization(layers.Dense(5))
    assert layer.weight_names == ("layer/kernel", "vector_u", "layer/bias")
    x, kernel, bias = floats(2, 4), floats(4, 5), floats(5)
    found = layer(x, weights=[kernel, floats(1, 5), bias])
    np.testing.assert_allclose(found, x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_a_snippet_runs_when_its_import_changes() -> None:
    """Weights kept by ``set_weights``, or given with the call; at any batch, with any array."""
    tf = pytest.importorskip("tensorflow")
    theirs = L.Dense(5, activation="relu")
    theirs(floats(2, 7))
    kernel, bias = weights = randomized(theirs).get_weights()
    dense = layers.Dense(5, activation="relu")
    for x in (floats(3, 7), floats(1, 7), floats(6, 7)[::2], floats(2, 4, 7)):
        expected = np.asarray(theirs(x))
        for found in (
            dense(x, weights=weights),
            dense(x, weights={"bias": bias, "kernel": kernel.astype("float64")}),
        ):
            assert_close(found.numpy(), expected)
    dense.set_weights(weights)
    tensor = dense(tf.constant(floats(3, 7)))
    assert tf.is_tensor(tensor)
    assert_close(tensor.numpy(), np.asarray(theirs(floats(3, 7))))
    kernel[:] = 0  # kept weights are copies
    np.testing.assert_array_equal(dense.get_weights()[0], theirs.get_weights()[0])
    dense.set_weights([kernel, bias])
    np.testing.assert_array_equal(dense(floats(3, 7)), np.maximum(np.tile(bias, (3, 1)), 0))


def test_calls_with_operands_are_expressions() -> None:
    x = el.spec("B", "T", 7, name="x")
    dense, norm = layers.Dense(5, activation="gelu"), layers.LayerNormalization()
    weights = [floats(7, 5), floats(5)]
    dense.set_weights(weights)
    norm.set_weights([floats(5), floats(5)])
    result = norm(dense(x))
    assert [str(extent) for extent in result.shape] == ["B", "T", "5"]
    compiled = el.compile(result)
    jitted = el.jit(lambda x: norm(dense(x)))
    for shape in ((2, 3, 7), (1, 4, 7)):
        expected = np.asarray(norm(dense(floats(*shape))))
        assert_close(compiled(floats(*shape)), expected)
        assert_close(jitted(floats(*shape)), expected)
    again = el.Expression.from_json(result.to_json())
    assert_close(el.compile(again)(floats(2, 3, 7)), compiled(floats(2, 3, 7)))
    symbolic = dense(el.spec("B", "D"), weights=[el.spec("D", 5), el.spec(5)])
    assert_close(el.compile(symbolic)(floats(3, 7), *weights), np.asarray(dense(floats(3, 7))))


def test_dtypes_are_settled_when_the_function_is_called() -> None:
    table = floats(9, 4)
    f = el.compile(layers.Embedding(9, 4)(el.spec("B", 3, name="ids"), weights=[table]))
    for dtype in ("int32", "int64"):
        np.testing.assert_array_equal(f(np.array([[1, 8, 0]], dtype)), table[[[1, 8, 0]]])
    total = el.compile(layers.Add()([el.spec("B", 3, name="x"), el.spec("B", 3, name="y")]))
    assert total(np.ones((2, 3), np.int32), np.ones((2, 3), np.int32)).dtype == np.int32
    assert total(np.ones((2, 3)), np.ones((2, 3))).dtype == np.float32


@pytest.mark.slow
def test_a_layer_is_shipped_as_a_library(tmp_path: Path) -> None:
    dense = layers.Dense(5, activation="softmax")
    dense.set_weights([floats(7, 5), floats(5)])
    x = el.spec("B", 7, dtype="float32", name="x")
    el.aot.build(dense(x), tmp_path / "dense", cpu="native")
    shipped = el.aot.load(tmp_path / "dense")
    assert_close(shipped(floats(3, 7)), np.asarray(dense(floats(3, 7))))


def test_shapes_and_configurations() -> None:
    conv = layers.Conv2D(4, (3, 2), activation=layers.LeakyReLU(0.1), name="conv")
    assert conv.compute_output_shape((None, 8, 9, 3)) == (None, 6, 8, 4)
    assert conv.weight_shapes((None, 8, 9, 3)) == {"kernel": (3, 2, 3, 4), "bias": (4,)}
    again = layers.Conv2D.from_config(conv.get_config())
    assert again.get_config() == conv.get_config()
    assert layers.Concatenate(1).compute_output_shape([(2, 3, 4), (2, None, 4)]) == (2, None, 4)
    attention = layers.MultiHeadAttention(2, 3, name="self")
    assert attention.weight_names[:3] == ("query/kernel", "query/bias", "key/kernel")
    assert repr(layers.Permute((2, 1))) == "<Permute dims=[2, 1]>"
    names = [layers.Cropping2D().name for _ in range(2)]
    assert names[1].rpartition("_")[0] == "cropping2d"
    assert layers.Dense(2, activation=keras.activations.silu).get_config()["activation"] == "silu"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: layers.Dense(5)(floats(3, 7)), el.SpecError, "has no weights yet: give"),
        (
            lambda: layers.Dense(5, name="d")(floats(3, 7), weights=[floats(7, 4), floats(5)]),
            el.ShapeError,
            r"'d' \(Dense\): axis 1 of the weight 'kernel' \(shape \(7, 4\)\) is 4.*must be 5",
        ),
        (
            lambda: layers.Dense(5)(floats(3, 7), weights=[floats(7, 5), floats(1, 5)]),
            el.ShapeError,
            r"the weight 'bias' has rank 2 \(shape \(1, 5\)\).*must have shape \(5,\)",
        ),
        (
            lambda: layers.Dense(5)(floats(3, 7), weights=[floats(7, 5)]),
            el.SpecError,
            r"takes 2 weights \(kernel, bias\), but 1 are given",
        ),
        (
            lambda: layers.Dense(5).set_weights({"kernel": floats(7, 5)}),
            el.SpecError,
            r"takes 2 weights \(kernel, bias\), but 'kernel' are given",
        ),
        (
            lambda: layers.Dense(5)(floats(3, 7), floats(7, 5), floats(5)),
            el.ShapeError,
            "takes 1 inputs, but 3 are given; weights are given by name",
        ),
        (lambda: layers.Permute((0, 2)), el.SpecError, "dims must be a permutation"),
        (lambda: layers.Dense(5, nonsense=3), TypeError, "unexpected keyword argument 'nonsense'"),
        (lambda: layers.Dense(5, activation=np.sin), el.UnsupportedError, "name the activation"),
        (lambda: layers.Dense(5, activation="sine"), el.UnsupportedError, "none of Keras's"),
        (lambda: layers.Dense(5, dtype="text"), el.DTypeError, "text"),
        (lambda: layers.Add()(floats(3)), el.ShapeError, "is called on a list of inputs"),
        (lambda: layers.Add()([floats(2, 3), floats(2, 4)]), el.ShapeError, "3 and 4 differ"),
        (lambda: layers.ReLU()(floats(3), mask=floats(3)), TypeError, "no argument 'mask'"),
        (lambda: layers.ReLU()(floats(3), training=True), el.UnsupportedError, "training=True"),
        (
            lambda: layers.UpSampling2D(2, interpolation="bilinear"),
            el.UnsupportedError,
            "interpolation",
        ),
        (lambda: layers.MultiHeadAttention(2, 3)(floats(2, 3, 4)), el.ShapeError, "2 to 3 inputs"),
        (
            lambda: layers.Dense(5)(el.spec("B", "D"), weights=[floats(7, 5), floats(5)]),
            el.ShapeError,
            "needs to know axis 1",
        ),
    ],
)
def test_errors_name_what_does_not_fit(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
