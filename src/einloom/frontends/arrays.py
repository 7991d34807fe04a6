"""Arrays of any framework: NumPy views of them in, the same kind of array out.

A framework is looked up among the loaded modules only once a value that is no NumPy array shows up,
so that none is ever imported here (the idea is einops's ``_backends``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.errors import UnsupportedError

Array = npt.NDArray[Any]
Wrap = Callable[[Array], Any]


def as_numpy(value: Any) -> Array:
    """Return ``value`` as a NumPy array, without a copy where its framework allows.

    Raises:
        UnsupportedError: a PyTorch tensor whose gradient is being recorded; computing on its values
            would silently cut it from its graph.
    """
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    module = type(value).__module__.partition(".")[0]
    if module == "torch" and getattr(value, "requires_grad", False):
        torch = sys.modules["torch"]
        if torch.is_grad_enabled():
            raise UnsupportedError(
                "this PyTorch tensor records gradients, which einloom would cut off; pass "
                "tensor.detach(), or call under torch.no_grad()"
            )
        value = value.detach()
    if module == "tensorflow":
        _refuse_watched(value)
        return np.asarray(value.numpy()) if hasattr(value, "numpy") else np.asarray(value)
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, TypeError, RuntimeError, ValueError):
            return np.asarray(value)
    return np.asarray(value)


def _refuse_watched(value: Any) -> None:
    """Refuse a TensorFlow tensor that a gradient tape watches."""
    tensorflow = sys.modules["tensorflow"]
    if not tensorflow.executing_eagerly():
        raise UnsupportedError(
            "einloom computes on values and cannot become part of a tf.function graph; call it "
            "outside tf.function, or wrap it in tf.numpy_function"
        )
    from tensorflow.python.eager import record

    watched = getattr(record, "could_possibly_record", None)
    if watched is not None and watched():
        from tensorflow.python.eager import backprop_util

        if value.dtype.is_floating and backprop_util.IsTrainable(value):
            should = getattr(record, "should_record_backprop", None)
            if should is not None and should([value]):
                raise UnsupportedError(
                    "a tf.GradientTape records this tensor, and einloom would cut it from the "
                    "tape; call it under tape.stop_recording(), or on tf.stop_gradient's result"
                )


def wrapper_for(values: Iterable[Any], finish: Wrap | None = None) -> Wrap:
    """Return what turns a NumPy result into the kind of array that ``values`` are.

    The first framework tensor decides; with none among them ``finish`` does, and the result stays
    as it is where there is none.
    """
    for value in values:
        if isinstance(value, np.ndarray | np.generic):
            continue
        match type(value).__module__.partition(".")[0]:
            case "tensorflow":
                return _to_tensorflow
            case "torch":
                return _to_torch
            case "jax" | "jaxlib":
                return _to_jax
    return finish or _to_numpy


def _to_numpy(result: Array) -> Any:
    return result


def _to_tensorflow(result: Array) -> Any:
    return sys.modules["tensorflow"].convert_to_tensor(result)


def _to_torch(result: Array) -> Any:
    torch = sys.modules["torch"]
    if result.dtype.name == "bfloat16":
        return torch.from_numpy(result.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(result))


def _to_jax(result: Array) -> Any:
    return sys.modules["jax"].numpy.asarray(result)
