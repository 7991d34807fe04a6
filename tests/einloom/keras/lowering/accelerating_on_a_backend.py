"""What ``el.keras.accelerate`` does on the backend that KERAS_BACKEND names; prints what it did.

Run in a process of its own by ``test_accelerate_backends.py``: a process has one backend.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import einloom as el

keras = pytest.importorskip("keras")
L = keras.layers


def model_of(seed: int) -> Any:
    """Return a model whose layers are covered, but for one: of a nested model, and a dropout."""
    inner = keras.Sequential([keras.Input((6,)), L.Dense(6, "tanh", name="inner")])
    x = keras.Input((6,))
    y = L.LayerNormalization(name="norm")(inner(L.Dense(6, "relu", name="first")(x)))
    model = keras.Model(x, L.Dense(2, name="last")(L.Dropout(0.5)(y)))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """Record no gradients: on PyTorch, where they are recorded unless one says so."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            yield
    else:
        yield


def close(found: Any, expected: Any) -> bool:
    """Compare within single precision."""
    found = keras.ops.convert_to_numpy(found)
    return bool(np.allclose(found, expected, rtol=2e-5, atol=2e-5))


def main() -> dict[str, Any]:
    """Return what was found, by name."""
    found: dict[str, Any] = {"backend": keras.backend.backend()}
    model = model_of(0)
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((batch, 6)).astype(np.float32) for batch in (1, 3)]
    tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
    expected = [keras.ops.convert_to_numpy(model(x)) for x in tensors]
    with el.keras.accelerate(model) as acceleration, inference():
        found["layers"] = sorted(acceleration.layers)
        results = [model(x) for x in tensors]
        found["kinds"] = sorted({type(result).__module__.partition(".")[0] for result in results})
        found["close"] = [close(*pair) for pair in zip(results, expected, strict=True)]
        found["compiled calls"] = sorted(set(acceleration.n_compiled_calls.values()))
        model.set_weights([weight * 0.5 for weight in model.get_weights()])
        found["half"] = keras.ops.convert_to_numpy(model(tensors[1])).tolist()
    found["half close"] = close(model(tensors[1]), found.pop("half"))
    found["undone"] = "call" not in vars(model.get_layer("first"))
    with el.keras.accelerate(model) as acceleration:
        found |= gradients(model, tensors[1], acceleration)
        model.compile("sgd", "mse")
        model.fit(arrays[1], np.zeros((3, 2), np.float32), verbose=0)
        trained = keras.ops.convert_to_numpy(model(tensors[1], training=False))
    found["trained close"] = close(model(tensors[1], training=False), trained)
    return found


def gradients(model: Any, x: Any, acceleration: Any) -> dict[str, Any]:
    """Return whether a gradient reaches every weight, and how many calls were compiled then."""
    before = sum(acceleration.n_compiled_calls.values())
    if keras.backend.backend() == "torch":
        model.zero_grad()
        (model(x) ** 2).sum().backward()
        reached = all(variable.value.grad is not None for variable in model.trainable_variables)
    else:
        import jax

        def loss(weights: Any) -> Any:
            held = [v.value for v in model.non_trainable_variables]
            return (model.stateless_call(weights, held, x)[0] ** 2).sum()

        found = jax.grad(loss)([variable.value for variable in model.trainable_variables])
        reached = all(bool((gradient != 0).any()) for gradient in found)
    after = sum(acceleration.n_compiled_calls.values())
    return {"gradients": reached, "compiled while recording": after - before}


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
