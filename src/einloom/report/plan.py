"""What the compiler decided for an expression: order, schedule, and the generated program.

For symbolic extents the facts are those at representative sizes: unequal primes, so that nothing
fuses or squeezes by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from einloom.expression import names_of
from einloom.frontends.dispatch import settle
from einloom.report.facts import KernelFacts
from einloom.report.graph import GraphReport, graph_report
from einloom.report.program import ProgramText, print_program
from einloom.runtime.choices import Choices, split_schedules, step_names
from einloom.runtime.optimizing import is_one_step, optimized
from einloom.runtime.signature import Signature
from einloom_compiler.dtypes import arithmetic, as_dtype, dtype_name
from einloom_compiler.extents import Extent, factored, text
from einloom_compiler.ir.einsum import Index
from einloom_compiler.ir.graph import Constant, Contraction, Input, Node, Reshape
from einloom_compiler.ir.printer import letters_of, print_tree
from einloom_compiler.ir.shapes import extents_at, index_extents, representative_sizes
from einloom_compiler.ir.traversal import contractions_of, inputs_of, nodes_of
from einloom_compiler.order.cost import peak_elements, step_cost, tree_cost
from einloom_compiler.order.estimate import LAUNCH_SECONDS
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import orders_of, tree_at

if TYPE_CHECKING:
    from einloom.expression import Expression
    from einloom_compiler.codegen.jit import Kernel
    from einloom_compiler.ir.contraction import ContractionTree


@dataclass(frozen=True)
class PlanReport(KernelFacts):
    """What was decided for one expression at given or representative sizes.

    Attributes:
        trees: the contraction tree of each contraction, in order of evaluation.
        flops: FLOPs at these sizes, counted as opt_einsum counts them.
        peak_bytes: most memory that intermediates of one contraction hold at once.
        text: the generated program and what it was made from.
        extents: for each contraction, the extent of each index: a number, or a symbol where the
            sizes are representative ones.
        n_orders: for each contraction, how many orders its calls choose from.
    """

    trees: tuple[ContractionTree, ...]
    flops: int
    peak_bytes: int
    text: ProgramText
    extents: tuple[Mapping[Index, Extent], ...]
    n_orders: tuple[int, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, compiled only when asked."""
        return self.text.kernels

    @property
    def seconds(self) -> float:
        """Predicted time of a call on one thread: kernels and their launches."""
        return sum(call.seconds + LAUNCH_SECONDS for call in self.text.calls)

    @property
    def table(self) -> str:
        """Each contraction's steps: einsum, extents, FLOPs, predicted seconds, family."""
        lines: list[str] = []
        calls = iter(self.text.calls)
        for tree, extents, n_orders in zip(self.trees, self.extents, self.n_orders, strict=True):
            head, *steps = print_tree(tree).splitlines()
            several = f"  (1 of {n_orders} orders that calls choose from)" if n_orders > 1 else ""
            lines.append(head + several)
            letters = letters_of(tree.expr)
            rows = []
            for line, step in zip(steps, tree.steps, strict=True):
                call = next(calls)
                sizes = " ".join(f"{letters[i]}={text(extents[i])}" for i in step.expr.indices)
                flops = factored(step_cost(step.expr, extents, 1).flops)
                microseconds = f"{(call.seconds + LAUNCH_SECONDS) * 1e6:.3g} us"
                rows.append((line, sizes, f"{flops} FLOPs", microseconds, call.family))
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines += [
                "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                for row in rows
            ]
        if self.packed_bytes:
            lines.append(f"constants packed once: {self.packed_bytes} bytes")
        return "\n".join(lines)

    @property
    def packed_bytes(self) -> int:
        """Memory of constants packed for kernels: made once, shared by all calls of these sizes."""
        return self.text.packed_bytes

    def memory_bytes(self, threads: int = 1) -> int:
        """Return the most memory a call takes beside operands, constants and result."""
        return self.peak_bytes + threads * self.scratch_bytes

    @property
    def schedule(self) -> str:
        """Each kernel's schedule, as printable data."""
        return "\n".join(call.schedule for call in self.text.calls)

    @property
    def source(self) -> str:
        """The generated program."""
        return self.text.source

    def __str__(self) -> str:
        """Print the order."""
        return self.order


