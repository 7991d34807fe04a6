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

from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import DTypeError, UnsupportedError

Array = npt.NDArray[Any]
Wrap = Callable[[Array], Any]


def as_numpy(value: Any) -> Array:
    """Return ``value`` as a NumPy array, without a copy where its framework allows.

    Raises:
        UnsupportedError: a PyTorch or TensorFlow tensor whose gradient is being recorded (computing
            on its values would silently cut it from its graph), a JAX array that is being traced,
            or a tensor that is not dense in the CPU's memory.
        DTypeError: a TensorFlow tensor that holds no numbers.
    """
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    module = type(value).__module__.partition(".")[0]
    if module == "torch" and isinstance(value, sys.modules["torch"].Tensor):
        return _from_torch(value)
    if module == "tensorflow" and sys.modules["tensorflow"].is_tensor(value):
        tensor = _unwatched_tensor(value)
        # TensorFlow's __array__ gives no array for a bfloat16 of rank 0; numpy() copies.
        return np.asarray(tensor if tensor.shape.rank else tensor.numpy())
    if module in ("jax", "jaxlib") and isinstance(value, sys.modules["jax"].core.Tracer):
        raise UnsupportedError(
            "this JAX array is being traced (by jax.grad, jax.jit or jax.vmap), and einloom "
            "computes on values; call it outside, or wrap it in jax.pure_callback"
        )
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, TypeError, RuntimeError, ValueError):
            return np.asarray(value)
    return np.asarray(value)


def _from_torch(value: Any) -> Array:
    """Return a PyTorch tensor as an array that shares its memory.

    Raises:
        UnsupportedError: its gradient is being recorded, or it is not dense in the CPU's memory.
    """
    torch = sys.modules["torch"]
    if value.requires_grad and torch.is_grad_enabled():
        raise UnsupportedError(
            "this PyTorch tensor records gradients, which einloom would cut off; pass "
            "tensor.detach(), or call under torch.no_grad()"
        )
    if value.layout is not torch.strided or value.device.type != "cpu":
        raise UnsupportedError(
            f"a PyTorch tensor of layout {value.layout} on device {value.device} is not dense in "
            "the CPU's memory; pass tensor.to_dense() or tensor.cpu()"
        )
    plain = value.detach().resolve_conj().resolve_neg()
    if plain.dtype is torch.bfloat16:
        return np.asarray(plain.view(torch.int16)).view(as_dtype("bfloat16"))
    return np.asarray(plain)


def _unwatched_tensor(value: Any) -> Any:
    """Return a TensorFlow tensor or variable as an eager tensor, whose memory NumPy can share.

    Raises:
        UnsupportedError: it is symbolic, sparse or ragged, or its gradient is being recorded.
        DTypeError: it holds text or handles.
    """
    tensorflow = sys.modules["tensorflow"]
    if not tensorflow.executing_eagerly():
        raise UnsupportedError(
            "einloom computes on values and cannot become part of a tf.function graph; call it "
            "outside tf.function, or wrap it in tf.numpy_function"
        )
    from tensorflow.python.eager import forwardprop_util, record

    if not isinstance(value, tensorflow.Tensor | tensorflow.Variable):
        raise UnsupportedError(
            f"a {type(value).__name__} is not dense; pass tf.sparse.to_dense(x), or x.to_tensor()"
        )
    # A variable has no identity a tape could know; the read that converts it is watched instead.
    tensor = tensorflow.convert_to_tensor(value)
    if tensor.dtype in (tensorflow.string, tensorflow.resource, tensorflow.variant):
        raise DTypeError(f"a tensor of dtype {tensor.dtype.name} holds no numbers to contract")
    if record.could_possibly_record() and (
        record.should_record_backprop([tensor]) or forwardprop_util.pack_tangents([tensor]).tangents
    ):
        raise UnsupportedError(
            "a tf.GradientTape (or ForwardAccumulator) records this tensor, and einloom would cut "
            "it from the tape; call it under tape.stop_recording(), or on tf.stop_gradient's result"
        )
    return tensor


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
    return torch.from_numpy(np.asarray(result, order="C"))  # rank 0 stays rank 0


def _to_jax(result: Array) -> Any:
    return sys.modules["jax"].numpy.asarray(result)
