"""Choose register block and cache blocks of the packed family.

The register block fills the vector registers with accumulators and leaves some for operands: 8 x 3
vectors where there are 32 registers, 4 x 3 where there are 16; fewer vectors a row where the run of
columns would leave lanes empty. A packed row panel and the register block's columns stay in L1, the
block of rows in half of L2.
"""

from __future__ import annotations

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.packed import PackedNest, RegisterBlock
from einloom_compiler.lowering.groups import Groups
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule.machine import Machine

#: Register blocks by number of registers: (rows, vectors a row), the best first.
BLOCKS = {32: ((8, 3), (12, 2), (24, 1)), 16: ((4, 3), (6, 2), (12, 1))}
#: Packed element of each compute dtype that has a microkernel.
_ELEMENTS = {
    "float32": "float32",
    "float64": "float64",
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
#: Contracted points of one packed block, by bytes of an element. Measured 2026-11 on a 2-core
#: AVX-512 machine: float32 210 of 254 GFLOP/s on one core, float64 95 of 125.
DEPTH = {4: 384, 8: 256}
#: Bytes of one packed block of columns: it stays in L2 and L3 while all rows pass by.
COLUMN_BYTES = 2 << 20
#: Fewer points than this are not worth packing.
LEAST_POINTS = 1 << 15
#: Packing reads each operand element once more; with fewer products for each it does not pay.
LEAST_REUSE = 12
#: Less of the register block filled than this is slower than the direct family.
LEAST_FILL = 0.5


def choose(
    groups: Groups, arithmetics: Arithmetics, machine: Machine, *, must_pay: bool = True
) -> PackedNest | None:
    """Return the packed nest for these groups.

    None where there is no microkernel for these dtypes, or packing does not pay and ``must_pay``.
    """
    element = _ELEMENTS.get(arithmetics.compute)
    if element is None or arithmetics.epilogue or any(arithmetics.conjugated):
        return None
    n_m, n_n, n_k = groups.rows.points, groups.columns.points, groups.k_points
    pays = n_m * n_n * n_k >= LEAST_POINTS and min(n_m, n_n) >= LEAST_REUSE and n_k >= 4
    if must_pay and not pays:
        return None
    if must_pay and arithmetic(arithmetics.output).is_half and n_k > DEPTH[4]:
        return None
    width = machine.simd_bits // (64 if element.endswith("64") else 32)
    candidates = [RegisterBlock(mr, vectors, width) for mr, vectors in BLOCKS[machine.n_registers]]
    block = max(candidates, key=lambda block: _fill(groups, block))
    if must_pay and _fill(groups, block) < LEAST_FILL:
        return None
    itemsize = 8 if element.endswith("64") else 4
    depth = DEPTH[itemsize]
    row_panels = max(1, machine.l2_bytes // 3 // (block.mr * depth * itemsize))
    column_elements = max(COLUMN_BYTES // itemsize, block.nr * depth)
    return PackedNest(
        rows=arithmetics.inputs[groups.operands[0]],
        columns=arithmetics.inputs[groups.operands[1]],
        output=arithmetics.output,
        compute=arithmetics.compute,
        element=element,
        block=block,
        depth=depth,
        row_panels=row_panels,
        column_elements=column_elements,
        are_rows_contiguous=groups.rows.run.strides[0] == 1,
    )


def _fill(groups: Groups, block: RegisterBlock) -> float:
    """Return how much of the register blocks' work is not padding."""
    return _share(groups.rows.run.extent, block.mr) * _share(groups.columns.run.extent, block.nr)


def _share(extent: int, size: int) -> float:
    return extent / (-(-extent // size) * size)
