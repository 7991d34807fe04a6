"""Verifiers: what must hold of each intermediate representation between two stages.

They raise :class:`InternalCompilerError` with the printed IR; a user never sees one unless einloom
has a bug.
"""

from __future__ import annotations

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.printer import print_einsum, print_nest, print_tree
from einloom_compiler.ir.scalar import positions_of


def verify_einsum(expr: EinsumExpr, stage: str) -> None:
    """Check that output indices are distinct and appear in a term."""
    known = {index for term in expr.terms for index in term}
    _require(len(set(expr.output)) == len(expr.output), stage, "an output index repeats", expr)
    _require(known.issuperset(expr.output), stage, "an output index is in no term", expr)
    _require(bool(expr.terms), stage, "there is no operand", expr)


def verify_tree(tree: ContractionTree, stage: str) -> None:
    """Check that each operand and intermediate is used once and the last step gives the output."""
    n_inputs = len(tree.expr.terms)
    terms = list(tree.expr.terms)
    used: list[int] = []
    for step in tree.steps:
        verify_einsum(step.expr, stage)
        _require(max(step.positions) < len(terms), stage, "a step uses a later result", tree)
        given = tuple(terms[position] for position in step.positions)
        _require(given == step.expr.terms, stage, "a step's terms are not its operands'", tree)
        terms.append(step.expr.output)
        used.extend(step.positions)
    expected = range(n_inputs + len(tree.steps) - 1)
    _require(sorted(used) == list(expected), stage, "each result is used exactly once", tree)
    _require(terms[-1] == tree.expr.output, stage, "the last step's output is another", tree)


def verify_nest(nest: LoopNest, stage: str) -> None:
    """Check that indices are bound once, loads see bound indices, and no parallel loop races."""
    for index in nest.indices:
        kinds = [level.kind for level in nest.levels if level.index == index]
        sizes = {level.size for level in nest.levels if level.index == index}
        kinds += ["range" for level in nest.levels if index in level.fused]
        bound = kinds == ["range"] or (kinds == ["tile", "within"] and len(sizes) == 1)
        _require(bound, stage, f"index {index} is bound by levels {kinds}", nest)
    for access in nest.accesses:
        unbound = set(access.indices) - set(nest.indices)
        _require(not unbound, stage, f"{access.name} uses unbound {sorted(unbound)}", nest)
        _require(
            access.unit is None or access.unit in access.indices, stage, "unit is no index", nest
        )
    summed = set(nest.contracted)
    for access in nest.extras:
        kept = set(access.indices) <= set(nest.output.indices)
        _require(kept, stage, f"{access.name} has an index that is not the output's", nest)
    positions = positions_of(nest.epilogue)
    _require(max(positions, default=0) <= len(nest.extras), stage, "an extra is missing", nest)
    _require(not summed & set(nest.output.indices), stage, "a sum index is in the output", nest)
    covered = summed | set(nest.output.indices)
    _require(covered == set(nest.indices), stage, "an index is neither kept nor summed", nest)
    for level in nest.levels[: nest.n_parallel]:
        _require(level.index not in summed, stage, f"parallel sum over {level.index} races", nest)
        _require(level.kind != "within", stage, "a within level cannot be parallel", nest)
    inner = [level for level in nest.levels[nest.first_contracted :] if level.index not in summed]
    bounded = all(level.kind == "within" for level in inner)
    _require(bounded and len(inner) <= 1, stage, "accumulators are unbounded", nest)
    unrolled = [level for level in nest.levels if level.unroll > 1]
    _require(len(unrolled) <= 1, stage, "more than one level is unrolled", nest)
    for level in unrolled:
        is_jam = level.index in summed and nest.row is not None and nest.vectors is not None
        is_jam = is_jam and level == nest.levels[-2]
        legal = level.kind == "range" and (level.index not in summed or is_jam)
        _require(legal, stage, f"level {level.index} cannot be unrolled and jammed", nest)
    for level in nest.levels:
        _require(level.unroll > 1 or not level.apart, stage, f"{level.index} has no parts", nest)
    for level in nest.levels:
        is_streamed = nest.transposition is not None and nest.transposition.pitch > 0
        is_legal = not (level.slack or level.fused) or (
            is_streamed and level.index == nest.output.unit
        )
        _require(is_legal, stage, f"tiles of {level.index} are not streamed", nest)
    if nest.vectors is not None:
        _verify_vectors(nest, stage)
    if nest.transposition is not None:
        _verify_transposition(nest, stage)
    arithmetic(nest.compute)


def _verify_vectors(nest: LoopNest, stage: str) -> None:
    """Check that the innermost level is contiguous where it is stepped through, in words."""
    innermost = nest.levels[-1].index
    is_map = not nest.contracted
    for access in nest.accesses if is_map else (*nest.inputs, nest.output):
        is_legal = innermost not in access.indices or access.unit == innermost
        _require(is_legal, stage, f"{access.name} is no vector along {innermost}", nest)
    is_sum = nest.row is None and bool(nest.contracted)
    is_blocked = nest.levels[-1].kind == "within" or not is_sum
    _require(is_blocked, stage, "sums of vectors need blocks", nest)
    is_complex = nest.compute.startswith("complex")
    is_known = not (is_map and is_complex) or nest.is_plain
    _require(is_known, stage, "maps of complex vectors are unknown", nest)
    _require(is_map or nest.transposition is None, stage, "a transpose has its own vectors", nest)
    if nest.vectors is not None and nest.vectors.is_streamed:
        output = nest.output
        is_run = is_map and output.unit == innermost and nest.unrolled is None
        _require(is_run, stage, "only runs of a map's output are streamed", nest)
        is_word = output.dtype == nest.compute and not is_complex
        _require(is_word, stage, f"{output.name} is streamed in elements of one word", nest)


def _verify_transposition(nest: LoopNest, stage: str) -> None:
    """Check that the two innermost levels are within tiles and contiguous, one in each access."""
    *outer, across, along = nest.levels
    _require(across.kind == along.kind == "within", stage, "a transpose needs tiles", nest)
    units = (nest.inputs[0].unit, nest.output.unit)
    _require(units == (across.index, along.index), stage, "a transpose needs unit strides", nest)
    _require(not nest.contracted and len(nest.inputs) == 1, stage, "a transpose only copies", nest)
    is_deep = any(level.kind == "within" for level in outer)
    _require(not is_deep, stage, "a transpose has two levels within tiles", nest)
    pitch = nest.transposition.pitch if nest.transposition else 0
    fits = not pitch or pitch >= along.size
    _require(fits, stage, "a streamed row is longer than its pitch", nest)


def _require(
    holds: bool, stage: str, reason: str, ir: EinsumExpr | ContractionTree | LoopNest
) -> None:
    if holds:
        return
    match ir:
        case EinsumExpr():
            dump = print_einsum(ir)
        case ContractionTree():
            dump = print_tree(ir)
        case LoopNest():
            dump = print_nest(ir)
    raise InternalCompilerError(stage, reason, dump)
