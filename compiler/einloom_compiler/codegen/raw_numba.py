"""Numba's compiler with fewer passes, and its code generator without LLVM, for :mod:`.raw_ir`."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from einloom_compiler.codegen import raw_variables


def numba_module(name: str) -> Any:
    """Import a module of Numba; its annotations are partial, so it is untyped here."""
    return importlib.import_module(f"numba.{name}")


def _print_inlined(module: Any) -> str:
    """Print a module whose functions are to be inlined wherever they are called.

    Those that the printer keeps apart (``inline="never"``) are not.
    """
    for function in module.functions:
        if not function.is_declaration and "noinline" not in function.attributes:
            function.attributes.add("alwaysinline")
    return str(module)


def _lowering_class() -> Any:
    """Return Numba's lowering without what it does at every statement for people to read.

    That is the text of each statement and a context for errors: what fails is told with the whole
    kernel. The implementation of an operator is looked up once for the types of its operands.
    """
    lowering, ir = numba_module("core.lowering"), numba_module("core.ir")
    base: Any = lowering.Lower

    class Lowering(base):
        def lower_block(self, block: Any) -> None:
            self.pre_block(block)
            for statement in block.body:
                self.loc = statement.loc
                self.lower_inst(statement)
            self.post_block(block)

        def lower_inst(self, inst: Any) -> None:
            if not isinstance(inst, ir.Assign):
                super().lower_inst(inst)
                return
            name = inst.target.name
            self.storevar(self.lower_assign(self.typeof(name), inst), name)

        def storevar(self, value: Any, name: str, argidx: Any = None) -> None:
            """Store a value in a variable; what it held before is not counted, so not loaded."""
            if name in self._singly_assigned_vars:
                super().storevar(value, name, argidx)
            else:
                self.builder.store(value, self.getvar(name))

        def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
            """Lower an operator; no operand is static, as no pass has looked for such."""
            signature = self.fndesc.calltypes[expr]
            operands = (expr.lhs.name, expr.rhs.name)
            return self._operator(op, operands, signature, resty)

        def lower_getitem(
            self, resty: Any, expr: Any, value: Any, index: Any, signature: Any
        ) -> Any:
            del expr
            return self._operator(operator.getitem, (value.name, index.name), signature, resty)

        def _operator(self, op: Any, operands: Any, signature: Any, resty: Any) -> Any:
            context, builder = self.context, self.builder
            values = [
                context.cast(builder, self.loadvar(name), self.typeof(name), wanted)
                for name, wanted in zip(operands, signature.args, strict=True)
            ]
            result = context.operator(op, signature.args)(builder, values)
            return context.cast(builder, result, signature.return_type, resty)

    return Lowering


def pipeline(target: str) -> Any:
    """Return Numba's compiler reduced to the passes that straight loops over numbers need.

    Left out are those for generators, closures, ``with`` blocks, containers, raises, literal
    unrolling and array expressions, what is done for objects that are counted (variables'
    lifetimes and deletions), and static single assignment, see :mod:`.raw_variables`. That is half
    of the time, and nothing that kernels use.
    """
    compiler, typed_passes, untyped_passes, machinery, ir_utils, ssa = (
        numba_module(f"core.{name}")
        for name in (
            *("compiler", "typed_passes", "untyped_passes", "compiler_machinery"),
            *("ir_utils", "ssa"),
        )
    )
    stripping: Any = typed_passes.PreLowerStripPhis

    def replaced(state: Any, func_ir: Any) -> bool:
        """Let a function's IR be this one, its definitions looked up anew."""
        state.func_ir = func_ir
        func_ir._definitions = ir_utils.build_definitions(func_ir.blocks)
        return True

    inference: Any = typed_passes.NopythonTypeInference
    errors = numba_module("core.errors")

    @machinery.register_pass(mutates_CFG=True, analysis_only=False)
    class QuickInference(inference):
        """Types of variables that are told apart within blocks, else in static single assignment.

        The latter serves a name for values of several types that live longer than a block.
        """

        _name = "einloom_inference"

        def run_pass(self, state: Any) -> bool:
            given = state.func_ir
            quick = given.copy()
            quick.blocks = raw_variables.told_apart(given.blocks)
            replaced(state, quick)
            with suppress(errors.TypingError):  # types that nothing fits into
                super().run_pass(state)
                if raw_variables.have_one_type(
                    quick.blocks,
                    state.typemap,
                    state.calltypes,
                    state.typingctx.resolve_value_type,
                ):
                    return True
            replaced(state, ssa.reconstruct_ssa(given))
            super().run_pass(state)
            return replaced(state, stripping()._strip_phi_nodes(state.func_ir))

    native: Any = typed_passes.NativeLowering
    lowering = _lowering_class()

    @machinery.register_pass(mutates_CFG=True, analysis_only=False)
    class QuickLowering(native):
        """``NativeLowering`` with a lowering of our own."""

        _name = "einloom_lowering"

        @property
        def lowering_class(self) -> Any:
            return lowering

    passes = (
        untyped_passes.TranslateByteCode,
        untyped_passes.FixupArgs,
        QuickInference,
        QuickLowering,
        typed_passes.NoPythonBackend,
    )

    base: Any = compiler.CompilerBase

    class Pipeline(base):
        def define_pipelines(self) -> list[Any]:
            manager = machinery.PassManager(target)
            for step in passes:
                manager.add_pass(step, step.__name__)
            manager.finalize()
            return [manager]

    return Pipeline


def raw_codegen() -> Any:
    """Return a Numba code generator whose libraries keep IR modules as they are lowered."""
    from llvmlite import binding, ir

    codegen = numba_module("core.codegen")

    library_base: Any = codegen.CodeLibrary

    class Library(library_base):
        def __init__(self, owner: Any, name: str) -> None:
            super().__init__(owner, name)
            self.modules: list[Any] = []
            self.printed: list[str] = []
            self.linked: list[Any] = []

        def add_linking_library(self, library: Any) -> None:
            self.linked.append(library)

        def add_ir_module(self, module: Any) -> None:
            self.modules.append(module)

        def finalize(self) -> None:
            self._finalized = True

        def print_all(self, seen: dict[int, Any]) -> Iterator[str]:
            """Yield all linked libraries' modules as text, each once, then this one's.

            Modules are kept as text: as llvmlite's objects they are a hundred times as large.
            """
            if id(self) in seen:
                return
            seen[id(self)] = self
            for library in self.linked:
                yield from library.print_all(seen)
            self.printed += map(_print_inlined, self.modules)
            self.modules.clear()
            yield from self.printed

        def get_function(self, name: str) -> Any:
            raise NotImplementedError(name)

        def get_llvm_str(self) -> str:
            return "\n".join([*self.printed, *map(str, self.modules)])

        get_asm_str = get_llvm_str

    codegen_base: Any = codegen.CPUCodegen

    class Codegen(codegen_base):
        _library_class = Library

        def __init__(self) -> None:
            """Take this machine's data layout; all 64-bit little-endian ones agree on it."""
            codegen.initialize_llvm()
            target = binding.Target.from_triple(binding.get_process_triple())
            self._machine = target.create_target_machine(codemodel="default")
            self._target_data = self._machine.target_data

        def _create_empty_module(self, name: str) -> Any:
            return ir.Module(name)

        def _add_module(self, module: Any) -> None:
            """Keep nothing: modules are the library's."""

    return Codegen()
