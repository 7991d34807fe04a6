"""The verifier of expression graphs: ranks, indices, marks and names."""

from __future__ import annotations

from collections.abc import Iterable

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Contraction,
    Elementwise,
    Input,
    Join,
    Node,
    Pad,
    Rows,
    Strided,
    Take,
)
from einloom_compiler.ir.printer import print_graph
from einloom_compiler.ir.scalar import Scalar, positions_of
from einloom_compiler.ir.shapes import index_extents, indexed_operands, shape_of
from einloom_compiler.ir.traversal import dtype_of, nodes_of
from einloom_compiler.ir.verify import verify_einsum


def verify_graph(*roots: Node, stage: str) -> None:
    """Check that graphs are well formed; shape errors of users were raised before.

    Raises:
        InternalCompilerError: they are not; it holds the printed node.
        ShapeError: extents of one index differ.
    """
    inputs: dict[str, Input] = {}
    for node in nodes_of(*roots):
        if isinstance(node, Input):
            same = inputs.setdefault(node.name, node) is node
            _require(same, stage, f"two inputs are called {node.name!r}", node)
        _verify_node(node, stage)


def _verify_node(node: Node, stage: str) -> None:
    match node:
        case Contraction():
            verify_einsum(node.einsum, stage)
            n_terms = len(node.einsum.terms)
            marks = (node.operands, node.conjugated, node.broadcast)
            _require(
                all(len(mark) == n_terms for mark in marks), stage, "one mark an operand", node
            )
            epilogue = node.epilogue
            _verify_terms(epilogue.terms, node.einsum.output, stage, node)
            _verify_body(epilogue.body, 1 + len(epilogue.operands), stage, node)
        case Elementwise():
            known = {index for term in node.terms for index in term}
            _require(known == set(node.output), stage, "operands have the output's indices", node)
            _verify_output(node.output, stage, node)
            _verify_body(node.body, len(node.operands), stage, node)
        case Rows():
            _verify_rows(node, stage)
        case Attention():
            _verify_attention(node, stage)
        case Strided():
            rank = len(shape_of(node.operand))
            _require(len(node.starts) == rank, stage, "one start an operand axis", node)
            sources = [axis.source for axis in node.axes if axis.source is not None]
            _require(all(0 <= s < rank for s in sources), stage, "a view axis has no source", node)
        case Pad():
            rank = len(shape_of(node.operand))
            counts = len(node.before) == len(node.after) == rank
            _require(counts, stage, "one width on each side of an axis", node)
        case Join():
            ranks = {len(shape_of(operand)) for operand in node.operands}
            dtypes = {dtype_of(operand) for operand in node.operands}
            _require(len(ranks) == 1 and len(dtypes) == 1, stage, "joined operands differ", node)
            _require(0 <= node.axis < next(iter(ranks)), stage, "there is no such axis", node)
        case Take():
            _require(len(shape_of(node.table)) > 0, stage, "a table has rows", node)
        case _:
            return
    if isinstance(node, Contraction | Elementwise | Rows | Attention):
        for operand, term, axes in indexed_operands(node):
            shape = shape_of(operand)
            _require(len(shape) == len(term), stage, "term and operand differ in rank", node)
            for axis in axes:
                _require(shape[axis] == 1, stage, "only extent 1 is broadcast", node)
        index_extents(node)


def _verify_rows(node: Rows, stage: str) -> None:
    n_operands = len(node.operands)
    kept = set(node.output) - set(node.reduced)
    _verify_terms(node.terms, (*kept, *node.reduced), stage, node)
    _verify_output(node.output, stage, node)
    _verify_output(node.reduced, stage, node)
    known = {index for term in node.terms for index in term}
    needed = kept | set(node.reduced)
    _require(known == needed, stage, "operands have the output's and reduced indices", node)
    _require(bool(node.reduced), stage, "rows have a reduced index", node)
    stored = set(node.reduced) & set(node.output)
    is_whole = stored == set(node.reduced)
    _require(is_whole or not stored, stage, "all reduced indices are stored, or none", node)
    if any(reduction.is_running for reduction in node.reductions):
        is_scan = len(node.reductions) == len(node.reduced) == 1 and is_whole
        _require(is_scan, stage, "a scan is the only reduction, along one stored index", node)
        is_known = node.reductions[0].kind in ("sum", "prod")
        _require(is_known, stage, "a scan is a sum or a product", node)
    for number, reduction in enumerate(node.reductions):
        _verify_body(reduction.body, n_operands + number, stage, node)
    _verify_body(node.body, n_operands + len(node.reductions), stage, node)
    if not is_whole:
        used = [p for p in positions_of(node.body) if p < n_operands]
        has_reduced = any(set(node.terms[position]) & set(node.reduced) for position in used)
        _require(not has_reduced, stage, "a row's result uses elements of the row", node)


def attention_flaw(node: Attention) -> str | None:
    """Return what the node's indices break of the rules of :class:`~.graph.Attention`, or None."""
    query, key, value = map(set, node.terms)
    output = set(node.output)
    positions = (key & value) - query - output
    rows = (query & output) - key - value
    summed = (query | key) - output - positions
    rules = (
        (len(positions) == 1, "key and value share one index of their own"),
        (len(rows) <= 1 or not node.is_causal, "one query position is causal"),
        (summed <= query & key, "a summed index is in query and key"),
        (output <= query | key | value, "an output index is nowhere"),
        (value - positions <= output, "values are summed along keys"),
    )
    return next((reason for holds, reason in rules if not holds), None)


def _verify_attention(node: Attention, stage: str) -> None:
    flaw = attention_flaw(node)
    _require(flaw is None, stage, flaw or "", node)
    query, key, _ = map(set, node.terms)
    shown = ((query | key) & set(node.output)) | {node.key_position}
    _verify_terms(node.mask_terms, tuple(shown), stage, node)
    _verify_output(node.output, stage, node)
    _verify_body(node.score, 1 + len(node.masks), stage, node)


def _verify_terms(
    terms: tuple[Term, ...], allowed: Iterable[Index], stage: str, node: Node
) -> None:
    known = set(allowed)
    for term in terms:
        _require(set(term) <= known, stage, "a term has a foreign index", node)
        _require(len(set(term)) == len(term), stage, "an index repeats in a term", node)


def _verify_output(output: Term, stage: str, node: Node) -> None:
    _require(len(set(output)) == len(output), stage, "an output index repeats", node)


def _verify_body(body: Scalar, n_values: int, stage: str, node: Node) -> None:
    used = positions_of(body)
    _require(all(0 <= p < n_values for p in used), stage, "a body uses an unknown value", node)


def _require(holds: bool, stage: str, reason: str, node: Node) -> None:
    if not holds:
        raise InternalCompilerError(stage, reason, print_graph(node))
