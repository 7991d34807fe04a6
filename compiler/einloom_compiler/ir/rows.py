"""The nest of rows: reductions of strided operands along some indices, and what follows from them.

Grammar::

    RowsNest = (inputs: Access+, output: Access, kept: name*, reduced: name*,
                reductions: Reduction*, body: Scalar, compute: dtype name, vector: name | None,
                lanes: int, copies: int, row: int, is_apart: bool,
                streams: int)

For each point of the kept indices, a *row*, reductions run along the reduced indices in *passes*:
those that use no other's result share the first pass, and so on. A last pass stores the body for
each point of the row; where the output lacks the reduced indices, it is stored once instead. The
meanings of positions in bodies are those of :class:`einloom_compiler.ir.graph.Rows`. A running
reduction is gathered in the last pass, whose points read what it has reached.

The index ``vector`` runs through memory in vectors: a reduced one along the row, with ``copies``
accumulators for each reduction; a kept one across ``copies * lanes`` rows at once, whose reductions
are the lanes of vectors. Where ``row`` is not 0, ``row`` rows that are neighbours along the last
kept index are computed together, and their accumulators lie in scratch: a pass then runs through
memory in its order, and ``copies`` points of a row enter its accumulator together. With
``streams``, so many rows are reduced side by side along their vectors, each in a part of its own of
the last kept index. The parallel range is that of rows, or of such blocks of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.graph import Reduction
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.scalar import (
    Combined,
    Mapped,
    Scalar,
    Value,
    parts_of,
    positions_of,
    print_scalar,
)

#: Maps of a few instructions: computing them again costs less than storing what they gave.
_CHEAP_MAPS = frozenset(
    ("linear", "negative", "abs", "square", "add", "multiply", "maximum", "minimum", "relu")
)


@dataclass(frozen=True, slots=True)
class RowsNest:
    """Reductions along rows; see the module's grammar.

    Attributes:
        inputs: operands, read only.
        output: the operand written.
        kept: indices of the rows, outermost first.
        reduced: indices along a row, outermost first.
        reductions: in order; later ones may use earlier ones' results.
        body: what is stored.
        compute: name of the dtype that everything is computed in.
        vector: the index that vectors run along; None for scalars.
        lanes: elements of a vector, 1 for scalars.
        copies: vectors that are in work at once; with ``row``, points of a row.
        row: accumulators of each reduction in scratch; 0 where they are variables.
        is_apart: whether points in work at once are as far apart as they can be, each in a part of
            its own of the last reduced index, instead of neighbours.
        streams: rows read side by side, far from each other.
    """

    inputs: tuple[Access, ...]
    output: Access
    kept: tuple[str, ...]
    reduced: tuple[str, ...]
    reductions: tuple[Reduction, ...]
    body: Scalar
    compute: str
    vector: str | None = None
    lanes: int = 1
    copies: int = 1
    row: int = 0
    is_apart: bool = False
    streams: int = 1

    @property
    def indices(self) -> tuple[str, ...]:
        """All indices, kept ones first."""
        return (*self.kept, *self.reduced)

    @property
    def is_across(self) -> bool:
        """Whether vectors run across rows."""
        return self.vector in self.kept

    @property
    def blocked(self) -> str | None:
        """The kept index along which several rows are computed together, if any."""
        if self.row or self.streams > 1:
            return self.kept[-1]
        return self.vector if self.is_across else None

    @property
    def block(self) -> int:
        """How many rows that are."""
        return self.row or (self.streams if self.streams > 1 else self.lanes * self.copies)

    @property
    def stores_points(self) -> bool:
        """Whether the output has the reduced indices; so it seems where there are none."""
        return set(self.reduced) <= set(self.output.indices)

    @property
    def passes(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the reductions that share each pass along the row."""
        found: list[list[int]] = []
        depths: list[int] = []
        for number, reduction in enumerate(self.reductions):
            if reduction.is_running:
                continue
            used = positions_of(reduction.body)
            earlier = (depths[r] for r in range(number) if len(self.inputs) + r in used)
            depths.append(1 + max(earlier, default=-1))
            found += [[] for _ in range(depths[-1] + 1 - len(found))]
            found[depths[-1]].append(number)
        return tuple(map(tuple, found))

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the reductions that the last pass gathers."""
        return tuple(n for n, reduction in enumerate(self.reductions) if reduction.is_running)

    @property
    def row_values(self) -> frozenset[int]:
        """The positions of values that are one for a whole row."""
        n = len(self.inputs)
        reduced = set(self.reduced)
        whole = (p for p, access in enumerate(self.inputs) if not reduced & set(access.indices))
        results = (n + r for r in range(len(self.reductions)) if r not in self.running)
        return frozenset((*whole, *results))

    @property
    def stored(self) -> Scalar | None:
        """What the last reduction stores in the output on the way, for the last pass to read.

        The costliest part that both have, such as softmax's exponential; None where there is none,
        or where the output could not hold it exactly or has no vectors.
        """
        output = self.output
        is_exact = output.dtype == self.compute and output.dtype in ("float32", "float64")
        is_plain = output.unit == self.vector or self.vector is None
        if not (self.stores_points and self.passes and self.reduced and is_exact and is_plain):
            return None
        last = self.passes[-1][-1]
        shared = set(parts_of(self.body)) & set(parts_of(self.reductions[last].body))
        costly = [
            part
            for part in parts_of(self.reductions[last].body)
            if part in shared and _is_costly(part) and not positions_of(part) <= self.row_values
        ]
        return costly[-1] if costly else None

    @property
    def held(self) -> Value:
        """The value that stands, behind all others, for what the output holds."""
        return Value(len(self.inputs) + len(self.reductions))

    @property
    def last_body(self) -> Scalar:
        """The body of the last pass, which reads what was stored on the way."""
        return self.body if self.stored is None else _replaced(self.body, self.stored, self.held)

    def parallel_extent(self, extents: Sequence[int]) -> int:
        """Return the length of the parallel range; ``extents`` in the order of ``indices``."""
        by_index = dict(zip(self.indices, extents, strict=True))
        return prod(
            -(-by_index[index] // self.block) if index == self.blocked else by_index[index]
            for index in self.kept
        )


def _replaced(body: Scalar, part: Scalar, by: Scalar) -> Scalar:
    """Return the body with one of its parts replaced."""
    made: dict[Scalar, Scalar] = {}
    for each in parts_of(body):
        made[each] = each
        if each is part:
            made[each] = by
        elif isinstance(each, Mapped):
            made[each] = Mapped(each.map, made[each.argument])
        elif isinstance(each, Combined):
            made[each] = Combined(each.function, tuple(made[a] for a in each.arguments))
    return made[body]


def _is_costly(scalar: Scalar) -> bool:
    return any(
        (isinstance(part, Mapped) and part.map.function not in _CHEAP_MAPS)
        or (isinstance(part, Combined) and part.function == "power")
        for part in parts_of(scalar)
    )


def is_shifted_sum(nest: RowsNest, divisor: Scalar) -> bool:
    """Say whether a value is a sum of exponentials shifted by their maximum: at least 1, or NaN.

    The product with its reciprocal is then as good as a quotient: neither overflows.
    """
    n = len(nest.inputs)
    if not isinstance(divisor, Value) or divisor.position < n:
        return False
    match nest.reductions[divisor.position - n]:
        case Reduction("sum", Mapped(step, Combined("subtract", (value, Value(shift))))):
            tops = nest.reductions[shift - n : shift - n + 1] if shift >= n else ()
            return step.function == "exp" and tops == (Reduction("max", value),)
    return False


def print_rows(nest: RowsNest) -> str:
    """Return the nest as text, loops from the outermost, the computation last."""
    names = [_print_access(access) for access in nest.inputs]
    names += [f"r{number}" for number in range(len(nest.reductions))]
    lines = [f"rows in {nest.compute}, over {', '.join(nest.kept) or 'one row'}"]
    if nest.vector is not None:
        where = "across rows" if nest.is_across else "along the row"
        at_once = "" if nest.row or nest.streams > 1 else f", {nest.copies} at once"
        lines.append(f"  vectors of {nest.lanes} along {nest.vector}, {where}{at_once}")
    if nest.row:
        at_once = f"{nest.copies} points at once{', apart' if nest.is_apart else ''}"
        lines.append(f"  {nest.row} rows along {nest.blocked} in scratch, {at_once}")
    if nest.streams > 1:
        lines.append(f"  {nest.streams} rows of {nest.blocked} side by side, apart")
    along = ", ".join(nest.reduced) or "one point"
    for numbers in nest.passes:
        lines.append(f"  pass along {along}")
        for number in numbers:
            reduction = nest.reductions[number]
            lines.append(f"    r{number} = {reduction.kind} {print_scalar(reduction.body, names)}")
    if nest.stored is not None:
        lines.append(f"    {nest.output.name} holds {print_scalar(nest.stored, names)}")
    if nest.reduced and nest.stores_points:
        lines.append(f"  pass along {along}")
    for number in nest.running:
        reduction = nest.reductions[number]
        body = print_scalar(reduction.body, names)
        lines.append(f"    r{number} = running {reduction.kind} {body}")
    lines.append(f"  {_print_access(nest.output)} = {print_scalar(nest.body, names)}")
    return "\n".join(lines)


def _print_access(access: Access) -> str:
    steps = ", ".join(f"{i}:1" if i == access.unit else i for i in access.indices)
    return f"{access.name}[{steps}]:{access.dtype}"


def verify_rows(nest: RowsNest, stage: str) -> None:
    """Check what the grammar and the writer of source rely on.

    Raises:
        InternalCompilerError: an invariant is broken.
    """

    def require(holds: bool, reason: str) -> None:
        if not holds:
            raise InternalCompilerError(stage, reason, print_rows(nest))

    known = set(nest.indices)
    require(len(known) == len(nest.indices), "an index is there twice")
    for access in (*nest.inputs, nest.output):
        require(set(access.indices) <= known, f"{access.name} has a foreign index")
        require(access.unit is None or access.unit in access.indices, "a unit is no index")
    stored = set(nest.reduced) & set(nest.output.indices)
    require(set(nest.kept) <= set(nest.output.indices), "the output lacks a kept index")
    require(stored in (set(), set(nest.reduced)), "all reduced indices are stored, or none")
    n = len(nest.inputs)
    for number, reduction in enumerate(nest.reductions):
        require(_is_known(reduction.body, n + number), "a reduction uses a later value")
    require(_is_known(nest.body, n + len(nest.reductions)), "the body uses an unknown value")
    is_scan = nest.stores_points and len(nest.reduced) <= 1 and nest.vector not in nest.reduced
    is_scan &= not nest.row
    require(is_scan or not nest.running, "a scan is along one stored index, in variables")
    is_row = nest.stores_points or positions_of(nest.body) <= nest.row_values
    require(is_row, "a row's result uses elements of the row")
    require((nest.vector is None) == (nest.lanes == 1), "vectors have an index and lanes")
    require(nest.vector is None or nest.vector in known, "vectors run along no index")
    has_copies = nest.lanes > 1 or nest.row > 0
    require(nest.copies >= 1 and (has_copies or nest.copies == 1), "scalars have no copies")
    is_rows = nest.reduced and nest.reductions and nest.vector in (None, *nest.kept[-1:])
    require(not nest.row or bool(is_rows), "nothing is kept in scratch")
    wide = {n for n, access in enumerate(nest.inputs) if nest.vector in access.indices}
    is_streamed = nest.vector in nest.reduced and bool(nest.kept) and not nest.stores_points
    is_streamed = is_streamed and len(nest.passes) == 1 and nest.copies == 1
    is_streamed = is_streamed and all(wide & positions_of(r.body) for r in nest.reductions)
    require(nest.streams == 1 or is_streamed, "rows cannot be read side by side")
    require(nest.row % nest.lanes == 0, "a row in scratch is no whole number of vectors")


def _is_known(body: Scalar, n_values: int) -> bool:
    return all(0 <= position < n_values for position in positions_of(body))
