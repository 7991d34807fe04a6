"""Train a small Keras model, compile it, compare its predictions, ship it as a library.

Run with ``python examples/train_compile_ship.py``; needs ``keras`` on any backend. Cells are marked
``# %%``, as editors and Jupytext read them.
"""

# %% Data: points of two noisy spirals, and which spiral they are of.
from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import keras

import einloom as el
import einloom.keras

generator = np.random.default_rng(0)
n_points = 1000
label = generator.integers(0, 2, n_points)
turn = 3 * np.sqrt(generator.random(n_points))
angle = turn + np.pi * label
x = np.stack([turn * np.cos(angle), turn * np.sin(angle)], axis=1)
x = (x + 0.1 * generator.standard_normal(x.shape)).astype("float32")

# %% A model, trained for a second.
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((2,)),
        keras.layers.Dense(64, activation="gelu"),
        keras.layers.Dense(64, activation="gelu"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, label, epochs=10, batch_size=100, verbose=0)
expected = np.asarray(model(x, training=False))
print(f"accuracy {np.mean(expected.argmax(1) == label):.2f}")

# %% The same model as one compiled function: any batch size, weights folded in.
classify = el.keras.compile(model)
print(classify.explain())
print(f"largest difference from Keras: {np.abs(classify(x) - expected).max():.1e}")
np.testing.assert_allclose(classify(x), expected, rtol=2e-5, atol=2e-6)
np.testing.assert_allclose(classify(x[:1]), expected[:1], rtol=2e-5, atol=2e-6)

# %% Shipped: a shared library, its C header, and a loader that needs NumPy only.
if sys.platform == "linux":
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "spirals"
        # For this CPU, which is built soonest; without cpu= for all usual ones in one library.
        el.aot.build(classify, built, name="spirals", cpu="native")
        print(*sorted(path.name for path in built.iterdir()))
        shipped = el.aot.load(built)
        np.testing.assert_allclose(shipped(x), expected, rtol=2e-5, atol=2e-6)
