"""Operations of functional models against Keras, many of them as results of one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from tests.einloom.keras.lowering.differential import check  # noqa: E402

import einloom as el  # noqa: E402
from einloom.keras.lowering.operation_functions import OPERATIONS  # noqa: E402

ops = keras.ops
_RNG = np.random.default_rng(3)
_TABLE = _RNG.standard_normal((7, 3)).astype("float32")
_MATRIX = _RNG.standard_normal((6, 2)).astype("float32")

#: What is computed of floats x (B, 4, 6) and integers i (B, 4), by the name of the operation.
_CASES: dict[str, Callable[[Any, Any], Any]] = {
    "Split": lambda x, i: [*ops.split(x, 2, axis=-1), *ops.split(x, [1, 3], axis=1)],
    "Unstack": lambda x, i: ops.unstack(x, axis=1),
    "Stack": lambda x, i: ops.stack([x, x + 1], axis=2),
    "Std": lambda x, i: [ops.std(x, axis=(1, -1)), ops.std(i, axis=1, keepdims=True)],
    "Var": lambda x, i: ops.var(x, axis=-1, keepdims=True),
    "Logsumexp": lambda x, i: ops.logsumexp(x, axis=-1),
    "Amax": lambda x, i: ops.amax(x, axis=1),
    "Amin": lambda x, i: ops.amin(i, axis=1, keepdims=True),
    "Argmax": lambda x, i: [ops.argmax(x, axis=-1), ops.argmax(i, axis=1, keepdims=True)],
    "Argmin": lambda x, i: ops.argmin(x, axis=1, keepdims=True),
    "Average": lambda x, i: ops.average(x, axis=1),
    "CountNonzero": lambda x, i: ops.count_nonzero(i, axis=1),
    "Cumsum": lambda x, i: [
        ops.cumsum(x, axis=1),
        ops.cumsum(i, axis=-1, dtype="float32"),
        ops.cumsum(i > 1, axis=0),
    ],
    "Cumprod": lambda x, i: [ops.cumprod(x, axis=-1), ops.cumprod(i)],
    "Norm": lambda x, i: [
        ops.norm(x, axis=-1, keepdims=True),
        ops.norm(x, ord=1, axis=1),
        ops.norm(x, ord=np.inf, axis=-1),
    ],
    "Normalize": lambda x, i: [ops.normalize(x), ops.normalize(x, axis=1, order=1)],
    "RMSNorm": lambda x, i: [
        ops.rms_normalization(x, _MATRIX[:, 0]),
        ops.rms_normalization(x, _MATRIX[:, 0], axis=1),
        ops.rms_normalization(x, axis=(1, 2)),
    ],
    "LayerNorm": lambda x, i: ops.layer_normalization(x, _MATRIX[:, 0], _MATRIX[:, 1]),
    "DotProductAttention": lambda x, i: [
        ops.dot_product_attention(*[ops.reshape(x, (-1, 4, 2, 3))] * 3, is_causal=True),
        ops.dot_product_attention(
            *[ops.reshape(x, (-1, 4, 2, 3))] * 3,
            mask=ops.reshape(i > 1, (-1, 1, 1, 4)),
            bias=ops.reshape(x, (-1, 1, 4, 6))[..., :4],
            scale=0.3,
        ),
    ],
    "Roll": lambda x, i: [ops.roll(x, 1, axis=1), ops.roll(x, (2, -7), axis=(2, 1))],
    "Repeat": lambda x, i: ops.repeat(x, 3, axis=1),
    "Tile": lambda x, i: ops.tile(x, (1, 2, 1)),
    "Flip": lambda x, i: ops.flip(x, axis=-1),
    "Swapaxes": lambda x, i: ops.swapaxes(x, 1, 2),
    "Moveaxis": lambda x, i: ops.moveaxis(x, 1, -1),
    "Pad": lambda x, i: ops.pad(x, ((0, 0), (1, 2), (0, 3)), constant_values=1.5),
    "Tril": lambda x, i: ops.tril(x, k=1),
    "Triu": lambda x, i: ops.triu(x, k=-1),
    "Diagonal": lambda x, i: ops.diagonal(x[:, :, :4], axis1=1, axis2=2),
    "Trace": lambda x, i: ops.trace(x[:, :, :4], axis1=1, axis2=2),
    "Take": lambda x, i: [ops.take(_TABLE, i - 2, axis=0), ops.take(x, i[0], axis=-1)],
    "OneHot": lambda x, i: [ops.one_hot(i, 5), ops.one_hot(i, 5, axis=1)],
    "MultiHot": lambda x, i: ops.multi_hot(i, 5),
    "FullLike": lambda x, i: ops.full_like(x, 2.5),
    "Clip": lambda x, i: [ops.clip(x, -1.0, 0.5), ops.clip(i, 1, 2)],
    "Sign": lambda x, i: [ops.sign(x), ops.sign(i)],
    "Floor": lambda x, i: [ops.floor(x), ops.floor(i)],
    "Ceil": lambda x, i: ops.ceil(x),
    "Round": lambda x, i: [ops.round(x), ops.round(x, decimals=1)],
    "Isnan": lambda x, i: ops.isnan(ops.sqrt(x)),
    "Isinf": lambda x, i: ops.isinf(1 / ops.floor(ops.abs(x))),
    "Isfinite": lambda x, i: ops.isfinite(1 / ops.floor(ops.abs(x))),
    "NanToNum": lambda x, i: ops.nan_to_num(ops.sqrt(x), nan=3.0),
    "LogicalXor": lambda x, i: ops.logical_xor(x > 0, x > 1),
    "Select": lambda x, i: ops.select([x > 1, x > 0], [x, 2 * x], 0.5),
    "Logaddexp": lambda x, i: ops.logaddexp(x, 1 - x),
    "Log2": lambda x, i: ops.log2(ops.abs(x) + 1),
    "Log10": lambda x, i: ops.log10(ops.abs(x) + 1),
    "Exp2": lambda x, i: [ops.exp2(x), ops.sin(x), ops.cos(9 * x)],
    "Squareplus": lambda x, i: ops.squareplus(x, b=2),
    "SparsePlus": lambda x, i: ops.sparse_plus(x),
    "SparseSigmoid": lambda x, i: ops.sparse_sigmoid(x),
    "Threshold": lambda x, i: ops.threshold(x, 0.1, 2.0),
    "Tensordot": lambda x, i: ops.tensordot(x, _MATRIX, axes=1),
    "Dot": lambda x, i: ops.dot(x, _MATRIX),
    "Inner": lambda x, i: ops.inner(x, _MATRIX.T),
    "Outer": lambda x, i: ops.outer(x, x),
    "Vdot": lambda x, i: ops.vdot(x, x),
}


@pytest.mark.parametrize("number", range(4))
def test_operations(number: int) -> None:
    x, i = keras.Input((4, 6)), keras.Input((4,), dtype="int32")
    names = sorted(_CASES)[number::4]
    found = [_CASES[name](x, i) for name in names]
    results = [part for each in found for part in (each if isinstance(each, list) else [each])]
    model = keras.Model([x, i], results)
    arrays = (
        (2 * _RNG.standard_normal((5, 4, 6))).astype("float32"),
        _RNG.integers(0, 4, (5, 4)).astype("int32"),
    )
    check(model, *arrays, runs=number == 0)


def test_every_operation_is_compared() -> None:
    same = {"ArraySplit": "Split"}
    assert {same.get(name, name) for name in OPERATIONS} == set(_CASES)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: ops.pad(x, ((0, 0), (1, 1)), mode="reflect"), "a pad of mode 'reflect'"),
        (lambda x: ops.norm(ops.reshape(x, (-1, 2, 3)), ord="nuc", axis=(1, 2)), "order nuc"),
        (lambda x: ops.average(x, axis=1, weights=np.ones(6)), "an average with weights"),
        (lambda x: ops.sort(x, axis=1), "the operation Sort is not interpreted"),
    ],
)
def test_what_is_not_covered_is_named(function: Callable[[Any], Any], message: str) -> None:
    x = keras.Input((6,))
    with pytest.raises(el.UnsupportedError, match=message):
        el.keras.compile(keras.Model(x, function(x)))
