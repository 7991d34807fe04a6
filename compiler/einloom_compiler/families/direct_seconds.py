"""Predict how long a loop nest of the direct family takes on one thread.

The longer of two times: what the core must issue, counted for the innermost loop's kind; and what
the memory must deliver, each operand counted anew for every loop that reuses it from too far away.
Costs are in cycles, calibrated 2026-11 on a 2-core AVX-512 machine against nests that live in L1.
"""

from __future__ import annotations

from math import prod

from einloom_compiler.dtypes import arithmetic, compute_bytes, storage_bytes
from einloom_compiler.families.base import Problem
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.lowering.nest import NamedNest
from einloom_compiler.schedule import streams

#: Loads and stores of vectors that a core starts each cycle.
_LOADS, _STORES = 2, 1
#: Entering a loop over vectors and leaving it, the masked rest included.
_ENTRY = 8.0
#: The same where a row of sums is loaded and stored: the next loop over it waits for the stores.
#: Measured 2026-11: batches of products of 8, 9 and 23 elements a row, 40, 40 and 53 cycles a row.
_ROW_ENTRY = 32.0
#: Loads of a vector as long as a cache line, which mostly lies across two.
_SPLIT = 2.0
#: Multiply-adds of integers in those of floats: int64 512 cubed takes 18 cycles for four vectors.
_INTEGER = {"int32": 4.0, "int64": 9.0}
#: Share of the shorter one of two overlapping times, arithmetic and memory traffic, that shows.
_OVERLAP = 0.25
#: A written line is read first.
_WRITTEN = 1.5
#: Lines of memory that it costs besides to begin a run of neighbours. Measured 2026-11:
#: ``bhd,bkhd->bhk`` of 34 MB, runs of 256 bytes, took 2.2 ms, and 1.2 ms in the order of memory.
_RUNS = 2.0
#: Adding up the lanes of a vector: 16 to 18 cycles in all for a sum of 16 or 32 float32.
_SUM = 8.0
#: Beyond the arithmetic of reals: products of complex lanes, conversions of 16-bit floats.
#: complex64 512 cubed takes 3.4 cycles a vector.
_COMPLEX, _HALF = 5.0, 1.0
#: One access of a scalar loop to memory that is not contiguous, and the least for one point.
_STRIDED, _SCALAR = 1.0, 1.0
_LINE = 64


def predict(problem: Problem, named: NamedNest, nest: LoopNest) -> float:
    """Return the predicted seconds of ``nest``, the scheduled one, for the problem's extents."""
    if not problem.points:
        return 0.0
    extents = {index: problem.space.extents[n] for index, n in named.numbers.items()}
    cycles = _blocks(nest, extents) if nest.transposition else _loops(nest, extents, problem)
    busy, moving = cycles / problem.machine.hertz, _memory(problem, named, nest, extents)
    # Sums that wait for their own stores ask for nothing ahead.
    is_row = bool(nest.contracted) and nest.levels[-1].index not in nest.contracted
    overlap = 1.0 if is_row else _OVERLAP
    return max(busy, moving) + overlap * min(busy, moving)


