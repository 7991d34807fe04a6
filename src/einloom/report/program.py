"""The generated program of an expression as one readable Python module.

It holds the kernels with their parallel launchers, one function a contraction that calls them for
operands in C order, and ``run``, the whole expression. It imports only numpy and numba; un-jitted
(``NUMBA_DISABLE_JIT=1``) it is the reference of the compiled kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from einloom.report.calls import call_lines, dtype_text, tuple_text
from einloom_compiler import __version__
from einloom_compiler.codegen.jit import Kernel
from einloom_compiler.codegen.numba_source import print_module
from einloom_compiler.codegen.printing import Nest, print_functions
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.extents import (
    Extent,
    exact_text,
    free_names,
    is_symbol,
    replaced,
    symbol,
    text,
)
from einloom_compiler.families import Schedule, family_of
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import Constant, Contraction, Input, Node, Reshape, Shape
from einloom_compiler.ir.printer import letters_of, print_einsum
from einloom_compiler.ir.shapes import open_indices
from einloom_compiler.ir.traversal import contractions_of, dtype_of, operands_of
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.iteration import c_strides
from einloom_compiler.lowering.nest import Arithmetics, step_arithmetics
from einloom_compiler.lowering.prepacking import PANELS_SOURCE, Packing
from einloom_compiler.lowering.tables import OFFSETS_SOURCE, OffsetTable
from einloom_compiler.pipeline import Chooser, bind
from einloom_compiler.schedule.machine import host

if TYPE_CHECKING:
    from einloom.expression import Expression


@dataclass(frozen=True, slots=True)
class KernelCall:
    """One step of the program.

    Attributes:
        equation: its einsum notation.
        family: the kernel's family.
        schedule: the kernel's schedule, as text that reads back.
        seconds: predicted time on one thread at the sizes that it was printed for.
    """

    equation: str
    family: str
    schedule: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ProgramText:
    """A printed program.

    Attributes:
        source: the module's text.
        calls: the steps, in order of execution.
        kernels: the distinct kernels, compiled only when asked.
        partial_bytes: most memory that the partial result of a sum in two stages takes.
        packed_bytes: memory of constants in the form that kernels want, kept for all calls.
    """

    source: str
    calls: tuple[KernelCall, ...]
    kernels: tuple[Kernel, ...]
    partial_bytes: int = 0
    packed_bytes: int = 0


def print_program(
    expression: Expression,
    trees: Sequence[ContractionTree],
    extents: Sequence[Mapping[Index, int]],
    schedules: Sequence[Sequence[Schedule | Chooser | None]],
) -> ProgramText:
    """Return the program of an expression.

    Args:
        expression: what it computes.
        trees: each contraction's tree.
        extents: of each contraction's indices.
        schedules: for each contraction, each step's schedule or what chooses it.
    """
    writer = _Writer(expression)
    nodes = contractions_of(expression.node)
    for node, tree, sizes, own in zip(nodes, trees, extents, schedules, strict=True):
        writer.write_contraction(node, tree, sizes, own)
    return writer.finish()


class _Writer:
    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self.names = expression.operand_names
        self.kernels: dict[Nest, tuple[str, Kernel]] = {}
        self.has_offsets = False
        self.partial_bytes = 0
        self.packings: dict[tuple[Node, Packing], None] = {}
        self.calls: list[KernelCall] = []
        self.functions: list[str] = []
        self.function_of: dict[Contraction, str] = {}

    # --- one contraction -------------------------------------------------------------------------

    def write_contraction(
        self,
        node: Contraction,
        tree: ContractionTree,
        extents: Mapping[Index, int],
        schedules: Sequence[Schedule | Chooser | None],
    ) -> None:
        """Write the function of one contraction and the kernels that it calls."""
        name = f"contract_{len(self.function_of) + 1}"
        self.function_of[node] = name
        letters = letters_of(node.einsum)
        operands = [f"x{number}" for number in range(len(node.operands))]
        memory = [_memory(dtype_of(operand)) for operand in node.operands]
        epilogue = node.epilogue
        further = [
            (f"e{number}", _memory(dtype_of(operand)))
            for number, operand in enumerate(epilogue.operands)
        ]
        extras = list(zip(further, epilogue.terms, strict=True))
        lines = [f"def {name}({', '.join([*operands, *(extra for extra, _ in further)])}):"]
        lines.append(f'    """Return {print_einsum(node.einsum)} as a new array in C order."""')
        symbolic = open_indices(node)
        lines += self._extent_lines(node, {index: letters[index] for index in symbolic})
        for operand, dtype in [*zip(operands, memory, strict=True), *further]:
            lines.append(f"    {operand} = np.ascontiguousarray({operand}, {dtype_text(dtype)})")
        compute = dtype_name(_memory(node.dtype))
        whole = Arithmetics(
            inputs=tuple(map(dtype_name, memory)),
            output=compute if epilogue.dtype is None else dtype_name(epilogue.dtype),
            compute=compute,
            conjugated=node.conjugated,
            epilogue=epilogue.body,
            extras=tuple(dtype_name(dtype) for _, dtype in further),
        )
        sizes = {
            index: n if index not in symbolic else Formula(n, f"n_{letters[index]}")
            for index, n in extents.items()
        }
        arrays = list(zip(operands, memory, strict=True))
        leaves = [_constant_of(operand) for operand in node.operands]
        steps = zip(tree.steps, step_arithmetics(tree, whole), schedules, strict=True)
        for step, arithmetics, schedule in steps:
            number = len(arrays) - len(operands) + 1
            name = "out" if number == len(tree.steps) else f"t{number}"
            result = name, as_dtype(arithmetics.output)
            given = [arrays[position] for position in step.positions]
            constants = [leaves[position] for position in step.positions]
            is_last = number == len(tree.steps)
            lines += self._step_lines(
                *(step.expr, sizes, arithmetics, given, constants, result, schedule),
                extras if is_last else (),
                symbolic,
            )
            arrays.append(result)
            leaves.append(None)
        lines.append("    return out")
        self.functions.append("\n".join(lines) + "\n")

    @staticmethod
    def _extent_lines(node: Contraction, letters: Mapping[Index, str]) -> list[str]:
        """Return the lines that read the extents of the indices that ``letters`` name."""
        lines: list[str] = []
        known: set[Index] = set()
        for number, (term, axes) in enumerate(zip(node.einsum.terms, node.broadcast, strict=True)):
            for axis, index in enumerate(term):
                if index in letters and index not in known and axis not in axes:
                    known.add(index)
                    lines.append(f"    n_{letters[index]} = x{number}.shape[{axis}]")
        return lines

    def _step_lines(
        self,
        expr: EinsumExpr,
        extents: Mapping[Index, int],
        arithmetics: Arithmetics,
        operands: Sequence[tuple[str, AnyDType]],
        constants: Sequence[Node | None],
        result: tuple[str, AnyDType],
        schedule: Schedule | Chooser | None,
        extras: Sequence[tuple[tuple[str, AnyDType], Term]],
        symbolic: Collection[Index],
    ) -> list[str]:
        shapes = [tuple(extents[index] for index in term) for term in expr.terms]
        shape = tuple(extents[index] for index in expr.output)
        strides = [c_strides(shape) for shape in shapes]
        bound = bind(
            expr,
            shapes,
            strides,
            c_strides(shape),
            arithmetics,
            host(),
            schedule=schedule,
            constant=[leaf is not None for leaf in constants],
            extras=[(term, c_strides([extents[index] for index in term])) for _, term in extras],
            open_indices=symbolic,
        )
        lines: list[str] = []
        partial = f"p_{result[0]}", as_dtype(bound.dtype or arithmetics.output)
        n_partial = prod(bound.shape) if bound.shape else 0
        self.partial_bytes = max(self.partial_bytes, n_partial * partial[1].itemsize)
        for number, stage in enumerate(bound.stages):
            kernel = stage.bound.kernel
            nest = stage.bound.nest
            name, _ = self.kernels.setdefault(nest, (f"kernel_{len(self.kernels) + 1}", kernel))
            chosen = stage.bound.schedule
            family, seconds = family_of(chosen).name, float(stage.bound.seconds)
            self.calls.append(KernelCall(print_einsum(expr), family, str(chosen), seconds))
            for position, packing in stage.bound.packings:
                leaf = constants[stage.bound.operands[position]]
                if leaf is not None:
                    self.packings[leaf, packing] = None
            built = stage.bound.built_tables
            self.has_offsets |= any(isinstance(table, OffsetTable) for table in built)
            target, extents_of = (partial, bound.shape) if stage.writes_partial else (result, shape)
            is_new = not (stage.writes_partial and number)
            lines += call_lines(
                stage.bound,
                name,
                [
                    *([partial] if stage.reads_partial else operands),
                    *(extra for extra, _ in extras),
                ],
                target,
                extents_of if is_new else None,
            )
        return lines

    # --- the whole -------------------------------------------------------------------------------

    def finish(self) -> ProgramText:
        """Return the module: header, kernels, contractions, ``run``."""
        parts: dict[str, None] = {}
        for nest, (name, _) in self.kernels.items():
            parts.update(dict.fromkeys(print_functions(nest, name)))
        if self.has_offsets:
            parts[OFFSETS_SOURCE] = None
        if self.packings:
            parts[PANELS_SOURCE] = None
        body = "\n\n".join((*parts, *self.functions, self._run()))
        source = self._header() + print_module(body)
        kernels = tuple(kernel for _, kernel in self.kernels.values())
        packed_bytes = sum(packing.n_bytes for _, packing in self.packings)
        return ProgramText(source, tuple(self.calls), kernels, self.partial_bytes, packed_bytes)

    def _header(self) -> str:
        shape = ", ".join(text(extent) for extent in self.expression.shape)
        lines = [f"# einloom {__version__}: {self.expression.equation} -> [{shape}]"]
        lines += [f"# {call.equation}: {call.schedule}" for call in self.calls]
        return "\n".join(lines) + "\n"

    def _run(self) -> str:
        parameters = ", ".join(self.names.values())
        lines = [f"def run({parameters}):"]
        lines.append('    """Return the expression\'s value for NumPy arrays."""')
        results: dict[Node, str] = {}
        sizes = _Sizes(self.expression)

        def visit(node: Node) -> str:
            if node in results:
                return results[node]
            match node:
                case Input(name=name):
                    value = self.names[name]
                case Constant():
                    value = f"constant_{len(results)}"
                case Reshape(operand=operand, shape=shape):
                    inner = visit(operand)
                    value = f"r{len(results)}"
                    lines.append(f"    {value} = {inner}.reshape({sizes.shape_text(shape)})")
                case Contraction():
                    given = ", ".join([visit(operand) for operand in operands_of(node)])
                    value = f"r{len(results)}"
                    lines.append(f"    {value} = {self.function_of[node]}({given})")
            results[node] = value
            return value

        lines.append(f"    return {visit(self.expression.node)}")
        lines[2:2] = sizes.lines.values()
        constants = [name for name in results.values() if name.startswith("constant_")]
        if constants:
            lines[0] = f"def run({', '.join(filter(None, (parameters, *constants)))}):"
        return "\n".join(lines) + "\n"


