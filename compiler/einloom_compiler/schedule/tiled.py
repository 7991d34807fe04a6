"""Choose register blocks of the tiled family.

Every index of the output that is contiguous there, every contracted index that is contiguous in an
operand, and none, are tried for the lanes; every other output index for the rows; the block
predicted to be the fastest wins.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.tiled_blocks import Block, Outline
from einloom_compiler.schedule.tiled_cost import Costs, edge

#: Real lanes of a vector, vectors a row, points of each of an outline's rows.
Sizes = tuple[int, int, tuple[int, ...]]

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
#: Rows, and vectors a row, of blocks along extents that are arguments; few, so that the sizes of
#: one structure share kernels.
ROWS = (1, 2, 3, 4, 6, 8, 12)
VECTORS = (1, 2, 3, 4, 6, 8, 12)
#: Vectors a row where there are rows.
MOST_VECTORS = 8
#: Share of the predicted time that each accumulator must save: it is code to compile and to load.
_LEAST_GAIN = 0.0005
_DTYPES = (
    *("float32", "float64", "int32", "uint32", "int64", "uint64"),
    *("complex64", "complex128"),
)


def choose(
    space: IterationSpace, arithmetics: Arithmetics, machine: Machine, *, is_static: bool = True
) -> tuple[Block, float] | None:
    """Return the block predicted to be the fastest, and its time; None where there is none.

    Args:
        space: the contraction's indices.
        arithmetics: its dtypes and maps.
        machine: the target.
        is_static: whether short extents may be constants of the kernel.
    """
    if not is_supported(space, arithmetics):
        return None
    static = frozenset(
        number
        for number, extent in enumerate(space.extents)
        if is_static and extent <= STATIC and not isinstance(extent, Formula)
    )
    tried: list[tuple[float, int, float, Costs, Sizes]] = []
    for lanes in _lane_candidates(space, arithmetics, machine):
        for rows in _row_candidates(space, lanes):
            costs = Costs(Outline(space, arithmetics, machine, lanes, rows, static))
            for sizes in _blocks(costs.outline):
                penalty = 1 + _LEAST_GAIN * _size(costs.outline, sizes)
                least = costs.least(*sizes) * penalty
                tried.append((least, len(tried), penalty, costs, sizes))
    tried.sort(key=lambda candidate: candidate[0])
    best: tuple[float, int, float, Costs, Sizes] | None = None
    for least, number, penalty, costs, sizes in tried:
        if best is not None and least > best[0]:
            break  # nor can any of the rest be faster
        seconds = costs.seconds(*sizes)
        needed = seconds * penalty
        if best is None or (needed, number) < best[:2]:
            best = needed, number, seconds, costs, sizes
    if best is None:
        return None
    _, _, seconds, costs, sizes = best
    return Block(costs.outline, *sizes), seconds


def _size(outline: Outline, sizes: Sizes) -> int:
    """Return the vectors of a block, those of an edge that a static extent leaves out excepted."""
    width, vectors, counts = sizes
    return prod(counts) * edge(outline, width, vectors)[0]


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


def _blocks(outline: Outline) -> Iterator[Sizes]:
    """Yield the sizes of blocks that fill the registers."""
    space, lanes, rows, static = outline.space, outline.lane, outline.rows, outline.static
    registers = ACCUMULATORS[outline.machine.n_registers]
    budget = SCALARS if lanes is None else registers // outline.sums
    bits = 8 * outline.itemsize
    width = outline.scale
    n_vectors = 1
    if lanes is not None:
        n_lanes = outline.scale * space.extents[lanes]
        width = min(outline.machine.simd_bits // bits, max(128 // bits, _power(n_lanes)))
        n_vectors = -(-n_lanes // width)
    tried: set[tuple[int, tuple[int, ...]]] = set()
    for most in VECTORS:
        if most > min(budget, MOST_VECTORS if rows else budget):
            break
        vectors = _balanced(n_vectors, most) if lanes in static else most
        counts: list[int] = []
        left = budget // vectors
        most_rows = DOT_ROWS if outline.is_dot else STATIC_ROWS
        for position, number in enumerate(rows):
            share = left if position == len(rows) - 1 else max(1, int(left**0.5))
            share = min(share, most_rows)
            counts.append(_row_count(space.extents[number], share, number in static))
            left //= counts[-1]
        key = vectors, tuple(counts)
        if key not in tried:
            tried.add(key)
            yield width, *key


def _power(number: int) -> int:
    """Return the least power of two that is not below ``number``."""
    return 1 << max(0, number - 1).bit_length()


def _balanced(extent: int, most: int) -> int:
    """Return the size of the fewest equal blocks of at most ``most`` points."""
    return -(-extent // -(-extent // most))


def _row_count(extent: int, most: int, is_static: bool) -> int:
    """Return the rows of a block: equal blocks of a static extent, else one of :data:`ROWS`."""
    if is_static:
        return _balanced(extent, most)
    enough = next((count for count in ROWS if count >= extent), ROWS[-1])
    return min(enough, max(count for count in ROWS if count <= most))
