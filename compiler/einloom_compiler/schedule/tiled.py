"""Choose register blocks of the tiled family.

Every index of the output that is contiguous there, every contracted index that is contiguous in an
operand, and none, are tried for the lanes; every other output index for the rows; the block
predicted to be the fastest wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import inf, prod
from operator import itemgetter

from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.policy import STREAMED_CACHES
from einloom_compiler.schedule.tiled_ahead import ahead
from einloom_compiler.schedule.tiled_blocks import Block, Outline, numbered, real_bytes
from einloom_compiler.schedule.tiled_cost import Costs
from einloom_compiler.schedule.tiled_cost import seconds as predicted
from einloom_compiler.schedule.tiled_cycles import OPEN_ROWS, ROWS, Form, Rates, rates
from einloom_compiler.schedule.tiled_joined import joined

#: Real lanes of a vector, vectors a row, points of each of an outline's rows.
Sizes = tuple[int, int, tuple[int, ...]]
#: Least seconds that count, number, penalty for size, cycles, what prices it, and a block's sizes.
_Tried = tuple[float, int, float, float, Costs, Sizes]

#: Extents up to this may be constants of a kernel.
STATIC = 32
#: Accumulators of a block, by number of vector registers; the others hold operands.
ACCUMULATORS = {32: 24, 16: 12}
#: Accumulators of a block of scalars.
SCALARS = 9
#: Most rows of a block along a static extent, and of one with summed lanes, where each row is read
#: through an address register of its own. Measured 2026-11 (2-core AVX-512): 16 x 100000 x 16 in
#: float32 took 0.47 ms with 16 rows, 0.79 ms with 8.
STATIC_ROWS, DOT_ROWS = 16, 6
#: Vectors a row of blocks along extents that are arguments.
VECTORS = (1, 2, 3, 4, 6, 8, 12)
#: Vectors a row where there are rows.
MOST_VECTORS = 8
#: Bytes that a task may gather in scratch, a half of L1 at most.
STREAMED_RUN = 16 << 10
#: Bytes of its run at least: gathering shorter ones takes longer than it saves. Measured 2026-11
#: (2-core Zen 3, two threads): ``bi,bif->bif`` of a million runs of 12 bytes 1.7 ms, and 1.4 ms not
#: streamed.
LEAST_RUN = 32
#: Least share of an output that is streamed in what is read.
STREAMED_SHARE = 0.25
#: Share of the third-level cache up to which results stay there where as much is read. Measured
#: 2026-11 (2-core Zen 3, two threads, 32 MB), streamed and not: batches of 4 x 4 products, 19 MB in
#: all, 0.61 and 0.37 ms, ``abcd->acbd`` of 25 MB 0.94 and 0.67, 5 x 7 by 7 x 11 of 27 MB 0.98 and
#: 0.80, 16 x 16 of 31 MB 1.01 and 1.00; products of rows, 34 MB that are hardly read, 1.7 and 2.3.
KEPT_SHARE = 7 / 8
#: Share of the predicted time that each accumulator must save: it is code to compile and to load.
_LEAST_GAIN = 0.0005
_DTYPES = (
    *("float32", "float64", "int32", "uint32", "int64", "uint64"),
    *("complex64", "complex128"),
)


def choose(
    space: IterationSpace,
    arithmetics: Arithmetics,
    machine: Machine,
    *,
    is_static: bool = True,
    below: float = inf,
) -> tuple[Block, float] | None:
    """Return the block predicted to be the fastest, and its time; None where there is none.

    Args:
        space: the contraction's indices.
        arithmetics: its dtypes and maps.
        machine: the target.
        is_static: whether short extents may be constants of the kernel.
        below: seconds; blocks that must take longer are left out.
    """
    if not is_supported(space, arithmetics):
        return None
    static = frozenset(
        number
        for number, extent in enumerate(space.extents)
        if is_static
        and number not in space.open
        and extent <= STATIC
        and not isinstance(extent, Formula)
    )
    tried: list[_Tried] = []
    for lanes in _lane_candidates(space, arithmetics, machine):
        candidates = _row_candidates(space, lanes)
        for rows in candidates:
            costs = Costs(Outline(space, arithmetics, machine, lanes, rows, static))
            for sizes, found in blocks(costs.form):
                if rows and () in candidates and prod(sizes[2]) == 1:
                    continue  # it would walk across memory in the tasks' stead, and save nothing
                cycles = costs.cycles(sizes[2], found)
                least = costs.least(cycles)
                if least <= below:
                    penalty = 1 + _LEAST_GAIN * found.size
                    tried.append((least * penalty, len(tried), penalty, cycles, costs, sizes))
    tried.sort(key=itemgetter(0))
    best: tuple[float, int, float, Block] | None = None
    for least, number, penalty, cycles, costs, sizes in tried:
        if best is not None and least > best[0]:
            break  # nor can any of the rest be faster
        seconds = costs.seconds(*sizes, cycles)
        needed = seconds * penalty
        if best is None or (needed, number) < best[:2]:
            best = needed, number, seconds, Block(costs.outline, *sizes)
    chosen: tuple[Block, float] | None = None
    if best is not None:
        _, _, needed, block = best
        streamed = _streamed(block)
        if _is_streamed(streamed):
            return _foreseeing(streamed), min(needed, predicted(streamed))
        chosen, below = (_foreseeing(block), needed), min(below, needed)
    joint = joined(space, arithmetics, machine) if is_static else None
    if joint is not None and (seconds := predicted(joint)) <= below:
        return joint, seconds
    return chosen


def _foreseeing(block: Block) -> Block:
    """Return a block that prefetches its operands where that helps."""
    machine = block.outline.machine
    kept = max(STREAMED_CACHES * machine.l2_bytes, KEPT_SHARE * machine.shared_bytes)
    return replace(block, ahead=ahead(block, kept))


def _streamed(block: Block) -> Block:
    """Return a block with a streamed output.

    It has no rows of one point, nor any along tasks where they only save loads of a map.
    """
    outline = block.outline
    parts = outline.space, outline.arithmetics, outline.machine, outline.lane
    rows = [
        (number, count)
        for number, count in zip(outline.rows, block.counts, strict=True)
        if count > 1 and (outline.contracted or number not in outline.tasks)
    ]
    changed = Outline(*parts, tuple(n for n, _ in rows), outline.static, is_streamed=True)
    return replace(block, outline=changed, counts=tuple(count for _, count in rows))


def _is_streamed(block: Block) -> bool:
    """Say whether a block's output is written past the caches: a large one, as one run.

    It may be a small part of what is moved otherwise.
    """
    space, machine = block.outline.space, block.outline.machine
    if any(isinstance(extent, Formula) for extent in space.extents):
        return False
    *read, written = (
        space.n_elements(column)
        for column in (*space.strides[:-1], *space.extras, space.strides[-1])
    )
    size = block.outline.scale * block.outline.itemsize
    is_large = size * written > STREAMED_CACHES * machine.l2_bytes
    if sum(read) >= written and size * (sum(read) + written) <= KEPT_SHARE * machine.shared_bytes:
        return False
    is_worth = is_large and STREAMED_SHARE * sum(read) <= written and may_be_streamed(block)
    return is_worth and numbered(block).nest.run * block.outline.itemsize >= LEAST_RUN


def may_be_streamed(block: Block) -> bool:
    """Say whether a block's output can be gathered and written past the caches as one run."""
    outline = block.outline
    if not outline.is_one_run:
        return False
    return numbered(block).nest.run * outline.itemsize <= STREAMED_RUN


