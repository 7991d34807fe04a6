"""Predict how long a tiled nest takes: cycles of its blocks, and bytes between its caches.

Checked 2026-11 on a 2-core AVX-512 machine (4.0e9 cycles a second): products of 16 to 384 cubed,
batches of 8 to 128 cubed, tall, deep and flat ones in float32, within 0.6 to 1.6 of the time taken.
"""

from __future__ import annotations

from math import gcd, prod

from einloom_compiler.schedule.tiled_blocks import Block, Outline
from einloom_compiler.schedule.tiled_cycles import LONG, ROWS, Form, Rates, rates
from einloom_compiler.schedule.tiled_joined import cycles as joined_cycles

#: Share of the shorter one of two overlapping times, arithmetic and memory traffic, that shows.
_OVERLAP = 0.25
#: The same of arithmetic and traffic between L1 and L2 where L2 holds all. Measured 2026-11 (Zen 3,
#: float32): blocks of 6 x 16 took 6.0, 19.3, 48 and 93 us for 64, 96, 128 and 160 cubed, their
#: arithmetic alone 5.6, 18, 43 and 83.
_NEAR_OVERLAP = 0.5
#: Ways of the first- and second-level caches, fewest in use; a way of L1 is a page.
_PAGE, _L2_WAYS = 4096, 16
_LINE = 64
#: Summed rows that are read side by side as so many streams.
_STREAMS = 4


