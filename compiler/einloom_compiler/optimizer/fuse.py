"""Elementwise nodes fuse: into each other, and into what computes their operands.

A chain becomes one body; behind a contraction it is the epilogue, behind or before rows it is part
of theirs. Nothing that is costly is computed twice: a result is inlined where it has one user, or
where it is a mere cast. Inside a fused body halves are not rounded to 16 bits between steps.
"""

from __future__ import annotations

from dataclasses import replace

from einloom_compiler.ir.einsum import EinsumExpr, Term
from einloom_compiler.ir.graph import Contraction, Elementwise, Node, Rows
from einloom_compiler.ir.scalar import Combined, Mapped, Scalar, Value, parts_of, substituted
from einloom_compiler.ir.shapes import output_of
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.optimizer.constants import is_fixed
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.scalars import size_of
from einloom_compiler.optimizer.terms import (
    Bodied,
    Slot,
    bodies_of,
    has_repeats,
    renamed,
    slots_of,
    with_output,
    with_slots,
)

#: Functions a fused body may evaluate, and operands it may read: registers are few.
MOST_FUNCTIONS = 64
MOST_OPERANDS = 10

#: Maps of a few instructions, which may be computed again for each use of a value.
_CHEAP_MAPS = frozenset(
    (
        *("linear", "negative", "abs", "square", "add", "multiply", "maximum", "minimum"),
        *("relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh", "threshold"),
    )
)
_COSTLY = frozenset(("power", "divide"))


def is_cheap(body: Scalar) -> bool:
    """Say whether evaluating a body again costs less than reading its value from memory."""
    parts = parts_of(body)
    return len(parts) <= 16 and all(
        part.map.function in _CHEAP_MAPS
        if isinstance(part, Mapped)
        else not (isinstance(part, Combined) and part.function in _COSTLY)
        for part in parts
    )


def has_own_dtype(node: Elementwise | Rows) -> bool:
    """Say whether the result has the dtype that the body is computed in."""
    return node.result is None or node.result == node.dtype


def inline_operands(node: Node, uses: Uses) -> Node | None:
    """Compute elementwise operands inside the body that uses them.

    Rewrite: ``exp(y)`` of ``y = x + b`` is ``exp(x + b)``.
    """
    if not isinstance(node, Contraction | Elementwise | Rows) or node.dtype is None:
        return None
    slots = slots_of(node)
    rank = len(output_of(node))
    for number, (operand, term) in enumerate(slots):
        if isinstance(operand, Elementwise) and _may_inline(node, rank, operand, uses):
            made = _inlined(node, slots, number, operand, term)
            if made is not None:
                if not uses.is_single(operand):
                    uses.share(operand.operands[0], 1)
                return made
    return None


def _may_inline(node: Bodied, rank: int, operand: Elementwise, uses: Uses) -> bool:
    if operand.dtype != node.dtype or not has_own_dtype(operand):
        return False
    if is_fixed(operand) and not is_fixed(node):
        return False
    if operand.body is Value(0) and len(operand.operands) == 1:
        return True
    if not uses.is_single(operand):
        return False
    is_repeated = isinstance(node, Rows) or len(operand.output) < rank
    return is_cheap(operand.body) if is_repeated else True


def _inlined(
    node: Bodied, slots: tuple[Slot, ...], number: int, operand: Elementwise, term: Term
) -> Node | None:
    names = dict(zip(operand.output, term, strict=True))
    inner = [(o, renamed(t, names)) for o, t in slots_of(operand)]
    if not isinstance(node, Elementwise) and any(has_repeats(t) for _, t in inner):
        return None
    kept = [slot for n, slot in enumerate(slots) if n != number]
    values: dict[int, Scalar] = {}
    for n in range(len(slots)):
        values[n] = Value(n if n < number else n - 1)
    shift: dict[int, Scalar] = {n: Value(len(kept) + n) for n in range(len(inner))}
    values[number] = substituted(operand.body, shift)
    made = with_slots(node, [*kept, *inner], values)
    bodies = sum(map(size_of, bodies_of(made)))
    return made if bodies <= MOST_FUNCTIONS and len(slots_of(made)) <= MOST_OPERANDS else None


def append_body(node: Node, uses: Uses) -> Node | None:
    """Compute an elementwise node where its operand is computed: an epilogue.

    Rewrite: ``relu(einsum(x, w) + b)`` is one contraction with bias and activation.
    """
    if not isinstance(node, Elementwise) or node.dtype is None:
        return None
    slots = slots_of(node)
    for number, (operand, term) in enumerate(slots):
        if not isinstance(operand, Contraction | Rows) or not uses.is_single(operand):
            continue
        if is_fixed(operand) and not is_fixed(node):
            continue
        if operand.dtype != node.dtype or sorted(term) != sorted(node.output):
            continue
        if isinstance(operand, Contraction):
            is_whole = operand.epilogue.dtype in (None, operand.dtype)
        else:
            is_whole = has_own_dtype(operand)
        if is_whole and (made := _appended(node, slots, number, operand)) is not None:
            return made
    return None


