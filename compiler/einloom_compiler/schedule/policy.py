"""Choose loop order and schedule for the direct family from strides and structure.

Three shapes of inner loop cover it:

- *row*: the innermost index is the output's; a row of accumulators in L1 is updated for each
  contracted point, four output rows at a time, so that one loaded vector serves four products;
- *dot*: the innermost index is summed; sums run over blocks and the blocks' sums are added up,
  which bounds the rounding error by block length plus number of blocks instead of their product;
- *map*: nothing is summed; tiles of two indices where an operand is transposed, and
  :mod:`.transposes` where the nest only copies.

Where all accesses are contiguous along the innermost index, or do not depend on it, it is run
through in vectors; otherwise LLVM is left to find some.

Measured 2026-11 on a 2-core AVX-512 machine: row with 4 x 256 accumulators reached 52 GFLOP/s a
core on a float32 1024-cubed product.
"""

from __future__ import annotations

from einloom_compiler.dtypes import arithmetic, compute_bytes, storage_bytes
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import NamedNest
from einloom_compiler.schedule import chunks, streams, transposes
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.steps import (
    Parallelize,
    Schedule,
    Sink,
    Step,
    Tile,
    Unroll,
    Vectorize,
)

#: Accumulators of a row: 4 rows of 256 float64 are 8 kB, a sixth of the smallest L1 in use.
ROW = 256
#: Contracted points that update one row together: its accumulators are loaded and stored once.
JAM = 4
#: Vector accumulators of one sum, enough to hide the latency of an addition and to keep many loads
#: in flight.
SUMS = 4
#: Output rows computed together.
ROWS = 4
#: Points that one partial sum adds up.
BLOCK = 4096
#: Points of one parallel chunk of a one-dimensional map.
CHUNK = 4096
#: An output of so many second-level caches is written past the caches: its lines would be read
#: first. Measured 2026-11 (2-core Zen 3, 512 kB of L2, one thread): results of 1, 2, 4, 32 and
#: 128 MB that hardly read took 1.2, 0.9, 0.5, 0.2 and 0.3 of the time.
STREAMED_CACHES = 8
#: Bytes of its runs at least, where all that is moved fits in the third-level cache, and where not:
#: a line that is written in part costs 0.3 us. Measured on two threads, runs that begin within a
#: line: 32 MB in runs of 256, 2048 and 8192 bytes took 10, 1.4 and 0.6 of the time; 128 MB in runs
#: of 2048 bytes 0.5.
STREAMED_RUNS = 8192, 2048
#: Edge of the tiles of a transposition: 32 x 32 float64 of source and target are 16 kB.
TILE = 32
#: Compute dtypes whose vectors have primitives; lanes of one or two words of 4 or 8 bytes.
_LANES = (
    *("float32", "float64", "int32", "int64", "uint32", "uint64"),
    *("complex64", "complex128", "float16", "bfloat16"),
)


def loop_order(space: IterationSpace) -> tuple[int, ...]:
    """Return index numbers, outermost first: outputs by stride, then contracted ones by stride.

    The vectorised index comes last of its group, and before it the index to unroll.
    """
    numbers = range(len(space.extents))
    outputs = [n for n in numbers if n < space.n_output]
    contracted = [n for n in numbers if n >= space.n_output]
    if not numbers:
        return ()
    vector = max(numbers, key=lambda n: _vector_score(space, n))
    outputs.sort(key=lambda n: (n == vector, -abs(space.strides[-1][n] or 0), n))
    contracted.sort(key=lambda n: (n == vector, -_reach(space, n), n))
    if contracted:
        reusing = [n for n in outputs if n != vector and _reuses(space, n, vector)]
        if reusing:
            outputs.remove(reusing[-1])
            outputs.insert(len(outputs) - (vector in outputs), reusing[-1])
    return (*outputs, *contracted)


def _vector_score(space: IterationSpace, number: int) -> tuple[int, bool, bool, int]:
    columns = (*space.strides, *space.extras)
    steps = [column[number] for column in columns if column[number] is not None]
    contiguous = sum(step == 1 for step in steps)
    strided = sum(step not in (0, 1) for step in steps)
    is_output = number < space.n_output
    return contiguous - strided, space.strides[-1][number] == 1, is_output, number


