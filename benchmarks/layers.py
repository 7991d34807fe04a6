"""Time whole layers and models: ``python -m benchmarks.layers [NAME ...]``.

Each case is a Keras model with random weights. Contenders compute the same from the same weights:
einloom compiled in the process and ahead of time, Keras on TensorFlow eagerly and through XLA,
PyTorch eagerly and compiled, JAX jitted. Results are held against Keras before anything is timed;
rounds are interleaved (:mod:`benchmarks.timing`).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.timing import Effort, interleaved, timed

Call = Callable[[], Any]
#: Largest difference from Keras's result, relative to its largest element.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Case:
    """A model and one input.

    Attributes:
        name: what tables call it.
        model: a built Keras model.
        shape: of its one input, float32.
        forward: the same in the words of another framework: of its functions, weights and input.
    """

    name: str
    model: Any
    shape: tuple[int, ...]
    forward: Callable[[Any, Sequence[Any], Any], Any]


# --- the cases -----------------------------------------------------------------------------------


def dense(batch: int, width: int) -> Case:
    """Return one Dense layer with relu."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((width,)), layers.Dense(width, activation="relu")])

    def forward(ops: Any, w: Sequence[Any], x: Any) -> Any:
        return ops.relu(x @ w[0] + w[1])

    return Case(f"dense {width} relu, batch {batch}", model, (batch, width), forward)


def mlp(batch: int, width: int, depth: int) -> Case:
    """Return a multi-layer perceptron with relu between its layers and softmax behind them."""
    from keras import Input, Sequential, layers

    hidden = [layers.Dense(width, activation="relu") for _ in range(depth - 1)]
    model = Sequential([Input((width,)), *hidden, layers.Dense(10, activation="softmax")])

    def forward(ops: Any, w: Sequence[Any], x: Any) -> Any:
        for layer in range(depth - 1):
            x = ops.relu(x @ w[2 * layer] + w[2 * layer + 1])
        return ops.softmax(x @ w[-2] + w[-1])

    return Case(f"mlp {depth} x {width}, batch {batch}", model, (batch, width), forward)


def _attention(ops: Any, w: Sequence[Any], x: Any) -> Any:
    """Return multi-head self-attention of ``x``; weights as Keras orders them."""
    q = ops.einsum("btd,dhk->bhtk", x, w[0]) + w[1][:, None, :]
    k = ops.einsum("btd,dhk->bhtk", x, w[2]) + w[3][:, None, :]
    v = ops.einsum("btd,dhk->bhtk", x, w[4]) + w[5][:, None, :]
    return ops.einsum("bhtk,hkd->btd", ops.attention(q, k, v), w[6]) + w[7]


def attention(batch: int, length: int, heads: int = 12, size: int = 64) -> Case:
    """Return self-attention as in BERT-base."""
    from keras import Input, Model, layers

    x = Input((length, heads * size))
    model = Model(x, layers.MultiHeadAttention(heads, size)(x, x))
    shape = (batch, length, heads * size)
    return Case(f"attention S={length}, batch {batch}", model, shape, _attention)


def encoder(batch: int, length: int, heads: int = 12, size: int = 64) -> Case:
    """Return an encoder block as in BERT-base: attention, two dense layers, norms, residuals."""
    from keras import Input, Model, layers

    width = heads * size
    x = Input((length, width))
    attended = layers.LayerNormalization(epsilon=1e-12)(
        layers.Add()([x, layers.MultiHeadAttention(heads, size)(x, x)])
    )
    inner = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(attended))
    model = Model(x, layers.LayerNormalization(epsilon=1e-12)(layers.Add()([attended, inner])))

    def forward(ops: Any, w: Sequence[Any], x: Any) -> Any:
        x = ops.norm(x + _attention(ops, w[:8], x), w[8], w[9])
        inner = ops.gelu(x @ w[10] + w[11]) @ w[12] + w[13]
        return ops.norm(x + inner, w[14], w[15])

    return Case(f"encoder S={length}, batch {batch}", model, (batch, length, width), forward)


def cases() -> list[Callable[[], Case]]:
    """Return what makes each case."""
    return [
        *(functools.partial(mlp, 1, width, 4) for width in (64, 128, 256)),
        *(functools.partial(dense, batch, 1024) for batch in (1, 32)),
        *(functools.partial(mlp, batch, 1024, 4) for batch in (1, 32)),
        *(functools.partial(attention, 1, length) for length in (128, 512)),
        functools.partial(attention, 32, 128),
        functools.partial(encoder, 1, 128),
    ]


# --- the contenders ------------------------------------------------------------------------------


def einloom_jit(case: Case, x: Any, folder: str) -> Call:
    import einloom as el
    import einloom.keras

    del folder
    call = el.keras.compile(case.model)
    return functools.partial(call, x)


def einloom_aot(case: Case, x: Any, folder: str) -> Call:
    import einloom as el

    el.aot.build(case.model, folder, name="layer", cpu=("native",))
    return functools.partial(el.aot.load(folder), x)


def keras_eager(case: Case, x: Any, folder: str) -> Call:
    import tensorflow as tf

    del folder
    tensor = tf.constant(x)
    return lambda: case.model(tensor, training=False)


def keras_xla(case: Case, x: Any, folder: str) -> Call:
    import tensorflow as tf

    del folder
    call = tf.function(lambda t: case.model(t, training=False), jit_compile=True)
    tensor = tf.constant(x)
    return lambda: call(tensor).numpy()


