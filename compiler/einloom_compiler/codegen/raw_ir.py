"""Lower printed kernels to LLVM IR with Numba's typing and lowering, and none of its optimisers.

This module, its neighbours ``raw_*`` and :mod:`.simd_lowering` are all that touches Numba's
internals (:mod:`.objects` is all that drives LLVM). A target of our own (Numba's target extension
API) has contexts of its own (:mod:`.raw_contexts`), whose code libraries only collect IR: nothing
is optimised, wrapped for Python or turned to machine code here. What is relied on, for numba 0.61
to 0.68: ``CompilerBase``, the passes by name, ``CPUContext``, ``CodeLibrary``, ``Flags.noalias``,
the three registries of ``target_extension``, and what ``types.Dispatcher`` asks of its dispatcher.
"""

from __future__ import annotations

import gc
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from einloom_compiler.codegen import raw_contexts, raw_numba, simd_halves
from einloom_compiler.codegen.numba_source import NUMBA_IMPORT
from einloom_compiler.codegen.raw_numba import numba_module
from einloom_compiler.codegen.text import KernelText

TARGET = "einloom"
_MODULE = "einloom_kernel"
#: Functions of kernels that are kept lowered, each some tens of kilobytes of text.
_MOST_SHARED = 1000
_NO_WRAPPERS = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


@dataclass(frozen=True, slots=True)
class RawKernel:
    """A kernel's functions as unoptimised LLVM IR, the same for every target of 64 bits.

    Attributes:
        modules: IR as text, one module a function; the kernel's last.
        symbol: the kernel's name in them.
        returns, raises: the types of what its first two arguments point to; Numba's calling
            convention leaves result and exception there, and einloom's kernels have neither.
        arguments: its other arguments, as LLVM types.
    """

    modules: tuple[str, ...] = field(repr=False)
    symbol: str
    returns: Any
    raises: Any
    arguments: tuple[Any, ...]


def lower(text: KernelText) -> RawKernel:
    """Type and lower a printed kernel and the functions that it calls.

    Pointers are ``noalias``: the runtime guarantees that output, scratch and operands do not
    overlap, and operands that do are only read.
    """
    with numba_module("core.compiler_lock").global_compiler_lock, _no_collection():
        compiler = _compiler()
        if len(compiler.shared) > _MOST_SHARED:
            for function in compiler.shared.values():
                function.forget()
            compiler.shared.clear()
        kernel = _functions(text)["kernel"]
        kernel.is_kernel = True
        result = kernel.compile(_signature(text), compiler.void)
        convention = compiler.context.call_conv
        kind = convention.get_function_type(compiler.void, result.signature.args)
        returns, raises, *arguments = kind.args
        modules = list(result.library.print_all({}))
    symbol = result.fndesc.llvm_func_name
    return RawKernel(tuple(modules), symbol, returns.pointee, raises.pointee, tuple(arguments))


def _keep_apart(library: Any) -> None:
    """Mark the functions of a library, one of a kernel's, as not to be inlined."""
    for module in library.modules:
        for function in module.functions:
            if not function.is_declaration:
                function.attributes.add("noinline")


def pointer_type(storage: str) -> Any:
    """Return Numba's type of a pointer to elements of a dtype."""
    numba = numba_module("np.numpy_support")
    return numba_module("core.types").CPointer(numba.from_dtype(np.dtype(storage)))


def _signature(text: KernelText) -> tuple[Any, ...]:
    types = numba_module("core.types")
    return (
        *(pointer_type(storage) for _, storage in text.pointers),
        *[types.int64] * len(text.numbers),
        pointer_type(text.scratch_dtype),
        *[types.int64] * 3,
    )


def _functions(text: KernelText) -> dict[str, Any]:
    """Return what the source defines, ``njit`` standing for :class:`_Function`."""
    name = f"<einloom {sha256(text.source.encode()).hexdigest()[:16]}>"
    lines = text.source.splitlines(keepends=True)
    linecache.cache[name] = (len(text.source), None, lines, name)
    namespace: dict[str, Any] = {"__name__": _MODULE, "njit": _njit, "prange": range}
    exec(compile(text.source.replace(NUMBA_IMPORT, "\n"), name, "exec"), namespace)
    return namespace


def _njit(function: Any = None, **options: Any) -> Any:
    """Stand for ``njit``, with and without options, and for the decorator that overloads ask for.

    Kernels share most of what they call, ``exp`` or the packing of rows: such a function is the
    one that an earlier kernel defined, and lowered. Parallel functions are Numba's own affair; here
    nothing calls them.
    """
    if function is None:
        return lambda decorated: _njit(decorated, **options)
    compiler = _compiler()
    if function.__module__ != _MODULE or function.__name__ == "kernel":
        return compiler.function(function, options)
    key = _meaning(function, options)
    if key not in compiler.shared:
        compiler.shared[key] = compiler.function(function, options)
        compiler.shared[key].meaning = key
    return compiler.shared[key]