class Costs:
    """Predicts the blocks of one outline.

    What does not depend on the sizes of blocks is computed once: many blocks are compared for each
    new layout, so that this is most of what planning takes.
    """

    def __init__(self, outline: Outline) -> None:
        """Take what is blocked."""
        space, lane, rows = outline.space, outline.lane, outline.rows
        extents = [int(extent) for extent in space.extents]
        self.outline = outline
        self.extents = extents
        self.size = outline.scale * outline.itemsize
        self.accesses = [_Access(outline, column, extents, self.size) for column in space.strides]
        #: Bytes of all operands and the output.
        self.whole = sum(access.whole for access in self.accesses)
        #: Points that are summed, and outputs, but for those along lanes and rows.
        self._summed = prod(extents[n] for n in outline.contracted if n != lane)
        self._outputs = prod(extents[n] for n in range(space.n_output) if n not in {*rows, lane})
        #: What is touched in all, see :meth:`inside`, and whether it stays in the caches.
        self._all = self.inside(extents)
        self._stays_in_l1 = self._stays(outline.machine.l1_bytes, _PAGE)

    def seconds(self, width: int, vectors: int, counts: tuple[int, ...], cycles: float) -> float:
        """Return the predicted time on one thread of a block, see :class:`Block`.

        What a cache does not keep between two blocks is read again from the next one: from L2
        beside the arithmetic, from memory for the most part at the same time. Measured 2026-11 on a
        2-core AVX-512 machine with float64 ``ij,jk->ik`` of 2048 x 32 x 2048: blocks of 3 x 64,
        6 x 32, 8 x 24 and 12 x 16 elements took 9.2, 5.2, 4.7 and 4.7 ms; arithmetic alone 2.4 ms,
        and 358, 179, 135 and 90 MB read anew.

        Args:
            width: as in the block.
            vectors: the same.
            counts: the same.
            cycles: what :meth:`cycles` returns.
        """
        machine = self.outline.machine
        if self._stays_in_l1:
            return self.least(cycles)
        traffic = _Traffic(self, width, vectors, counts)
        near = traffic.bytes_beyond(machine.l1_bytes, _PAGE)
        if self.whole <= machine.l2_bytes:
            return self._together(cycles, near, 0.0)
        far = traffic.bytes_beyond(machine.l2_bytes, machine.l2_bytes // _L2_WAYS)
        return self._together(cycles, near, far + self._apart(width, vectors))

    def least(self, cycles: float) -> float:
        """Return what a block of so many cycles takes at least: each byte is moved once."""
        return self._together(cycles, self.whole, self.whole)

    def _together(self, cycles: float, near: float, far: float) -> float:
        """Return the seconds of arithmetic, of bytes from L2, and of bytes from beyond it."""
        machine = self.outline.machine
        arithmetic, inside = cycles / machine.hertz, near / machine.cache_bandwidth
        if self.whole <= machine.l2_bytes:
            return max(arithmetic, inside) + _NEAR_OVERLAP * min(arithmetic, inside)
        inside += arithmetic
        outside = far / machine.bandwidth(self.whole)
        return max(inside, outside) + _OVERLAP * min(inside, outside)

    def _stays(self, cache: int, way: int) -> bool:
        """Say whether all operands and the output fit in half of a cache."""
        return sum(_room(*part, way) for part in self._all) <= cache / 2

    def inside(self, touched: list[int]) -> list[tuple[float, int, int]]:
        """Return what is touched of each access: bytes, those of a run, and between two runs.

        Args:
            touched: points of each index.
        """
        found = []
        for access in self.accesses:
            taken = self.size * access.waste
            for number in access.used:
                taken *= touched[number]
            apart = -1
            for number, step in access.apart:
                if touched[number] > 1 and (step < apart or apart < 0):
                    apart = step
            run = self.size * touched[access.unit] if access.unit is not None else self.size
            found.append((float(taken), run, max(apart, 0)))
        return found

    def _apart(self, width: int, vectors: int) -> float:
        """Bytes that it costs besides to walk through memory in short runs along the lanes.

        Measured 2026-11 on a 2-core AVX-512 machine: float64 ``ia,eabc->eibc`` of 113 MB, rows
        times bytes of a run: 12 x 128 took 22.7 ms, 6 x 192 15.7 ms, 4 x 384 12.1 ms; float32
        ``jk,ijkl->il`` of 328 MB: runs of 640 bytes, the whole of l, 21.7 ms, of 320 36.9 ms.

        Sums read runs from the last-level cache as fast as whole rows, if in whole lines. Measured
        2026-12 (Zen 3, float32, 4 x 768 by 768 x 768): 84 us in runs of 96 bytes, 93 in runs of 64,
        where what is moved takes 69; 8 x 768 by 768 x 768 in runs of 32 171 us, of 96 145.

        Blocks of a streamed output follow each other, and few summed rows are read side by side:
        on Zen 3, ``ab,xby->xay`` of 67 MB took 5.5 ms with two rows of 192 bytes, 11.8 by rows.
        """
        lane = self.outline.lane
        if lane is None or lane not in self.outline.tasks:
            return 0.0
        if self.outline.is_streamed and self._summed <= _STREAMS:
            return 0.0
        count = -(-self.extents[lane] * self.outline.scale // (width * vectors))
        if count == 1:
            return 0.0
        run = self.size * self.extents[lane] / count
        walked = sum(access.whole for access in self.accesses if access.lanes)
        if self._summed > 1 and self.whole <= self.outline.machine.shared_bytes:
            return walked * max(0.0, _LINE / run - 1)
        return walked * 4 * _LINE / run

    @property
    def form(self) -> Form:
        """What the sizes of blocks and the cycles of one depend on."""
        outline, machine = self.outline, self.outline.machine
        lane, static = outline.lane, outline.static
        most = machine.simd_bits // (8 * outline.itemsize)
        return Form(
            lanes=tuple(
                access.lanes + (access.lanes and not access.is_run) for access in self.accesses
            ),
            rows=tuple(access.rows for access in self.accesses),
            lane_extent=0
            if lane is None
            else self.extents[lane]
            if lane in static
            else min(self.extents[lane], most),
            is_lane_static=lane in static,
            row_extents=tuple(
                self.extents[n] if n in static else min(self.extents[n], ROWS[-1])
                for n in outline.rows
            ),
            static_rows=tuple(n in static for n in outline.rows),
            open_rows=tuple(n in outline.space.open for n in outline.rows),
            clamped=tuple(p for p, n in enumerate(outline.rows) if n in outline.tasks),
            n_tasks=len(outline.tasks),
            is_dot=outline.is_dot,
            scale=outline.scale,
            sums=outline.sums,
            compute=outline.arithmetics.compute,
            simd_bits=machine.simd_bits,
            n_registers=machine.n_registers,
            fma_ports=machine.fma_ports,
        )

    def cycles(self, counts: tuple[int, ...], found: Rates) -> float:
        """Return the predicted cycles of one thread where every operand is in L1."""
        outline, extents = self.outline, self.extents
        n_blocks, trips = self._outputs, float(self._summed)
        for number, count in zip(outline.rows, counts, strict=True):
            n_blocks *= -(-extents[number] // count)
        if outline.lane is not None:
            n_lane_blocks = -(-extents[outline.lane] // found.lane_points)
            if outline.is_dot:
                trips *= n_lane_blocks
            else:
                n_blocks *= n_lane_blocks
        per_trip = found.per_trip if trips <= LONG else found.per_long_trip
        return n_blocks * (trips * per_trip + found.ends)


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
        self.rows = tuple(p for p, n in enumerate(outline.rows) if column[n] is not None)
        #: Indices of rows within a task that it lacks: it is walked through again for their blocks.
        self.passes = [
            (n, p)
            for p, n in enumerate(outline.rows)
            if n not in outline.tasks and column[n] is None
        ]
        #: Bytes of the lines that an element touches, in those of the element.
        steps = [abs(int(column[n] or 0)) for n in self.used]
        self.waste = max(1, min(min(steps, default=1), _LINE // size))
        whole = size * self.waste
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
        #: What is touched within no task loop, the innermost one, and so on: :meth:`Costs.inside`.
        self.levels = [costs.inside(touched)]
        self._touched = touched

    def _level(self, inner: int) -> list[tuple[float, int, int]]:
        """Return what is touched within so many of the innermost task loops."""
        tasks, extents = self.costs.outline.tasks, self.costs.extents
        while len(self.levels) <= inner:
            number = tasks[-len(self.levels)]
            self._touched[number] = extents[number]
            self.levels.append(self.costs.inside(self._touched))
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


def seconds(block: Block) -> float:
    """Return the predicted time of a block on one thread."""
    costs, sizes = Costs(block.outline), (block.width, block.vectors, block.counts)
    if block.outline.joins_rows:
        return costs.least(joined_cycles(block))
    return costs.seconds(*sizes, costs.cycles(block.counts, rates(costs.form, *sizes)))
