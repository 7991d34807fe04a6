"""Printed kernels to object code: one module, one exported function, optimised for a named CPU.

The function is ``void SYMBOL(int64_t *block, int64_t acc_0, int64_t lo, int64_t hi)``; the block
holds the kernel's pointers, numbers and scratch address, so that one launcher serves all kernels.
All is inlined into it but what the printer keeps apart: the kernel's ``noalias`` arguments become
alias scopes there, and hardly an argument travels over the stack. The object is relocatable,
position independent, the same bytes for the same text and target in every process, and needs
nothing but a few functions of the C library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from einloom_compiler.codegen import elf, raw_ir, simd_halves
from einloom_compiler.codegen.target import Target
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.errors import InternalCompilerError

_MEMORY = ("memset", "memcpy", "memmove")
_LIBM = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh"),
    *("erf", "erfc", "exp", "exp2", "expm1", "floor", "fma", "fmax", "fmin", "fmod", "hypot"),
    *("ldexp", "log", "log10", "log1p", "log2", "pow", "rint", "round", "sin", "sinh", "sqrt"),
    *("tan", "tanh", "trunc"),
)
#: What an object may leave to the C library, which every process has loaded.
ALLOWED = frozenset((*_MEMORY, *_LIBM, *(f"{name}f" for name in _LIBM)))
#: Called where the kernel's status is not 0: a function that does not exist, so that the check of
#: symbols finds kernels that LLVM cannot prove never to raise.
_RAISED = "einloom_kernel_raised"
#: Primitives that mark a kernel whose loops the printer has vectorised and unrolled itself.
_EXPLICIT = ("vfma(", "bouter")


@dataclass(frozen=True, slots=True)
class ObjectCode:
    """A kernel for one CPU.

    Attributes:
        symbol: the exported function's name.
        contents: a relocatable ELF object.
    """

    symbol: str
    contents: bytes


def compile_object(text: KernelText, symbol: str, target: Target) -> ObjectCode:
    """Return the object code of a printed kernel.

    Raises:
        InternalCompilerError: it can raise, which nobody would see; or it needs symbols beyond
            :data:`ALLOWED`, or exports others.
    """
    module, machine = _optimised(text, symbol, target)
    contents: bytes = machine.emit_object(module)
    if target.triple.endswith(("linux-gnu", "linux-musl")):
        _check_symbols(text, contents, symbol)
    return ObjectCode(symbol, contents)


def print_llvm(text: KernelText, symbol: str, target: Target) -> str:
    """Return the optimised LLVM IR that :func:`compile_object` makes machine code of."""
    return str(_optimised(text, symbol, target)[0])


def print_assembly(text: KernelText, symbol: str, target: Target) -> str:
    """Return the machine code of :func:`compile_object` as assembly."""
    module, machine = _optimised(text, symbol, target)
    return str(machine.emit_assembly(module))


def _check_symbols(text: KernelText, contents: bytes, symbol: str) -> None:
    found = elf.symbols(contents)
    if _RAISED in found.undefined:
        raise InternalCompilerError("objects", f"{symbol} can raise", text.source)
    unknown = sorted(found.undefined - ALLOWED)
    if unknown or found.exported != {symbol}:
        raise InternalCompilerError(
            "objects", f"{symbol} exports {sorted(found.exported)} and needs {unknown}"
        )


def _optimised(text: KernelText, symbol: str, target: Target) -> tuple[Any, Any]:
    """Return the kernel's optimised module and the target machine that emits it."""
    from llvmlite import binding

    has_halves = "+f16c" in target.features or target.triple.startswith(("aarch64", "arm64"))
    with simd_halves.instructions(has_halves):
        raw = raw_ir.lower(text)
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default"
    )
    module = binding.parse_assembly(_print_entry(raw, symbol, target))
    for functions in raw.modules:
        if not target.has_fma:
            functions = functions.replace('@"llvm.fma.', '@"llvm.fmuladd.')
        module.link_in(binding.parse_assembly(functions))
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    for variable in module.global_variables:
        # Numba's environments, one a function, which nothing reads.
        variable.linkage = "internal"
    inner = [f for f in module.functions if not f.is_declaration and f.name != symbol]
    for number, function in enumerate(inner):
        function.linkage = "internal"
        # Numba numbers functions by process; those that are kept apart are in the symbol table.
        function.name = f"apart{number}"
    module.verify()
    tuning = binding.create_pipeline_tuning_options(speed_level=3)
    # The printer has unrolled what it vectorised; LLVM would unroll the loops at the edges, to
    # twice the code and compile time.
    tuning.loop_unrolling = not any(name in text.source for name in _EXPLICIT)
    builder = binding.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    return module, machine


def _print_entry(raw: raw_ir.RawKernel, symbol: str, target: Target) -> str:
    """Print the exported function: it loads the kernel's arguments from the block and calls it.

    The block is never written while a kernel runs (``invariant.load``), so that a number may be
    loaded again where it is needed instead of being kept on the stack.
    """
    from llvmlite import ir

    module = ir.Module(symbol)
    word = ir.IntType(64)
    outer = ir.FunctionType(ir.VoidType(), [word.as_pointer(), word, word, word])
    entry = ir.Function(module, outer, symbol)
    block, *rest = entry.args
    block.name = "block"
    block.add_attribute("noalias")
    unused = [raw.returns.as_pointer(), raw.raises.as_pointer()]
    inner = ir.FunctionType(ir.IntType(32), [*unused, *raw.arguments])
    kernel = ir.Function(module, inner, raw.symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    no_metadata = module.add_metadata([])
    values = [builder.alloca(raw.returns), builder.alloca(raw.raises)]
    for position, kind in enumerate(raw.arguments[: -len(rest)]):
        value = builder.load(builder.gep(block, [ir.Constant(word, position)]))
        value.set_metadata("invariant.load", no_metadata)
        is_pointer = isinstance(kind, ir.PointerType)
        values.append(builder.inttoptr(value, kind) if is_pointer else value)
    status = builder.call(kernel, [*values, *rest])
    has_raised = builder.icmp_unsigned("!=", status, ir.Constant(ir.IntType(32), 0))
    with builder.if_then(has_raised, likely=False):
        nothing = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.Function(module, nothing, _RAISED), [])
    builder.ret_void()
    attribute = f'"prefer-vector-width"="{target.vector_bits}"'
    # llvmlite's builder knows no string attributes.
    text = re.sub(r"^(define .*\))$", rf"\1 {attribute}", str(module), count=1, flags=re.M)
    if attribute not in text:
        raise InternalCompilerError("objects", f"no definition to give {attribute} to", text)
    return text
