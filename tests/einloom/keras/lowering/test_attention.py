"""Attention layers: the lowered graph against the real layers of Keras 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from tests.einloom.keras.lowering.differential import (
    check,
    is_added_along_another_axis,
    randomized,
)

import einloom as el
from einloom.keras.lowering.target import lowered
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.ir.graph import Attention
from einloom_compiler.ir.traversal import nodes_of

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras


def floats(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def flags(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).random(shape) < 0.6


@st.composite
def configurations(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Draw a MultiHeadAttention's arguments, its call's, and its inputs."""
    rank = draw(st.sampled_from((3, 3, 3, 4)))
    free = [draw(st.integers(1, 4)) for _ in range(rank - 2)]
    layer: dict[str, Any] = {
        "num_heads": draw(st.integers(1, 3)),
        "key_dim": draw(st.integers(1, 5)),
        "use_bias": draw(st.booleans()),
        "value_dim": draw(st.sampled_from((None, 3))),
        "use_gate": draw(st.booleans()),
        "dropout": draw(st.sampled_from((0.0, 0.2))),
        "output_shape": draw(st.sampled_from((None, 4, (2, 3)))),
    }
    axes = [None] if rank == 3 else [None, (1,), (2,), (-2,), (1, 2)]
    layer["attention_axes"] = draw(st.sampled_from(axes))
    attended = layer["attention_axes"] or tuple(range(1, rank - 1))
    keys = list(free)
    for axis in attended:
        keys[axis % rank - 1] = draw(st.integers(1, 5))
    arrays = [floats(1, 2, *free, 6), floats(2, 2, *keys, 5)]
    if draw(st.booleans()):
        arrays.append(floats(3, 2, *keys, 4))
    call: dict[str, Any] = {}
    if draw(st.booleans()):
        call["return_attention_scores"] = True
    if rank == 3 or attended == (1,):
        call["use_causal_mask"] = draw(st.booleans())
    if rank == 3:
        if draw(st.booleans()):
            layer["sliding_window"] = draw(st.integers(1, 3))
        shape = draw(
            st.sampled_from(
                (None, (2, free[0], keys[0]), (1, 1, keys[0]), (2, 1, free[0], keys[0]),
                 (2, layer["num_heads"], free[0], keys[0]))
            )
        )  # fmt: skip
        if shape is not None:
            call["attention_mask"] = flags(draw(st.integers(0, 3)), *shape)
        padding = ("query_mask", "value_mask", "key_mask")
        for name in draw(st.sets(st.sampled_from(padding))) if len(shape or ()) < 4 else ():
            length = free[0] if name == "query_mask" else keys[0]
            call[name] = flags(draw(st.integers(0, 3)), 2, length)
    return layer, call, arrays


def built(arguments: dict[str, Any], arrays: list[Any]) -> Any:
    """Return the layer, called once; without an example where Keras adds a bias wrongly."""
    layer = L.MultiHeadAttention(**arguments)
    layer(*arrays)
    if arguments["use_bias"]:
        value, key = arrays[1], arrays[-1]
        parts = (layer.query_dense, layer.key_dense, layer.value_dense)
        for part, array in zip(parts, (arrays[0], key, value), strict=True):
            shape = (*array.shape[:-1], *part.kernel.shape[1:])
            assume(not is_added_along_another_axis(shape, part.bias.shape))
    return layer


@settings(max_examples=settings().max_examples)
@given(configurations())
def test_multi_head_attention(drawn: tuple[dict[str, Any], dict[str, Any], list[Any]]) -> None:
    arguments, call, arrays = drawn
    layer = built(arguments, arrays)
    check(randomized(layer), *arrays, **call)


