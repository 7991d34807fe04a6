"""The optimizer over the expression graph: fewer, larger nodes of the same value.

Front ends hand in what the user wrote, node by node; the families of kernels get contractions with
epilogues, rows with what comes before and after, attention, and as few views and copies as can be.
Passes are pure functions of graphs, made of local rules (:mod:`.driver`); after each the graph is
verified, and printed where asked for. Common subexpressions need no pass: nodes are hash-consed.
"""

from __future__ import annotations

from collections.abc import Callable

from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.verify_graph import verify_graph
from einloom_compiler.optimizer import (
    attention,
    constants,
    fuse,
    merge,
    reshapes,
    rows,
    simplify,
    views,
)
from einloom_compiler.optimizer.driver import Rule, rewrite

#: Receives a pass's name and the printed graph after it.
Dump = Callable[[str, str], None]

Pass = tuple[str, tuple[Rule, ...]]

#: Until nothing changes: first what moves elements, then what computes them.
FUSION: tuple[Pass, ...] = (
    ("simplify", simplify.RULES),
    ("move reshapes", (*reshapes.RULES, *simplify.RULES)),
    ("dissolve views", (*views.RULES, *simplify.RULES)),
    ("fold constants", (*constants.RULES, *simplify.RULES)),
    ("fuse elementwise", (*fuse.RULES, *rows.RULES, *simplify.RULES)),
    ("find attention", attention.RULES),
)
#: After that, since a merged contraction would hide the scores of attention.
MERGING: tuple[Pass, ...] = (("merge contractions", merge.RULES), *FUSION)

_MOST_ROUNDS = 8


def optimize(roots: tuple[Node, ...], dump: Dump | None = None) -> tuple[Node, ...]:
    """Return graphs of the same values that take less time and memory to compute.

    Shapes and dtypes of the roots stay. Results differ from the given graphs' by rounding only:
    sums are taken in another order, and halves are not rounded inside a fused node.

    Args:
        roots: the results of one program, which share nodes where they are equal.
        dump: receives each pass's name and the graph after it, where that changed something.

    Raises:
        InternalCompilerError: a pass left a malformed graph.
    """
    for passes in (FUSION, MERGING):
        for _ in range(_MOST_ROUNDS):
            before = roots
            for name, rules in passes:
                roots = _run(name, rules, roots, dump)
            if roots == before:
                break
    return roots


def _run(
    name: str, rules: tuple[Rule, ...], roots: tuple[Node, ...], dump: Dump | None
) -> tuple[Node, ...]:
    made = rewrite(roots, *rules)
    if made != roots:
        verify_graph(*made, stage=f"optimizer: {name}")
        if dump is not None:
            dump(name, print_graph(*made))
    return made
