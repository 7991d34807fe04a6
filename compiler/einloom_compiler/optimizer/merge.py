"""Neighbouring contractions become one n-ary einsum, whose order is chosen as a whole.

A contraction of a contraction's sums is a contraction of all operands, by distributivity. They
stay apart where the inner one is used twice, has an epilogue, or rounds its sums to another dtype,
and where the best order of all operands would cost more than the two by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from einloom_compiler.dtypes import arithmetic, dtype_name, has_kernel
from einloom_compiler.extents import evaluate
from einloom_compiler.ir.einsum import EinsumExpr, Index, without_axes
from einloom_compiler.ir.graph import PLAIN, Contraction, Node
from einloom_compiler.ir.shapes import index_extents, representative_sizes
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.terms import fresh, indices_of, renamed
from einloom_compiler.order.cost import tree_cost
from einloom_compiler.order.merge import TINY_FLOPS
from einloom_compiler.order.search import EXACT, search


def merge_operand(node: Node, uses: Uses) -> Node | None:
    """Contract an operand's operands at once with the others.

    Rewrite: ``einsum("ik,kl->il", einsum("ij,jk->ik", a, b), c)`` is
    ``einsum("ij,jk,kl->il", a, b, c)``.
    """
    if not isinstance(node, Contraction) or node.dtype is None:
        return None
    if not has_kernel(node.dtype) or arithmetic(dtype_name(node.dtype)).is_half:
        return None
    for number, operand in enumerate(node.operands):
        if (
            isinstance(operand, Contraction)
            and operand.epilogue is PLAIN
            and operand.dtype == node.dtype
            and not node.broadcast[number]
            and uses.is_single(operand)
            and len(node.operands) + len(operand.operands) - 1 <= EXACT
        ):
            made = _merged(node, number, operand)
            if _is_no_dearer(made, node, operand):
                return made
    return None


def _merged(node: Contraction, number: int, inner: Contraction) -> Contraction:
    taken = indices_of(node)
    names = dict(zip(inner.einsum.output, node.einsum.terms[number], strict=True))
    for index in inner.einsum.contracted:
        names[index] = fresh(index, taken)
    is_conjugated = node.conjugated[number]
    before, after = slice(number), slice(number + 1, None)
    terms = node.einsum.terms
    return replace(
        node,
        einsum=EinsumExpr(
            (
                *terms[before],
                *(renamed(term, names) for term in inner.einsum.terms),
                *terms[after],
            ),
            node.einsum.output,
        ),
        operands=(*node.operands[before], *inner.operands, *node.operands[after]),
        conjugated=(
            *node.conjugated[before],
            *(own != is_conjugated for own in inner.conjugated),
            *node.conjugated[after],
        ),
        broadcast=(*node.broadcast[before], *inner.broadcast, *node.broadcast[after]),
    )


def _is_no_dearer(made: Contraction, node: Contraction, inner: Contraction) -> bool:
    """Say whether the best order of all operands takes no more FLOPs than the two apart.

    Symbols stand for one size each; the order is chosen again at a call.
    """
    if len(made.operands) <= 2 and not made.einsum.contracted:
        return True
    sizes = representative_sizes(made, node, inner)
    # Tiny steps are joined to one loop nest of more FLOPs where that takes less time.
    return _flops(made, sizes) <= max(TINY_FLOPS, _flops(node, sizes) + _flops(inner, sizes))


def _flops(node: Contraction, sizes: Mapping[str, int]) -> int:
    extents: dict[Index, int] = {
        index: evaluate(extent, sizes) for index, extent in index_extents(node).items()
    }
    expr = without_axes(node.einsum, node.broadcast)
    assert node.dtype is not None
    tree = search(expr, extents, True, dtype_name(node.dtype))
    return evaluate(tree_cost(tree, extents, 1).flops, sizes)


#: All of them.
RULES = (merge_operand,)
