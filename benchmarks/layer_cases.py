"""Layers and models as cases: a Keras model, and the same in the words of other frameworks.

A case's ``build`` takes a framework's :class:`Words` and the model's weights, in Keras's order, and
returns the model's function. Words take weights once, so that each framework may keep them as it
likes them best (transposed, joined, packed), as a user who cares for speed would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: A part of a model: of a framework's tensor, in the words of that framework.
Part = Callable[[Any], Any]

#: Of the norms of the encoder block, as BERT has it.
EPSILON = 1e-12


class Words(Protocol):
    """The parts of models as one framework makes them; tensors add with ``+``."""

    def dense(self, kernel: Array, bias: Array, activation: str | None) -> Part:
        """Return ``activation(x @ kernel + bias)``; relu, the exact gelu, softmax, or None."""

    def attention(self, weights: Sequence[Array]) -> Part:
        """Return self-attention; weights are Keras's kernels and biases of q, k, v and output."""

    def norm(self, gamma: Array, beta: Array) -> Part:
        """Return the layer norm along the last axis, with :data:`EPSILON`."""


@dataclass(frozen=True)
class Case:
    """A model and one input.

    Attributes:
        name: what tables call it.
        model: a built Keras model.
        shape: of its one input, float32.
        build: the same in the words of another framework, from the model's weights.
    """

    name: str
    model: Any
    shape: tuple[int, ...]
    build: Callable[[Words, Sequence[Array]], Part]


def dense(batch: int, width: int) -> Case:
    """Return one Dense layer with relu."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((width,)), layers.Dense(width, activation="relu")])

    def build(words: Words, w: Sequence[Array]) -> Part:
        return words.dense(w[0], w[1], "relu")

    return Case(f"dense {width} relu, batch {batch}", model, (batch, width), build)


def mlp(batch: int, width: int, depth: int) -> Case:
    """Return a multi-layer perceptron with relu between its layers and softmax behind them."""
    from keras import Input, Sequential, layers

    activations = ["relu"] * (depth - 1) + ["softmax"]
    widths = [width] * (depth - 1) + [10]
    hidden = [layers.Dense(n, activation=a) for n, a in zip(widths, activations, strict=True)]
    model = Sequential([Input((width,)), *hidden])

    def build(words: Words, w: Sequence[Array]) -> Part:
        parts = [
            words.dense(w[2 * number], w[2 * number + 1], activation)
            for number, activation in enumerate(activations)
        ]
        return lambda x: functools.reduce(lambda y, part: part(y), parts, x)

    return Case(f"mlp {depth} x {width}, batch {batch}", model, (batch, width), build)


def attention(batch: int, length: int, heads: int = 12, size: int = 64) -> Case:
    """Return self-attention as in BERT-base."""
    from keras import Input, Model, layers

    x = Input((length, heads * size))
    model = Model(x, layers.MultiHeadAttention(heads, size)(x, x))

    def build(words: Words, w: Sequence[Array]) -> Part:
        return words.attention(w)

    shape = (batch, length, heads * size)
    return Case(f"attention S={length}, batch {batch}", model, shape, build)


def encoder(batch: int, length: int, heads: int = 12, size: int = 64) -> Case:
    """Return an encoder block as in BERT-base: attention, two dense layers, norms, residuals."""
    from keras import Input, Model, layers

    width = heads * size
    x = Input((length, width))
    attended = layers.LayerNormalization(epsilon=EPSILON)(
        layers.Add()([x, layers.MultiHeadAttention(heads, size)(x, x)])
    )
    inner = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(attended))
    model = Model(x, layers.LayerNormalization(epsilon=EPSILON)(layers.Add()([attended, inner])))

    def build(words: Words, w: Sequence[Array]) -> Part:
        attend, first = words.attention(w[:8]), words.norm(w[8], w[9])
        wide, narrow = words.dense(w[10], w[11], "gelu"), words.dense(w[12], w[13], None)
        second = words.norm(w[14], w[15])

        def block(x: Any) -> Any:
            y = first(x + attend(x))
            return second(y + narrow(wide(y)))

        return block

    return Case(f"encoder S={length}, batch {batch}", model, (batch, length, width), build)


#: Makers of the cases.
MAKERS: tuple[Callable[[], Case], ...] = (
    *(functools.partial(mlp, 1, width, 4) for width in (64, 128, 256, 1024)),
    *(functools.partial(dense, batch, 1024) for batch in (1, 32)),
    *(functools.partial(mlp, 32, width, 4) for width in (64, 256, 1024)),
    *(functools.partial(attention, 1, length) for length in (128, 512)),
    functools.partial(attention, 32, 128),
    *(functools.partial(encoder, 1, length) for length in (128, 512)),
    functools.partial(encoder, 32, 128),
)


def cases(names: Sequence[str]) -> Iterator[Case]:
    """Make the cases whose names hold one of ``names``, all where there are none."""
    for make in MAKERS:
        case = make()
        if not names or any(part in case.name for part in names):
            yield case


def joined(weights: Sequence[Array]) -> tuple[Array, Array]:
    """Return kernel and bias of the three projections as one: (width, 3 * width), (3 * width,).

    ``weights`` are Keras's: kernels (width, heads, size) and biases (heads, size) by turns.
    """
    width = weights[0].shape[0]
    kernels = [kernel.reshape(width, -1) for kernel in weights[0:6:2]]
    return np.concatenate(kernels, 1), np.concatenate([bias.ravel() for bias in weights[1:6:2]])
