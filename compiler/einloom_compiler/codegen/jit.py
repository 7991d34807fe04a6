"""Compile printed kernels with Numba: the one module that touches Numba's internals.

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
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.codegen.numba_source import (
    NUMBA_IMPORT,
    parameters,
    print_kernel,
    print_module,
    print_parallel,
)
from einloom_compiler.codegen.pointers import Pointer
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.loops import LoopNest

_COMPILING = threading.RLock()


@dataclass(eq=False)
class Kernel:
    """One compiled loop nest.

    Attributes:
        nest: the scheduled loop nest.
        source: the Python text that was compiled.
    """

    nest: LoopNest
    source: str = field(repr=False)

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

    @property
    def storages(self) -> tuple[str, ...]:
        """Storage dtype of each pointer: inputs, output, accumulators."""
        accesses = (*self.nest.inputs, self.nest.output)
        memory = (arithmetic(access.dtype).storage for access in accesses)
        return (*memory, arithmetic(self.nest.compute).compute)

    @cached_property
    def scratch_bytes(self) -> int:
        """Bytes of accumulators that each part of a launch needs."""
        return self.nest.scratch_elements * np.dtype(self.storages[-1]).itemsize

    @cached_property
    def _jitted(self) -> Any:
        """The kernel as a dispatcher with one signature, compiled."""
        from numba import njit, types

        pointers = [_pointer_type(storage) for storage in self.storages]
        n_accesses = len(pointers) - 1
        n_numbers = len(parameters(self.nest)) - n_accesses - 4
        signature = types.void(
            *pointers[:n_accesses],
            *[types.int64] * n_numbers,
            pointers[-1],
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
        n_accesses = len(self.nest.inputs) + 1
        n_numbers = len(parameters(self.nest)) - n_accesses - 4
        prototype = ctypes.CFUNCTYPE(
            None,
            *[ctypes.c_void_p] * n_accesses,
            *[ctypes.c_int64] * n_numbers,
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
            names = parameters(self.nest)[:-2]
            n_accesses = len(self.nest.inputs) + 1
            pointers = {*names[:n_accesses], "acc"}
            storages = dict(zip((*names[:n_accesses], "acc"), self.storages, strict=True))
            arguments = ", ".join(
                f"pointer_{storages[name]}({name})" if name in pointers else name for name in names
            )
            head = ", ".join((*names, "total", "parts"))
            text = f"def launch({head}):\n    parallel_kernel({arguments}, total, parts)\n"
            namespace = self._namespace
            for storage in set(self.storages):
                namespace[f"pointer_{storage}"] = _pointer_from_address(storage)
            exec(compile(text, "<einloom launch>", "exec"), namespace)
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
            arrays: inputs then output, any strides.
            numbers: extents and strides in ABI order.
            total: length of the parallel range.
        """
        pointers = [Pointer(a, s) for a, s in zip(arrays, self.storages[:-1], strict=True)]
        acc = np.zeros(max(1, self.nest.scratch_elements), self.storages[-1])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._python(*pointers, *numbers, acc, 0, 0, total)


def is_jit_disabled() -> bool:
    """Say whether Numba is told not to compile (``NUMBA_DISABLE_JIT=1``): kernels run as Python."""
    numba = sys.modules.get("numba")
    if numba is None:
        return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return bool(numba.config.DISABLE_JIT)


def module_source(nest: LoopNest) -> str:
    """Return the whole module of one kernel: helpers, kernel, parallel launcher."""
    return print_module(f"{print_kernel(nest)}\n\n{print_parallel(nest)}")


@cache
def build(nest: LoopNest) -> Kernel:
    """Return the kernel of a scheduled nest; compiled at its first run, once a process."""
    return Kernel(nest, module_source(nest))


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
