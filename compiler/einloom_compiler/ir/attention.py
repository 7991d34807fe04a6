"""The attention nest: softmax of query-key products times values, blocked, scores never stored.

Grammar::

    AttentionNest = (query: dtype name, key: dtype name, value: dtype name, masks: Mask*,
                     output: dtype name, compute: dtype name, block: PanelSchedule, n_batch,
                     n_contracted, is_query_contiguous, is_key_contiguous,
                     is_value_contiguous, is_output_contiguous, score: Scalar, is_causal)
    MaskLanes     = "same" | "vectors" | "transposed" | "converted" | "staged"
    Mask          = (dtype name, lanes: MaskLanes)

A task is a *panel* of queries, the lanes of ``vectors`` vectors, of one batch point. Keys pass by
in blocks: their scores are summed in registers, ``rows`` keys at a time, into a block of scratch
where keys are rows and queries lanes, so that maxima, sums and rescaling run lane by lane; then the
block times the values is added to the panel's results, in scratch too, transposed. Up to ``panels``
neighbouring tasks of a range pass by a block of keys together: its keys and values are copied to
scratch once for them, where they are read without the conflicts in caches and translation buffers
that the strides of an operand bring (a head's rows lie a whole token apart). A panel alone reads
them where they are, one element a broadcast, whatever their strides.
What a task needs besides the operands does not depend on their extents.

Where there are hardly any queries (``is_single``: a decoder's step), a panel is one query: vectors
run along contracted points, then keys, then columns, and each byte of keys and values is read once.

Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Rabe and Staats,
"Self-attention does not need O(n^2) memory", 2021; Dao et al., "FlashAttention", 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.scalar import Scalar, positions_of, print_scalar
from einloom_compiler.schedule.text import schedule_text

#: How a mask's elements for the lanes of a vector are found: it is the same one for all of them;
#: they are neighbours in memory; those of one query are, to be transposed, or to be converted and
#: then transposed; or they are moved to scratch one by one.
MaskLanes = Literal["same", "vectors", "transposed", "converted", "staged"]

#: Dtypes that attention is computed in.
COMPUTED = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Mask:
    """A further operand of the score.

    Attributes:
        dtype: dtype name in memory.
        lanes: how the elements of a vector's lanes are found.
    """

    dtype: str
    lanes: MaskLanes

    @property
    def is_moved(self) -> bool:
        """Whether its elements are brought to scratch before they are used."""
        return self.lanes in ("transposed", "converted", "staged")


@dataclass(frozen=True, slots=True)
class PanelSchedule:
    """The blocking of an attention nest.

    Attributes:
        width: lanes of a vector.
        vectors: vectors of a panel of queries.
        rows: keys, or columns of the values, in one register block.
        keys: of one block of scores, at most.
        points: contracted points of the packed queries, at most.
        columns: of the values, that one task computes, at most.
        panels: panels of queries that share a copy of keys and values, at most.
    """

    width: int
    vectors: int
    rows: int
    keys: int = 128
    points: int = 256
    columns: int = 256
    panels: int = 1

    @property
    def lanes(self) -> int:
        """Queries of a panel."""
        return self.width * self.vectors

    def __str__(self) -> str:
        """Print as a call."""
        return schedule_text(self)


@dataclass(frozen=True, slots=True)
class AttentionNest:
    """Blocked attention; see the module's grammar.

    Attributes:
        query, key, value: dtype names in memory.
        masks: further operands of the score.
        output: dtype name in memory of the output.
        compute: dtype name that operands are cast to.
        block: sizes of panels and blocks.
        n_batch: number of batch indices.
        n_contracted: number of contracted indices besides the innermost one.
        is_query_contiguous: whether a query's contracted points are neighbours in memory.
        is_key_contiguous: whether a key's are.
        is_value_contiguous: whether a value's columns are.
        is_output_contiguous: whether an output row's columns are.
        score: of ``Value(0)``, the sum of products, and ``Value(1 + n)``, mask ``n``'s element.
        is_causal: whether keys behind the query position are left out.
        is_single: whether a task is one query, and vectors run along what is neighbours in memory.
    """

    query: str
    key: str
    value: str
    masks: tuple[Mask, ...]
    output: str
    compute: str
    block: PanelSchedule
    n_batch: int
    n_contracted: int
    is_query_contiguous: bool
    is_key_contiguous: bool
    is_value_contiguous: bool
    is_output_contiguous: bool
    score: Scalar
    is_causal: bool
    is_single: bool = False

    @property
    def panel(self) -> int:
        """Queries of a task."""
        return 1 if self.is_single else self.block.lanes

    @property
    def element(self) -> str:
        """Dtype of scores and sums."""
        return arithmetic(self.compute).compute

    def is_cast(self, dtype: str) -> bool:
        """Say whether elements of ``dtype`` in memory are converted before they are used."""
        return dtype != self.compute or arithmetic(dtype).is_half

    @property
    def copies_keys(self) -> bool:
        """Whether a block's keys are copied to scratch before they are used."""
        return self.block.panels > 1 or self.is_cast(self.key)

    @property
    def copies_values(self) -> bool:
        """Whether a block's values are."""
        return self.block.panels > 1 or self.is_cast(self.value)

    def pitch(self, columns: int) -> int:
        """Return elements from row to row of a copy.

        They are an odd number of cache lines, so that equal places of neighbouring rows fall into
        different sets of a cache.
        """
        return (-(-columns // self.line) | 1) * self.line

    @property
    def line(self) -> int:
        """Elements of a cache line."""
        return 64 // np.dtype(self.element).itemsize

    # --- the scratch of a task: names and sizes of its parts, in order ----------------------------

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes, in elements, of the parts of a task's scratch."""
        block = self.block
        lanes = self.panel
        # Vectors of one query's elements end behind them.
        more = 4 * block.width if self.is_single else 0
        found = [
            ("panel", block.panels * block.points * lanes + more),
            ("scores", block.keys * lanes + more),
            ("sums", block.panels * (block.columns + block.rows) * lanes + more),
            ("state", block.panels * 4 * lanes + more),
        ]
        found += [
            (f"moved{number}", block.keys * lanes + more)
            for number, mask in enumerate(self.masks)
            if mask.is_moved
        ]
        if any(mask.lanes == "converted" for mask in self.masks):
            found.append(("rows", block.keys * lanes))
        if self.copies_keys:
            found.append(("keys", block.keys * self.pitch(block.points)))
        if self.copies_values:
            found.append(("values", block.keys * self.pitch(block.columns)))
        return tuple(found)

    def start(self, part: str) -> int:
        """Return where a part of the scratch begins."""
        at = 0
        for name, size in self.parts:
            if name == part:
                return at
            at += -(-size // 16) * 16
        raise InternalCompilerError("attention", f"there is no scratch called {part}", str(self))

    @property
    def scratch_elements(self) -> int:
        """Elements of scratch that each range needs."""
        name, size = self.parts[-1]
        return self.start(name) + -(-size // 16) * 16


def print_attention(nest: AttentionNest) -> str:
    """Return the nest as text: loops over panels and blocks, and what is computed in them."""
    block = nest.block
    rows = "by vectors" if nest.is_single else f"{block.rows} x {block.lanes} in registers"
    names = ["s", *(f"mask{number}" for number in range(len(nest.masks)))]
    score = print_scalar(nest.score, names)
    if nest.is_causal:
        score = f"{score} where key <= query, else -inf"
    masks = "".join(
        f", mask{number}: {mask.dtype} {mask.lanes}" for number, mask in enumerate(nest.masks)
    )
    copies = f" that up to {block.panels} panels share" if block.panels > 1 else ""
    return f"""\
attention q: {nest.query}, k: {nest.key}, v: {nest.value}{masks} -> {nest.output}
  parallel {nest.n_batch} batch indices, panels of {nest.panel} queries, {block.columns} columns
    blocks of {block.keys} keys{copies}
      s = sum of {nest.n_contracted + 1} indices, {rows}
      s = {score}
      m, l = max and sum of exp(s - m), in {nest.element}
      sums += exp(s - m) * v, {rows}
    out = sums / l"""


def verify_attention(nest: AttentionNest, stage: str) -> None:
    """Refuse a nest whose parts do not fit together.

    Raises:
        InternalCompilerError: naming ``stage`` and what is wrong.
    """
    block = nest.block
    n_values = 1 + len(nest.masks)
    rules = (
        (nest.compute in COMPUTED, "attention is computed in a real floating-point dtype"),
        (block.width in (2, 4, 8, 16), "vectors have 2 to 16 lanes"),
        (min(block.vectors, block.rows) > 0, "a register block has vectors and rows"),
        (
            block.panels == 1 or (block.panels > 1 and not nest.is_single),
            "queries that are computed one by one share no copies",
        ),
        (block.keys >= block.rows, "a block of keys holds a register block"),
        (min(block.points, block.columns) >= block.rows, "panels hold a register block"),
        (
            all(0 <= p < n_values for p in positions_of(nest.score)),
            "the score uses the sum and the masks",
        ),
        (
            all(m.lanes != "transposed" or not nest.is_cast(m.dtype) for m in nest.masks),
            "a mask that is cast is not transposed in registers",
        ),
        (
            not nest.is_single
            or not (nest.n_contracted or nest.is_cast(nest.key) or nest.is_cast(nest.value)),
            "keys and values of a single query are read by vectors",
        ),
        (nest.n_batch >= 0 and nest.n_contracted >= 0, "numbers of indices are not negative"),
    )
    for holds, reason in rules:
        if not holds:
            raise InternalCompilerError(stage, reason, print_attention(nest))
