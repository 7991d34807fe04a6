"""Every layer and activation of Keras is covered, or refused with an error that names it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from tests.einloom.keras.lowering.differential import check

import einloom as el
from einloom.keras.lowering.target import lowered
from einloom.keras.models.kinds import Unknown, kind_of
from einloom.keras.models.kinds.table import KNOWN_CLASSES, REFUSED_CLASSES
from einloom.keras.models.record import LayerRecord
from einloom_compiler.errors import UnsupportedError

keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.keras

#: Classes under the names that Keras writes into files.
CLASSES: dict[str, Any] = {
    {"GroupedQueryAttention": "GroupQueryAttention"}.get(each.__name__, each.__name__): each
    for each in vars(L).values()
    if isinstance(each, type) and issubclass(each, L.Layer)
}


def test_each_layer_is_covered_or_refused() -> None:
    known, refused = set(KNOWN_CLASSES), set(REFUSED_CLASSES)
    assert known.isdisjoint(refused)
    assert set(CLASSES) - known - refused == set()
    assert refused - set(CLASSES) == set()
    assert known - set(CLASSES) == set()


@pytest.mark.parametrize("name", REFUSED_CLASSES)
def test_refused_layers_are_named_with_the_reason(name: str) -> None:
    record = LayerRecord("held", name, "layer", MappingProxyType({}), "float32")
    kind = kind_of(record, keras.__version__)
    assert isinstance(kind, Unknown)
    assert name in kind.reason
    assert REFUSED_CLASSES[name] in kind.reason


def test_live_layers_that_are_refused_are_named() -> None:
    x = el.spec(2, 3, 4, name="x")
    refused: dict[str, Any] = {
        "GRU": L.GRU(2),
        "Bidirectional": L.Bidirectional(L.LSTM(2)),
        "TimeDistributed": L.TimeDistributed(L.LSTM(2)),
        "SpectralNormalization": L.SpectralNormalization(L.Embedding(2, 2, mask_zero=True)),
        "RNN": L.RNN(L.LSTMCell(2)),
    }
    for name, layer in refused.items():
        with pytest.raises(UnsupportedError, match=rf"\({name}\)"):
            lowered(layer, x)


@pytest.mark.parametrize("name", sorted(n for n in KNOWN_CLASSES if n.startswith("Random")))
def test_augmentations_do_nothing_at_inference(name: str) -> None:
    further: dict[str, Any] = {
        "RandomTranslation": (0.2, 0.2),
        "RandomPosterization": (4,),
        **dict.fromkeys(
            (f"Random{what}" for what in (
                "Brightness", "ColorDegeneration", "ColorJitter", "Contrast", "Hue", "Rotation",
                "Saturation", "Sharpness", "Zoom",
            )),
            (0.2,),
        ),
    }  # fmt: skip
    image = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    check(CLASSES[name](*further.get(name, ())), image, training=False)


@pytest.mark.parametrize("name", ["AugMix", "CutMix", "MixUp", "RandAugment"])
def test_mixtures_do_nothing_at_inference(name: str) -> None:
    image = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    check(CLASSES[name](), image, training=False)


def _activations() -> list[str]:
    helpers = ("deserialize", "get", "serialize")
    return [n for n in vars(keras.activations) if n[0] != "_" and n not in helpers]


@pytest.mark.parametrize("name", _activations())
def test_each_activation_in_a_layer(name: str) -> None:
    if name == "threshold":
        pytest.skip("Keras cannot call it without its numbers")
    x = np.random.default_rng(1).normal(0, 2, (3, 4, 6)).astype(np.float32)
    check(L.Activation(name), x)
    if name != "glu":
        layer = L.Dense(4, name)
        layer.build((None, 6))
        check(layer, x)


def test_a_dense_with_glu_is_refused_with_the_way_out() -> None:
    layer = L.Dense(4, "glu")
    layer.build((None, 6))
    with pytest.raises(UnsupportedError, match=r"changes the shape; use a layer Activation"):
        lowered(layer, el.spec("B", 6))
