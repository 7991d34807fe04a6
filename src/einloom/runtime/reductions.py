"""Reductions along rows: one kernel, or stages where there are too few rows for the cores.

Stages also serve where a row's elements lie in short runs between other rows', as in a maximum for
each channel: runs are reduced in the order of memory, their results after them.

In stages, each reduction is one of chunks, whose results are reduced in turn; those of later
reductions read them as further operands. What follows is computed last, point by point::

    softmax of x[i]     m = max over c of (max over i of x[c, i])
                        s = sum over c of (sum over i of exp(x[c, i] - m))
                        out[i] = exp(x[i] - m) / s
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from einloom.runtime.builder import Builder
from einloom.runtime.values import Value
from einloom_compiler.dtypes import as_dtype, compute_bytes, dtype_name
from einloom_compiler.families import Schedule
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.scalar import Number, Scalar, combined, positions_of, substituted
from einloom_compiler.ir.scalar import Value as Element
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.rows import RowsExpr
from einloom_compiler.pipeline import Chooser, bind_elementwise, bind_rows
from einloom_compiler.schedule import chunks, streams
from einloom_compiler.schedule.machine import host

#: Compute dtypes whose partial results are stored as they are.
_STAGED = frozenset(
    ("float32", "float64", "int32", "int64", "uint32", "uint64", "int8", "int16", "uint8", "uint16")
)
#: The chunks of a split index, and that index within them.
_CHUNK, _WITHIN = Index("chunk"), Index("within")


@dataclass(frozen=True, slots=True)
class Reduce:
    """Compute a node of rows.

    Attributes:
        expr: what it computes.
        schedule: that of its one kernel, or what chooses it; where None, there may be stages.
    """

    expr: RowsExpr
    schedule: Schedule | Chooser | None = None

    def append(
        self, builder: Builder, operands: Sequence[Value], target: Value, sizes: Mapping[str, int]
    ) -> None:
        """Append its launch, or those of its stages."""
        del sizes
        if 0 in target.shape:
            builder.scheduled(None)
            return
        shapes = [operand.shape for operand in operands]
        steps = [operand.steps for operand in operands]
        whole = bind_rows(self.expr, shapes, steps, target.steps, host(), schedule=self.schedule)
        split = None
        if self.schedule is None:
            split = _split(self.expr, operands, target, whole.seconds, whole.total)
        if split is None:
            builder.launch(whole, operands, target)
            builder.scheduled(whole.schedule)
        else:
            _Stages(builder, self.expr, operands, split).append(target)
            builder.scheduled(None)


@dataclass(frozen=True, slots=True)
class _Split:
    """A reduced index in so many chunks of equal extent, and what they leave."""

    index: Index
    n_chunks: int
    extent: int

    @property
    def within(self) -> int:
        """Extent of a chunk."""
        return self.extent // self.n_chunks

    @property
    def rest(self) -> int:
        """What the chunks leave."""
        return self.extent % self.n_chunks


def _split(
    expr: RowsExpr, operands: Sequence[Value], target: Value, seconds: float, total: int
) -> _Split | None:
    """Return how rows are split, None where one kernel is best, or sizes are open."""
    extents = _extents(expr, operands)
    is_known = not any(map(is_open, (*extents.values(), *target.shape)))
    if not (is_known and expr.reductions and expr.reduced and expr.compute in _STAGED):
        return None
    if expr.is_scan:
        return None
    if not all(_has_points(expr, reduction) for reduction in expr.reductions):
        return None
    kept = _kept(expr)
    indices = (*kept, *expr.reduced)
    columns = [
        dict(zip(term, operand.steps, strict=True))
        for term, operand in zip(expr.terms, operands, strict=True)
    ]
    space = IterationSpace(
        tuple(extents[index] for index in indices),
        len(kept),
        (*(tuple(column.get(i) for i in indices) for column in columns), (None,) * len(indices)),
        tuple(index.name for index in indices),
    )
    moved = sum(prod(operand.shape) * operand.dtype.itemsize for operand in operands)
    itemsize = compute_bytes(expr.compute)
    outer = streams.outer_sum(space, itemsize, moved, host())
    if outer is not None:
        # In the order of memory: runs between the rows' elements are reduced first.
        return _Split(indices[outer], extents[indices[outer]], extents[indices[outer]])
    found = chunks.choose(space, seconds, total, moved, itemsize, host())
    if found is None:
        return None
    number, n_chunks = found
    return _Split(indices[number], n_chunks, extents[indices[number]])


def _has_points(expr: RowsExpr, reduction: Reduction) -> bool:
    """Say whether what a reduction reads has all reduced indices, so that its extents are known."""
    read = positions_of(reduction.body)
    return set(expr.reduced) <= {i for n, term in enumerate(expr.terms) if n in read for i in term}


def _extents(expr: RowsExpr, operands: Sequence[Value]) -> dict[Index, int]:
    found: dict[Index, int] = {}
    for term, operand in zip(expr.terms, operands, strict=True):
        found |= dict(zip(term, operand.shape, strict=True))
    return found


def _kept(expr: RowsExpr) -> Term:
    return tuple(index for index in expr.output if index not in expr.reduced)


class _Stages:
    """The launches that compute rows a reduction at a time."""

    def __init__(
        self, builder: Builder, expr: RowsExpr, operands: Sequence[Value], split: _Split
    ) -> None:
        """Take the node, its operands, and how rows are split."""
        self._builder = builder
        self._expr = expr
        self._split = split
        self._kept = _kept(expr)
        self._extents = _extents(expr, operands)
        #: Operands, then the results of reductions: positions in bodies are theirs.
        self._known: list[tuple[Term, Value, str]] = list(
            zip(expr.terms, operands, expr.inputs, strict=True)
        )

    def append(self, target: Value) -> None:
        """Append all stages; the last one writes ``target``."""
        expr = self._expr
        last = len(self._known) + len(expr.reductions) - 1
        is_result = expr.output == self._kept and positions_of(expr.body) == {last}
        for reduction in expr.reductions:
            if is_result and len(self._known) == last:
                self._reduced(reduction, target, substituted(expr.body, {last: Element(0)}))
                return
            result = self._builder.buffer(
                tuple(self._extents[index] for index in self._kept), as_dtype(expr.compute)
            )
            self._reduced(reduction, result, Element(0))
            self._known.append((self._kept, result, expr.compute))
        used, body = self._used(self._expr.body)
        (_, _, first), *others = used
        how = Arithmetics(
            *((first,), self._expr.result, self._expr.compute, (False,), body),
            tuple(dtype for _, _, dtype in others),
        )
        bound = bind_elementwise(
            [term for term, _, _ in used],
            [value.steps for _, value, _ in used],
            self._expr.output,
            target.shape,
            target.steps,
            how,
            host(),
        )
        self._builder.launch(bound, [value for _, value, _ in used], target)

    def _used(self, body: Scalar) -> tuple[list[tuple[Term, Value, str]], Scalar]:
        """Return what a body reads, and the body with their positions among those."""
        positions = sorted(positions_of(body)) or [0]
        renamed = {position: Element(number) for number, position in enumerate(positions)}
        return [self._known[position] for position in positions], substituted(body, renamed)

    def _reduced(self, reduction: Reduction, target: Value, finish: Scalar) -> None:
        """Append the stages of one reduction, which write ``finish`` of its result."""
        split, builder = self._split, self._builder
        dtype = as_dtype(self._expr.compute)
        shape = tuple(self._extents[index] for index in self._kept)
        n_parts = split.n_chunks + bool(split.rest)
        partial = builder.buffer((n_parts, *shape), dtype)
        kind = "sum" if reduction.kind == "mean" else reduction.kind
        used, body = self._used(reduction.body)
        self._launch(
            [self._chunked(term, value) for term, value, _ in used],
            [dtype for _, _, dtype in used],
            (_CHUNK, *self._kept),
            tuple(_WITHIN if i == split.index else i for i in self._expr.reduced),
            Reduction(kind, body),
            partial.part(0, 0, split.n_chunks),
        )
        if split.rest:
            axes = [(extent, axis, 1) for axis, extent in enumerate(shape, 1)]
            self._launch(
                [(term, self._left(term, value)) for term, value, _ in used],
                [dtype for _, _, dtype in used],
                self._kept,
                self._expr.reduced,
                Reduction(kind, body),
                partial.viewed((split.n_chunks, *(0 for _ in shape)), axes),
            )
        total: Scalar = Element(1)
        if reduction.kind == "mean":
            count = prod(self._extents[index] for index in self._expr.reduced)
            total = combined("divide", total, Number(float(count)))
        self._launch(
            [((_CHUNK, *self._kept), partial)],
            [self._expr.compute],
            self._kept,
            (_CHUNK,),
            Reduction(kind, Element(0)),
            target,
            substituted(finish, {0: total}),
        )

    def _launch(
        self,
        operands: Sequence[tuple[Term, Value]],
        dtypes: Sequence[str],
        output: Term,
        reduced: Term,
        reduction: Reduction,
        target: Value,
        body: Scalar | None = None,
    ) -> None:
        """Append one reduction; its result is stored as it is where there is no body."""
        expr = replace(
            self._expr,
            terms=tuple(term for term, _ in operands),
            output=output,
            reduced=reduced,
            reductions=(reduction,),
            body=Element(len(operands)) if body is None else body,
            inputs=tuple(dtypes),
            result=dtype_name(target.dtype),
        )
        values = [value for _, value in operands]
        bound = bind_rows(
            expr,
            [value.shape for value in values],
            [value.steps for value in values],
            target.steps,
            host(),
        )
        self._builder.launch(bound, values, target)

    def _chunked(self, term: Term, value: Value) -> tuple[Term, Value]:
        """Return an operand whose split index, where it has it, is two: chunk and within."""
        split = self._split
        indices: list[Index] = []
        axes: list[tuple[int, int | None, int]] = []
        for axis, (index, extent) in enumerate(zip(term, value.shape, strict=True)):
            if index == split.index:
                indices += [_CHUNK, _WITHIN]
                axes += [(split.n_chunks, axis, split.within), (split.within, axis, 1)]
            else:
                indices.append(index)
                axes.append((extent, axis, 1))
        return tuple(indices), value.viewed((0,) * len(term), axes)

    def _left(self, term: Term, value: Value) -> Value:
        """Return what the chunks leave of an operand."""
        split = self._split
        if split.index not in term:
            return value
        return value.part(term.index(split.index), split.n_chunks * split.within, split.rest)
