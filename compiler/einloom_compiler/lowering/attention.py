"""Bind an attention node to memory: which index plays which part, extents and strides.

Queries run along the lanes of vectors: the index that causality speaks of, else the longest of the
indices that query and output have and key and value lack. Columns are the longest index that only
value and output have. All other output indices are batch indices, on which some operands may not
depend (the heads of a group of queries that share keys and values). Indices that are neighbours in
all operands are fused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from einloom_compiler.dtypes import arithmetic, dtype_name
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.ir.attention import COMPUTED, AttentionNest, Mask, MaskLanes, PanelSchedule
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Attention
from einloom_compiler.ir.scalar import Scalar, check_scalar
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.lowering.formula import is_open, named
from einloom_compiler.lowering.iteration import IterationSpace, fuse, squeeze
from einloom_compiler.schedule.machine import Machine


@dataclass(frozen=True, slots=True)
class AttentionForm:
    """What an attention node computes, without the nodes that it is computed from.

    Attributes:
        terms: indices of query, key and value, then of each mask.
        output: the output's indices.
        inputs: dtype name of each operand in memory, in the order of ``terms``.
        result: that of the output.
        compute: dtype name that operands are cast to.
        score: of ``Value(0)``, the sum of products, and ``Value(1 + n)``, mask ``n``'s element.
        is_causal: whether keys behind the query position are left out.
    """

    terms: tuple[Term, ...]
    output: Term
    inputs: tuple[str, ...]
    result: str
    compute: str
    score: Scalar
    is_causal: bool


@dataclass(frozen=True, slots=True)
class BoundAttention:
    """An attention nest with its numbers.

    Attributes:
        nest: what is computed.
        numbers: extents and strides, in the order of the kernel ABI.
        total: number of tasks.
        pairs: number of pairs of a query and a key, whether or not they are left out.
        points: that times contracted points and columns.
        share: computed pairs by pairs: less than 1 where causality leaves blocks out, more where
            panels are not full.
        moved: elements of queries that are packed and of sums that are stored, one by one.
        moved_bytes: of every operand read once and the output written once.
    """

    nest: AttentionNest
    numbers: tuple[int, ...]
    total: int
    pairs: int
    points: int
    moved_bytes: int
    share: float = 1.0
    moved: int = 0


def form_of(node: Attention) -> AttentionForm:
    """Return what a node computes; its dtypes are settled."""
    dtypes = [dtype_of(operand) for operand in (*node.operands, node)]
    *inputs, result = (dtype_name(dtype) for dtype in dtypes if dtype is not None)
    return AttentionForm(
        (*node.terms, *node.mask_terms),
        node.output,
        tuple(inputs),
        result,
        result,
        node.score,
        node.is_causal,
    )


#: Queries that are computed one by one: more fill vectors better. Shipped code for any number of
#: queries fills vectors, as one by one costs many queries more than the reverse costs one.
MOST_SINGLE = 2

#: Strides of one index: in query, key, value, each mask, and the output; None where absent.
_Column = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class _Axis:
    extent: int
    strides: _Column

    def step(self, access: int) -> int:
        return self.strides[access] or 0


def bind_nest(
    form: AttentionForm,
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    output_strides: tuple[int, ...],
    machine: Machine,
    block: PanelSchedule | None = None,
) -> BoundAttention:
    """Return the nest and numbers of ``form`` for operands of these layouts.

    Args:
        form: what is computed.
        shapes: of query, key, value and masks, already checked.
        strides: theirs, in elements, any sign.
        output_strides: the output's, in elements.
        machine: the target.
        block: the blocking; the usual one for the machine where None.

    Raises:
        UnsupportedError: attention is not computed in this dtype.
        DTypeError: nor is the score.
    """
    if form.compute not in COMPUTED:
        raise UnsupportedError(
            f"attention is computed in {', '.join(COMPUTED)}, not in {form.compute}; cast query, "
            "key and value to one of them"
        )
    check_scalar(form.score, arithmetic(form.compute).compute)
    roles = _Roles(form)
    space = _Space(form, shapes, strides, output_strides)
    queries, columns = space.axes(roles.queries), space.axes(roles.columns)
    contracted, (keys,) = space.axes(roles.contracted), space.axes((roles.keys,), squeezed=False)
    query = _longest(queries, space)
    column = _longest(columns, space)
    point = min(contracted, key=lambda axis: abs(axis.step(0)), default=space.one)
    batch = space.axes(
        roles.batch, [axis for axis in (*queries, *columns) if axis not in (query, column)]
    )
    outer = [axis for axis in contracted if axis is not point]
    n_masks = len(form.terms) - 3
    is_single = not outer and _is_single(form, query, point, column)
    element = arithmetic(form.compute).compute
    nest = AttentionNest(
        query=form.inputs[0],
        key=form.inputs[1],
        value=form.inputs[2],
        masks=tuple(_mask(form, 3 + n, query, keys, is_single) for n in range(n_masks)),
        output=form.result,
        compute=form.compute,
        block=block
        or _block(query.extent, point.extent, column.extent, element, machine, is_single),
        n_batch=len(batch),
        n_contracted=len(outer),
        is_query_contiguous=point.strides[0] == 1,
        is_key_contiguous=point.strides[1] == 1,
        is_value_contiguous=column.strides[2] == 1,
        is_output_contiguous=column.strides[-1] == 1,
        score=form.score,
        is_causal=form.is_causal,
        is_single=is_single,
    )
    accesses = [(*batch, query, point, *outer), (*batch, keys, point, *outer)]
    accesses += [(*batch, keys, column), *((*batch, query, keys) for _ in range(n_masks))]
    accesses.append((*batch, query, column))
    extents = [axis.extent for axis in (*batch, query, keys, point, column, *outer)]
    steps = [axis.step(n) for n, axes in enumerate(accesses) for axis in axes]
    panels = named(-(-query.extent // nest.panel), "n_panels")
    chunks = named(-(-column.extent // nest.block.columns), "n_chunks")
    n_batches = prod(axis.extent for axis in batch)
    pairs = n_batches * query.extent * keys.extent
    depth = prod(axis.extent for axis in contracted)
    return BoundAttention(
        nest,
        (*extents, *steps),
        n_batches * panels * chunks,
        pairs,
        pairs * (depth + column.extent),
        space.moved_bytes,
        _computed_share(query.extent, keys.extent, nest),
        n_batches * query.extent * (depth + column.extent),
    )


def _is_single(form: AttentionForm, query: _Axis, point: _Axis, column: _Axis) -> bool:
    """Say whether queries are so few that each is computed by vectors of keys, then of columns."""
    return (
        query.extent <= MOST_SINGLE
        and not is_open(query.extent)
        and point.strides[1] == 1
        and column.strides[2] == 1
        and not any(_is_cast(form, access) for access in (1, 2))
    )


def _computed_share(n_queries: int, n_keys: int, nest: AttentionNest) -> float:
    """Return computed pairs by pairs: panels are full, causal ones end with their last query."""
    if is_open(n_queries) or is_open(n_keys) or not n_queries * n_keys:
        return 1.0
    starts = range(0, n_queries, nest.panel)
    if not nest.is_causal:
        return len(starts) * nest.panel / n_queries
    computed = sum(min(n_keys, start + nest.panel, n_queries) for start in starts) * nest.panel
    return computed / (n_queries * n_keys)


class _Roles:
    """Which index plays which part."""

    def __init__(self, form: AttentionForm) -> None:
        query, key, value = (set(term) for term in form.terms[:3])
        output = set(form.output)
        (self.keys,) = (key & value) - query - output
        indices = dict.fromkeys(index for term in form.terms for index in term)
        self.queries = tuple(i for i in indices if i in (query & output) - key - value)
        self.columns = tuple(i for i in indices if i in (value & output) - query - key)
        self.contracted = tuple(i for i in indices if i in (query | key) - output - {self.keys})
        known = {*self.queries, *self.columns, *self.contracted, self.keys}
        self.batch = tuple(index for index in form.output if index not in known)


class _Space:
    """Extents and strides of indices."""

    def __init__(
        self,
        form: AttentionForm,
        shapes: Sequence[tuple[int, ...]],
        strides: Sequence[tuple[int, ...]],
        output_strides: tuple[int, ...],
    ) -> None:
        self.extents: dict[Index, int] = {}
        self.columns: list[Mapping[Index, int]] = []
        self.form = form
        for term, shape, steps in zip(form.terms, shapes, strides, strict=True):
            column: dict[Index, int] = {}
            for index, extent, step in zip(term, shape, steps, strict=True):
                self.extents[index] = extent
                column[index] = column.get(index, 0) + step
            self.columns.append(column)
        self.columns.append(dict(zip(form.output, output_strides, strict=True)))
        self.one = _Axis(1, (None,) * len(self.columns))

    def axes(
        self, indices: Sequence[Index], more: Sequence[_Axis] = (), *, squeezed: bool = True
    ) -> list[_Axis]:
        """Return these indices and axes, neighbours fused, without those of extent 1."""
        extents = (*(self.extents[i] for i in indices), *(axis.extent for axis in more))
        columns = tuple(
            (*(column.get(i) for i in indices), *(axis.strides[n] for axis in more))
            for n, column in enumerate(self.columns)
        )
        space = IterationSpace(extents, len(extents), columns, ("",) * len(extents))
        space = fuse(squeeze(space)) if squeezed else space
        return [
            _Axis(extent, tuple(column[n] for column in space.strides))
            for n, extent in enumerate(space.extents)
        ]

    @property
    def moved_bytes(self) -> int:
        """Bytes of every operand read once and the output written once."""
        total = 0
        names = (*self.form.inputs, self.form.result)
        for name, column in zip(names, self.columns, strict=True):
            size = prod(self.extents[index] for index, step in column.items() if step)
            total += size * np.dtype(arithmetic(name).storage).itemsize
        return total


def _longest(axes: Sequence[_Axis], space: _Space) -> _Axis:
    return max(axes, key=lambda axis: axis.extent, default=space.one)


def _is_cast(form: AttentionForm, access: int) -> bool:
    name = form.inputs[access]
    return name != form.compute or arithmetic(name).is_half


def _mask(form: AttentionForm, access: int, query: _Axis, keys: _Axis, is_single: bool) -> Mask:
    """Return how a mask is read; the lanes of a single query's vectors are keys."""
    is_cast = _is_cast(form, access)
    along, across = query.strides[access], keys.strides[access]
    if is_single:
        along, across = across, None
    lanes: MaskLanes = "staged"
    if not along:
        lanes = "same"
    elif along == 1 and not is_cast:
        lanes = "vectors"
    elif across == 1:
        lanes = "converted" if is_cast else "transposed"
    return Mask(form.inputs[access], lanes)


