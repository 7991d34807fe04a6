"""Choose register blocks of the tiled family.

Every index of the output that is contiguous there, every contracted index that is contiguous in an
operand, and none, are tried for the lanes; every other output index for the rows; the block
predicted to be the fastest wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.tiled import Lanes, Rows, TiledNest
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics, loop_name
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.tiled_cost import NumberedNest, seconds

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
) -> NumberedNest | None:
    """Return the schedule that is predicted to be the fastest, None where the family has none.

    Args:
        space: the contraction's indices.
        arithmetics: its dtypes and maps.
        machine: the target.
        is_static: whether short extents may be constants of the kernel.
    """
    if not is_supported(space, arithmetics):
        return None
    static = {
        number
        for number, extent in enumerate(space.extents)
        if is_static and extent <= STATIC and not isinstance(extent, Formula)
    }
    best: tuple[float, NumberedNest] | None = None
    for lanes in _lane_candidates(space, arithmetics, machine):
        for rows in _row_candidates(space, lanes):
            for schedule in _blocks(space, arithmetics, machine, lanes, rows, static):
                size = prod(rows.count for rows in schedule.nest.rows) * len(schedule.nest.pieces)
                needed = seconds(schedule, space, machine) * (1 + _LEAST_GAIN * size)
                if best is None or needed < best[0]:
                    best = needed, schedule
    return best and best[1]


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


def _blocks(
    space: IterationSpace,
    arithmetics: Arithmetics,
    machine: Machine,
    lanes: int | None,
    rows: tuple[int, ...],
    static: set[int],
) -> Iterator[NumberedNest]:
    """Yield schedules with blocks that fill the registers."""
    is_complex = arithmetics.compute.startswith("complex")
    sums = 2 if is_complex and len(arithmetics.inputs) == 2 else 1
    scale = 2 if is_complex else 1
    budget = SCALARS if lanes is None else ACCUMULATORS[machine.n_registers] // sums
    bits = 32 if arithmetics.compute in ("float32", "int32", "uint32", "complex64") else 64
    width = scale
    n_vectors = 1
    if lanes is not None:
        n_lanes = scale * space.extents[lanes]
        width = min(machine.simd_bits // bits, max(128 // bits, _power(n_lanes)))
        n_vectors = -(-n_lanes // width)
    tried: set[tuple[int, tuple[int, ...]]] = set()
    for most in VECTORS:
        if most > min(budget, MOST_VECTORS if rows else budget):
            break
        vectors = _balanced(n_vectors, most) if lanes in static else most
        counts: list[int] = []
        left = budget // vectors
        most_rows = DOT_ROWS if lanes is not None and lanes >= space.n_output else STATIC_ROWS
        for position, number in enumerate(rows):
            share = left if position == len(rows) - 1 else max(1, int(left**0.5))
            share = min(share, most_rows)
            counts.append(_row_count(space.extents[number], share, number in static))
            left //= counts[-1]
        key = vectors, tuple(counts)
        if key in tried:
            continue
        tried.add(key)
        yield numbered(
            space,
            arithmetics,
            machine,
            (lanes, width, vectors),
            tuple(zip(rows, counts, strict=True)),
            static,
        )


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


def numbered(
    space: IterationSpace,
    arithmetics: Arithmetics,
    machine: Machine,
    lanes: tuple[int | None, int, int],
    rows: tuple[tuple[int, int], ...],
    static: set[int],
) -> NumberedNest:
    """Return the nest of these blocks.

    Args:
        space: the contraction's indices.
        arithmetics: its dtypes and maps.
        machine: the target.
        lanes: number of the lane index, None for scalars; real lanes of a vector; vectors a row.
        rows: number and count of each row index.
        static: numbers of the indices whose extents are constants of the kernel.
    """
    lane, width, vectors = lanes
    blocked = {number for number, _ in rows} | ({lane} if lane is not None else set())
    tasks = [n for n in range(space.n_output) if n not in blocked or n not in static]
    tasks.sort(key=_task_key(space))
    contracted = [n for n in range(space.n_output, len(space.extents)) if n != lane]
    contracted.sort(key=lambda n: -max(abs(column[n] or 0) for column in space.strides))
    if lane is not None and lane >= space.n_output:
        contracted.append(lane)
    kept_rows = [number for number, _ in rows]
    inner = [lane] if lane is not None else []
    order = tuple(dict.fromkeys((*tasks, *kept_rows, *contracted, *inner)))
    names = {number: loop_name(position) for position, number in enumerate(order)}
    constants = {n for n in static if n in blocked or n >= space.n_output}

    def access(name: str, column: Sequence[int | None], is_conjugated: bool) -> Access:
        used = [number for number in order if column[number] is not None]
        units = [number for number in used if column[number] == 1]
        unit = lane if lane in units else units[-1] if units else None
        return Access(
            name,
            arithmetics.compute,
            tuple(names[n] for n in used),
            None if unit is None else names[unit],
            is_conjugated,
        )

    found = [
        access("", column, conjugated)
        for column, conjugated in zip(space.strides[:-1], arithmetics.conjugated, strict=True)
    ]
    operands = sorted(
        range(len(found)),
        key=lambda n: (found[n].indices, found[n].unit or "", found[n].is_conjugated),
    )
    nest = TiledNest(
        inputs=tuple(
            access(f"x{position}", space.strides[n], arithmetics.conjugated[n])
            for position, n in enumerate(operands)
        ),
        output=access("out", space.strides[-1], False),
        compute=arithmetics.compute,
        tasks=tuple(names[n] for n in tasks),
        rows=tuple(Rows(names[number], count) for number, count in rows),
        lanes=None if lane is None else Lanes(names[lane], width, vectors),
        contracted=tuple(names[n] for n in contracted),
        static=tuple((names[n], int(space.extents[n])) for n in order if n in constants),
        splits_edge=machine.simd_bits < 512,
        epilogue=arithmetics.epilogue,
        extras=tuple(
            access(f"e{position}", column, False) for position, column in enumerate(space.extras)
        ),
    )
    return NumberedNest(nest, order, tuple(operands))


def _task_key(space: IterationSpace) -> Callable[[int], tuple[int, int, int]]:
    """Return the key that sorts output indices: the largest access is walked through in order."""
    columns = space.strides

    def elements(column: Sequence[int | None]) -> int:
        return prod(
            extent for extent, step in zip(space.extents, column, strict=True) if step is not None
        )

    largest = max(columns, key=elements)
    return lambda n: (-abs(largest[n] or 0), -abs(columns[-1][n] or 0), n)