def is_supported(space: IterationSpace, arithmetics: Arithmetics) -> bool:
    """Say whether the family takes a contraction: native dtypes of one kind, no empty extent."""
    named = arithmetics
    dtypes = {*named.inputs, *named.extras, named.output, named.compute}
    if len(dtypes) != 1 or arithmetics.compute not in _DTYPES:
        return False
    if min(space.extents, default=0) == 0 or not space.n_output:
        return False
    is_complex = arithmetics.compute.startswith("complex")
    if is_complex and (len(arithmetics.inputs) > 2 or not arithmetics.is_plain):
        return False
    if not arithmetics.is_plain and not arithmetics.compute.startswith("float"):
        return False
    read = {
        number
        for column in space.strides[:-1]
        for number, step in enumerate(column)
        if step is not None
    }
    return read == set(range(len(space.extents)))


def _lane_candidates(
    space: IterationSpace, arithmetics: Arithmetics, machine: Machine
) -> list[int | None]:
    """Return the indices along which vectors may lie; None stands for scalars.

    They are the best of the output's and of the contracted indices; where the output's gives whole
    vectors to every access, it alone.
    """
    scale = 2 if arithmetics.compute.startswith("complex") else 1
    found: dict[bool, tuple[int, int, int]] = {}
    for number in lane_indices(space, arithmetics):
        steps = [column[number] for column in space.strides if column[number] is not None]
        units = sum(step == 1 for step in steps)
        is_output = number < space.n_output
        score = 2 * units - len(steps), space.extents[number], number
        found[is_output] = max(found.get(is_output, score), score)
    if True in found:
        _, extent, number = found[True]
        steps = [column[number] for column in space.strides if column[number] is not None]
        if set(steps) == {1} and scale * extent * 8 >= machine.simd_bits // 8:
            return [number]
    return [None, *(number for _, _, number in found.values())]


