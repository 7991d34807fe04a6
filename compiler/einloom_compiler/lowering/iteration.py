"""The iteration space of one contraction: its indices as numbers, with extents and strides.

Squeezing drops indices of extent 1; fusing joins two indices that every access steps through as
one, ``index == outer * extent(inner) + inner``. Both change nothing but the number of loops, and
make most contiguous contractions fall into a handful of structures.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from einloom_compiler.ir.einsum import EinsumExpr, Index, Term


@dataclass(frozen=True, slots=True)
class IterationSpace:
    """Extents and strides of a contraction's indices; index number = position in ``extents``.

    Attributes:
        extents: of each index, elements.
        n_output: the first so many indices are the output's, the rest are contracted.
        strides: for each input and, last, the output: stride of each index in elements, None where
            the access does not depend on the index.
        labels: what each index stands for, for comments: one or several fused names.
        starts: for each input and the output, elements from its pointer to the first one meant;
            empty where those are all 0.
        extras: the same as ``strides`` for each further operand of the epilogue.
        open: indices whose extents change from call to call, so that kernels are not made for them.
    """

    extents: tuple[int, ...]
    n_output: int
    strides: tuple[tuple[int | None, ...], ...]
    labels: tuple[str, ...]
    starts: tuple[int, ...] = ()
    extras: tuple[tuple[int | None, ...], ...] = ()
    open: frozenset[int] = frozenset()

    def n_elements(self, column: Sequence[int | None]) -> int:
        """Return how many elements an access touches whose strides are these."""
        return prod(n for n, step in zip(self.extents, column, strict=True) if step)


def iteration_space(
    expr: EinsumExpr,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    letters: dict[Index, str],
    extras: Sequence[tuple[Term, tuple[int, ...]]] = (),
    known: Mapping[Index, int] | None = None,
    open_indices: Collection[Index] = (),
) -> IterationSpace:
    """Return the iteration space of ``expr`` over operands with these shapes and strides.

    Args:
        expr: the contraction; a repeated index in a term is a diagonal (its strides add up).
        shapes: extents of each operand's axes, already checked.
        strides: strides of each operand's axes, in elements, any sign.
        output_strides: strides of the output's axes, in elements.
        letters: names of the indices for comments.
        extras: indices and strides, in elements, of each further operand of the epilogue.
        known: extents of indices that may be in no operand's term.
        open_indices: those whose extents change from call to call.
    """
    indices = expr.indices
    extents: dict[Index, int] = dict.fromkeys(indices, 1) | dict(known or {})
    columns: list[dict[Index, int]] = []
    for term, shape, steps in zip(expr.terms, shapes, strides, strict=True):
        extents.update(zip(term, shape, strict=True))
        columns.append(_column(term, steps))
    columns.append(dict(zip(expr.output, output_strides, strict=True)))
    space = IterationSpace(
        tuple(extents[index] for index in indices),
        len(expr.output),
        tuple(tuple(column.get(index) for index in indices) for column in columns),
        tuple(letters[index] for index in indices),
        extras=tuple(
            tuple(_column(term, steps).get(index) for index in indices) for term, steps in extras
        ),
        open=frozenset(n for n, index in enumerate(indices) if index in open_indices),
    )
    return fuse(squeeze(space))


def skeleton(space: IterationSpace) -> IterationSpace:
    """Return what the structure of loops depends on: strides that are none, 1, or others.

    Others are 2 there, extents 0, and starts 0 where there are any, so that the skeletons of most
    layouts of a contraction are one.
    """

    def kinds(column: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(None if step is None else 1 if step == 1 else 2 for step in column)

    return IterationSpace(
        (0,) * len(space.extents),
        space.n_output,
        tuple(map(kinds, space.strides)),
        space.labels,
        (0,) * len(space.starts),
        tuple(map(kinds, space.extras)),
    )


def _column(term: Term, steps: Sequence[int]) -> dict[Index, int]:
    """Return the stride of each index; those of a diagonal's axes add up."""
    column: dict[Index, int] = {}
    for index, step in zip(term, steps, strict=True):
        column[index] = column.get(index, 0) + step
    return column


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides, in elements, of an array of this shape in C order."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def squeeze(space: IterationSpace) -> IterationSpace:
    """Drop the indices of extent 1."""
    return _select(space, [n for n, extent in enumerate(space.extents) if extent != 1])


def fuse(space: IterationSpace) -> IterationSpace:
    """Join every pair of indices that all accesses step through as one, until none is left."""
    while (pair := _fusible(space)) is not None:
        outer, inner = pair
        extents, labels = list(space.extents), list(space.labels)
        extents[inner] *= extents[outer]
        labels[inner] = f"{labels[outer]}{labels[inner]}"
        is_open = outer in space.open
        joined = replace(
            space,
            extents=tuple(extents),
            labels=tuple(labels),
            open=space.open | {inner} if is_open else space.open,
        )
        space = _select(joined, [n for n in range(len(extents)) if n != outer])
    return space


def _fusible(space: IterationSpace) -> tuple[int, int] | None:
    for outer in range(len(space.extents)):
        for inner in range(len(space.extents)):
            if outer == inner or (outer < space.n_output) != (inner < space.n_output):
                continue
            extent = space.extents[inner]
            if all(
                (column[outer] is None and column[inner] is None)
                or (
                    (step := column[inner]) is not None
                    and column[outer] is not None
                    and column[outer] == step * extent
                )
                for column in (*space.strides, *space.extras)
            ):
                return outer, inner
    return None


def _select(space: IterationSpace, kept: list[int]) -> IterationSpace:
    return IterationSpace(
        tuple(space.extents[n] for n in kept),
        sum(n < space.n_output for n in kept),
        tuple(tuple(column[n] for n in kept) for column in space.strides),
        tuple(space.labels[n] for n in kept),
        space.starts,
        tuple(tuple(column[n] for n in kept) for column in space.extras),
        frozenset(position for position, n in enumerate(kept) if n in space.open),
    )