def _torch(case: Case, x: Any) -> tuple[Callable[..., Any], Any, list[Any]]:
    import torch
    from torch.nn import functional

    ops = SimpleNamespace(
        relu=torch.relu,
        gelu=functional.gelu,
        softmax=lambda t: torch.softmax(t, -1),
        einsum=torch.einsum,
        attention=functional.scaled_dot_product_attention,
        norm=lambda t, gamma, beta: functional.layer_norm(t, t.shape[-1:], gamma, beta, 1e-12),
    )
    weights = [torch.from_numpy(np.array(weight)) for weight in case.model.get_weights()]
    return functools.partial(case.forward, ops), torch.from_numpy(x), weights


def torch_eager(case: Case, x: Any, folder: str) -> Call:
    import torch

    del folder
    forward, tensor, weights = _torch(case, x)

    def call() -> Any:
        with torch.inference_mode():
            return forward(weights, tensor).numpy()

    return call


def torch_compiled(case: Case, x: Any, folder: str) -> Call:
    import torch

    del folder
    forward, tensor, weights = _torch(case, x)
    compiled = torch.compile(forward)

    def call() -> Any:
        with torch.inference_mode():
            return compiled(weights, tensor).numpy()

    return call


def jax_call(case: Case) -> Callable[[Any], Any]:
    """Return a case as a function of a JAX array, its weights constants."""
    import jax
    import jax.numpy as jnp

    def attend(q: Any, k: Any, v: Any) -> Any:
        scores = jnp.einsum("bhtk,bhsk->bhts", q, k) / math.sqrt(q.shape[-1])
        return jnp.einsum("bhts,bhsk->bhtk", jax.nn.softmax(scores), v)

    def norm(t: Any, gamma: Any, beta: Any) -> Any:
        centred = t - t.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-12) * gamma + beta

    ops = SimpleNamespace(
        relu=jax.nn.relu,
        gelu=functools.partial(jax.nn.gelu, approximate=False),
        softmax=jax.nn.softmax,
        einsum=jnp.einsum,
        attention=attend,
        norm=norm,
    )
    weights = [jnp.asarray(weight) for weight in case.model.get_weights()]
    return functools.partial(case.forward, ops, weights)


def jax_jit(case: Case, x: Any, folder: str) -> Call:
    import jax

    del folder
    call = jax.jit(jax_call(case))
    return lambda: np.asarray(call(x))


CONTENDERS: dict[str, Callable[[Case, Any, str], Call]] = {
    "einloom": einloom_jit,
    "einloom aot": einloom_aot,
    "keras eager": keras_eager,
    "keras xla": keras_xla,
    "torch": torch_eager,
    "torch.compile": torch_compiled,
    "jax": jax_jit,
}


# --- measuring -----------------------------------------------------------------------------------


def measure(case: Case, effort: Effort, without: Sequence[str]) -> dict[str, Any]:
    """Return seconds a call by contender, and why others take no part."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(case.shape).astype("float32")
    weights = [
        generator.standard_normal(w.shape).astype("float32") / math.sqrt(max(w.shape[0], 1))
        for w in case.model.get_weights()
    ]
    case.model.set_weights(weights)
    expected = np.asarray(case.model(x, training=False))
    calls: dict[str, Call] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in CONTENDERS.items():
            if name in without:
                continue
            try:
                call = make(case, x, str(Path(folder) / "built"))
                result = np.asarray(call())
            except Exception as error:  # what cannot take part is told in the report
                absent[name] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
                continue
            worst = float(np.abs(result - expected).max() / np.abs(expected).max())
            if not worst < TOLERANCE:
                absent[name] = f"differs from Keras by {worst:.1e}"
                continue
            calls[name] = call
        estimates = {name: min(timed(call, 1) for _ in range(3)) for name, call in calls.items()}
        samples = interleaved(calls, estimates, effort, seed=1)
    seconds = {name: min(found) for name, found in samples.items()}
    return {"case": case.name, "seconds": seconds, "absent": absent}


def best_ratio(seconds: dict[str, float]) -> float | None:
    """Return the best peer's time by the best of einloom's."""
    ours = [value for name, value in seconds.items() if name.startswith("einloom")]
    peers = [value for name, value in seconds.items() if not name.startswith("einloom")]
    return min(peers) / min(ours) if ours and peers else None


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the report in Markdown: microseconds a call."""
    names = list(CONTENDERS)
    lines = [
        f"| case | {' | '.join(names)} | best peer / einloom |",
        "|---" * (len(names) + 2) + "|",
    ]
    for result in results:
        seconds = result["seconds"]
        cells = [f"{1e6 * seconds[name]:,.1f}" if name in seconds else "-" for name in names]
        ratio = best_ratio(seconds)
        shown = "-" if ratio is None else f"{ratio:.2f}"
        lines.append(f"| {result['case']} | {' | '.join(cells)} | {shown} |")
    ratios = [r for r in (best_ratio(result["seconds"]) for result in results) if r is not None]
    if ratios:
        mean = statistics.geometric_mean(ratios)
        lines.append(
            f"\nGeometric mean of best peer / einloom: {mean:.2f} over {len(ratios)} cases."
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="parts of the names of cases; all where none")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender")
    parser.add_argument("--without", action="append", default=[], help="a contender to leave out")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    effort = Effort(rounds=options.rounds)
    results = []
    for make in cases():
        case = make()
        if options.names and not any(part in case.name for part in options.names):
            continue
        result = measure(case, effort, options.without)
        results.append(result)
        print(table([result]).splitlines()[2], flush=True)
        for name, reason in result["absent"].items():
            print(f"    without {name}: {reason}", flush=True)
    print(
        f"\n{table(results)}\n\nMicroseconds a call, {os.cpu_count()} cores, {platform.machine()}."
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