@pytest.mark.slow
@settings(max_examples=15, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(configurations())
def test_multi_head_attention_runs(drawn: tuple[dict[str, Any], dict[str, Any], list[Any]]) -> None:
    """The same as kernels: each example compiles about ten, so that few are drawn.

    Nor is one that fails made smaller, which would compile hundreds.
    """
    arguments, call, arrays = drawn
    layer = built(arguments, arrays)
    check(randomized(layer), *arrays, runs=True, **call)


def test_attention_runs_as_kernels() -> None:
    """Each way in which masks reach the scores is a kernel of its own; here are two of them."""
    query, value = floats(1, 2, 3, 6), floats(2, 2, 5, 6)
    mask = flags(2, 2, 3, 5)
    mask[0, 1] = False  # a query that sees no key: the average of the values
    layer = L.MultiHeadAttention(2, 4, value_dim=3, sliding_window=2)
    layer(query, value)
    check(randomized(layer), query, value, runs=True, attention_mask=mask, use_causal_mask=True)
    groups = L.GroupQueryAttention(4, 4, 2)
    groups(query, value)
    check(randomized(groups), query, value, runs=True, use_causal_mask=True)


@pytest.mark.slow
def test_attention_of_other_forms_runs_as_kernels() -> None:
    query, value = floats(1, 2, 3, 6), floats(2, 2, 5, 6)
    zeros = L.MultiHeadAttention(2, 4, dropout=0.1, use_gate=True, use_bias=False)
    zeros(query, value)
    check(randomized(zeros), query, value, runs=True, attention_mask=flags(2, 2, 3, 5))
    image = floats(3, 2, 3, 4, 6)
    axes = L.MultiHeadAttention(2, 4, attention_axes=(2,), output_shape=(2, 3))
    axes(image, image)
    check(randomized(axes), image, image, runs=True, return_attention_scores=True)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_queries_that_see_no_key(dropout: float) -> None:
    """The average of all values, or nothing but the output's bias: Keras's two ways."""
    x = floats(1, 1, 3, 4)
    layer = L.MultiHeadAttention(2, 4, dropout=dropout)
    layer(x, x)
    mask = np.array([[[True, False, True], [False, False, False], [True, True, True]]])
    found = check(randomized(layer), x, x, attention_mask=mask)
    assert any(isinstance(node, Attention) for node in nodes_of(*found.roots))
    # A mask that with causality leaves the first query nothing.
    check(layer, x, x, attention_mask=mask[:, ::-1] & False, use_causal_mask=True)
    check(layer, x, x, attention_mask=mask[..., ::-1], use_causal_mask=True)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("heads", [(4, 2), (4, 4), (4, 1), (6, 2)])
@pytest.mark.parametrize("call", ["plain", "causal", "mask", "scores", "both"])
def test_group_query_attention(heads: tuple[int, int], call: str, dropout: float) -> None:
    if heads[1] == 1 and dropout == 0 and call != "scores":
        pytest.skip("Keras's own call fails with one head of keys on TensorFlow")
    query, value = floats(1, 2, 3, 6), floats(2, 2, 5, 6)
    layer = L.GroupQueryAttention(4, *heads, dropout=dropout, use_gate=dropout > 0)
    layer.build(query.shape, value.shape)
    arguments: dict[str, Any] = {
        "plain": {},
        "causal": {"use_causal_mask": True},
        "mask": {"attention_mask": flags(4, 2, 3, 5)},
        "scores": {"return_attention_scores": True, "use_causal_mask": True},
        "both": {"attention_mask": flags(5, 2, heads[0], 3, 5), "use_causal_mask": True},
    }[call]
    check(randomized(layer), query, value, **arguments)


@pytest.mark.parametrize("name", ["query_mask", "value_mask", "key_mask"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_padding_masks_as_arguments(name: str, dropout: float) -> None:
    """The key's counts although there is no key, a MultiHeadAttention's query's does not."""
    query, value = floats(1, 2, 3, 6), floats(2, 2, 5, 6)
    mask = np.array([[True, False, True, False, True], [False, True, True, True, False]])
    mask = mask[:, :3] if name == "query_mask" else mask
    for layer in (
        L.MultiHeadAttention(2, 4, dropout=dropout),
        L.GroupQueryAttention(4, 4, 2, dropout=dropout),
    ):
        layer(query, value)
        call: dict[str, Any] = {name: mask}
        check(randomized(layer), query, value, **call)


def test_padding_masks_of_another_rank_are_refused() -> None:
    x = el.spec("B", 3, 8, name="x")
    mask = el.spec("B", 3, 1, dtype="bool")
    with pytest.raises(UnsupportedError, match="value_mask of rank 3"):
        lowered(L.MultiHeadAttention(2, 4), x, x, value_mask=mask)


def test_self_attention_is_a_function_of_one_array() -> None:
    x = el.spec("B", "S", 8, name="x")
    found = lowered(L.MultiHeadAttention(2, 4), x, x, use_causal_mask=True)
    assert [node.name for node in found.inputs] == ["x"]
    (attention,) = [node for node in nodes_of(*found.roots) if isinstance(node, Attention)]
    assert attention.is_causal
    assert attention.masks == ()


ATTENTIONS = {
    "dot": lambda: L.Attention(),
    "dot scaled": lambda: L.Attention(use_scale=True, dropout=0.3),
    "concat": lambda: L.Attention(score_mode="concat", use_scale=True),
    "additive": lambda: L.AdditiveAttention(),
    "additive unscaled": lambda: L.AdditiveAttention(use_scale=False),
    "dot half": lambda: L.Attention(dtype="mixed_float16"),
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize("with_scores", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
def test_plain_attention(name: str, with_key: bool, with_scores: bool, is_causal: bool) -> None:
    arrays = [floats(1, 2, 3, 4), floats(2, 2, 5, 6 if with_key else 4)]
    if with_key:
        arrays.append(floats(3, 2, 5, 4))
    layer = ATTENTIONS[name]()
    layer([keras.ops.convert_to_tensor(array) for array in arrays])
    call = {"return_attention_scores": with_scores, "use_causal_mask": is_causal}
    check(randomized(layer), *arrays, **call)


def test_plain_attention_of_rank_4() -> None:
    check(L.Attention(), floats(1, 2, 2, 3, 4), floats(2, 2, 2, 5, 4))


POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("call", [{}, {"use_causal_mask": True, "return_attention_scores": True}])
def test_policies_of_dtypes(policy: str, call: dict[str, Any]) -> None:
    """Floats of another dtype are cast before the call, as Keras does."""
    query, value = floats(1, 2, 3, 6), floats(2, 2, 5, 6)
    layer = L.MultiHeadAttention(2, 4, dtype=policy)
    layer(query, value)
    bound = {"float16": 8e-3, "bfloat16": 6e-2, "float64": None}[policy.removeprefix("mixed_")]
    check(randomized(layer), query, value, bound=bound, **call)
    plain = L.AdditiveAttention(dtype=policy)
    plain([query, value])
    check(randomized(plain), query, value, bound=bound, **call)


def test_causality_over_other_axes_is_refused() -> None:
    x = el.spec("B", 3, 4, 8, name="x")
    layer = L.MultiHeadAttention(2, 4, attention_axes=(2,))
    with pytest.raises(UnsupportedError, match="attention_axes other than 1"):
        lowered(layer, x, x, use_causal_mask=True)
