"""The optimizer over the expression graph: fewer, larger nodes of the same value.

Front ends hand in what the user wrote, node by node; the families of kernels get contractions with
epilogues, rows with what comes before and after, attention, and as few views and copies as can be.
Passes are pure functions of graphs, made of local rules (:mod:`.driver`); after each the graph is
verified, and printed where asked for. Common subexpressions need no pass: nodes are hash-consed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.verify_graph import verify_graph
from einloom_compiler.optimizer import (
    affine,
    attention,
    constants,
    fuse,
    merge,
    reshapes,
    rows,
    siblings,
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
    ("views become terms", (*views.TERMS, *simplify.RULES)),
    ("views of results", (*views.RESULTS, *simplify.RULES)),
    ("fold constants", (*constants.RULES, *simplify.RULES)),
    ("fuse elementwise", (*fuse.RULES, *rows.RULES, *simplify.RULES)),
    ("fold scales and shifts", (*affine.RULES, *simplify.RULES)),
    ("find attention", attention.RULES),
)
#: After that, since a merged contraction would hide the scores of attention.
MERGING: tuple[Pass, ...] = (("merge contractions", merge.RULES), *FUSION)

#: Behind those, since a sum of rows joins with what else is done along them.
SUMS = "sums alone"
#: Last, since views of a joined result would hide the products from the others.
SIBLINGS = "join siblings"

_MOST_ROUNDS = 8


def optimize(
    roots: tuple[Node, ...], dump: Dump | None = None, without: Collection[str] = ()
) -> tuple[Node, ...]:
    """Return graphs of the same values that take less time and memory to compute.

    Shapes and dtypes of the roots stay. Results differ from the given graphs' by rounding only:
    sums are taken in another order, and halves are not rounded inside a fused node.

    Args:
        roots: the results of one program, which share nodes where they are equal.
        dump: receives each pass's name and the graph after it, where that changed something.
        without: names of passes that are left out.

    Raises:
        InternalCompilerError: a pass left a malformed graph.
    """
    for group in (FUSION, MERGING):
        passes = [one for one in group if one[0] not in without]
        for _ in range(_MOST_ROUNDS):
            before = roots
            for name, rules in passes:
                roots = _run(name, rules, roots, dump)
            if roots == before:
                break
    if SUMS not in without:
        roots = _run(SUMS, (*rows.LAST, *simplify.RULES), roots, dump)
    if SIBLINGS not in without:
        roots = _verified(SIBLINGS, siblings.join_siblings(roots), roots, dump)
        # Only how axes are ordered: a view's part of the joined result is not computed again.
        roots = _run("views become terms", (*views.TERMS, *simplify.RULES), roots, dump)
    return roots


def _run(
    name: str, rules: tuple[Rule, ...], roots: tuple[Node, ...], dump: Dump | None
) -> tuple[Node, ...]:
    return _verified(name, rewrite(roots, *rules), roots, dump)


def _verified(
    name: str, made: tuple[Node, ...], roots: tuple[Node, ...], dump: Dump | None
) -> tuple[Node, ...]:
    if made != roots:
        verify_graph(*made, stage=f"optimizer: {name}")
        if dump is not None:
            dump(name, print_graph(*made))
    return made
