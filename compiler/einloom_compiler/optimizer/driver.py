"""The driver of the optimizer's rules: local rewrites, applied until none applies.

A rule looks at one node, whose operands are settled already, and returns a node of the same value
that takes its place, or None. What it returns is looked at again, and so are the nodes that it made
on the way. Every node of the graph is visited once a pass, so a pass takes time linear in the
graph's size and what the rules make.
"""

from __future__ import annotations

from collections.abc import Callable

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.traversal import nodes_of, operands_of, with_operands

#: Rewrites a node of an average graph may need; more means that two rules undo each other.
_MOST_STEPS = 200


class Uses:
    """How often each node's result is used: by other nodes, and as a root.

    Counts follow nodes while they are rewritten. They decide what is worth fusing, never what is
    legal, so that a count that lags behind costs speed at most.
    """

    def __init__(self, roots: tuple[Node, ...]) -> None:
        """Count the uses in these graphs."""
        self._counts: dict[Node, int] = {}
        for root in roots:
            self._add(root, 1)
        for node in nodes_of(*roots):
            for operand in operands_of(node):
                self._add(operand, 1)

    def __call__(self, node: Node) -> int:
        """Return how often the node's result is used; a node that a rule just made, once."""
        return self._counts.get(node, 1)

    def is_single(self, node: Node) -> bool:
        """Say whether one other node uses the result, once."""
        return self(node) == 1

    def follow(self, old: Node, new: Node) -> None:
        """Note that uses of ``old`` become uses of ``new``."""
        self._add(new, self(old))

    def share(self, node: Node, further: int) -> None:
        """Note that a result is used ``further`` times more."""
        self._counts[node] = self(node) + further

    def _add(self, node: Node, count: int) -> None:
        self._counts[node] = self._counts.get(node, 0) + count


Rule = Callable[[Node, Uses], Node | None]


def rewrite(roots: tuple[Node, ...], *rules: Rule) -> tuple[Node, ...]:
    """Return the graphs with the rules applied to every node, operands before what uses them.

    Raises:
        InternalCompilerError: rules undo each other's work.
    """
    uses = Uses(roots)
    settled: dict[Node, Node] = {}
    forward: dict[Node, Node] = {}
    allowed = _MOST_STEPS * (10 + len(nodes_of(*roots)))
    for root in roots:
        pending = [root]
        while pending:
            node = pending[-1]
            if node in settled:
                pending.pop()
                continue
            if (successor := forward.get(node)) is not None and successor in settled:
                settled[node] = settled[successor]
                pending.pop()
                continue
            waiting = [operand for operand in operands_of(node) if operand not in settled]
            if waiting:
                pending += reversed(waiting)
                continue
            allowed -= 1
            if allowed < 0:
                raise InternalCompilerError("optimizer", "rules undo each other", print_graph(node))
            made = _next(node, settled, rules, uses)
            if made is node:
                settled[node] = node
                pending.pop()
            else:
                forward[node] = made
                uses.follow(node, made)
                pending.append(made)
    return tuple(settled[root] for root in roots)


def _next(node: Node, settled: dict[Node, Node], rules: tuple[Rule, ...], uses: Uses) -> Node:
    """Return the node on its settled operands, or else what the first rule that applies makes."""
    built = with_operands(node, tuple(settled[operand] for operand in operands_of(node)))
    if built is not node:
        return built
    for rule in rules:
        made = rule(node, uses)
        if made is not None and made is not node:
            return made
    return node
