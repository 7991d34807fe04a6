"""Verify tiled nests: what their writer and their kernels rely on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.tiled import TiledNest, print_tiled


def verify_tiled(nest: TiledNest, stage: str) -> None:
    """Check that indices are bound once, no task is summed, and edges are covered.

    Raises:
        InternalCompilerError: what does not hold, with the printed nest.
    """

    def require(holds: bool, reason: str) -> None:
        if not holds:
            raise InternalCompilerError(stage, reason, print_tiled(nest))

    static = dict(nest.static)
    rows = [part.index for part in nest.rows]
    lanes = nest.lanes
    _require_distinct(nest.tasks, "task", require)
    _require_distinct(rows, "row", require)
    _require_distinct(nest.contracted, "contracted", require)
    kept = {*nest.tasks, *rows} | ({lanes.index} if lanes and not nest.is_dot else set())
    require(kept == set(nest.output.indices), "tasks, rows and lanes are not the output's indices")
    require(not kept & set(nest.contracted), "a summed index is kept")
    used = {index for access in nest.inputs for index in access.indices}
    require(used == kept | set(nest.contracted), "an index is bound by no loop or has no operand")
    require(all(part.count >= 1 for part in nest.rows), "a row block is empty")
    for access in nest.extras:
        is_kept = set(access.indices) <= kept
        require(is_kept, f"{access.name} has an index that is not the output's")
    for access in nest.accesses:
        require(access.unit is None or access.unit in access.indices, "unit is no index")
        require(access.dtype == nest.compute, f"{access.name} would be cast to {nest.compute}")
    for part in nest.rows:
        if part.index not in nest.tasks:
            extent = static.get(part.index, 0)
            require(extent >= part.count, f"rows {part.index} overrun their static extent")
    if nest.ahead:
        is_known = lanes is not None and bool(nest.foreseen) and not nest.joins_rows
        require(is_known, "no operand's part of a task is known to be prefetched")
    if nest.joins_rows:
        require(not nest.contracted, "joined rows are summed")
        require(len(rows) == 1 and {*rows} <= {*nest.tasks}, "joined rows are not along one task")
        _require_joined(nest, rows[0], require)
    if nest.is_streamed:
        is_run = lanes is not None and not nest.is_dot and nest.output.unit == lanes.index
        require(is_run, "a streamed output is not contiguous along the lanes")
        require(not {*rows} & {*nest.tasks}, "rows of a streamed output lie along a task")
    if lanes is None:
        return
    require(lanes.index not in rows, "the lane index is a row")
    require(lanes.width >= nest.scale and lanes.vectors >= 1, "a vector is empty")
    if nest.is_dot:
        require(lanes.index == nest.contracted[-1], "summed lanes are not the innermost loop")
    elif lanes.index not in nest.tasks:
        require(lanes.index in static, "lanes within a task have no static extent")
    accesses = [a for a in (*nest.inputs, nest.output) if lanes.index in a.indices]
    is_strided = any(access.unit != lanes.index for access in accesses)
    require(not (nest.is_complex and is_strided), "complex lanes are strided")


def _require_joined(nest: TiledNest, row: str, require: Callable[[bool, str], None]) -> None:
    """Require what vectors along rows and lanes rely on."""
    lanes, static = nest.lanes, dict(nest.static)
    require(lanes is not None and not nest.is_complex, "joined rows have no lanes of reals")
    if lanes is None:
        return
    extent = static.get(lanes.index, 0)
    is_block = nest.rows[0].count == lanes.width and lanes.vectors == extent
    require(is_block and lanes.index not in nest.tasks, "a joined block is not a vector of rows")
    for access in nest.accesses:
        if lanes.index in access.indices:
            require(
                access.unit == lanes.index, f"{access.name} is not contiguous along joined lanes"
            )
            is_short = row in access.indices or extent <= lanes.width
            require(is_short, f"{access.name} recurs and is longer than a vector")
    require(nest.output.unit == lanes.index, "joined rows are not the output's")


def _require_distinct(
    indices: Sequence[str], what: str, require: Callable[[bool, str], None]
) -> None:
    require(len(set(indices)) == len(indices), f"a {what} index repeats")
