"""Kernels that run in this process: printed source, native code, and how it is called.

Native code comes from the disk (:mod:`einloom_compiler.store.kernels`) or, where it holds none yet,
from :mod:`.objects`; only then is Numba imported. The launcher that spreads a kernel over Numba's
own threads is here too, and calls kernels by address.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.codegen.numba_source import NUMBA_IMPORT
from einloom_compiler.codegen.pointers import Pointer
from einloom_compiler.codegen.printing import Nest, print_text
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.store import kernels

if TYPE_CHECKING:
    from einloom_compiler.codegen.objects import ObjectCode
    from einloom_compiler.codegen.target import Target

#: One kernel at a time is compiled or loaded: Numba and LLVM serve one thread.
_COMPILING = threading.RLock()


def _after_fork() -> None:
    """Free the lock in a child: the thread that may have held it stayed in the parent."""
    global _COMPILING
    _COMPILING = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@dataclass(eq=False)
class Kernel:
    """One kernel, compiled when first run.

    Attributes:
        nest: what it was printed from.
        text: its source and how it is called.
    """

    nest: Nest
    text: KernelText = field(repr=False)

    @property
    def source(self) -> str:
        """The Python module that is compiled."""
        return self.text.source

    @cached_property
    def symbol(self) -> str:
        """The name of the kernel's native code, the same in every process."""
        return f"einloom_{sha256(self.source.encode()).hexdigest()[:16]}"

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
    def entry(self) -> int:
        """The address of native code ``entry(block, acc_0, lo, hi)`` that runs the kernel.

        ``block`` points to int64: the kernel's pointers, numbers, and scratch address. One shape of
        call for all kernels lets one launcher serve them.
        """
        with _COMPILING:
            found: int | None = self.__dict__.get("entry")
            return found or kernels.entry_of(self.text, self.symbol, self._compile)

    @property
    def is_ready(self) -> bool:
        """Whether the native code is in this process, so that a call need not wait."""
        return "entry" in self.__dict__

    def load(self) -> bool:
        """Take the native code from disk if it is there, without waiting for any compile."""
        if not self.is_ready:
            address = kernels.stored(self.text, self.symbol)
            if address is not None:
                self.__dict__["entry"] = address
        return self.is_ready

    def take(self, code: ObjectCode) -> None:
        """Load native code that was compiled elsewhere, and keep it on disk."""
        with _COMPILING:
            if not self.is_ready:
                self.__dict__["entry"] = kernels.entry_of(self.text, self.symbol, lambda: code)

    def _compile(self) -> ObjectCode:
        from einloom_compiler.codegen.objects import compile_object
        from einloom_compiler.codegen.target import host_target

        return compile_object(self.text, self.symbol, host_target())

    @property
    def llvm(self) -> str:
        """The kernel's optimised LLVM IR."""
        from einloom_compiler.codegen.objects import print_llvm
        from einloom_compiler.codegen.target import host_target

        with _COMPILING:
            return print_llvm(self.text, self.symbol, host_target())

    @property
    def asm(self) -> str:
        """The kernel's assembly for this CPU."""
        from einloom_compiler.codegen.objects import print_assembly
        from einloom_compiler.codegen.target import host_target

        with _COMPILING:
            return print_assembly(self.text, self.symbol, host_target())

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
def build(nest: Nest) -> Kernel:
    """Return the kernel of a scheduled nest; compiled at its first run, once a process."""
    return Kernel(nest, print_text(nest))


def compile_for(text: KernelText, symbol: str, target: Target) -> ObjectCode:
    """Return the object code of a printed kernel for a CPU that need not be this one."""
    from einloom_compiler.codegen.objects import compile_object

    with _COMPILING:
        return compile_object(text, symbol, target)


def _undecorated(function: Any = None, **_: object) -> Any:
    """Stand in for ``njit``, with and without options: leave the function as it is."""
    return function if function is not None else _undecorated


#: One part of a kernel: ``run(entry, block, acc_0, lo, hi)``; releases the GIL.
_ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_int64] * 3)


@cache
def serial(entry: int) -> Callable[[Any, int, int, int], None]:
    """Return native code at ``entry`` as a Python function ``(block, acc_0, lo, hi)``."""
    return _ENTRY(entry)


@cache
def spread() -> Callable[[int, int, int, int, int], None]:
    """Return the launcher of all kernels: their range spread over Numba's threads by ``prange``.

    It takes ``(entry, block, step, total, parts)``: part ``r`` of ``parts`` runs its share of
    ``range(total)`` with its scratch at ``r * step``. This is each kernel's ``parallel_kernel``
    with the kernel called by address, so that it is compiled once a process, not once a kernel.
    """
    from numba import njit, prange, types
    from numba.extending import intrinsic

    def typed(context: Any, entry: Any, block: Any, acc_0: Any, lo: Any, hi: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            from llvmlite import ir

            word = ir.IntType(64)
            kind = ir.FunctionType(ir.VoidType(), [word] * 4)
            builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), codegen

    run_part: Any = intrinsic(typed)

    def launch(entry: int, block: int, step: int, total: int, parts: int) -> None:
        for r in prange(parts):
            run_part(entry, block, r * step, total * r // parts, total * (r + 1) // parts)

    with _COMPILING:
        launcher: Any = njit(
            [types.void(*[types.int64] * 5)], parallel=True, nogil=True, error_model="numpy"
        )(launch)
    return launcher  # type: ignore[no-any-return]
