"""How functions of the classic ``keras.backend`` are made of those of :mod:`einloom.functions`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from einloom import functions as F  # noqa: N812
from einloom.frontends.dispatch import frontend
from einloom.frontends.keras_tensors import floatx
from einloom.frontends.values import as_tensor


def backend_function(
    name: str, *operands: str, keeps_numbers: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a builder of expressions as ``keras.backend.<name>``.

    Args:
        name: of the function.
        operands: parameters that are tensors; ``x`` where none is named.
        keeps_numbers: whether Python numbers beside tensors take their dtype.
    """
    return frontend(
        f"keras.backend.{name}",
        operands=operands or ("x",),
        finish=as_tensor,
        keeps_numbers=keeps_numbers,
    )


def elementwise(
    name: str, function: Callable[..., Any], doc: str, *operands: str
) -> Callable[..., Any]:
    """Return ``function`` as a function of the backend with operands so named, ``x`` where none."""
    names = operands or ("x",)

    def build(*values: Any) -> Any:
        return function(*values)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = doc
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(operand, kind) for operand in names]
    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return backend_function(name, *names)(build)


def reduction(
    name: str, function: Callable[..., Any], doc: str = "", *, casts: bool = False
) -> Callable[..., Any]:
    """Return ``function`` as a reduction of the backend; bools are :func:`floatx` if it casts."""

    def build(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if casts and x.dtype is not None and x.dtype.kind == "b":
            x = F.cast(x, floatx())
        along = tuple(axis) if isinstance(axis, list) else axis
        return function(x, axis=along, keepdims=keepdims)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = doc or f"Return the {name} along axes, all where None."
    return backend_function(name)(build)


def dtype_kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reduction that widens no integers, as TensorFlow's do not."""

    def build(x: Any, axis: Any, keepdims: bool) -> Any:
        total = function(x, axis=axis, keepdims=keepdims)
        return total if x.dtype is None else F.cast(total, x.dtype)

    return build