def _appended(
    node: Elementwise, slots: tuple[Slot, ...], number: int, inner: Contraction | Rows
) -> Node | None:
    term = slots[number][1]
    names = dict(zip(term, output_of(inner), strict=True))
    further = [(o, renamed(t, names)) for n, (o, t) in enumerate(slots) if n != number]
    if any(has_repeats(t) for _, t in further):
        return None
    own = slots_of(inner)
    numbers = [n for n in range(len(slots)) if n != number]
    n_own = len(own)
    output = renamed(node.output, names)
    if isinstance(inner, Contraction):
        epilogue = inner.epilogue
        values: dict[int, Scalar] = {n: Value(1 + n_own + p) for p, n in enumerate(numbers)}
        values[number] = epilogue.body
        body = substituted(node.body, values)
        extended = replace(
            inner,
            epilogue=replace(
                epilogue,
                body=body,
                operands=(*epilogue.operands, *(o for o, _ in further)),
                terms=(*epilogue.terms, *(t for _, t in further)),
                dtype=None if has_own_dtype(node) else node.result,
            ),
        )
        made: Contraction | Rows = extended
    else:
        widened = with_slots(inner, [*own, *further])
        assert isinstance(widened, Rows)
        # Equal operands became one: find where each further one is now.
        places = {slot: place for place, slot in enumerate(slots_of(widened))}
        values = {n: Value(places[slot]) for n, slot in zip(numbers, further, strict=True)}
        values[number] = widened.body
        made = replace(
            widened,
            body=substituted(node.body, values),
            result=None if has_own_dtype(node) else node.result,
        )
    if sum(map(size_of, bodies_of(made))) > MOST_FUNCTIONS or len(slots_of(made)) > MOST_OPERANDS:
        return None
    return with_output(made, output)


def cast_result(node: Node, uses: Uses) -> Node | None:
    """Store a result in the dtype that its only user casts it to.

    Rewrite: ``cast(x + y)`` is ``x + y``, stored in the other dtype.
    """
    if not isinstance(node, Elementwise) or node.body is not Value(0) or node.dtype is None:
        return None
    if len(node.operands) != 1 or not has_own_dtype(node):
        return None
    (inner,), (term,) = node.operands, node.terms
    if not isinstance(inner, Elementwise | Rows | Contraction) or not uses.is_single(inner):
        return None
    if has_repeats(term) or inner.dtype is None or inner.dtype == node.dtype:
        return None
    # A float64 would be rounded twice on its way to a half.
    if node.dtype.name in ("float16", "bfloat16") and inner.dtype.name != "float32":
        return None
    names = dict(zip(term, output_of(inner), strict=True))
    if isinstance(inner, Contraction):
        if inner.epilogue.dtype not in (None, inner.dtype):
            return None
        stored: Contraction | Elementwise | Rows = replace(
            inner, epilogue=replace(inner.epilogue, dtype=node.dtype)
        )
    elif has_own_dtype(inner):
        stored = replace(inner, result=node.dtype)
    else:
        return None
    return with_output(stored, renamed(node.output, names))


def absorb_copy(node: Node, uses: Uses) -> Node | None:
    """Let a contraction read what an operand is a cast, a transpose or a diagonal of."""
    if not isinstance(node, Contraction):
        return None
    for number, operand in enumerate(node.operands):
        if (
            isinstance(operand, Elementwise)
            and operand.body is Value(0)
            and len(operand.operands) == 1
            and operand.dtype == node.dtype
            and has_own_dtype(operand)
            and not node.broadcast[number]
            and (dtype_of(operand.operands[0]) == operand.dtype or not is_fixed(operand))
        ):
            names = dict(zip(operand.output, node.einsum.terms[number], strict=True))
            terms = list(node.einsum.terms)
            terms[number] = renamed(operand.terms[0], names)
            operands = list(node.operands)
            operands[number] = operand.operands[0]
            if not uses.is_single(operand):
                uses.share(operand.operands[0], 1)
            return replace(
                node,
                einsum=EinsumExpr(tuple(terms), node.einsum.output),
                operands=tuple(operands),
            )
    return None


def pull_factor(node: Node, uses: Uses) -> Node | None:
    """Multiply a contraction's sum by a number instead of each element of an operand.

    Rewrite: ``einsum(2 * x, w)`` is ``2 * einsum(x, w)``. Reductions are sums of floats already
    rounded, so that this moves results by no more than their rounding.
    """
    if not isinstance(node, Contraction) or node.dtype is None:
        return None
    if node.dtype.kind not in "fc" and node.dtype.name != "bfloat16":
        return None
    for number, operand in enumerate(node.operands):
        if not isinstance(operand, Elementwise) or operand.dtype != node.dtype:
            continue
        if not has_own_dtype(operand) or len(operand.operands) != 1 or is_fixed(operand):
            continue
        body = operand.body
        if not isinstance(body, Mapped) or body.argument is not Value(0):
            continue
        if body.map.function not in ("multiply", "negative") or not uses.is_single(operand):
            continue
        scaled: dict[int, Scalar] = {0: Mapped(body.map, Value(0))}
        operands = list(node.operands)
        operands[number] = replace(operand, body=Value(0))
        return replace(
            node,
            operands=tuple(operands),
            epilogue=replace(node.epilogue, body=substituted(node.epilogue.body, scaled)),
        )
    return None


#: All of them: an epilogue before a prologue.
RULES = (append_body, absorb_copy, pull_factor, inline_operands, cast_result)