def _reach(space: IterationSpace, number: int) -> int:
    """Return the farthest that one step along an index goes in an operand."""
    return max(abs(column[number] or 0) for column in space.strides[:-1])


def _reuses(space: IterationSpace, number: int, vector: int) -> bool:
    """Say whether some operand with the vector index can be loaded once for all of ``number``."""
    return any(
        column[vector] is not None and column[number] is None for column in space.strides[:-1]
    )


def choose(named: NamedNest, space: IterationSpace, machine: Machine) -> Schedule:
    """Return the schedule for a plain nest whose loops are in :func:`loop_order`."""
    nest = named.nest
    outputs = [level.index for level in nest.levels if level.index not in nest.contracted]
    steps: list[Step] = []
    if nest.contracted:
        steps += _choose_contraction(named, space, outputs, machine)
    elif (transposed := transposes.choose(named, space, machine)) is not None:
        return transposed
    elif outputs:
        steps += _choose_map(nest, outputs)
    steps.append(Parallelize(len(outputs)))
    if not nest.levels:
        return tuple(steps)
    sunk = [step.index for step in steps if isinstance(step, Sink)]
    innermost = sunk[-1] if sunk else nest.levels[-1].index
    lanes = vector_lanes(nest, innermost, machine)
    if not lanes:
        return tuple(steps)
    if not nest.contracted and _is_streamed(named, space, machine):
        return (*steps, Vectorize(lanes, is_streamed=True))
    if innermost not in nest.contracted:
        return (*steps, *_jam(named, space, steps, machine), Vectorize(lanes))
    unrolled = next((step for step in steps if isinstance(step, Unroll)), None)
    n_sums = SUMS if unrolled is None else streams.SUMS if unrolled.apart else 1
    return (*steps, Vectorize(lanes, n_sums))


def _jam(
    named: NamedNest, space: IterationSpace, steps: list[Step], machine: Machine
) -> tuple[Step, ...]:
    """Return the step by which several contracted points update a row together, if any."""
    nest = named.nest
    if not nest.contracted or any(isinstance(step, Unroll) for step in steps):
        return ()
    index = nest.contracted[-1]
    number = named.numbers[index]
    return (Unroll(index, JAM, streams.lie_apart(space, number, _itemsizes(named), machine)),)


def _itemsizes(named: NamedNest) -> list[int]:
    """Return the bytes of an element of each of the space's operands."""
    sizes = dict(zip(named.operands, named.nest.inputs, strict=True))
    return [storage_bytes(sizes[number].dtype) for number in range(len(sizes))]


def _is_streamed(named: NamedNest, space: IterationSpace, machine: Machine) -> bool:
    """Say whether a map's output is written past the caches: a large one, in long runs."""
    nest = named.nest
    innermost = nest.levels[-1].index
    if nest.output.unit != innermost or nest.output.dtype != nest.compute:
        return False
    if nest.compute.startswith("complex"):
        return False  # its words may lie across cache lines
    itemsize = storage_bytes(nest.output.dtype)
    *read, written = (
        itemsize * space.n_elements(column)
        for column in (*space.strides[:-1], *space.extras, space.strides[-1])
    )
    if written <= STREAMED_CACHES * machine.l2_bytes:
        return False
    run = itemsize * space.extents[named.numbers[innermost]]
    return run >= STREAMED_RUNS[sum(read) + written > machine.shared_bytes]


def vector_lanes(nest: LoopNest, innermost: str, machine: Machine) -> int:
    """Return how many lanes vectors along ``innermost`` have, 0 where there are none."""
    # Sums are finished one by one.
    accesses = (*nest.inputs, nest.output) if nest.contracted else nest.accesses
    is_run = all(a.unit == innermost for a in accesses if innermost in a.indices)
    dtypes = {a.dtype for a in accesses if innermost in a.indices or a in nest.inputs}
    is_plain = all(d == nest.compute or _widens(d, nest.compute) for d in dtypes)
    if not (is_run and is_plain) or nest.compute not in _LANES:
        return 0
    if not nest.is_plain and not nest.contracted and nest.compute.startswith("complex"):
        return 0
    lanes = machine.simd_bits // (8 * compute_bytes(nest.compute))
    return lanes if lanes > 1 else 0


def _widens(dtype: str, compute: str) -> bool:
    return arithmetic(dtype).is_half and compute == "float32"


