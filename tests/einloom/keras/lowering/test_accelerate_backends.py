"""``el.keras.accelerate`` on the backends that this process has not: one process each."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras

SCRIPT = Path(__file__).with_name("accelerating_on_a_backend.py")


@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.slow)])
def test_inference_runs_compiled_and_training_does_not(backend: str) -> None:
    pytest.importorskip("keras")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    ran = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert json.loads(ran.stdout) == {
        "backend": backend,
        "layers": ["first", "inner", "last", "norm"],
        "kinds": ["jaxlib" if backend == "jax" else "torch"],
        "close": [True, True],
        "compiled calls": [2],
        "half close": True,
        "undone": True,
        "gradients": True,
        "compiled while recording": 0,
        "trained close": True,
    }