def _block(
    n_queries: int, n_points: int, n_columns: int, element: str, machine: Machine, is_single: bool
) -> PanelSchedule:
    """Return the blocking for so many queries, contracted points and columns of the values.

    A register block leaves registers for one vector of each of its columns and an element. Where a
    panel is one vector and there are 16 registers, 12 sums hide the latency of multiply-adds that 6
    do not; fewer columns than two such blocks would be computed one by one or twice.

    As many panels share a copy as L2 about holds: they pass by in order, and more than 32 gain
    nothing. Measured 2026-11 (one AVX2 core, 512 KB of L2, 512 queries and keys): 32 panels of 64
    points take 0.97 of the time of 16, 16 of 256 points 0.88 of that of 4.

    Copies of keys and values are as wide as the operands where their extents are known, in few
    sizes, since each is a kernel of its own.
    """
    width = machine.simd_bits // (8 * np.dtype(element).itemsize)
    if is_single:
        return PanelSchedule(width, 1, 1, keys=256)
    vectors = 1 if n_queries <= width and not is_open(n_queries) else 2
    rows = 8 if machine.n_registers >= 32 else 6
    if vectors == 1 and rows == 6 and not is_open(n_columns) and n_columns >= 24:
        rows = 12
    if n_queries <= vectors * width and not is_open(n_queries):
        return PanelSchedule(width, vectors, rows)
    points, columns = _copied(n_points), _copied(n_columns)
    lanes_bytes = vectors * machine.simd_bits // 8
    panel_bytes = (points + columns + rows) * lanes_bytes
    most = machine.l2_bytes * 9 // 8
    panels = next((n for n in (32, 16, 8, 4) if n * panel_bytes <= most), 2)
    return PanelSchedule(width, vectors, rows, points=points, columns=columns, panels=panels)


def _copied(extent: int) -> int:
    """Return how many elements of an extent a copy holds."""
    if is_open(extent):
        return 256
    return next((size for size in (64, 128) if extent <= size), 256)