def report(
    expressions: tuple[Expression, ...],
    optimize: Optimize = True,
    shapes: Sequence[tuple[int, ...]] | None = None,
    choices: Choices | None = None,
) -> PlanReport | GraphReport:
    """Return what is decided for operands of these shapes, or of representative ones.

    Args:
        expressions: what is computed, one a result.
        optimize: how orders are chosen.
        shapes: one an input; representative ones where None.
        choices: what else was settled about kernels. Tuned schedules are shown where they were
            measured before; nothing is measured here.

    Raises:
        ShapeError: the shapes do not fit the expression.
        ScheduleError: the schedules do not fit its steps.
    """
    choices = choices or Choices()
    made = _optimized(expressions, optimize)
    expression, node = made[0], made[0].node
    if len(made) > 1 or not all(map(_is_contracting, nodes_of(node))):
        roots = tuple(each.node for each in _settled(made))
        names = names_of(*(each.node for each in expressions))
        return graph_report(roots, names, optimize, shapes, choices)
    if shapes is not None:
        signature = Signature((node,), expression.operand_names, choices.ranges)
        sizes: Mapping[str, int] = signature.check(shapes)
    else:
        sizes = representative_sizes(node)
    nodes = contractions_of(node)
    extents = [extents_at(part, sizes) for part in nodes]
    trees = [
        tree_at(part, sizes_of, optimize, choices.ranges)
        for part, sizes_of in zip(nodes, extents, strict=True)
    ]
    if choices.is_tuned:
        from einloom.runtime.tuning import known

        printed = print_program(
            expression, trees, extents, [(known,) * len(t.steps) for t in trees]
        )
    else:
        shares = split_schedules(choices.schedules, [*map(step_names, trees)])
        printed = print_program(expression, trees, extents, shares)
    peak = max(
        (
            peak_elements(tree, own) * _between(part)
            for part, tree, own in zip(nodes, trees, extents, strict=True)
        ),
        default=0,
    )
    shown = [
        extents_at(part, sizes) if shapes is not None else index_extents(part) for part in nodes
    ]
    kept = [orders_of(part, optimize, choices.ranges) for part in nodes]
    return PlanReport(
        trees=tuple(trees),
        flops=sum(int(tree_cost(t, own, 1).flops) for t, own in zip(trees, extents, strict=True)),
        peak_bytes=peak + printed.partial_bytes,
        text=printed,
        extents=tuple(shown),
        n_orders=tuple(1 if orders is None else len(orders.paths) for orders in kept),
    )


def _optimized(expressions: tuple[Expression, ...], optimize: Optimize) -> tuple[Expression, ...]:
    """Return the graphs that programs run; operands without dtype are float32 where they differ."""
    nodes = tuple(each.node for each in expressions)
    if is_one_step(nodes):
        return expressions
    settled = _settled(expressions)
    before = tuple(each.node for each in settled)
    made = optimized(before, optimize)
    if made == before:
        return expressions
    return tuple(
        replace(each, node=node, call=None) for each, node in zip(settled, made, strict=True)
    )


def _settled(expressions: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """Return the expressions with float32 for operands without dtype."""
    inputs = inputs_of(*(each.node for each in expressions))
    if all(part.dtype is not None for part in inputs):
        return expressions
    dtypes = {part.name: part.dtype or as_dtype("float32") for part in inputs}
    return settle(expressions, dtypes)


def _is_contracting(node: Node) -> bool:
    return isinstance(node, Contraction | Input | Constant | Reshape)


def _between(node: Contraction) -> int:
    """Return the bytes of an element of the contraction's intermediates."""
    if node.dtype is None:
        return 4
    return 4 if arithmetic(dtype_name(node.dtype)).is_half else node.dtype.itemsize
