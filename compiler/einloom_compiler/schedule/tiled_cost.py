"""Predict how long a tiled nest takes: cycles of its blocks, and bytes between its caches.

Checked 2026-11 on a 2-core AVX-512 machine (4.0e9 cycles a second): products of 16 to 384 cubed,
batches of 8 to 128 cubed, tall, deep and flat ones in float32, within 0.6 to 1.6 of the time taken.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, prod

from einloom_compiler.ir.tiled import pieces
from einloom_compiler.schedule.tiled_blocks import Block, Outline

#: Multiply-adds of integers in those of floats: what ``vpmulld`` and ``vpmullq`` take. Measured
#: 2026-11 on AVX-512, products of 128 cubed: float64 62, int64 25 GFLOP/s.
_MULTIPLY_COST = {"int32": 2, "uint32": 2, "int64": 3, "uint64": 3}
#: Cycles from a multiply-add to the next one that needs its sum.
_LATENCY = 4
#: Share of the shorter one of two overlapping times, arithmetic and memory traffic, that shows.
_OVERLAP = 0.25
#: Ways of the first- and second-level caches, fewest in use; a way of L1 is a page.
_PAGE, _L2_WAYS = 4096, 16
_LINE = 64


class Costs:
    """Predicts the blocks of one outline.

    What does not depend on the sizes of blocks is computed once: many blocks are compared for each
    new layout, so that this is most of what planning takes.
    """

    def __init__(self, outline: Outline) -> None:
        """Take what is blocked."""
        space, lane, rows, tasks = outline.space, outline.lane, outline.rows, outline.tasks
        extents = [int(extent) for extent in space.extents]
        self.outline = outline
        self.extents = extents
        self.size = outline.scale * outline.itemsize
        self.accesses = [_Access(outline, column, extents, self.size) for column in space.strides]
        #: Bytes of all operands and the output.
        self.whole = sum(access.whole for access in self.accesses)
        self._scale, self._sums = outline.scale, outline.sums
        n_factors = max(1, len(self.accesses) - 2)
        self._multiplies = n_factors * _MULTIPLY_COST.get(outline.arithmetics.compute, 1)
        #: Points that are summed, and outputs, but for those along lanes and rows.
        self._summed = prod(extents[n] for n in outline.contracted if n != lane)
        self._outputs = prod(extents[n] for n in range(space.n_output) if n not in {*rows, lane})
        #: Vectors as long as a cache line mostly lie across two, which takes two loads.
        self._split_width = _LINE // outline.itemsize
        #: A row along a task is clamped to the last one, in every operand.
        self._clamped = [position for position, n in enumerate(rows) if n in tasks]
        self._is_strided = lane is not None and not self.accesses[-1].is_run

    def seconds(self, width: int, vectors: int, counts: tuple[int, ...]) -> float:
        """Return the predicted time on one thread of a block, see :class:`Block`.

        What a cache does not keep between two blocks is read again from the next one: from L2
        beside the arithmetic, from memory for the most part at the same time. Measured 2026-11 on a
        2-core AVX-512 machine with float64 ``ij,jk->ik`` of 2048 x 32 x 2048: blocks of 3 x 64,
        6 x 32, 8 x 24 and 12 x 16 elements took 9.2, 5.2, 4.7 and 4.7 ms; arithmetic alone 2.4 ms,
        and 358, 179, 135 and 90 MB read anew.
        """
        machine = self.outline.machine
        traffic = _Traffic(self, width, vectors, counts)
        near = traffic.bytes_beyond(machine.l1_bytes, _PAGE)
        inside = self.cycles(width, vectors, counts) / machine.hertz
        inside += near / machine.cache_bandwidth
        if self.whole <= machine.l2_bytes:
            return inside
        far = traffic.bytes_beyond(machine.l2_bytes, machine.l2_bytes // _L2_WAYS)
        far += self._apart(width, vectors)
        outside = far / machine.memory_bandwidth
        return max(inside, outside) + _OVERLAP * min(inside, outside)

    def least(self, width: int, vectors: int, counts: tuple[int, ...]) -> float:
        """Return a time that :meth:`seconds` does not fall below: each byte is moved once."""
        machine = self.outline.machine
        inside = self.cycles(width, vectors, counts) / machine.hertz
        inside += self.whole / machine.cache_bandwidth
        if self.whole <= machine.l2_bytes:
            return inside
        outside = self.whole / machine.memory_bandwidth
        return max(inside, outside) + _OVERLAP * min(inside, outside)

    def _apart(self, width: int, vectors: int) -> float:
        """Bytes that it costs besides to walk through memory in short runs along the lanes.

        Measured 2026-11 on a 2-core AVX-512 machine: float64 ``ia,eabc->eibc`` of 113 MB, rows
        times bytes of a run: 12 x 128 took 22.7 ms, 6 x 192 15.7 ms, 4 x 384 12.1 ms; float32
        ``jk,ijkl->il`` of 328 MB: runs of 640 bytes, the whole of l, 21.7 ms, of 320 36.9 ms.
        """
        lane = self.outline.lane
        if lane is None or lane not in self.outline.tasks:
            return 0.0
        count = -(-self.extents[lane] * self.outline.scale // (width * vectors))
        if count == 1:
            return 0.0
        run = self.size * self.extents[lane] / count
        walked = sum(access.whole for access in self.accesses if access.lanes)
        return walked * 4 * _LINE / run

    def cycles(self, width: int, vectors: int, counts: tuple[int, ...]) -> float:
        """Return the predicted cycles of one thread where every operand is in L1."""
        outline, extents, sums = self.outline, self.extents, self._sums
        lane, is_dot = outline.lane, outline.is_dot
        n_vectors, widest = edge(outline, width, vectors)
        n_points, n_blocks = 1, self._outputs
        for number, count in zip(outline.rows, counts, strict=True):
            n_points *= count
            n_blocks *= -(-extents[number] // count)
        trips = float(self._summed)
        if lane is not None:
            n_lane_blocks = -(-extents[lane] // (width * vectors // self._scale))
            if is_dot:
                trips *= n_lane_blocks
            else:
                n_blocks *= n_lane_blocks
        loads = 0.0
        for access in self.accesses[:-1]:
            rows = 1
            for position in access.rows:
                rows *= counts[position]
            if not access.lanes:
                loads += rows * sums
            elif access.is_run:
                loads += rows * n_vectors * (1.5 if widest >= self._split_width else 1)
            else:
                loads += rows * n_vectors * 2 * widest
        accumulators = n_points * n_vectors * sums
        multiplies = float(accumulators * self._multiplies)
        ports = outline.machine.fma_ports
        per_trip = max(multiplies / ports, loads / 2, (multiplies + loads) / 4)
        if trips > 4 * _LATENCY and accumulators < _LATENCY * ports:
            per_trip = max(per_trip, _LATENCY)
        # Measured 2026-11: 11 cycles for a product of 4 x 2 by 2 x 5, 9 for a dot of 16 in float32.
        ends = float(n_points * n_vectors)
        if is_dot:
            ends = n_points * (n_vectors + widest.bit_length())
        elif self._is_strided:
            ends *= widest
        for position in self._clamped:
            ends += counts[position]
        return n_blocks * (trips * per_trip + ends + 4 + len(outline.tasks))


class _Access:
    """What is needed of one operand or the output."""

    def __init__(
        self, outline: Outline, column: tuple[int | None, ...], extents: list[int], size: int
    ) -> None:
        unit = outline.unit(column)
        #: Numbers of its indices, and, where not contiguous, how far apart their points are.
        self.used = [n for n, step in enumerate(column) if step is not None]
        self.apart = [(n, abs(int(column[n] or 0)) * size) for n in self.used if n != unit]
        self.unit = unit
        #: Whether it has the lanes, and is contiguous along them.
        self.lanes = outline.lane is not None and column[outline.lane] is not None
        self.is_run = self.lanes and unit == outline.lane
        #: Positions of the rows that it has.
        self.rows = [p for p, n in enumerate(outline.rows) if column[n] is not None]
        #: Indices of rows within a task that it lacks: it is walked through again for their blocks.
        self.passes = [
            (n, p)
            for p, n in enumerate(outline.rows)
            if n not in outline.tasks and column[n] is None
        ]
        whole = size
        for number in self.used:
            whole *= extents[number]
        self.whole = float(whole)


class _Traffic:
    """Bytes that one block size moves."""

    def __init__(self, costs: Costs, width: int, vectors: int, counts: tuple[int, ...]) -> None:
        outline, extents = costs.outline, costs.extents
        self.costs = costs
        self.counts = counts
        points = dict(zip(outline.rows, counts, strict=True))
        if outline.lane is not None:
            points[outline.lane] = width * vectors // outline.scale
        #: Blocks along each task, and points of each index that one block sees.
        self.blocks: list[int] = []
        touched = extents.copy()
        for number in outline.tasks:
            size = points.get(number, 1)
            self.blocks.append(-(-extents[number] // size))
            touched[number] = min(size, extents[number])
        #: For each number of task loops around: what is touched inside them, see :meth:`_inside`.
        self.levels = [self._inside(touched)]
        self._touched = touched

    def _inside(self, touched: list[int]) -> list[tuple[float, int, int]]:
        """Return each access's bytes, bytes of its runs, and bytes between those, 0 if one run."""
        size = self.costs.size
        found = []
        for access in self.costs.accesses:
            taken = size
            for number in access.used:
                taken *= touched[number]
            apart = -1
            for number, step in access.apart:
                if touched[number] > 1 and (step < apart or apart < 0):
                    apart = step
            run = size * touched[access.unit] if access.unit is not None else size
            found.append((float(taken), run, max(apart, 0)))
        return found

    def _level(self, inner: int) -> list[tuple[float, int, int]]:
        """Return what is touched within so many of the innermost task loops."""
        tasks, extents = self.costs.outline.tasks, self.costs.extents
        while len(self.levels) <= inner:
            number = tasks[-len(self.levels)]
            self._touched[number] = extents[number]
            self.levels.append(self._inside(self._touched))
        return self.levels[inner]

    def bytes_beyond(self, cache: int, way: int) -> float:
        """Return how many bytes are moved from and to what lies beyond a cache.

        The innermost task loops whose accesses fit in half of the cache find them there but the
        first time.

        Args:
            cache: its bytes.
            way: bytes of one of its ways; lines this far apart compete for the same set.
        """
        accesses, tasks, room = self.costs.accesses, self.costs.outline.tasks, cache / 2
        inner = 0
        rooms = [_room(*part, way) for part in self._level(0)]
        while inner < len(tasks):
            wider = [_room(*part, way) for part in self._level(inner + 1)]
            if sum(wider) > room:
                break
            rooms = wider
            inner += 1
        touched, outer = self.levels[inner], len(tasks) - inner
        total = accesses[-1].whole
        for access, taken, part in zip(accesses[:-1], rooms, touched, strict=False):
            around = outer
            anew = 1
            if taken > room:
                for number, position in access.passes:
                    anew *= -(-self.costs.extents[number] // self.counts[position])
            else:
                while around and tasks[around - 1] not in access.used:
                    around -= 1
            for blocks in self.blocks[:around]:
                anew *= blocks
            total += part[0] * anew
        return total


def _room(taken: float, run: int, apart: int, way: int) -> float:
    """Return the bytes of cache that an access takes.

    A stride that shares a large factor with the way leaves most sets unused.
    """
    apart = gcd(apart, way)
    return taken if apart <= run or apart <= _LINE else taken * apart / max(run, _LINE)


def edge(outline: Outline, width: int, vectors: int) -> tuple[int, int]:
    """Return how many vectors a row of a block has, and the lanes of the widest."""
    lane = outline.lane
    if lane is None:
        return 1, outline.scale
    n_lanes = outline.scale * int(outline.space.extents[lane])
    if lane not in outline.static or n_lanes >= width * vectors:
        return vectors, width
    return _pieces(n_lanes, width, 16 // outline.itemsize, outline.machine.simd_bits < 512)


@lru_cache(maxsize=1024)
def _pieces(n_lanes: int, width: int, least: int, is_cut: bool) -> tuple[int, int]:
    """Return the number of vectors that hold so many lanes, and the lanes of the widest."""
    found = pieces(n_lanes, width, least, is_cut)
    return len(found), max(piece.width for piece in found)


def seconds(block: Block) -> float:
    """Return the predicted time of a block on one thread."""
    return Costs(block.outline).seconds(block.width, block.vectors, block.counts)
