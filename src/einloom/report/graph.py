"""What was decided for a graph of all kinds of nodes: its recipe's steps and their kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from einloom.report.facts import KernelFacts
from einloom.report.tables import table
from einloom.runtime.choices import Choices
from einloom.runtime.program import Program
from einloom.runtime.recipe import Launch, Positions, Recipe
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.shapes import extents_at, representative_sizes
from einloom_compiler.ir.traversal import contractions_of
from einloom_compiler.order.cost import tree_cost
from einloom_compiler.order.estimate import LAUNCH_SECONDS
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import tree_at

if TYPE_CHECKING:
    from einloom_compiler.codegen.jit import Kernel
    from einloom_compiler.ir.contraction import ContractionTree
    from einloom_compiler.ir.graph import Node


@dataclass(frozen=True)
class GraphReport(KernelFacts):
    """What was decided for graphs at given or representative sizes, for arrays in C order.

    Attributes:
        graph: the graphs, printed.
        recipe: its steps.
        trees: the contraction tree of each contraction, in order of evaluation.
        flops: FLOPs of the contractions at these sizes, counted as opt_einsum counts them.
    """

    graph: str
    recipe: Recipe
    trees: tuple[ContractionTree, ...]
    flops: int

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, compiled only when asked."""
        return tuple(dict.fromkeys(step.bound.kernel for step in self.recipe.launches))

    @property
    def seconds(self) -> float:
        """Predicted time of a call on one thread: kernels and their launches."""
        return sum(step.bound.seconds + LAUNCH_SECONDS for step in self.recipe.launches)

    @property
    def table(self) -> str:
        """The steps: kernel, what is read and written, predicted time."""
        rows = []
        for step in self.recipe.steps:
            if isinstance(step, Launch):
                title = step.bound.kernel.text.title
                seconds = f"{(step.bound.seconds + LAUNCH_SECONDS) * 1e6:.3g} us"
                read = ", ".join(self._place(step.operands[n]) for n in step.bound.operands)
                rows.append((title, read, self._place(step.target), seconds))
            elif isinstance(step, Positions):
                rows.append(("positions", "", self._place(step.target.slot), ""))
            else:
                read = f"{self._place(step.table.slot)}, {self._place(step.indices.slot)}"
                seconds = f"{step.seconds * 1e6:.3g} us"
                rows.append(("lookup", read, self._place(step.target.slot), seconds))
        return table(("step", "reads", "writes", "predicted"), rows) if rows else ""

    def _place(self, slot: int) -> str:
        if slot < 0:
            return f"constant {-1 - slot}"
        if slot < self.recipe.n_inputs:
            return f"input {slot}"
        if slot < self.recipe.first_buffer:
            number = slot - self.recipe.n_inputs
            return "result" if self.recipe.n_results == 1 else f"result {number}"
        return f"buffer {slot - self.recipe.first_buffer}"

    @property
    def packed_bytes(self) -> int:
        """Memory of constants, as given and as packed for kernels."""
        return sum(array.nbytes for array in self.recipe.constants)

    @property
    def peak_bytes(self) -> int:
        """Most memory that intermediates hold at once."""
        return self.recipe.workspace_bytes

    def memory_bytes(self, threads: int = 1) -> int:
        """Return the most memory a call takes beside operands, constants and result."""
        return self.peak_bytes + threads * self.scratch_bytes

    @property
    def schedule(self) -> str:
        """Each step's schedule, as ``schedule=`` takes it; None where it is no single kernel."""
        return "\n".join(map(str, self.recipe.schedules))

    @property
    def source(self) -> str:
        """The graph as comments, and the kernels' sources."""
        head = "\n".join(f"# {line}" for line in self.graph.splitlines())
        return "\n\n\n".join([head, *(kernel.source for kernel in self.kernels)])

    def __str__(self) -> str:
        """Print the graph."""
        return self.graph


def graph_report(
    roots: tuple[Node, ...],
    names: Mapping[str, str],
    optimize: Optimize,
    shapes: Sequence[tuple[int, ...]] | None,
    choices: Choices,
) -> GraphReport:
    """Return what is decided for operands of these shapes, or of representative ones.

    Args:
        roots: optimized graphs with settled dtypes, one a result.
        names: what messages call each input.
        optimize: how orders are chosen.
        shapes: one an input; representative ones where None.
        choices: what else was settled about kernels.

    Raises:
        ShapeError: the shapes do not fit the expression.
        UnsupportedError: a node has no kernel.
    """
    program = Program(roots, names, optimize, choices, optimizes=False)
    sizes: Mapping[str, int] = (
        representative_sizes(*roots) if shapes is None else program.signature.check(shapes)
    )
    nodes = contractions_of(*roots)
    extents = [extents_at(node, sizes) for node in nodes]
    trees = tuple(
        tree_at(node, own, optimize, choices.ranges)
        for node, own in zip(nodes, extents, strict=True)
    )
    flops = sum(int(tree_cost(t, own, 1).flops) for t, own in zip(trees, extents, strict=True))
    return GraphReport(print_graph(*roots), program.recipe_at(sizes), trees, flops)
