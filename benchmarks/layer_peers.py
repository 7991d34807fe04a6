"""Who computes layers and models: einloom in two ways, and the frameworks in their best setting.

Each contender takes a case, its input and an empty folder's name, and returns a call without
arguments whose result is a NumPy array or a tensor that NumPy reads.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.layer_cases import EPSILON, Array, Case, Part, joined

Call = Callable[[], Any]
Contender = Callable[[Case, Array, str], Call]


def einloom_jit(case: Case, x: Array, folder: str) -> Call:
    """Return einloom compiled in this process."""
    import einloom as el
    import einloom.keras

    del folder
    return functools.partial(el.keras.compile(case.model), x)


def einloom_aot(case: Case, x: Array, folder: str) -> Call:
    """Return a library that einloom built for this machine, any batch size."""
    import einloom as el

    el.aot.build(case.model, folder, name="layer", cpu=("native",))
    return functools.partial(el.aot.load(folder), x)


# --- Keras on TensorFlow -------------------------------------------------------------------------


def keras_eager(case: Case, x: Array, folder: str) -> Call:
    """Return the model called as it is."""
    import tensorflow as tf

    del folder
    tensor = tf.constant(x)
    return lambda: case.model(tensor, training=False)


def keras_xla(case: Case, x: Array, folder: str) -> Call:
    """Return the model compiled by XLA for this shape."""
    import tensorflow as tf

    del folder
    call = tf.function(lambda t: case.model(t, training=False), jit_compile=True)
    tensor = tf.constant(x)
    return lambda: call(tensor).numpy()


# --- PyTorch -------------------------------------------------------------------------------------


class _TorchWords:
    """The parts of models by PyTorch's functions, weights as its own layers keep them."""

    def __init__(self) -> None:
        self.parameters: list[Any] = []

    def _parameter(self, array: Array) -> int:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(array))
        self.parameters.append(torch.nn.Parameter(tensor, requires_grad=False))
        return len(self.parameters) - 1

    def _linear(self, kernel: Array, bias: Array) -> Part:
        from torch.nn import functional

        w, b = self._parameter(kernel.T), self._parameter(bias)
        return lambda x: functional.linear(x, self.parameters[w], self.parameters[b])

    def dense(self, kernel: Array, bias: Array, activation: str | None) -> Part:
        import torch
        from torch.nn import functional

        linear = self._linear(kernel, bias)
        activations: dict[str | None, Part] = {
            None: lambda x: x,
            "relu": torch.relu,
            "gelu": functional.gelu,
            "softmax": lambda x: torch.softmax(x, -1),
        }
        activated = activations[activation]
        return lambda x: activated(linear(x))

    def attention(self, weights: Sequence[Array]) -> Part:
        """As ``torch.nn.MultiheadAttention``: the three projections in one product."""
        from torch.nn import functional

        _, heads, size = weights[0].shape
        project = self._linear(*joined(weights))
        finish = self._linear(weights[6].reshape(heads * size, -1), weights[7])

        def part(x: Any) -> Any:
            batch, length, _ = x.shape
            both = project(x).view(batch, length, 3, heads, size).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(both[0], both[1], both[2])
            return finish(y.transpose(1, 2).reshape(batch, length, heads * size))

        return part

    def norm(self, gamma: Array, beta: Array) -> Part:
        from torch.nn import functional

        g, b = self._parameter(gamma), self._parameter(beta)
        return lambda x: functional.layer_norm(
            x, x.shape[-1:], self.parameters[g], self.parameters[b], EPSILON
        )


def _torch_model(case: Case) -> Any:
    import torch

    words = _TorchWords()
    forward = case.build(words, case.model.get_weights())

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept = torch.nn.ParameterList(words.parameters)
            words.parameters = self.kept

        def forward(self, x: Any) -> Any:
            return forward(x)

    return Model().eval()


def torch_eager(case: Case, x: Array, folder: str) -> Call:
    """Return the model without recording gradients."""
    import torch

    del folder
    model, tensor = _torch_model(case), torch.from_numpy(x)

    def call() -> Any:
        with torch.inference_mode():
            return model(tensor).numpy()

    return call


def torch_compiled(case: Case, x: Array, folder: str) -> Call:
    """Return the model compiled by PyTorch, its weights frozen so that they may be packed."""
    import torch
    import torch._dynamo
    import torch._inductor.config as inductor

    del folder
    torch._dynamo.reset()
    inductor.freezing = True
    model, tensor = torch.compile(_torch_model(case)), torch.from_numpy(x)

    def call() -> Any:
        with torch.no_grad():
            return model(tensor).numpy()

    return call


# --- JAX and ONNX Runtime ------------------------------------------------------------------------


class _JaxWords:
    """The parts of models by JAX's functions."""

    def dense(self, kernel: Array, bias: Array, activation: str | None) -> Part:
        import jax

        activations: dict[str | None, Part] = {
            None: lambda x: x,
            "relu": jax.nn.relu,
            "gelu": functools.partial(jax.nn.gelu, approximate=False),
            "softmax": jax.nn.softmax,
        }
        return lambda x: activations[activation](x @ kernel + bias)

    def attention(self, weights: Sequence[Array]) -> Part:
        import jax
        import jax.numpy as jnp

        width, heads, size = weights[0].shape
        kernel, bias = joined(weights)
        last = weights[6].reshape(heads * size, width)

        def part(x: Any) -> Any:
            batch, length, _ = x.shape
            both = (x @ kernel + bias).reshape(batch, length, 3, heads, size)
            q, k, v = both[:, :, 0], both[:, :, 1], both[:, :, 2]
            scores = jnp.einsum("bthk,bshk->bhts", q, k) / math.sqrt(size)
            y = jnp.einsum("bhts,bshk->bthk", jax.nn.softmax(scores), v)
            return y.reshape(batch, length, heads * size) @ last + weights[7]

        return part

    def norm(self, gamma: Array, beta: Array) -> Part:
        import jax

        def part(x: Any) -> Any:
            centred = x - x.mean(-1, keepdims=True)
            variance = (centred * centred).mean(-1, keepdims=True)
            return centred * jax.lax.rsqrt(variance + EPSILON) * gamma + beta

        return part


def jax_call(case: Case) -> Part:
    """Return a case as a function of a JAX array, its weights constants."""
    return case.build(_JaxWords(), case.model.get_weights())


def jax_jit(case: Case, x: Array, folder: str) -> Call:
    """Return the model as one jitted function."""
    import jax

    del folder
    call = jax.jit(jax_call(case))
    tensor = jax.numpy.asarray(x)
    return lambda: np.asarray(call(tensor))


def onnx_runtime(case: Case, x: Array, folder: str) -> Call:
    """Return a session of ONNX Runtime."""
    from benchmarks.layer_onnx import session

    del folder
    run = session(case, len(os.sched_getaffinity(0)))
    return lambda: run.run(None, {"x": x})[0]


CONTENDERS: dict[str, Contender] = {
    "einloom": einloom_jit,
    "einloom aot": einloom_aot,
    "keras eager": keras_eager,
    "keras xla": keras_xla,
    "torch": torch_eager,
    "torch.compile": torch_compiled,
    "jax": jax_jit,
    "onnxruntime": onnx_runtime,
}