def _choose_contraction(
    named: NamedNest, space: IterationSpace, outputs: list[str], machine: Machine
) -> list[Step]:
    nest = named.nest
    steps: list[Step] = []
    summed = nest.levels[-1].index
    row = outputs[-1] if outputs and not _is_dot(named, space, outputs[-1]) else None
    rest = [index for index in outputs if index != row]
    inner = row or summed
    is_dot = row is None and vector_lanes(nest, summed, machine) > 0
    if rest and any(
        inner in access.indices and rest[-1] not in access.indices for access in nest.inputs
    ):
        position = named.numbers[rest[-1]]
        factor = ROWS if position in space.open else _rows(space.extents[position])
        is_apart = is_dot and streams.lie_apart(space, position, _itemsizes(named), machine)
        steps.append(Unroll(rest[-1], factor, is_apart))
    elif row is None and (neighbour := _neighbour(named, space, rest)) is not None:
        steps.append(Unroll(neighbour, ROWS))
    elif row is None:
        steps += _streams(named, space, machine)
    if row is None:
        return [*steps, Tile(summed, BLOCK)]
    width = ROW
    if not steps:
        last = named.order[len(named.order) - len(nest.contracted) - 1]
        n_bytes = chunks.row_bytes(space, last, _itemsizes(named), machine)
        width = n_bytes // compute_bytes(nest.compute)
    return [*steps, Tile(row, width), Sink(row)]


def _rows(extent: int) -> int:
    """Return how many output rows to compute together: no more than there are.

    Measured 2026-11 on Zen 3: ``ab,xby->xay`` of 2 x 2 by 2048 x 2 x 1024 in complex64, one thread,
    12.5 ms by four rows and 10.0 by two.
    """
    return ROWS if is_open(extent) else min(ROWS, max(2, int(extent)))


def _streams(named: NamedNest, space: IterationSpace, machine: Machine) -> list[Step]:
    """Return the step by which sums of large operands are formed together, if any."""
    nest = named.nest
    is_vector = vector_lanes(nest, nest.levels[-1].index, machine) > 0
    is_one = len(nest.inputs) == 1
    n_streams = streams.ELEMENT_STREAMS if is_one and not is_vector else streams.STREAMS
    number = streams.kept_index(space, _itemsizes(named), machine, n_streams)
    if number is None:
        return []
    return [Unroll(nest.indices[named.order.index(number)], n_streams, apart=True)]


def _neighbour(named: NamedNest, space: IterationSpace, outputs: list[str]) -> str | None:
    """Return the output index whose points follow each other in memory as runs of one sum.

    Where a sum runs through short contiguous runs far from each other, neighbouring sums are
    formed together, so that memory is read in longer runs.
    """
    nest = named.nest
    if len(nest.inputs) != 1 or len(nest.contracted) < 2 or nest.inputs[0].unit is None:
        return None
    number = named.numbers
    column = space.strides[named.operands[0]]
    run = space.extents[number[nest.inputs[0].unit]]
    itemsize = storage_bytes(nest.inputs[0].dtype)
    for index in outputs:
        if column[number[index]] == run and run * itemsize < chunks.ROW_BYTES:
            return index
    return None


def _is_dot(named: NamedNest, space: IterationSpace, row: str) -> bool:
    """Say whether the innermost summed index is a better one to run along than ``row``.

    The one that is contiguous in more accesses is; where neither is in any operand, the one whose
    points lie closer together.
    """
    nest = named.nest
    summed = nest.levels[-1].index

    def score(index: str) -> int:
        accesses = [a for a in (*nest.inputs, nest.output) if index in a.indices]
        contiguous = sum(a.unit == index for a in accesses)
        return 2 * contiguous - len(accesses)

    if not any(access.unit in (summed, row) for access in nest.inputs):
        number = named.numbers
        return _reach(space, number[summed]) < _reach(space, number[row])
    return score(summed) > score(row)


def _choose_map(nest: LoopNest, outputs: list[str]) -> list[Step]:
    vector = outputs[-1]
    read = (*nest.inputs, *nest.extras)
    across = [a.unit for a in read if a.unit not in (None, vector) and vector in a.indices]
    if not across or across[0] is None:
        return [Tile(vector, CHUNK)]
    return [Tile(across[0], TILE), Tile(vector, TILE), Sink(across[0]), Sink(vector)]