def lane_indices(space: IterationSpace, arithmetics: Arithmetics) -> list[int]:
    """Return the indices along which vectors may lie.

    Those of the output are contiguous there, contracted ones in an operand; complex ones wherever
    they occur.
    """
    is_complex = arithmetics.compute.startswith("complex")
    found: list[int] = []
    for number in range(len(space.extents)):
        steps = [column[number] for column in space.strides if column[number] is not None]
        units = sum(step == 1 for step in steps)
        if units == 0 or (is_complex and units < len(steps)):
            continue
        if number >= space.n_output or space.strides[-1][number] == 1:
            found.append(number)
    return found


def widths(arithmetics: Arithmetics, machine: Machine) -> tuple[int, ...]:
    """Return the numbers of real lanes that a vector may have."""
    bits = 32 if arithmetics.compute in ("float32", "int32", "uint32", "complex64") else 64
    return tuple(n // bits for n in (128, 256, 512) if n <= machine.simd_bits)


def _row_candidates(space: IterationSpace, lanes: int | None) -> list[tuple[int, ...]]:
    """Return sets of row indices: those for which most loads serve all rows first.

    Where lanes are summed or there are none, two of which each saves loads may be rows together.
    """
    outputs = [n for n in range(space.n_output) if n != lanes]

    def reuse(number: int) -> tuple[int, int]:
        shared = sum(
            column[number] is None and (lanes is None or column[lanes] is not None)
            for column in space.strides[:-1]
        )
        return -shared, -min(space.extents[number], ROWS[-1])

    outputs.sort(key=reuse)
    found: list[tuple[int, ...]] = [(number,) for number in outputs[:2]]
    if not outputs or reuse(outputs[0])[0] == 0:
        found.insert(0, ())
    is_pair = len(outputs) > 1 and (lanes is None or lanes >= space.n_output)
    if is_pair and (lanes is None or reuse(outputs[1])[0] < 0):
        found.append((outputs[0], outputs[1]))
    return found


@lru_cache(maxsize=1024)
def blocks(form: Form) -> tuple[tuple[Sizes, Rates], ...]:
    """Return the sizes of blocks that fill the registers, and what one of each takes."""
    has_lanes = form.lane_extent > 0
    budget = ACCUMULATORS[form.n_registers] // form.sums if has_lanes else SCALARS
    bits = 8 * real_bytes(form.compute)
    width, n_vectors = form.scale, 1
    if has_lanes:
        n_lanes = form.scale * form.lane_extent
        width = min(form.simd_bits // bits, max(128 // bits, _power(n_lanes)))
        n_vectors = -(-n_lanes // width)
    found: dict[Sizes, None] = {}
    for most in VECTORS:
        if most > min(budget, MOST_VECTORS if form.row_extents else budget):
            break
        vectors = _balanced(n_vectors, most) if form.is_lane_static else most
        rows = list(zip(form.row_extents, form.static_rows, form.open_rows, strict=True))
        most_rows = DOT_ROWS if form.is_dot else STATIC_ROWS
        for counts in _row_counts(rows, budget // vectors, most_rows):
            found[width, vectors, counts] = None
    return tuple((sizes, rates(form, *sizes)) for sizes in found)


def _power(number: int) -> int:
    """Return the least power of two that is not below ``number``."""
    return 1 << max(0, number - 1).bit_length()


def _balanced(extent: int, most: int) -> int:
    """Return the size of the fewest equal blocks of at most ``most`` points."""
    return -(-extent // -(-extent // most))


def _row_counts(
    rows: Sequence[tuple[int, bool, bool]], budget: int, most: int
) -> Iterator[tuple[int, ...]]:
    """Yield the rows of blocks along each row index, so many points in all at most.

    Args:
        rows: extent of each row index, whether it is static, whether it is open.
        budget: points.
        most: of one index.
    """
    if not rows:
        yield ()
        return
    share = budget if len(rows) == 1 else max(1, int(budget**0.5))
    for count in _counts(*rows[0], min(share, most)):
        for others in _row_counts(rows[1:], budget // count, most):
            yield (count, *others)


def _counts(extent: int, is_static: bool, is_open: bool, most: int) -> tuple[int, ...]:
    """Return the rows of a block: of a static extent the fewest blocks, and whole ones.

    Those of others are of :data:`ROWS`. Of an extent that changes from call to call, there are
    fewer, so that few kernels serve all its values: those shorter than a block go row by row, which
    costs loads of the other operand from the L1 cache, not a compile.
    """
    if is_static:
        whole = next(count for count in range(min(most, extent), 0, -1) if extent % count == 0)
        return tuple({_balanced(extent, most): None, whole: None})
    if is_open:
        # Formulas of extents may be 0 where they are planned.
        return (min(most, max(count for count in OPEN_ROWS if count <= max(extent, 1))),)
    enough = next((count for count in ROWS if count >= extent), ROWS[-1])
    return (min(enough, max(count for count in ROWS if count <= most)),)
