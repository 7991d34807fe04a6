"""Dense, EinsumDense and Dot over drawn configurations, against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.einloom.keras.lowering.differential import (
    check,
    is_added_along_another_axis,
    randomized,
)

from einloom_compiler.ir.graph import Contraction

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras

EXTENTS = st.integers(1, 5)
ACTIVATIONS = st.sampled_from((None, "relu", "gelu", "softmax", "tanh"))
POLICIES = st.sampled_from(("float32", "float32", "mixed_float16", "bfloat16", "float64"))


def floats(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@given(st.lists(EXTENTS, min_size=2, max_size=5), EXTENTS, st.booleans(), ACTIVATIONS, POLICIES)
def test_dense(
    shape: list[int], units: int, use_bias: bool, activation: str | None, policy: str
) -> None:
    x = floats(*shape)
    layer = L.Dense(units, activation, use_bias, dtype=policy)
    layer.build(x.shape)
    found = check(randomized(layer), x)
    if activation != "softmax":
        assert isinstance(found.outputs, Contraction)


@st.composite
def einsum_denses(draw: st.DrawFn) -> tuple[str, tuple[int, ...], str | None, Any]:
    """Draw an equation, its output's inner shape, bias letters, and an input."""
    sizes = {letter: draw(EXTENTS) for letter in "abcdefg"}
    n = draw(st.integers(2, 4))
    given_letters = "abcd"[:n]
    summed = draw(st.sets(st.sampled_from(given_letters[1:]), min_size=1))
    new = "efg"[: draw(st.integers(1, 2))]
    kept = "".join(letter for letter in given_letters if letter not in summed)
    shared = draw(st.sets(st.sampled_from(kept), max_size=1)) - {"a"}
    kernel = "".join(draw(st.permutations(sorted(summed | shared) + list(new))))
    inner = "".join(draw(st.permutations(kept[1:] + new)))
    output = kept[0] + inner
    bias = "".join(letter for letter in inner if draw(st.booleans())) or None
    shape = tuple(sizes[letter] for letter in given_letters)
    elided = draw(st.sampled_from(("", "", "left", "right")))
    equation = f"{given_letters},{kernel}->{output}"
    out = tuple(sizes[letter] for letter in inner)
    if elided == "right":
        equation = f"{given_letters}...,{kernel}->{output}..."
        shape = (*shape, 2)
    elif elided == "left":
        equation = f"...{given_letters},{kernel}->...{output}"
        shape = (2, *shape)
        out = (sizes[kept[0]], *out)
    return equation, out, bias, floats(*shape)


@given(einsum_denses(), ACTIVATIONS)
def test_einsum_dense(
    drawn: tuple[str, tuple[int, ...], str | None, Any], activation: str | None
) -> None:
    equation, out, bias, x = drawn
    layer = L.EinsumDense(equation, out, activation=activation, bias_axes=bias)
    layer.build(x.shape)
    if bias is not None:
        assume(not is_added_along_another_axis(layer(x).shape, layer.bias.shape))
    check(randomized(layer), x)


@given(st.data())
def test_dot(data: st.DataObject) -> None:
    batch, along = data.draw(EXTENTS), data.draw(EXTENTS)
    shapes, axes = [], []
    for _ in range(2):
        inner = data.draw(st.lists(EXTENTS, max_size=2))
        axis = data.draw(st.integers(0, len(inner)))
        inner.insert(axis, along)
        is_negative = data.draw(st.booleans())
        axes.append(axis - len(inner) if is_negative else axis + 1)
        shapes.append((batch, *inner))
    normalize = data.draw(st.booleans())
    x, y = floats(*shapes[0]), floats(*shapes[1])
    check(L.Dot(tuple(axes), normalize=normalize), x, y)
