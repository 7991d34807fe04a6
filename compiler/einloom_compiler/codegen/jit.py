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
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.codegen import simd_lowering
from einloom_compiler.codegen.numba_source import NUMBA_IMPORT
from einloom_compiler.codegen.pointers import Pointer
from einloom_compiler.codegen.printing import Nest, print_text
from einloom_compiler.codegen.text import KernelText

_COMPILING = threading.RLock()
_NO_WRAPPERS = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


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
            for function in self._namespace.values():
                if hasattr(function, "targetoptions"):
                    function.targetoptions |= _NO_WRAPPERS
            function = self._namespace["kernel"]
            options = {**function.targetoptions, "no_cfunc_wrapper": False}
            options.pop("nopython", None)
            compiled = njit([signature], **options)(function.py_func)
            self._namespace["kernel"] = compiled
            return compiled

    @cached_property
    def entry(self) -> int:
        """The address of native code ``entry(block, acc_0, lo, hi)`` that runs the kernel.

        ``block`` points to int64: the kernel's pointers, numbers, and scratch address. One shape of
        call for all kernels lets one launcher serve them.
        """
        compiled = self._jitted
        (result,) = compiled.overloads.values()
        address = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
        n_arguments = len(self.text.pointers) + len(self.text.numbers) + 1
        return _trampoline(result.library.codegen, address, n_arguments)

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
def build(nest: Nest) -> Kernel:
    """Return the kernel of a scheduled nest; compiled at its first run, once a process."""
    return Kernel(nest, print_text(nest))


def _undecorated(function: Any = None, **_: object) -> Any:
    """Stand in for ``njit``, with and without options: leave the function as it is."""
    return function if function is not None else _undecorated


def _pointer_type(storage: str) -> Any:
    from numba import from_dtype, types

    pointer: Any = types.CPointer
    return pointer(from_dtype(np.dtype(storage)))


def _trampoline(codegen: Any, address: int, n_arguments: int) -> int:
    """Return the address of code that loads ``n_arguments`` words from a block and calls a kernel.

    Pointers and int64 are passed alike in the C calling conventions of x86-64 and aarch64.
    """
    from llvmlite import ir
    from numba.core.compiler_lock import global_compiler_lock

    word = ir.IntType(64)
    library = codegen.create_library(f"einloom_trampoline_{address:x}")
    module = library.create_ir_module(library.name)
    ours = ir.FunctionType(ir.VoidType(), [word.as_pointer(), word, word, word])
    theirs = ir.FunctionType(ir.VoidType(), [word] * (n_arguments + 3))
    function = ir.Function(module, ours, f"einloom_entry_{address:x}")
    builder = ir.IRBuilder(function.append_basic_block())
    block, *rest = function.args
    words = [
        builder.load(builder.gep(block, [ir.Constant(word, position)]))
        for position in range(n_arguments)
    ]
    kernel = builder.inttoptr(ir.Constant(word, address), theirs.as_pointer())
    builder.call(kernel, [*words, *rest])
    builder.ret_void()
    with global_compiler_lock:
        library.add_ir_module(module)
        library.finalize()
    _LIBRARIES.append(library)
    entry: int = library.get_pointer_to_function(function.name)
    return entry


#: Trampolines stay loaded as long as the kernels they call: for the process.
_LIBRARIES: list[Any] = []

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
