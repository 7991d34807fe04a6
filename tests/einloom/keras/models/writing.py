"""Model files written by hand, without Keras, honest ones and others."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


def dense_entry(name: str, units: int, **more: Any) -> dict[str, Any]:
    config = {"name": name, "trainable": True, "dtype": "float32", "units": units}
    config |= {"activation": "relu", "use_bias": True, **more}
    return {"module": "keras.layers", "class_name": "Dense", "config": config}


def input_entry(name: str, shape: Sequence[int | None]) -> dict[str, Any]:
    config = {"batch_shape": list(shape), "dtype": "float32", "sparse": False, "name": name}
    return {"module": "keras.layers", "class_name": "InputLayer", "config": config}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    config = {"name": "model", "layers": list(layers)}
    return {"module": "keras", "class_name": "Sequential", "config": config}


def tensor(layer: str, call: int = 0, output: int = 0) -> dict[str, Any]:
    config = {"shape": [None, 4], "dtype": "float32", "keras_history": [layer, call, output]}
    return {"class_name": "__keras_tensor__", "config": config}


def called(entry: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    nodes = [{"args": list(args), "kwargs": kwargs}] if args else []
    return {**entry, "name": entry["config"]["name"], "inbound_nodes": nodes}


def functional(
    layers: Sequence[dict[str, Any]], inputs: Any, outputs: Any, name: str = "model"
) -> dict[str, Any]:
    config = {"name": name, "trainable": True, "layers": list(layers)}
    config |= {"input_layers": inputs, "output_layers": outputs}
    module = "keras.src.models.functional"
    return {"module": module, "class_name": "Functional", "config": config}


def simple_config() -> dict[str, Any]:
    return sequential(input_entry("x", (None, 3)), dense_entry("d", 4))


def simple_weights() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    kernel, bias = rng.random((3, 4), np.float32), rng.random(4, np.float32)
    return {"layers/dense/vars/0": kernel, "layers/dense/vars/1": bias}


def hdf5_bytes(arrays: Arrays) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for path, array in arrays.items():
            file[path] = array
    return stream.getvalue()


def archive_bytes(
    config: Any = None,
    weights: Arrays | bytes | None = None,
    *,
    version: Any = "3.15.1",
    compression: int = zipfile.ZIP_STORED,
    without: Sequence[str] = (),
    extra: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a ``.keras`` file; ``config`` may be JSON text."""
    weights = simple_weights() if weights is None else weights
    config = simple_config() if config is None else config
    members = {
        "metadata.json": json.dumps({"keras_version": version}).encode(),
        "config.json": (config if isinstance(config, str) else json.dumps(config)).encode(),
        "model.weights.h5": weights if isinstance(weights, bytes) else hdf5_bytes(weights),
        **(extra or {}),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as zipped:
        for name, content in members.items():
            if name not in without:
                zipped.writestr(name, content)
    return stream.getvalue()


def old_file(
    config: Any,
    weights: Mapping[str, Arrays],
    *,
    version: str = "2.2.4",
    backend: str = "tensorflow",
) -> bytes:
    """Return an ``.h5`` file as Keras 2.2.4 wrote it.

    Source: ``keras/engine/saving.py`` of that release: attributes ``keras_version``, ``backend``
    and ``model_config`` of the root and the first two of ``model_weights``, all bytes; the layers'
    names and each layer's ``weight_names`` as arrays of bytes.
    """
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        group = file.create_group("model_weights")
        for place in (file, group):
            place.attrs["keras_version"] = version.encode()
            place.attrs["backend"] = backend.encode()
        text = config if isinstance(config, str) else json.dumps(config)
        file.attrs["model_config"] = np.bytes_(text.encode())
        group.attrs["layer_names"] = [np.bytes_(name.encode()) for name in weights]
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [np.bytes_(name.encode()) for name in arrays]
            for name, array in arrays.items():
                inner[name] = array
    return stream.getvalue()
