"""Propose register and cache blocks of the packed family, and predict what they cost.

Register blocks fill the vector registers with accumulators and leave some for operands: 8 x 3
vectors where there are 32 registers, 4 x 3 where there are 16, or others where those would leave
lanes empty. A packed row panel stays in L1 and the packed columns in half of L2 while they meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from einloom_compiler.codegen.casts import has_block
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.packed import STREAM_DEPTH, Extra, Order, PackedNest, RegisterBlock, Side
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.groups import Groups
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine

#: Share of the multiply-add peak that the microkernel's loop reaches, by vectors a row: with one,
#: it loads an element for each multiply-add.
EFFICIENCY = {1: 0.86, 2: 0.96, 3: 0.97}
#: Register blocks by number of registers: (rows, vectors a row), the best first.
_BLOCKS = {32: ((8, 3), (12, 2), (24, 1)), 16: ((4, 3), (6, 2), (12, 1))}
#: The same for integers of 32 registers, whose products take a register before they are added.
_INTEGER_BLOCKS = ((8, 3), (8, 2), (16, 1))
#: The same where vectors of 64-bit integers are multiplied by halves, into two accumulators.
_HALVES_BLOCKS = {32: ((12, 1), (6, 2)), 16: ((6, 1),)}
#: The same where each element has a real and an imaginary accumulator.
_COMPLEX_BLOCKS = {32: ((4, 2), (8, 1)), 16: ((6, 1), (2, 2))}
#: Packed element of each compute dtype that has a microkernel.
_ELEMENTS = {
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
    "float16": "float32",
    "bfloat16": "float32",
    "int8": "int32",
    "int16": "int32",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint32",
    "uint16": "uint32",
    "uint32": "uint32",
    "uint64": "uint64",
}
#: Points of the depth by bytes of an element; half as many pairs where a block has several columns
#: of vectors. Measured 2026-12 (one core of Zen 3, 6 rows of a vector): complex128 512 cubed
#: by 128 points 28.7 ms, by 256 27.4; complex64 1024 cubed by 192 and 384 points 105 ms.
DEPTH = {4: 384, 8: 256}
#: Bytes of packed rows at least; they pass by the packed columns, so more of them pack less often.
ROW_BYTES = 2 << 20
#: Bytes of packed columns at least where panels are neighbours in memory: a block then has a whole
#: run of them, and each page is read once. Measured 2026-11 (one AVX2 core, 512 KB of L2):
#: ``aebd,ce->dcba`` took 132 ms with runs of 96 panels in 0.9 MB, 194 ms with parts in 256 KB.
RUN_BYTES = 1 << 20
#: Bytes of unfinished sums of a task, where they cannot wait in the output.
SUM_BYTES = 1 << 20
#: Products of fewer points than this are not worth packing.
LEAST_POINTS = 1 << 12
#: Rows of register blocks that meet columns packed before: few kernels serve all numbers of rows.
_FEW_ROWS = (2, 4, 6, 8, 12, 16, 24)
#: Sums that keep two multiply-add units busy, each for four cycles. Measured 2026-12 (one core of
#: Zen 3, float32, 60 rows, columns packed before): blocks of 8 to 12 sums in two or three vectors a
#: row are equally fast within 1 %, those of 6 take 1.3 times as long, those of 4 1.9 times.
_BUSY_SUMS = 8
#: The same share of complex blocks of so few sums: each takes two multiply-adds of a point, the
#: second waiting for the first. Measured 2026-12 (one core of Zen 3, complex128, 512 cubed): blocks
#: of 6 rows of a vector 26.0 ms, of 4 27.3, of 2 rows of two vectors 28.5.
_TIGHT = 0.92
#: What a block of few rows costs besides, since it reads the columns more often: this share for
#: each row that it has less than the largest, of the largest one's.
_FEWER_ROWS = 0.03
#: The operand that is packed before all calls: 0 the rows, 1 the columns.
PREPACKED = {"rows": 0, "columns": 1}


def propose(
    groups: Groups,
    arithmetics: Arithmetics,
    machine: Machine,
    *,
    prepacked: str = "",
    must_pay: bool = True,
) -> tuple[PackedNest, ...]:
    """Return a nest for each register block, the best guess first.

    None where the family does not apply, or packing cannot pay and ``must_pay``. The side of the
    register block of an operand that is packed before does not depend on the other operand.

    Args:
        groups: the matrix product.
        arithmetics: its dtypes and maps.
        machine: the target.
        prepacked: ``rows`` or ``columns`` where that operand is packed before calls, see
            :func:`constant`.
        must_pay: whether to leave out what cannot pay.
    """
    compute, output = arithmetics.compute, arithmetics.output
    element = _ELEMENTS.get(compute)
    if element is None or (not arithmetics.is_plain and element != arithmetic(compute).compute):
        # Maps apply to packed elements; those of pairs and of narrow integers are not the dtype's.
        return ()
    extras = _extras(groups, arithmetics, element, machine)
    if extras is None:
        return ()
    n_m, n_n, n_k = groups.rows.points, groups.columns.points, groups.k_points
    least = 2 if prepacked else 4
    if must_pay and (n_m * n_n * n_k < LEAST_POINTS or min(n_m, n_n) < least or n_k < 4):
        return ()
    is_complex = compute.startswith("complex")
    parts = 2 if is_complex else 1
    itemsize = 8 if element.endswith("64") else 4
    width = machine.simd_bits // (8 * itemsize)
    blocks = _blocks(element, is_complex, width, machine)
    depth = DEPTH[itemsize] // parts
    sides = _sides(groups, arithmetics, machine)
    chosen = [
        RegisterBlock(_rows(mr, vectors, groups, sides[0].order), vectors, width)
        for mr, vectors in blocks
    ]
    if prepacked:
        number = PREPACKED[prepacked]
        sides[number] = Side(element, "prepacked", sides[number].is_conjugated)
        if prepacked == "columns":
            chosen = [_meeting_columns(blocks, groups, width, parts)]
        else:
            chosen = [_meeting_rows(blocks, groups, width)]
        if len((groups.rows, groups.columns)[1 - number].digits) == 0:
            extent = (groups.rows, groups.columns)[1 - number].run.extent
            if extent <= (chosen[0].mr, chosen[0].nr)[1 - number]:
                depth = STREAM_DEPTH
    is_contiguous = groups.columns.run.strides[2] == 1 and _stores_vectors(compute, output, machine)
    near = machine.l2_bytes // 2
    column_bytes = max(near, RUN_BYTES) if sides[1].order == "digit" else near
    depths = [depth * parts if block.vectors == 1 and not prepacked else depth for block in chosen]
    return tuple(
        PackedNest(
            rows=sides[0],
            columns=sides[1],
            output=output,
            compute=compute,
            element=element,
            block=block,
            depth=points,
            row_elements=max(ROW_BYTES // itemsize, block.mr * points * parts),
            column_elements=max(column_bytes // itemsize, block.nr * points * parts),
            is_output_contiguous=is_contiguous,
            sum_elements=SUM_BYTES // itemsize
            if keeps_sums(compute, output) and exceeds(n_k, points)
            else 0,
            epilogue=arithmetics.epilogue,
            extras=extras,
        )
        for block, points in zip(chosen, depths, strict=True)
    )


def _blocks(
    element: str, is_complex: bool, width: int, machine: Machine
) -> Sequence[tuple[int, int]]:
    """Return rows and vectors of the register blocks to choose from."""
    if element in ("int64", "uint64") and width < 8:
        return _HALVES_BLOCKS[machine.n_registers]
    if element.startswith(("int", "uint")) and machine.n_registers == 32:
        return _INTEGER_BLOCKS
    return (_COMPLEX_BLOCKS if is_complex else _BLOCKS)[machine.n_registers]


def efficiency(block: tuple[int, int], parts: int) -> float:
    """Return the share of the peak that a register block of rows and vectors reaches.

    Args:
        block: its rows, and its vectors a row.
        parts: of an element: 2 of complex ones.
    """
    mr, vectors = block
    found = EFFICIENCY[min(vectors * parts, max(EFFICIENCY))]
    return found * _TIGHT if parts > 1 and mr * vectors * parts <= _BUSY_SUMS else found


def _sides(groups: Groups, arithmetics: Arithmetics, machine: Machine) -> list[Side]:
    """Return how rows and columns are packed at each call."""
    is_complex = arithmetics.compute.startswith("complex")
    return [
        Side(
            arithmetics.inputs[groups.operands[number]],
            _order(groups, number, arithmetics, machine),
            is_complex and arithmetics.conjugated[groups.operands[number]],
        )
        for number in (0, 1)
    ]


def keeps_sums(compute: str, output: str) -> bool:
    """Say whether unfinished sums cannot wait in the output: its dtype would round them."""
    return arithmetic(output).is_half or output not in (compute, arithmetic(compute).compute)


def _extras(
    groups: Groups, arithmetics: Arithmetics, element: str, machine: Machine
) -> tuple[Extra, ...] | None:
    """Return how the epilogue's operands meet a block; None where one is no vector of elements."""
    found: list[Extra] = []
    for number, dtype in enumerate(arithmetics.extras):
        row, column = groups.rows.run.extras[number], groups.columns.run.extras[number]
        columns: Literal["unit", "strided", "none"] = "strided" if column else "none"
        if column == 1:
            columns = "unit"
        is_half = arithmetic(dtype).is_half and element == "float32" and _converts_halves(machine)
        is_fit = dtype == element or (is_half and columns == "unit")
        if columns != "none" and not is_fit:
            return None
        found.append(Extra(dtype, columns, bool(row)))
    return tuple(found)


