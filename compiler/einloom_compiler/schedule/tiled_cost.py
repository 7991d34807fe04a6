"""Predict how long a tiled nest takes: cycles of its blocks, and bytes between its caches.

Checked 2026-11 on a 2-core AVX-512 machine (4.0e9 cycles a second): products of 16 to 384 cubed,
batches of 8 to 128 cubed, tall, deep and flat ones in float32, within 0.6 to 1.6 of the time taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd, prod

from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.tiled import TiledNest
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.schedule.machine import Machine

#: Multiply-adds of integers in those of floats: what ``vpmulld`` and ``vpmullq`` take. Measured
#: 2026-11 on AVX-512, products of 128 cubed: float64 62, int64 25 GFLOP/s.
_MULTIPLY_COST = {"int32": 2, "int64": 3}
#: Cycles from a multiply-add to the next one that needs its sum.
_LATENCY = 4
#: Share of the shorter one of two overlapping times, arithmetic and memory traffic, that shows.
_OVERLAP = 0.25
#: Ways of the first- and second-level caches, fewest in use; a way of L1 is a page.
_PAGE, _L2_WAYS = 4096, 16
_LINE = 64


@dataclass(frozen=True, slots=True)
class NumberedNest:
    """A tiled nest and what its names stand for.

    Attributes:
        nest: the nest.
        order: the iteration space's number of each of the nest's indices.
        operands: which operand each of the nest's inputs is.
    """

    nest: TiledNest
    order: tuple[int, ...]
    operands: tuple[int, ...]

    def __str__(self) -> str:
        """Print the blocking."""
        return str(self.nest)

    def extents(self, space: IterationSpace) -> dict[str, int]:
        """Return the extents by the nest's names."""
        names = zip(self.nest.indices, self.order, strict=True)
        return {name: space.extents[number] for name, number in names}

    def strides(self, space: IterationSpace) -> dict[str, dict[str, int]]:
        """Return the strides, in elements, of inputs and output by the nest's names."""
        columns = [space.strides[operand] for operand in self.operands] + [space.strides[-1]]
        numbers = list(zip(self.nest.indices, self.order, strict=True))
        return {
            access.name: {name: column[number] or 0 for name, number in numbers}
            for access, column in zip((*self.nest.inputs, self.nest.output), columns, strict=True)
        }


