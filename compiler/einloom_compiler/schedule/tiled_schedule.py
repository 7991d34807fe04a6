"""Schedules of the tiled family: their choices, and the nests they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from einloom_compiler.errors import InternalCompilerError, ScheduleError
from einloom_compiler.ir.verify_tiled import verify_tiled
from einloom_compiler.lowering.formula import is_open
from einloom_compiler.lowering.iteration import IterationSpace
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule import tiled as policy
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.text import require_integer, schedule_text
from einloom_compiler.schedule.tiled_blocks import Block, Outline, numbered
from einloom_compiler.schedule.tiled_joined import is_run

#: Most vectors a row, and rows of an index, by hand.
_MOST = 32


@dataclass(frozen=True, slots=True)
class TiledSchedule:
    """The register block, in the letters of the step's einsum notation.

    Indices that are fused at run time are meant by any of their letters; those of extent 1 have no
    loop, and blocks along them are left out.

    Attributes:
        lanes: the letter along which vectors lie, the output's or a contracted one; empty for
            scalars.
        width: real lanes of a vector; a complex number takes two.
        vectors: vectors a row.
        rows: letters of the output indices whose neighbouring points are computed together.
        counts: how many points of each.
        static: letters of blocked and contracted indices whose extents are constants of the kernel.
        is_streamed: whether the output is gathered in scratch and written past the caches.
        joins_rows: whether vectors lie along rows and lanes as along one index.
        ahead: how many tasks before it is needed memory is prefetched, 0 where it is not.
    """

    lanes: str
    width: int
    vectors: int
    rows: str = ""
    counts: tuple[int, ...] = ()
    static: str = ""
    is_streamed: bool = False
    joins_rows: bool = False
    ahead: int = 0

    def __str__(self) -> str:
        """Print as the call that reads it back."""
        return schedule_text(self)


def schedule_of(block: Block) -> TiledSchedule:
    """Return the choices that a block stands for."""
    outline = block.outline
    letters = [label[-1:] for label in outline.space.labels]
    lane = outline.lane
    return TiledSchedule(
        lanes="" if lane is None else letters[lane],
        width=outline.scale if lane is None else block.width,
        vectors=1 if lane is None else block.vectors,
        rows="".join(letters[number] for number in outline.rows),
        counts=block.counts,
        static="".join(letters[number] for number in outline.constants),
        is_streamed=outline.is_streamed,
        joins_rows=outline.joins_rows,
        ahead=block.ahead,
    )


def block_of(
    schedule: TiledSchedule, space: IterationSpace, arithmetics: Arithmetics, machine: Machine
) -> Block:
    """Return the block of a schedule.

    Raises:
        ScheduleError: the family does not take the contraction.
    """
    if not policy.is_supported(space, arithmetics):
        raise ScheduleError(
            f"{schedule} is for operands of one native dtype, an output with at least one index, "
            "no empty extent and no index that no operand has; give Direct or None"
        )

    def number(letter: str) -> int | None:
        found = (n for n, label in enumerate(space.labels) if letter in label)
        return next(found, None)

    lane = number(schedule.lanes) if schedule.lanes else None
    rows: dict[int, int] = {}
    for letter, count in zip(schedule.rows, schedule.counts, strict=False):
        row = number(letter)
        if row is not None and row != lane:
            rows.setdefault(row, count)
    static = frozenset(n for letter in schedule.static if (n := number(letter)) is not None)
    outline = Outline(
        *(space, arithmetics, machine, lane, tuple(rows), static),
        is_streamed=schedule.is_streamed,
        joins_rows=schedule.joins_rows,
    )
    width, vectors = (schedule.width, schedule.vectors) if lane is not None else (outline.scale, 1)
    return Block(outline, width, vectors, tuple(rows.values()), schedule.ahead)


def check(
    schedule: TiledSchedule, space: IterationSpace, arithmetics: Arithmetics, machine: Machine
) -> None:
    """Raise unless a schedule given by hand is legal.

    Raises:
        ScheduleError: it is not; the message names the field, its value and what is allowed.
    """
    for field in ("lanes", "rows", "static"):
        if not isinstance(getattr(schedule, field), str):
            raise ScheduleError(f"Tiled: {field}={getattr(schedule, field)!r} must be letters")
    if len(schedule.lanes) > 1:
        raise ScheduleError(f"Tiled: lanes={schedule.lanes!r} must be one letter, or none")
    if not isinstance(schedule.counts, tuple) or len(schedule.counts) != len(schedule.rows):
        raise ScheduleError(
            f"Tiled: counts={schedule.counts!r} must have one number for each of "
            f"rows={schedule.rows!r}"
        )
    for count in schedule.counts:
        require_integer("Tiled", "counts", count, 1, _MOST)
    require_integer("Tiled", "vectors", schedule.vectors, 1, _MOST)
    require_integer("Tiled", "ahead", schedule.ahead, 0, _MOST)
    require_integer("Tiled", "width", schedule.width, 1, machine.simd_bits // 32)
    for extent, label in zip(space.extents, space.labels, strict=True):
        if is_open(extent) and any(letter in label for letter in schedule.static):
            raise ScheduleError(
                f"Tiled: static={schedule.static!r} has an index ({label}) of symbolic extent, "
                "which is no constant"
            )
    for field in ("is_streamed", "joins_rows"):
        value = getattr(schedule, field)
        if not isinstance(value, bool):
            raise ScheduleError(f"Tiled: {field}={value!r} is not allowed; give True or False")
    block = block_of(schedule, space, arithmetics, machine)
    if schedule.joins_rows and not is_run(block.outline):
        raise ScheduleError(
            f"{schedule}: joins_rows=True needs one index in rows, and short lanes, that follow "
            "each other in memory in the output and in each operand that has both; leave it out"
        )
    nest = numbered(block).nest
    if schedule.is_streamed and not policy.may_be_streamed(block):
        raise ScheduleError(
            f"{schedule}: is_streamed=True needs blocks that follow each other in the output's "
            f"memory, at most {policy.STREAMED_RUN} bytes a task; leave it out"
        )
    for name, extent in nest.static:
        if extent > policy.STATIC:
            raise ScheduleError(
                f"Tiled: static={schedule.static!r} has an index of extent {extent} ({name}); "
                f"only those up to {policy.STATIC} can be constants"
            )
    _check_lanes(schedule, space, arithmetics, machine)
    sums = 2 if nest.is_complex and len(nest.inputs) == 2 else 1
    size = nest.lanes.vectors if nest.lanes else 1
    for rows in nest.rows:
        size *= rows.count
    most = policy.SCALARS if nest.lanes is None else policy.ACCUMULATORS[machine.n_registers]
    if size * sums > most and not schedule.joins_rows:
        raise ScheduleError(
            f"Tiled: rows={schedule.rows!r}, counts={schedule.counts} and "
            f"vectors={schedule.vectors} need {size * sums} accumulators; at most {most} fit"
        )
    try:
        verify_tiled(nest, "schedule")
    except InternalCompilerError as error:
        raise ScheduleError(f"{schedule} is not legal here: {error.reason}") from None


def _check_lanes(
    schedule: TiledSchedule, space: IterationSpace, arithmetics: Arithmetics, machine: Machine
) -> None:
    lane = next((n for n, label in enumerate(space.labels) if schedule.lanes in label), None)
    if not schedule.lanes or lane is None:
        return
    if lane not in policy.lane_indices(space, arithmetics):
        allowed = [space.labels[n][-1:] for n in policy.lane_indices(space, arithmetics)]
        raise ScheduleError(
            f"Tiled: lanes={schedule.lanes!r} is not contiguous where vectors need it; give "
            f"{' or '.join(map(repr, ['', *allowed]))}"
        )
    allowed_widths = policy.widths(arithmetics, machine)
    if schedule.width not in allowed_widths:
        raise ScheduleError(
            f"Tiled: width={schedule.width} is not allowed; give one of "
            f"{', '.join(map(str, allowed_widths))}"
        )
