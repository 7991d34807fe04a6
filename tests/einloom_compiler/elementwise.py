"""Run elementwise source three ways: as Python, jitted on scalars, jitted on SIMD vectors."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.codegen import simd_lowering
from einloom_compiler.codegen.numba_source import NUMBA_IMPORT, OPTIONS, print_module

Array = npt.NDArray[Any]
#: Lanes of a 256-bit vector: a width that every x86-64-v3 and v4 CPU has.
LANES = {"float32": 8, "float64": 4, "int32": 8, "int64": 4, "int8": 16, "uint8": 16, "uint32": 8}


@dataclass(frozen=True, eq=False)
class Native:
    """Compiled code that writes the value of an expression of ``x`` to another array."""

    jitted: Any
    result: str

    @property
    def asm(self) -> str:
        (text,) = self.jitted.inspect_asm().values()
        return str(text)

    @property
    def llvm(self) -> str:
        (text,) = self.jitted.inspect_llvm().values()
        return str(text)

    def __call__(self, x: Array) -> Array:
        (overload,) = self.jitted.overloads.values()
        library = overload.library
        address = library.get_pointer_to_function(overload.fndesc.llvm_cfunc_wrapper_name)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        width = LANES[x.dtype.name]
        padded = np.concatenate([x, np.ones(-len(x) % width, x.dtype)])
        out = np.empty(len(padded), self.result)
        kind(address)(padded.ctypes.data, out.ctypes.data, len(padded))
        return out[: len(x)]


@cache
def native(expression: str, dtype: str, *, width: int, result: str = "") -> Native:
    """Compile ``expression``, in which ``{x}`` is the value, for vectors of ``width`` or scalars.

    The kernel around it has the options of all kernels: what it calls must be exact regardless.
    """
    from numba import from_dtype, njit, types

    simd_lowering.register()
    if width > 1:
        value = expression.replace("{x}", f"vload{width}(x, i)")
        body = f"    for i in range(0, n, {width}):\n        vstore{width}(y, i, {value})\n"
    else:
        value = expression.replace("{x}", "x[i]")
        body = f"    vwide()\n    for i in range(n):\n        y[i] = {value}\n"
    namespace: dict[str, Any] = {}
    exec(print_module(f"@njit({OPTIONS})\ndef kernel(x, y, n):\n{body}"), namespace)
    kernel = namespace["kernel"]
    options = {**kernel.targetoptions, "no_cpython_wrapper": True}
    options.pop("nopython", None)
    pointer: Any = types.CPointer
    source, target = (pointer(from_dtype(np.dtype(name))) for name in (dtype, result or dtype))
    return Native(
        njit([types.void(source, target, types.int64)], **options)(kernel.py_func), result or dtype
    )


def in_python(expression: str, x: Any) -> Any:
    """Return the value of ``expression`` un-jitted, of an array or a scalar."""
    text = print_module(f"def value(x):\n    return {expression.replace('{x}', 'x')}\n")
    namespace: dict[str, Any] = {"njit": lambda **_: lambda function: function}
    exec(text.replace(NUMBA_IMPORT, ""), namespace)
    with np.errstate(all="ignore"):
        return namespace["value"](x)


def units_in_last_place(got: Array, exact: Array) -> Array:
    """Return the distance of ``got`` from the longer floats ``exact`` in units of its last place.

    Infinite where one is infinite, or NaN, and the other one is not.
    """
    info: Any = np.finfo(got.dtype)
    wide = exact.dtype.type
    with np.errstate(over="ignore"):
        rounded = exact.astype(got.dtype)
    magnitude = np.maximum(np.abs(exact), wide(info.tiny))
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.where(np.isfinite(magnitude), magnitude, 1)))
        unit = np.exp2(exponent - info.nmant)
        distance = np.abs(got.astype(wide) - exact) / unit
    same = (got == rounded) & ~np.isfinite(rounded) | np.isnan(got) & np.isnan(exact)
    finite = np.isfinite(got) & np.isfinite(rounded)
    return np.where(same, 0, np.where(finite, distance, np.inf))