def seconds(schedule: NumberedNest, space: IterationSpace, machine: Machine) -> float:
    """Return the predicted time on one thread.

    What a cache does not keep between two blocks is read again from the next one: from L2 beside
    the arithmetic, from memory for the most part at the same time. Measured 2026-11 on a 2-core
    AVX-512 machine with float64 ``ij,jk->ik`` of 2048 x 32 x 2048: blocks of 3 x 64, 6 x 32, 8 x 24
    and 12 x 16 elements took 9.2, 5.2, 4.7 and 4.7 ms; arithmetic alone 2.4 ms, and 358, 179, 135
    and 90 MB read anew.
    """
    # Sizes decide, not the formulas they may stand for, which would take most of the time.
    extents = {index: int(extent) for index, extent in schedule.extents(space).items()}
    strides = {
        name: {index: int(step) for index, step in steps.items()}
        for name, steps in schedule.strides(space).items()
    }
    traffic = _Traffic(schedule.nest, extents, strides)
    near = traffic.bytes_beyond(machine.l1_bytes, _PAGE)
    arithmetic = cycles(schedule.nest, traffic.extents, machine) / machine.hertz
    inside = arithmetic + near / machine.cache_bandwidth
    if traffic.whole <= machine.l2_bytes:
        return inside
    far = traffic.bytes_beyond(machine.l2_bytes, machine.l2_bytes // _L2_WAYS)
    far += traffic.apart
    outside = far / machine.memory_bandwidth
    return max(inside, outside) + _OVERLAP * min(inside, outside)


class _Traffic:
    """Bytes that the blocks of a nest move."""

    def __init__(
        self,
        nest: TiledNest,
        extents: Mapping[str, int],
        strides: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.nest = nest
        self.extents = extents
        self.strides = strides
        self.size = nest.scale * nest.itemsize
        self.counts = dict(zip(nest.tasks, nest.counts(extents), strict=True))
        self.accesses = (*nest.inputs, nest.output)
        #: Points of each index that one block sees.
        self.block = {
            index: min(nest.block(index), extent) if index in nest.tasks else extent
            for index, extent in extents.items()
        }

    @property
    def whole(self) -> float:
        """Bytes of all operands and the output."""
        return sum(self._bytes(access, self.extents) for access in self.accesses)

    def bytes_beyond(self, cache: int, way: int) -> float:
        """Return how many bytes are moved from and to what lies beyond a cache.

        The innermost task loops whose accesses fit in half of the cache find them there but the
        first time.

        Args:
            cache: its bytes.
            way: bytes of one of its ways; lines this far apart compete for the same set.
        """
        tasks, room = self.nest.tasks, cache / 2
        touched = self.block
        rooms = [self._room(access, touched, way) for access in self.accesses]
        outer = len(tasks)
        while outer:
            index = tasks[outer - 1]
            more = {**touched, index: self.extents[index]}
            wider = [self._room(access, more, way) for access in self.accesses]
            if sum(wider) > room:
                break
            touched, rooms = more, wider
            outer -= 1
        total = self._bytes(self.nest.output, self.extents)
        for access, taken in zip(self.nest.inputs, rooms, strict=False):
            around = list(tasks[:outer])
            while taken <= room and around and around[-1] not in access.indices:
                around.pop()
            passes = self._passes(access) if taken > room else 1
            anew = passes * prod(self.counts[index] for index in around)
            total += self._bytes(access, touched) * anew
        return total

    def _passes(self, access: Access) -> int:
        """Return how often one task walks through an access: for each block of its other rows."""
        return prod(
            -(-self.extents[rows.index] // rows.count)
            for rows in self.nest.rows
            if rows.index not in self.nest.tasks and rows.index not in access.indices
        )

    @property
    def apart(self) -> float:
        """Bytes that it costs besides to walk through memory in short runs along the lanes.

        Measured 2026-11 on a 2-core AVX-512 machine: float64 ``ia,eabc->eibc`` of 113 MB, rows
        times bytes of a run: 12 x 128 took 22.7 ms, 6 x 192 15.7 ms, 4 x 384 12.1 ms; float32
        ``jk,ijkl->il`` of 328 MB: runs of 640 bytes, the whole of l, 21.7 ms, of 320 36.9 ms.
        """
        lanes = self.nest.lanes
        if lanes is None or self.counts.get(lanes.index, 1) == 1:
            return 0.0
        run = self.size * self.extents[lanes.index] / self.counts[lanes.index]
        walked = sum(
            self._bytes(access, self.extents)
            for access in self.accesses
            if lanes.index in access.indices
        )
        return walked * 4 * _LINE / run

    def _room(self, access: Access, touched: Mapping[str, int], way: int) -> float:
        """Return the bytes of cache that an access takes for the ``touched`` points of each index.

        A stride that shares a large factor with the way leaves most sets unused.
        """
        strides = self.strides[access.name]
        run = self.size * (touched[access.unit] if access.unit else 1)
        apart = min(
            (
                abs(strides[index]) * self.size
                for index in access.indices
                if index != access.unit and touched[index] > 1
            ),
            default=0,
        )
        taken = self._bytes(access, touched)
        apart = gcd(apart, way)
        return taken if apart <= run or apart <= _LINE else taken * apart / max(run, _LINE)

    def _bytes(self, access: Access, sizes: Mapping[str, int]) -> float:
        return float(self.size * prod([sizes[index] for index in access.indices]))


def cycles(nest: TiledNest, extents: Mapping[str, int], machine: Machine) -> float:
    """Return the predicted cycles of one thread where every operand is in the first-level cache."""
    lanes = nest.lanes
    n_points = prod(rows.count for rows in nest.rows)
    n_pieces = len(nest.pieces)
    width = max(piece.width for piece in nest.pieces)
    sums = 2 if nest.is_complex and len(nest.inputs) == 2 else 1
    trips = float(prod(-(-extents[index] // nest.block(index)) for index in nest.contracted))
    # Vectors as long as a cache line mostly lie across two, which takes two loads.
    loads = 0.0
    for access in nest.inputs:
        combinations = prod(rows.count for rows in nest.rows if rows.index in access.indices)
        if lanes is None or lanes.index not in access.indices:
            loads += combinations * sums
        elif access.unit == lanes.index:
            loads += combinations * n_pieces * (1.5 if width * nest.itemsize >= _LINE else 1)
        else:
            loads += combinations * n_pieces * 2 * width
    multiplies = float(n_points * n_pieces * sums * max(1, len(nest.inputs) - 1))
    multiplies *= _MULTIPLY_COST.get(nest.element.lstrip("u"), 1)
    per_trip = max(multiplies / machine.fma_ports, loads / 2, (multiplies + loads) / 4)
    if trips > 4 * _LATENCY and n_points * n_pieces * sums < _LATENCY * machine.fma_ports:
        per_trip = max(per_trip, _LATENCY)
    # Measured 2026-11: 11 cycles for a product of 4 x 2 by 2 x 5, 9 for a dot of 16 in float32.
    ends = float(n_points * n_pieces)
    if nest.is_dot:
        ends = n_points * (n_pieces + width.bit_length())
    elif lanes is not None and nest.output.unit != lanes.index:
        ends *= width
    # A row along a task is clamped to the last one, in every operand.
    ends += sum(rows.count for rows in nest.rows if rows.index in nest.tasks)
    n_blocks = prod(-(-extents[index] // nest.block(index)) for index in nest.output.indices)
    return n_blocks * (trips * per_trip + ends + 4 + len(nest.tasks))
