"""Split a sum in two stages that threads can share: partial sums over chunks, then their sum.

One contracted index becomes (chunk, inner), ``index == chunk * inner_extent + inner``, and chunk an
index of the output, a partial result. A second contraction sums the chunks. What is left where the
chunks do not divide the extent is a contraction of its own, whose result is one more chunk::

    x[k]                        ->  partial[c] = sum over i of x[c * s + i]     c < C, i < s
    out = sum over k of x[k]        partial[C] = sum over i of x[C * s + i]     i < n - C * s
                                    out = sum over c of partial[c]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.printer import symbols
from einloom_compiler.ir.scalar import SUM
from einloom_compiler.lowering.iteration import IterationSpace, c_strides, fuse, squeeze
from einloom_compiler.lowering.nest import Arithmetics


@dataclass(frozen=True, slots=True)
class Split:
    """A contraction of several operands as two stages.

    Attributes:
        chunks: the first stage.
        rest: what the chunks leave of the first stage, None where they leave nothing.
        finish: the second stage; its one operand is the partial result.
        shape: extents of the partial result, which is in C order: chunks, then output indices.
        arithmetics: of the first stage, whose output's dtype is the partial result's.
        finishing: of the second stage.
    """

    chunks: IterationSpace
    rest: IterationSpace | None
    finish: IterationSpace
    shape: tuple[int, ...]
    arithmetics: Arithmetics
    finishing: Arithmetics


def split_sum(space: IterationSpace, arithmetics: Arithmetics, number: int, n_chunks: int) -> Split:
    """Split contracted index ``number`` of ``space`` into ``n_chunks`` chunks of equal length.

    Args:
        space: the contraction.
        arithmetics: its dtypes, and what else is computed on load and store.
        number: the index that is split.
        n_chunks: at most its extent.
    """
    extent = space.extents[number]
    inner = 1 if n_chunks == extent else extent // n_chunks
    has_rest = n_chunks * inner != extent
    outputs = space.extents[: space.n_output]
    steps = c_strides(outputs)
    n_outputs = prod(outputs)
    n_contracted = len(space.extents) - space.n_output
    target = (*steps, *[None] * n_contracted)
    letter = next(s for s in symbols() if not any(s in label for label in space.labels))
    shortened = replace(
        space,
        extents=(*space.extents[:number], inner, *space.extents[number + 1 :]),
        strides=(*space.strides[:-1], target),
        extras=(),
    )
    chunks = IterationSpace(
        (n_chunks, *shortened.extents),
        space.n_output + 1,
        (
            *((_scaled(column[number], inner), *column) for column in space.strides[:-1]),
            (n_outputs, *target),
        ),
        (letter, *space.labels),
    )
    rest = None
    if has_rest:
        left = extent - n_chunks * inner
        starts = [_scaled(column[number], n_chunks * inner) or 0 for column in space.strides[:-1]]
        rest = replace(
            shortened,
            extents=(*space.extents[:number], left, *space.extents[number + 1 :]),
            starts=(*starts, n_chunks * n_outputs),
        )
    finish = IterationSpace(
        (*outputs, n_chunks + has_rest),
        space.n_output,
        ((*steps, n_outputs), (*space.strides[-1][: space.n_output], None)),
        (*space.labels[: space.n_output], letter),
        extras=tuple((*column[: space.n_output], None) for column in space.extras),
    )
    between = "float32" if arithmetic(arithmetics.compute).is_half else arithmetics.compute
    return Split(
        chunks=fuse(squeeze(chunks)),
        rest=None if rest is None else fuse(squeeze(rest)),
        finish=fuse(squeeze(finish)),
        shape=(n_chunks + has_rest, *outputs),
        arithmetics=replace(arithmetics, output=between, epilogue=SUM, extras=()),
        finishing=Arithmetics(
            (between,),
            arithmetics.output,
            between,
            (False,),
            arithmetics.epilogue,
            arithmetics.extras,
        ),
    )


def _scaled(step: int | None, factor: int) -> int | None:
    return None if step is None else step * factor
