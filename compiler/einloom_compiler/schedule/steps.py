"""Schedule steps: each rewrites a loop nest into an equal one, or raises.

The schedule of a matrix product, and what it does::

    range i          parallel range i unrolled by 4        Unroll("i", 4)
      range j    =>    parallel tile j of 256              Tile("j", 256)
        range k          range k
                           within j of 256                 Sink("j"), Parallelize(2)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.loops import Access, Level, LoopNest, Transposition, Vectors
from einloom_compiler.ir.printer import print_nest


@dataclass(frozen=True, slots=True)
class Tile:
    """Split a range into tiles of ``size``: ``index == tile_start + offset``.

    With ``slack``, tiles start at cache lines of the output, which lie up to so many elements
    before multiples of ``size``. Indices to be ``fused`` are run through as one with this one.
    """

    index: str
    size: int
    slack: int = 0
    fused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sink:
    """Move an index's ``within`` or ``tile`` level to be the innermost."""

    index: str
    kind: Literal["within", "tile"] = "within"


@dataclass(frozen=True, slots=True)
class Unroll:
    """Unroll a range by ``factor`` and jam the copies into the loops inside it.

    Where ``apart``, the points computed together are not neighbours: each runs through a part of
    its own of the range.
    """

    index: str
    factor: int
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Parallelize:
    """Flatten the first ``n_levels`` levels into the range that threads share."""

    n_levels: int


@dataclass(frozen=True, slots=True)
class Vectorize:
    """Run through the innermost level in vectors of ``lanes``; sum in ``n_sums`` of them.

    Where ``is_streamed``, whole cache lines of the output are written past the caches.
    """

    lanes: int
    n_sums: int = 1
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class Transpose:
    """Copy the two innermost levels in blocks of ``lanes`` x ``lanes``, transposed in registers.

    With ``pitch``, blocks are gathered in rows of so many elements of scratch and then streamed;
    the input is prefetched ``ahead`` elements of its runs before it is copied.
    """

    lanes: int
    is_masked: bool
    pitch: int = 0
    ahead: int = 0


Step = Tile | Sink | Unroll | Parallelize | Vectorize | Transpose
STEPS: tuple[type[Step], ...] = (Tile, Sink, Unroll, Parallelize, Vectorize, Transpose)
Schedule = tuple[Step, ...]


def apply(nest: LoopNest, schedule: Schedule) -> LoopNest:
    """Return ``nest`` after all steps of ``schedule``."""
    for step in schedule:
        nest = _apply_step(nest, step)
    return nest


def _apply_step(nest: LoopNest, step: Step) -> LoopNest:
    levels = list(nest.levels)
    match step:
        case Tile(index, size, slack, fused):
            for other in fused:
                levels.pop(_position(nest, step, other, "range"))
                nest = replace(nest, levels=tuple(levels))
            at = _position(nest, step, index, "range")
            tiles = Level(index, "tile", size, slack=slack, fused=fused)
            levels[at : at + 1] = [tiles, Level(index, "within", size)]
        case Sink(index, kind):
            levels.append(levels.pop(_position(nest, step, index, kind)))
        case Unroll(index, factor, apart):
            at = _position(nest, step, index, "range")
            levels[at] = replace(levels[at], unroll=factor, apart=apart)
        case Parallelize(n_levels):
            return replace(nest, n_parallel=n_levels)
        case Vectorize(lanes, n_sums, is_streamed):
            return replace(nest, vectors=Vectors(lanes, n_sums, is_streamed))
        case Transpose(lanes, is_masked, pitch, ahead):
            made = Transposition(lanes, is_masked, pitch, ahead)
            return replace(nest, transposition=made)
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
    if nest.transposition is not None:
        return nest

    def general(access: Access) -> Access:
        return access if access.unit == innermost else replace(access, unit=None)

    inputs = tuple(general(access) for access in nest.inputs)
    return replace(nest, inputs=inputs, output=general(nest.output))
