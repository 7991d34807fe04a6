"""Predict how long a tiled nest takes: cycles of its blocks, and bytes between its caches.

Checked 2026-11 on a 2-core AVX-512 machine (4.0e9 cycles a second): products of 16 to 384 cubed,
batches of 8 to 128 cubed, tall, deep and flat ones in float32, within 0.6 to 1.6 of the time taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class TiledSchedule:
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


def seconds(schedule: TiledSchedule, space: IterationSpace, machine: Machine) -> float:
    """Return the predicted time on one thread.

    What a cache does not keep between two blocks is read again from the next one: from L2 beside
    the arithmetic, from memory for the most part at the same time. Measured 2026-11 on a 2-core
    AVX-512 machine with float64 ``ij,jk->ik`` of 2048 x 32 x 2048: blocks of 3 x 64, 6 x 32, 8 x 24
    and 12 x 16 elements took 9.2, 5.2, 4.7 and 4.7 ms; arithmetic alone 2.4 ms, and 358, 179, 135
    and 90 MB read anew.
    """
    traffic = _Traffic(schedule.nest, schedule.extents(space), schedule.strides(space))
    near = traffic.bytes_beyond(machine.l1_bytes, _PAGE)
    arithmetic = cycles(schedule.nest, traffic.extents, machine) / machine.hertz
    inside = arithmetic + near / machine.cache_bandwidth
    if traffic.whole <= machine.l2_bytes:
        return inside
    far = traffic.bytes_beyond(machine.l2_bytes, machine.l2_bytes // _L2_WAYS)
    outside = far / machine.memory_bandwidth
    return max(inside, outside) + _OVERLAP * min(inside, outside)


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Bytes that the blocks of a nest move.

    Attributes:
        nest: the nest.
        extents: its extents.
        strides: its strides.
    """

    nest: TiledNest
    extents: Mapping[str, int]
    strides: Mapping[str, Mapping[str, int]]

    @property
    def whole(self) -> float:
        """Bytes of all operands and the output."""
        return sum(
            self._bytes(access.indices, self.extents)
            for access in (*self.nest.inputs, self.nest.output)
        )

    def bytes_beyond(self, cache: int, way: int) -> float:
        """Return how many bytes are moved from and to what lies beyond a cache.

        The innermost task loops whose accesses fit in half of the cache find them there but the
        first time.

        Args:
            cache: its bytes.
            way: bytes of one of its ways; lines this far apart compete for the same set.
        """
        nest, room = self.nest, cache / 2
        tasks = nest.tasks
        counts = dict(zip(tasks, nest.counts(self.extents), strict=True))
        accesses = (*nest.inputs, nest.output)
        outer = len(tasks)
        while outer and sum(self._room(a, tasks[outer - 1 :], way) for a in accesses) <= room:
            outer -= 1
        total = self._bytes(nest.output.indices, self.extents)
        for access in nest.inputs:
            around = list(tasks[:outer])
            is_kept = self._room(access, tasks[outer:], way) <= room
            while is_kept and around and around[-1] not in access.indices:
                around.pop()
            tile = self._bytes(access.indices, self._touched(tasks[outer:]))
            total += tile * prod(counts[index] for index in around)
        return total

    def _touched(self, inner: Sequence[str]) -> dict[str, int]:
        """Return how many points of each index one round of the ``inner`` task loops sees."""
        nest, extents = self.nest, self.extents
        return {
            index: min(nest.block(index), extent)
            if index in nest.tasks and index not in inner
            else extent
            for index, extent in extents.items()
        }

    def _room(self, access: Access, inner: Sequence[str], way: int) -> float:
        """Return the bytes of cache that an access takes in one round of the inner task loops.

        A stride that shares a large factor with the way leaves most sets unused.
        """
        touched = self._touched(inner)
        size = self.nest.scale * self.nest.itemsize
        run = size * (touched[access.unit] if access.unit else 1)
        steps = [
            abs(self.strides[access.name][index]) * size
            for index in access.indices
            if index != access.unit and touched[index] > 1
        ]
        apart = gcd(min(steps, default=0), way)
        used = min(1.0, max(run, _LINE) / apart) if apart else 1.0
        return self._bytes(access.indices, touched) / used

    def _bytes(self, indices: Sequence[str], sizes: Mapping[str, int]) -> float:
        nest = self.nest
        return nest.scale * nest.itemsize * float(prod(sizes[index] for index in indices))


def cycles(nest: TiledNest, extents: Mapping[str, int], machine: Machine) -> float:
    """Return the predicted cycles of one thread where every operand is in the first-level cache."""
    lanes = nest.lanes
    n_points = prod(rows.count for rows in nest.rows)
    n_pieces = len(nest.pieces)
    width = max(piece.width for piece in nest.pieces)
    sums = 2 if nest.is_complex and len(nest.inputs) == 2 else 1
    trips = float(prod(-(-extents[index] // nest.block(index)) for index in nest.contracted))
    loads = 0.0
    for access in nest.inputs:
        combinations = prod(rows.count for rows in nest.rows if rows.index in access.indices)
        if lanes is None or lanes.index not in access.indices:
            loads += combinations * sums
        elif access.unit == lanes.index:
            loads += combinations * n_pieces
        else:
            loads += combinations * n_pieces * 2 * width
    multiplies = float(n_points * n_pieces * sums * max(1, len(nest.inputs) - 1))
    multiplies *= _MULTIPLY_COST.get(nest.element.lstrip("u"), 1)
    per_trip = max(multiplies / machine.fma_ports, loads / 2, (multiplies + loads) / 4)
    if trips > 4 * _LATENCY and n_points * n_pieces * sums < _LATENCY * machine.fma_ports:
        per_trip = max(per_trip, _LATENCY)
    ends = n_points * n_pieces * 2.0
    if nest.is_dot:
        ends = n_points * (n_pieces + 2.0 * width.bit_length())
    elif lanes is not None and nest.output.unit != lanes.index:
        ends *= width
    n_blocks = prod(-(-extents[index] // nest.block(index)) for index in nest.output.indices)
    return n_blocks * (trips * per_trip + ends + 8 + 2 * len(nest.tasks))
