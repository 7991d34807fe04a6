"""What the compiler decided for an expression: order, schedule, and the generated program.

For symbolic extents the facts are those at representative sizes: unequal primes, so that nothing
fuses or squeezes by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from einloom.report.program import ProgramText, print_program
from einloom.runtime.launch import n_parts
from einloom.runtime.signature import Signature
from einloom_compiler.extents import evaluate, free_names
from einloom_compiler.ir.einsum import EinsumExpr, Index, without_axes
from einloom_compiler.ir.graph import Contraction, Node, contractions_of
from einloom_compiler.ir.printer import print_tree
from einloom_compiler.ir.shapes import index_extents
from einloom_compiler.order.cost import peak_elements, tree_cost
from einloom_compiler.order.search import Optimize, search

if TYPE_CHECKING:
    from einloom.expression import Expression
    from einloom_compiler.ir.contraction import ContractionTree

#: Extents that stand for symbols, in order of their names.
_PRIMES = (67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


@dataclass(frozen=True)
class PlanReport:
    """What was decided for one expression at given or representative sizes.

    Attributes:
        trees: the contraction tree of each contraction, in order of evaluation.
        flops: FLOPs at these sizes, counted as opt_einsum counts them.
        peak_bytes: most memory that intermediates of one contraction hold at once.
        text: the generated program and what it was made from.
    """

    trees: tuple[ContractionTree, ...]
    flops: int
    peak_bytes: int
    text: ProgramText

    @property
    def scratch_bytes(self) -> int:
        """Most scratch memory that one thread needs for accumulators or packed blocks."""
        return max((kernel.scratch_bytes for kernel in self.text.kernels), default=0)

    def memory_bytes(self, threads: int = 1) -> int:
        """Return the most memory a call takes beside operands and result, on so many threads."""
        parts = n_parts(self.scratch_bytes, threads) if threads > 1 else 1
        return self.peak_bytes + parts * self.scratch_bytes

    @property
    def order(self) -> str:
        """Each contraction's order, one step a line."""
        return "\n".join(print_tree(tree) for tree in self.trees)

    @property
    def schedule(self) -> str:
        """Each kernel's schedule, as printable data."""
        return "\n".join(self.text.schedules)

    @property
    def source(self) -> str:
        """The generated program."""
        return self.text.source

    @cached_property
    def llvm(self) -> str:
        """LLVM IR of the kernels, optimised; compiles them."""
        return "\n".join(kernel.llvm for kernel in self.text.kernels)

    @cached_property
    def asm(self) -> str:
        """Assembly of the kernels; compiles them."""
        return "\n".join(kernel.asm for kernel in self.text.kernels)

    def __str__(self) -> str:
        """Print the order."""
        return self.order


def report(
    expression: Expression,
    optimize: Optimize = True,
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> PlanReport:
    """Return what is decided for operands of these shapes, or of representative ones.

    Raises:
        ShapeError: the shapes do not fit the expression.
    """
    node = expression.node
    if shapes is not None:
        sizes: Mapping[str, int] = Signature(node, expression.operand_names).check(shapes)
    else:
        sizes = representative_sizes(node)
    trees, flops, peak = [], 0, 0
    nodes = contractions_of(node)
    for part in nodes:
        extents = _extents_at(part, sizes)
        itemsize = 4 if part.dtype is None else part.dtype.itemsize
        tree = search(stripped(part), extents, optimize, itemsize)
        trees.append(tree)
        flops += int(tree_cost(tree, extents, itemsize).flops)
        peak = max(peak, peak_elements(tree, extents) * itemsize)
    text = print_program(expression, trees, [_extents_at(part, sizes) for part in nodes])
    return PlanReport(tuple(trees), flops, peak + text.partial_bytes, text)


def stripped(node: Contraction) -> EinsumExpr:
    """Return the node's einsum without the axes of extent 1 that are broadcast."""
    return without_axes(node.einsum, node.broadcast)


def representative_sizes(node: Node) -> dict[str, int]:
    """Return a size for every symbol in the graph: distinct primes."""
    names: set[str] = set()
    for part in contractions_of(node):
        for extent in index_extents(part).values():
            names |= free_names(extent)
    return {
        name: _PRIMES[number % len(_PRIMES)] + 60 * (number // len(_PRIMES))
        for number, name in enumerate(sorted(names))
    }


def representative_extents(node: Contraction) -> dict[Index, int]:
    """Return the extents of a contraction's indices at representative sizes."""
    return _extents_at(node, representative_sizes(node))


def _extents_at(node: Contraction, sizes: Mapping[str, int]) -> dict[Index, int]:
    extents = index_extents(node)
    return {index: evaluate(extent, sizes) for index, extent in extents.items()}
