"""Turn a contraction path (linear, as NumPy and opt_einsum write it) into a contraction tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from einloom_compiler.errors import EinloomError
from einloom_compiler.ir.contraction import ContractionTree, Step
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.order.arrange import arranged

Path = tuple[tuple[int, ...], ...]


class PathError(EinloomError, RuntimeError):
    """A contraction path does not contract all operands; a RuntimeError as in NumPy."""


class PathIndexError(PathError, IndexError):
    """A contraction path names an operand that does not exist at that point."""


def single_step(n_operands: int) -> Path:
    """Return the path that contracts everything at once."""
    return (tuple(range(n_operands)),)


def tree_from_path(
    expr: EinsumExpr,
    path: Sequence[Sequence[int]],
    extents: Mapping[Index, int] | None = None,
) -> ContractionTree:
    """Return the tree that ``path`` describes.

    At each step the named operands leave the list and their result is appended. Indices that
    nothing else needs are summed as early as possible: those that only one operand of a step has
    are summed before the step, so that ``ij,kl->ik`` never loops over all four. Intermediates have
    their axes in the order of :func:`~.arrange.arranged`.

    Args:
        expr: the expression.
        path: positions that leave the list at each step.
        extents: elements along each index, for the order of axes; alike where None.

    Raises:
        PathIndexError: a position does not exist.
        PathError: operands are left over.
    """
    terms: list[Term] = list(expr.terms)
    alive = list(range(len(terms)))
    steps: list[Step] = []

    def append(positions: tuple[int, ...], output: Term) -> int:
        steps.append(Step(positions, EinsumExpr(tuple(terms[p] for p in positions), output)))
        terms.append(output)
        return len(terms) - 1

    for number, picked in enumerate(path):
        chosen = _pick(alive, picked, path)
        alive = [position for position in alive if position not in chosen]
        is_last = number == len(path) - 1
        needed = set(expr.output).union(*(terms[position] for position in alive))
        positions = []
        for position in chosen:
            others = needed.union(*(terms[p] for p in chosen if p != position))
            kept = tuple(dict.fromkeys(i for i in terms[position] if i in others))
            has_private = len(kept) < len(set(terms[position]))
            if has_private and len(chosen) > 1:
                positions.append(append((position,), kept))
            else:
                positions.append(position)
        everything = dict.fromkeys(index for p in positions for index in terms[p])
        output = tuple(index for index in everything if index in needed)
        final = is_last and not alive
        alive.append(append(tuple(positions), expr.output if final else output))
    if len(alive) != 1 or terms[alive[0]] != expr.output:
        raise PathError(
            f"the contraction path {list(map(tuple, path))} leaves {len(alive)} operands "
            "uncontracted; it must end in one"
        )
    return arranged(ContractionTree(expr, tuple(steps)), extents)


def _pick(alive: list[int], picked: Sequence[int], path: Sequence[Sequence[int]]) -> list[int]:
    chosen: list[int] = []
    for position in picked:
        if not -len(alive) <= position < len(alive):
            raise PathIndexError(
                f"pop index out of range: the path {list(map(tuple, path))} names operand "
                f"{position} where {len(alive)} are left"
            )
        chosen.append(alive[position])
    if len(set(chosen)) != len(chosen):
        raise PathError(f"the path step {tuple(picked)} names an operand twice")
    return chosen