def constant(groups: Groups, arithmetics: Arithmetics, is_constant: Sequence[bool]) -> str:
    """Return which operand can be packed before all calls: ``rows``, ``columns`` or ``""``.

    Columns where both can, ``""`` where neither. One that repeats its elements along an index is
    left as it is.
    """
    if not any(is_constant):
        return ""
    for name in ("columns", "rows"):
        number = PREPACKED[name]
        operand = groups.operands[number]
        group = (groups.rows, groups.columns)[number]
        axes = (group.run, *group.digits, *groups.k, *groups.batch)
        is_cast_whole = has_block(arithmetics.inputs[operand], arithmetics.compute)
        is_plain = all(axis.strides[number] and not is_open(axis.extent) for axis in axes)
        if is_constant[operand] and is_cast_whole and is_plain:
            return name
    return ""


def _meeting_columns(
    blocks: Sequence[tuple[int, int]], groups: Groups, width: int, parts: int
) -> RegisterBlock:
    """Return the block whose columns suit the packed ones, and whose rows suit the others.

    Of the rows of blocks, those are chosen that take the least time in all, the rows that the last
    block leaves empty included. Measured 2026-12 (Zen 3, float32, 32 x 1024 x 1024): blocks of 4
    rows by 16 columns 769 us, of 6 by 16, whose last one has 2 rows, 856.
    """
    run, rows = int(groups.columns.run.extent), int(groups.rows.run.extent)

    def padded(block: tuple[int, int]) -> float:
        _, vectors = block
        return -(-run // (vectors * width)) * vectors / efficiency(block, parts)

    most, vectors = min(blocks, key=padded)

    def cost(mr: int) -> float:
        sums = max(mr * vectors * parts, _BUSY_SUMS)
        return -(-rows // mr) * sums * (1 + _FEWER_ROWS * (1 - mr / most))

    enough = min((n for n in _FEW_ROWS if n >= rows), default=most)
    few = (n for n in _FEW_ROWS if n < most and n <= enough)
    return RegisterBlock(min((most, *few), key=cost), vectors, width)


def _meeting_rows(blocks: Sequence[tuple[int, int]], groups: Groups, width: int) -> RegisterBlock:
    """Return the first block with as many of its vectors as the columns need."""
    mr, most = blocks[0]
    needed = -(-int(groups.columns.run.extent) // width)
    shared = -(-needed // -(-needed // most))
    return RegisterBlock(_rows(mr, most, groups, "prepacked"), shared, width)


def exceeds(points: int, depth: int) -> bool:
    """Say whether contracted points take more than one block, at some size where they are open."""
    return is_open(points) or points > depth


def _rows(mr: int, vectors: int, groups: Groups, order: Order) -> int:
    """Return how many of at most ``mr`` rows share out a short run, where ``mr`` leave many empty.

    Transposed packing wants powers of two and keeps ``mr``, and few sums would wait for each other.
    """
    run = groups.rows.run.extent
    n_blocks = -(-run // mr)
    shared = -(-run // n_blocks)
    is_wasteful = 8 * (n_blocks * mr - run) > run
    is_even = order != "k" and shared * vectors >= 16
    return int(shared) if is_wasteful and is_even else mr


def _converts_halves(machine: Machine) -> bool:
    """Say whether the target has instructions that convert vectors of float16."""
    return machine.simd_bits >= 256 or machine.n_registers == 32


def _stores_vectors(compute: str, output: str, machine: Machine) -> bool:
    if arithmetic(output).is_half or arithmetic(compute).is_half:
        return output in (compute, "float32") and _converts_halves(machine)
    return output == compute


def _order(groups: Groups, number: int, arithmetics: Arithmetics, machine: Machine) -> Order:
    """Return what the operand ``number`` is contiguous along."""
    dtype = arithmetics.inputs[groups.operands[number]]
    if not has_block(dtype, arithmetics.compute):
        return "gather"
    if arithmetic(dtype).is_half and not _converts_halves(machine):
        return "gather"
    group = (groups.rows, groups.columns)[number]
    if group.run.strides[number] == 1:
        return "panel"
    if any(axis.strides[number] == 1 for axis in groups.k):
        return "k"
    if number == 1 and groups.column_digit_run > 1:
        return "digit"
    return "gather"
