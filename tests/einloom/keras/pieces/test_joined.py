"""Cut models compiled just in time, joined with Keras's layers or functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import assert_close, randomized

import einloom as el
from einloom.keras.models import record_from_keras
from einloom.keras.pieces.joined import JoinedModel
from einloom_compiler.errors import SpecError

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras


def test_a_live_model_runs_with_keras_between_its_pieces() -> None:
    a, b = keras.Input((4, 3), name="a"), keras.Input((6,), name="b")
    total = L.Concatenate()([L.LSTM(2, name="memory")(L.Dense(3)(a)), b])
    model = randomized(keras.Model([a, b], {"x": L.Dense(2)(total), "y": total}))
    function = el.keras.compile(model, cut=True)
    assert isinstance(function, JoinedModel)
    assert function.outside == ("memory",)
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s).astype("float32") for s in ((3, 4, 3), (3, 6)))
    expected = model([x, y])

    def compare(found: Any) -> None:
        assert list(found) == ["x", "y"]
        for name, value in found.items():
            assert_close(np.asarray(value), np.asarray(expected[name]))

    compare(function(x, y))
    compare(function({"b": y, "a": x}, threads=1))
    found = function(keras.ops.convert_to_tensor(x), y)
    assert type(found["x"]) is type(expected["x"]) or keras.backend.backend() == "numpy"
    compare(found)
    compare(function.join({"memory": lambda t: np.asarray(model.get_layer("memory")(t))})(x, y))
    assert "memory (LSTM)" in function.explain()
    assert repr(function).startswith("<einloom ")
    with pytest.raises(SpecError, match="'nose' is none of the layers"):
        function.join({"nose": abs})
    with pytest.raises(SpecError, match="takes 2 arrays"):
        function(x)
    bare = el.keras.compile(record_from_keras(model), cut=True)
    with pytest.raises(SpecError, match=r"give a function: join\(\{'memory'"):
        bare(x, y)
    with pytest.raises(SpecError, match="takes no argument 'training'"):
        el.keras.compile(model, cut=True, training=True)