def _meaning(function: FunctionType, options: dict[str, Any]) -> str:
    """Return the hash of all that a function of a kernel's module says, and what it calls.

    Constants are compared as printed: 0.0 equals -0.0, and 1 equals 1.0.
    """
    code = function.__code__
    called = [function.__globals__.get(name) for name in code.co_names]
    parts = (
        *(function.__name__, code.co_code.hex(), code.co_consts, code.co_names, code.co_varnames),
        *(code.co_argcount, function.__defaults__, sorted(options.items(), key=str)),
        [getattr(value, "meaning", value) for value in called],
        simd_halves.are_instructions_used(),
    )
    return sha256(repr(parts).encode()).hexdigest()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from walking Numba's many objects while more of them are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@cache
def _compiler() -> Any:
    """Return what compiles functions for our target: made once a process, on first use."""
    compiler, registry, types = map(numba_module, ("core.compiler", "core.registry", "core.types"))
    templates, target_extension = map(
        numba_module, ("core.typing.templates", "core.target_extension")
    )
    pysignature = numba_module("core.utils").pysignature
    from einloom_compiler.codegen import simd_lowering

    simd_lowering.register()

    class Function:
        """A function of a kernel's module, or of one of Numba's overloads, compiled as called."""

        targetdescr = SimpleNamespace(options=registry.cpu_target.options)
        is_compiling = False
        is_kernel = False

        def __init__(self, function: FunctionType, options: dict[str, Any]) -> None:
            self.py_func = function
            self.options = options
            self.compiled: dict[Any, Any] = {}
            self._numba_type_ = types.Dispatcher(self)

        def __str__(self) -> str:
            return self.py_func.__name__

        def compile(self, args: tuple[Any, ...], returns: Any = None) -> Any:
            if args not in self.compiled:
                flags = compiler.Flags()
                options = {**self.options, **_NO_WRAPPERS}
                self.targetdescr.options.parse_as_flags(flags, options)
                flags.no_compile = True
                flags.nrt = False
                flags.noalias = self.is_kernel
                library = context.codegen().create_library(self.py_func.__name__)
                with target_extension.target_override(TARGET):
                    result = compiler.compile_extra(
                        typing_context, context, self.py_func, args, returns, flags, {},
                        library=library, pipeline_class=pipeline,
                    )  # fmt: skip
                if self.options.get("inline") == "never":
                    _keep_apart(library)
                # What is kept of it must not hold Numba's IR: that is megabytes a function.
                described = result.fndesc
                described.typemap = described.calltypes = None
                self.compiled[args] = SimpleNamespace(
                    signature=result.signature, fndesc=described, library=library
                )
                if not self.is_kernel:
                    context.insert_user_function((self, args), described, [library])
            return self.compiled[args]

        def forget(self) -> None:
            """Take what was lowered out of the context."""
            for args in self.compiled:
                context.remove_user_function((self, args))

        def get_call_template(self, args: Any, kws: Any) -> Any:
            """Return the template, Python signature and arguments of a call."""
            signature = pysignature(self.py_func)
            folded = templates.fold_arguments(
                signature, args, kws,
                lambda number, parameter, value: value,
                lambda number, parameter, default: types.Omitted(default),
                lambda number, parameter, values: types.StarArgTuple(values),
            )  # fmt: skip
            name = self.py_func.__name__
            result = self.compile(self._plain(folded))
            template = templates.make_concrete_template(
                name, key=name, signatures=[result.signature]
            )
            return template, signature, folded, {}

        def get_overload(self, args: Any) -> Any:
            """Return the key that the lowering of a call is registered under."""
            return self, self._plain(args)

        def _plain(self, args: Any) -> tuple[Any, ...]:
            """Forget literal values in calls of a kernel's functions: one version serves all."""
            is_ours = self.py_func.__module__ == _MODULE
            return tuple(map(types.unliteral, args) if is_ours else args)

    target_base: Any = target_extension.CPU

    class Target(target_base):
        """Object code of einloom's kernels."""

    target_extension.target_registry[TARGET] = Target
    target_extension.dispatcher_registry[Target] = Function
    target_extension.jit_registry[Target] = _njit
    pipeline = raw_numba.pipeline(TARGET)
    typing_context = raw_contexts.typing_context()
    context = raw_contexts.lowering_context(typing_context, TARGET)
    Function.targetdescr.target_context = context
    with target_extension.target_override(TARGET):
        context.refresh()
    return SimpleNamespace(function=Function, context=context, void=types.void, shared={})
