"""Compile printed kernels with Numba: with :mod:`.simd_lowering`, all that touches its internals.

``njit`` gets an explicit signature of pointers and int64, so no Python object is converted; the
native function is then called by address. What is relied on, for numba 0.61 to 0.68: the option
``no_cpython_wrapper``, the cfunc wrapper in ``library`` of a compile result, ``types.CPointer``
indexing without wrap-around.
"""

from __future__ import annotations

import ctypes
import linecache
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.codegen import simd_lowering
from einloom_compiler.codegen.numba_source import NUMBA_IMPORT, print_direct
from einloom_compiler.codegen.packed_source import print_packed
from einloom_compiler.codegen.pointers import Pointer
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.packed import PackedNest

_COMPILING = threading.RLock()


@dataclass(eq=False)
class Kernel:
    """One kernel, compiled when first run.

    Attributes:
        text: its source and how it is called.
    """

    text: KernelText

    @property
    def source(self) -> str:
        """The Python module that is compiled."""
        return self.text.source

    @cached_property
    def _namespace(self) -> dict[str, Any]:
        """What the source defines, its functions decorated by Numba."""
        name = f"<einloom {sha256(self.source.encode()).hexdigest()[:16]}>"
        lines = self.source.splitlines(keepends=True)
        linecache.cache[name] = (len(self.source), None, lines, name)
        namespace: dict[str, Any] = {"__name__": "einloom_kernel"}
        exec(compile(self.source, name, "exec"), namespace)
        return namespace

    @cached_property
    def _python(self) -> Callable[..., None]:
        """The kernel and its helpers as plain Python functions."""
        namespace: dict[str, Any] = {"njit": _undecorated, "prange": range}
        text = self.source.replace(NUMBA_IMPORT, "")
        exec(compile(text, "<einloom kernel, un-jitted>", "exec"), namespace)
        function: Callable[..., None] = namespace["kernel"]
        return function

    @cached_property
    def scratch_bytes(self) -> int:
        """Bytes of scratch that each part of a launch needs."""
        return self.text.scratch_elements * np.dtype(self.text.scratch_dtype).itemsize

    @cached_property
    def _jitted(self) -> Any:
        """The kernel as a dispatcher with one signature, compiled."""
        from numba import njit, types

        simd_lowering.register()
        text = self.text
        signature = types.void(
            *(_pointer_type(storage) for _, storage in text.pointers),
            *[types.int64] * len(text.numbers),
            _pointer_type(text.scratch_dtype),
            *[types.int64] * 3,
        )
        with _COMPILING:
            function = self._namespace["kernel"]
            options = {**function.targetoptions, "no_cpython_wrapper": True}
            options.pop("nopython", None)
            compiled = njit([signature], **options)(function.py_func)
            self._namespace["kernel"] = compiled
            return compiled

    @cached_property
    def serial(self) -> Callable[..., None]:
        """The native kernel; pointers are passed as addresses. Releases the GIL."""
        compiled = self._jitted
        (result,) = compiled.overloads.values()
        address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
        prototype = ctypes.CFUNCTYPE(
            None,
            *[ctypes.c_void_p] * len(self.text.pointers),
            *[ctypes.c_int64] * len(self.text.numbers),
            ctypes.c_void_p,
            *[ctypes.c_int64] * 3,
        )
        return prototype(address)

    @cached_property
    def parallel(self) -> Callable[..., None]:
        """The kernel's range spread over Numba's threads; pointers are passed as addresses."""
        from numba import njit, types

        with _COMPILING:
            _ = self._jitted
            text = self.text
            storages = dict((*text.pointers, ("acc", text.scratch_dtype)))
            names = text.parameters[:-2]
            arguments = ", ".join(
                f"pointer_{storages[name]}({name})" if name in storages else name for name in names
            )
            head = ", ".join((*names, "total", "parts"))
            launcher = f"def launch({head}):\n    parallel_kernel({arguments}, total, parts)\n"
            namespace = self._namespace
            for storage in set(storages.values()):
                namespace[f"pointer_{storage}"] = _pointer_from_address(storage)
            exec(compile(launcher, "<einloom launch>", "exec"), namespace)
            signature = types.void(*[types.int64] * (len(names) + 2))
            launch: Callable[..., None] = njit([signature], nogil=True)(namespace["launch"])
            return launch

    @property
    def llvm(self) -> str:
        """The kernel's optimised LLVM IR."""
        (text,) = self._jitted.inspect_llvm().values()
        return str(text)

    @property
    def asm(self) -> str:
        """The kernel's assembly for this CPU."""
        (text,) = self._jitted.inspect_asm().values()
        return str(text)

    def run_python(
        self, arrays: Sequence[npt.NDArray[Any]], numbers: Sequence[int], *, total: int
    ) -> None:
        """Run the text un-jitted, as the reference of the compiled kernel.

        Args:
            arrays: what the pointers point to, any strides.
            numbers: the kernel's integers.
            total: length of the parallel range.
        """
        pointers = [
            Pointer(array, storage)
            for array, (_, storage) in zip(arrays, self.text.pointers, strict=True)
        ]
        acc = np.zeros(max(1, self.text.scratch_elements), self.text.scratch_dtype)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._python(*pointers, *numbers, acc, 0, 0, total)


def is_jit_disabled() -> bool:
    """Say whether Numba is told not to compile (``NUMBA_DISABLE_JIT=1``): kernels run as Python."""
    numba = sys.modules.get("numba")
    if numba is None:
        return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return bool(numba.config.DISABLE_JIT)


@cache
def build(nest: LoopNest | PackedNest) -> Kernel:
    """Return the kernel of a scheduled nest; compiled at its first run, once a process."""
    text = print_packed(nest) if isinstance(nest, PackedNest) else print_direct(nest)
    return Kernel(text)


def _undecorated(function: Any = None, **_: object) -> Any:
    """Stand in for ``njit``, with and without options: leave the function as it is."""
    return function if function is not None else _undecorated


def _pointer_type(storage: str) -> Any:
    from numba import from_dtype, types

    pointer: Any = types.CPointer
    return pointer(from_dtype(np.dtype(storage)))


@cache
def _pointer_from_address(storage: str) -> Any:
    """Return a jitted function of an int64 address giving a pointer to elements of ``storage``."""
    from numba import types
    from numba.extending import intrinsic

    pointer = _pointer_type(storage)

    @intrinsic
    def from_address(typing_context: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return pointer(types.int64), codegen

    return from_address
