"""Schedule steps: each rewrites a loop nest into an equal one, or raises.

The schedule of a matrix product, and what it does::

    range i          parallel range i unrolled by 4        Unroll("i", 4)
      range j    =>    parallel tile j of 256              Tile("j", 256)
        range k          range k
                           within j of 256                 Sink("j"), Parallelize(2)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.ir.printer import print_nest


@dataclass(frozen=True, slots=True)
class Tile:
    """Split a range into tiles of ``size``: ``index == tile_start + offset``."""

    index: str
    size: int


@dataclass(frozen=True, slots=True)
class Sink:
    """Move an index's ``within`` level to be the innermost."""

    index: str


@dataclass(frozen=True, slots=True)
class Unroll:
    """Unroll an output range by ``factor`` and jam the copies into the loops inside it."""

    index: str
    factor: int


@dataclass(frozen=True, slots=True)
class Parallelize:
    """Flatten the first ``n_levels`` levels into the range that threads share."""

    n_levels: int


@dataclass(frozen=True, slots=True)
class Transpose:
    """Copy the two innermost levels in blocks of ``lanes`` x ``lanes``, transposed in registers."""

    lanes: int


Step = Tile | Sink | Unroll | Parallelize | Transpose
STEPS: tuple[type[Step], ...] = (Tile, Sink, Unroll, Parallelize, Transpose)
Schedule = tuple[Step, ...]


def apply(nest: LoopNest, schedule: Schedule) -> LoopNest:
    """Return ``nest`` after all steps of ``schedule``."""
    for step in schedule:
        nest = _apply_step(nest, step)
    return nest


def _apply_step(nest: LoopNest, step: Step) -> LoopNest:
    levels = list(nest.levels)
    match step:
        case Tile(index, size):
            at = _position(nest, step, index, "range")
            levels[at : at + 1] = [Level(index, "tile", size), Level(index, "within", size)]
        case Sink(index):
            levels.append(levels.pop(_position(nest, step, index, "within")))
        case Unroll(index, factor):
            at = _position(nest, step, index, "range")
            levels[at] = replace(levels[at], unroll=factor)
        case Parallelize(n_levels):
            return replace(nest, n_parallel=n_levels)
        case Transpose(lanes):
            return replace(nest, transpose_lanes=lanes)
    return replace(nest, levels=tuple(levels))


def _position(nest: LoopNest, step: Step, index: str, kind: str) -> int:
    for position, level in enumerate(nest.levels):
        if level.index == index and level.kind == kind:
            return position
    raise InternalCompilerError("schedule", f"{step} finds no {kind} {index}", print_nest(nest))


def generalize(nest: LoopNest) -> LoopNest:
    """Forget which strides are 1, except along the innermost loop.

    There it decides whether loads are vectors; elsewhere it would only multiply the number of
    kernels that have to be compiled. Transposed copies rely on both of theirs.
    """
    innermost = nest.levels[-1].index if nest.levels else None
    if nest.transpose_lanes:
        return nest

    def general(access: Access) -> Access:
        return access if access.unit == innermost else replace(access, unit=None)

    inputs = tuple(general(access) for access in nest.inputs)
    return replace(nest, inputs=inputs, output=general(nest.output))