def _memory(dtype: AnyDType | None) -> AnyDType:
    return as_dtype("float32") if dtype is None else dtype.newbyteorder("=")


def _constant_of(node: Node) -> Node | None:
    """Return the constant that a node is, reshaped perhaps, None where it is none."""
    while isinstance(node, Reshape):
        node = node.operand
    return node if isinstance(node, Constant) else None


class _Sizes:
    """Variables of ``run`` that hold the values of symbols, each read from an operand's axis."""

    def __init__(self, expression: Expression) -> None:
        self.lines: dict[str, str] = {}
        self._axes: dict[str, str] = {}
        self._taken = set(expression.operand_names.values())
        for name, operand in zip(expression.operand_names.values(), expression.inputs, strict=True):
            for axis, extent in enumerate(operand.shape):
                if is_symbol(extent):
                    self._axes.setdefault(text(extent), f"{name}.shape[{axis}]")

    def shape_text(self, shape: Shape) -> str:
        """Return a tuple's text; -1 where one extent has symbols that no axis declares alone."""
        parts = [self._extent(extent) for extent in shape]
        if parts.count(None) > 1:
            unread = [text(e) for e, part in zip(shape, parts, strict=True) if part is None]
            raise UnsupportedError(
                f"the source cannot say what {', '.join(unread)} are; declare each of their "
                "symbols as an axis of its own in some operand"
            )
        return tuple_text(["-1" if part is None else part for part in parts])

    def _extent(self, extent: Extent) -> str | None:
        names = sorted(free_names(extent))
        symbols = {name: symbol(name) for name in names}
        if not all(text(part) in self._axes for part in symbols.values()):
            return None
        return exact_text(
            replaced(extent, {n: symbol(self._variable(text(symbols[n]))) for n in names})
        )

    def _variable(self, shown: str) -> str:
        name = f"n_{shown.lstrip('?')}"
        while name in self._taken:
            name += "_"
        self.lines[name] = f"    {name} = {self._axes[shown]}"
        return name
