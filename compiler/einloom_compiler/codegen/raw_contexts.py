"""Numba's two contexts, of typing and of lowering, for the target of :mod:`.raw_ir`.

They are cheaper than those of Numba's CPU target, which import SciPy and compile a runtime, 0.3 s
in each process (2026-11, numba 0.68.1): what is not for kernels is not registered, and what is
found for one function, a signature or a lowering, serves all.
"""

from __future__ import annotations

from typing import Any

from einloom_compiler.codegen import raw_integers, raw_numba
from einloom_compiler.codegen.raw_numba import numba_module

#: Modules that register the typing or lowering of built-in operations as they are imported, and
#: those whose registries are for a context to install.
_REGISTERING = (
    *("core.optional", "cpython.builtins", "cpython.numbers"),
    *("cpython.rangeobj", "cpython.tupleobj"),
)
_REGISTRIES = ("cpython.cmathimpl", "cpython.mathimpl", "np.npyimpl")


def typing_context() -> Any:
    """Return Numba's typing, with each call's signature looked up once a process."""
    types, typing = map(numba_module, ("core.types", "core.typing"))

    typing_base: Any = typing.Context

    class TypingContext(typing_base):
        """Looks for signatures among those that were found.

        Literal numbers are types of their own to Numba: 1 and 2 would be looked up apart. It tries
        the plain types first, except where a function prefers literals.
        """

        def __init__(self) -> None:
            self.signatures: dict[Any, Any] = {}
            super().__init__()

        def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
            if kws or not isinstance(func, types.Function):
                return super().resolve_function_type(func, args, kws)
            if not any(template.prefer_literal for template in func.templates):
                plain = tuple(map(types.unliteral, args))
                found = self.signatures.get((func, plain))
                if found is not None:
                    return found
            key = func, tuple(args)
            found = self.signatures.get(key)
            if found is None:
                found = super().resolve_function_type(func, args, kws)
                if found is not None:
                    self.signatures[key] = found
            return found

    return TypingContext()


def lowering_context(typing: Any, target: str) -> Any:
    """Return Numba's lowering of what kernels need: numbers, ranges, mathematics, ufuncs."""
    cpu, types, fastmathpass = map(numba_module, ("core.cpu", "core.types", "core.fastmathpass"))

    context_base: Any = cpu.CPUContext

    class Context(context_base):
        """Looks for what lowers a function among what was found."""

        def init(self) -> None:
            self.is32bit = False
            self.subtargets: dict[tuple[str, str], Any] = {}
            self.found: dict[Any, Any] = {}
            self.sizes: dict[Any, int] = {}
            self._internal_codegen = raw_numba.raw_codegen()

        def load_additional_registries(self) -> None:
            for name in _REGISTERING:
                numba_module(name)
            for name in _REGISTRIES:
                self.install_registry(numba_module(name).registry)

        def subtarget(self, **options: Any) -> Any:
            """Return the context of one function, or of those compiled with the same options.

            Numba asks for the latter with an error model, made anew each time, then for the
            former, whose environment nothing reads. What is found for one serves all.
            """
            if "error_model" not in options:
                return super().subtarget(**options)
            model = type(options["error_model"]).__name__
            key = repr(sorted((n, str(v)) for n, v in options.items() if n != "error_model"))
            if (model, key) not in self.subtargets:
                self.subtargets[model, key] = super().subtarget(**options)
                self.subtargets[model, key].found = {}
            return self.subtargets[model, key]

        def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
            """Return what lowers a built-in function, looked up once for each signature."""
            if isinstance(fn, types.Dispatcher):
                return super().get_function(fn, sig, _firstcall)
            key = fn, sig
            if key not in self.found:
                of_numba = super().get_function(fn, sig, _firstcall)
                self.found[key] = raw_integers.lowering(self, fn, sig.args, of_numba)
            return self.found[key]

        def pair_first(self, builder: Any, val: Any, ty: Any) -> Any:
            return raw_integers.field(builder, val, 0)

        def pair_second(self, builder: Any, val: Any, ty: Any) -> Any:
            return raw_integers.field(builder, val, 1)

        def call_internal(self, builder: Any, fndesc: Any, sig: Any, args: Any) -> Any:
            """Call a kernel's function, and return at once what it says if that is not success.

            Kernels raise nothing (:mod:`.objects` looks for that), so there is nothing to tell
            about an exception.
            """
            function = self.declare_function(builder.module, fndesc)
            convention = self.call_conv
            with builder.goto_entry_block():
                result = builder.alloca(convention.get_return_type(sig.return_type).pointee)
            values = self.get_arg_packer(sig.args).as_arguments(builder, args)
            excinfo = builder.function.args[1]
            code = builder.call(function, [result, excinfo, *values])
            with builder.if_then(builder.icmp_unsigned("!=", code, code.type(0)), likely=False):
                builder.ret(code)
            return self.get_returned_value(builder, sig.return_type, builder.load(result))

        def operator(self, operator: Any, operands: tuple[Any, ...]) -> Any:
            """Return what lowers an operator on operands of these types, looked up once."""
            key = operator, operands
            if key not in self.found:
                function = self.typing_context.resolve_value_type(operator)
                signature = function.get_call_type(self.typing_context, operands, {})
                self.found[key] = self.get_function(function, signature)
            return self.found[key]

        def get_abi_sizeof(self, ty: Any) -> Any:
            """Return a type's bytes; llvmlite parses a module for each answer."""
            if ty not in self.sizes:
                self.sizes[ty] = super().get_abi_sizeof(ty)
            return self.sizes[ty]

        def post_lowering(self, module: Any, library: Any) -> None:
            """Apply fastmath; no runtime library is linked, as kernels allocate nothing."""
            if self.fastmath:
                fastmathpass.rewrite_module(module, self.fastmath)

    return Context(typing, target)
