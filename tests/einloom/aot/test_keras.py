"""Libraries of Keras models: live ones, and saved ones that Keras is not needed for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom_compiler.errors import UnsupportedError

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras


def _model() -> Any:
    keras.utils.set_random_seed(3)
    layers = [L.Dense(8, "relu"), L.Dropout(0.5), L.Dense(3, bias_initializer="ones")]
    return keras.Sequential([keras.Input((6,), name="x"), *layers])


@pytest.mark.parametrize("kind", ["live", "saved"])
def test_a_model_is_built_with_its_weights(kind: str, tmp_path: Path) -> None:
    model = _model()
    model.save(tmp_path / "model.keras")
    target = model if kind == "live" else tmp_path / "model.keras"
    el.aot.build(target, tmp_path / "built", name="classify")
    built = el.aot.load(tmp_path / "built")
    for batch in (1, 5):
        x = np.random.default_rng(batch).standard_normal((batch, 6)).astype(np.float32)
        np.testing.assert_allclose(built(x), np.asarray(model(x)), rtol=2e-5, atol=2e-6)


def test_what_a_library_cannot_hold_is_named(tmp_path: Path) -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    with pytest.raises(UnsupportedError, match="several outputs"):
        el.aot.build(keras.Model(a, [L.Dense(2)(a), L.Dense(3)(a)]), tmp_path / "two")
    with pytest.raises(UnsupportedError, match="take its inputs as b, a"):
        el.aot.build(keras.Model([a, b], L.Subtract()([b, a])), tmp_path / "turned")