def _trips(level: Level, extents: dict[str, int]) -> float:
    """Return how often a level's body is entered for each entry of the level."""
    extent = prod(extents[index] for index in (*level.fused, level.index))
    if level.kind == "within":
        return extent / -(-extent // level.size)
    return level.count(extent)


def _loops(nest: LoopNest, extents: dict[str, int], problem: Problem) -> float:
    """Return the cycles that loops over vectors or scalars issue."""
    if not nest.levels:
        return _ENTRY
    *outer, inner = nest.levels
    index = inner.index
    copies = nest.unrolled.unroll if nest.unrolled else 1
    jam = nest.jammed.unroll if nest.jammed else 1
    entries = prod(_trips(level, extents) for level in outer)
    loads = sum(
        copies if nest.unrolled and nest.unrolled.index in access.indices else 1
        for access in nest.inputs
        if index in access.indices
    )
    itemsize = compute_bytes(nest.compute)
    words = problem.machine.simd_bits // (8 * itemsize)
    strided = sum(a.unit != index for a in (*nest.inputs, nest.output) if index in a.indices)
    lanes = nest.vectors.lanes if nest.vectors else (max(1, words // 2) if not strided else 1)
    work = copies * max(1, len(nest.inputs) - 1) / problem.machine.fma_ports
    work *= _COMPLEX if nest.compute.startswith("complex") and len(nest.inputs) > 1 else 1
    if len(nest.inputs) > 1:
        work *= _INTEGER.get(nest.compute.lstrip("u"), 1)
    work += _HALF * loads * arithmetic(nest.inputs[0].dtype).is_half
    entry = _ENTRY
    if index in nest.contracted:
        each = max(loads / _LOADS, work)
    elif nest.contracted:
        # A row: jammed points share the loads and stores of its accumulators.
        entry = _ROW_ENTRY
        split = _SPLIT if lanes * itemsize >= _LINE else 1.0
        each = max((loads + copies / jam) * split / _LOADS, copies / jam / _STORES, work)
    else:
        each = max(loads / _LOADS, 1 / _STORES, work)
    if lanes == 1:
        each = max(each, copies * _SCALAR, _STRIDED * strided * copies)
    sums = prod(extents[i] for i in nest.output.indices) if index in nest.contracted else 0
    return entries * (entry + each * -(-_trips(inner, extents) // lanes)) + _SUM * sums


def _blocks(nest: LoopNest, extents: dict[str, int]) -> float:
    """Return the cycles of a copy in transposed blocks: loads, shuffles, stores of each row."""
    if nest.transposition is None:
        return 0.0
    lanes = nest.transposition.lanes
    across, along = (extents[level.index] for level in nest.levels[-2:])
    blocks = -(-across // lanes) * -(-along // lanes)
    rest = prod(extents.values()) / (across * along)
    # Blocks overlap at the edges; those wider than an extent are masked.
    rows = lanes * blocks * (1.5 if min(across, along) < lanes else 1.0) * rest
    streamed = 2.0 if nest.transposition.pitch else 0.0
    return rows * (lanes.bit_length() + 1 + streamed) + _ENTRY * rest


def _memory(problem: Problem, named: NamedNest, nest: LoopNest, extents: dict[str, int]) -> float:
    """Return the seconds that caches and memory take to deliver and accept what is moved."""
    machine = problem.machine
    numbers = (*named.operands, len(problem.space.strides) - 1)
    seconds = 0.0
    is_beyond = problem.moved_bytes > machine.l2_bytes
    for number, access in zip(numbers, (*nest.inputs, nest.output), strict=True):
        column = problem.space.strides[number]
        size = _bytes(access, [abs(step) for step in column if step], extents)
        gaps = 0.0
        if is_beyond and nest.transposition is None:
            steps = {index: abs(column[n] or 0) for index, n in named.numbers.items()}
            gaps = _RUNS * _LINE / max(_LINE, _run(access, nest, steps, extents))
        if is_beyond and any(level.apart for level in nest.levels):
            size *= streams.SHARE
        is_streamed = nest.vectors is not None and nest.vectors.is_streamed
        is_read_first = access is nest.output and is_beyond and nest.transposition is None
        is_read_first = is_read_first and not is_streamed
        written = _WRITTEN if is_read_first else 1.0
        seconds += (written + gaps) * size / machine.bandwidth(problem.moved_bytes)
        if nest.transposition is not None:
            continue
        inside = size
        for level in nest.levels:
            trips = _trips(level, extents)
            if level.index in access.indices:
                inside /= trips
            elif inside > machine.l1_bytes // 2 and access is not nest.output:
                # Read again from wherever so much stays.
                seconds += (trips - 1) * size / machine.bandwidth(inside)
                size *= trips
    return seconds


def _run(access: Access, nest: LoopNest, steps: dict[str, int], extents: dict[str, int]) -> float:
    """Return the bytes that the loops walk through, in their order, before they leave a gap."""
    run = 1
    loops = dict.fromkeys(i for v in reversed(nest.levels) for i in (v.index, *reversed(v.fused)))
    for index in loops:
        if index in access.indices and extents[index] > 1:
            if steps[index] > max(run, 2 * _LINE // storage_bytes(access.dtype)):
                break
            run = max(run, steps[index] * extents[index])
    return float(run * storage_bytes(access.dtype))


def _bytes(access: Access, steps: list[int], extents: dict[str, int]) -> float:
    """Return the bytes of all cache lines that an access touches, each counted once."""
    itemsize = storage_bytes(access.dtype)
    elements = prod(extents[index] for index in access.indices)
    waste = min(min(steps, default=1), max(1, _LINE // itemsize))
    return float(elements * itemsize * waste)
