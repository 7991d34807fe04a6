"""Write the copy of one tile whose two levels are transposed in registers.

Blocks go straight to the output, or to rows of scratch that are streamed to it. A row may run
through several fused indices; it then is made of pieces of the innermost one.
"""

from __future__ import annotations

from einloom_compiler.codegen.access_source import AccessWriter
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.loops import Level, Transposition
from einloom_compiler.ir.printer import print_nest


def write_transposition(writer: AccessWriter) -> None:
    """Write a tile's copy; the bounds of its levels are known as ``<index>_lo`` and ``_hi``."""
    nest, transposition = writer.nest, _transposition(writer)
    across, along = nest.levels[-2:]
    if not transposition.pitch:
        _write_blocks(writer, across.index, along.index, f"{along.index}_lo")
        return
    fused = next(level.fused for level in nest.levels if level.index == along.index)
    if fused:
        _write_pieces(writer, across, along, fused)
    else:
        writer.line(f"at = acc_0 - {along.index}_lo")
        _write_blocks(writer, across.index, along.index, f"{along.index}_lo")
    writer.line(f"length = {along.index}_hi - {along.index}_lo")
    low = {along.index: f"{along.index}_lo", **dict.fromkeys(fused, "")}
    with writer.block(f"for {across.index} in range({across.index}_lo, {across.index}_hi):"):
        with writer.named(low):
            to = writer.offset(nest.output, 0)
        row = f"acc_0 + ({across.index} - {across.index}_lo) * {transposition.pitch}"
        writer.call("vstream(", f"{nest.output.name}, {to}, acc, {row}, length")


def _transposition(writer: AccessWriter) -> Transposition:
    found = writer.nest.transposition
    if found is None:
        raise InternalCompilerError("codegen", "nothing is transposed", print_nest(writer.nest))
    return found


def _write_pieces(
    writer: AccessWriter, across: Level, along: Level, fused: tuple[str, ...]
) -> None:
    """Write the loop over the pieces of a run: decode its first point, then count."""
    inner = along.index
    rest = f"{inner}_lo"
    for index in (inner, *reversed(fused[1:])):
        writer.line(f"{index} = {rest} % n_{index}")
        writer.line(f"rest = {rest} // n_{index}")
        rest = "rest"
    writer.line(f"{fused[0]} = rest")
    writer.line(f"start, run = {inner}, {inner}_lo")
    with writer.block(f"while run < {inner}_hi:"):
        writer.line(f"end = min(start + {inner}_hi - run, n_{inner})")
        writer.line(f"at = acc_0 + run - {inner}_lo - start")
        _write_blocks(writer, across.index, inner, "start", "end")
        writer.line("run += end - start")
        writer.line("start = 0")
        _count_up(writer, fused)


def _count_up(writer: AccessWriter, fused: tuple[str, ...]) -> None:
    *outer, last = fused
    writer.line(f"{last} += 1")
    if outer:
        with writer.block(f"if {last} == n_{last}:"):
            writer.line(f"{last} = 0")
            _count_up(writer, tuple(outer))


def _write_blocks(
    writer: AccessWriter, across: str, along: str, start: str, end: str | None = None
) -> None:
    """Write the loops over a tile's blocks, along ``along`` from ``start`` to ``end``."""
    nest, transposition = writer.nest, _transposition(writer)
    source, target, lanes = nest.inputs[0], nest.output, transposition.lanes
    end = end or f"{along}_hi"
    with (
        writer.block(f"for {along} in range({start}, {end}, {lanes}):"),
        writer.block(f"for {across} in range({across}_lo, {across}_hi, {lanes}):"),
    ):
        at = f"{source.name}, {writer.offset(source, 0)}, {source.name}_{along}"
        to = f"{target.name}, {writer.offset(target, 0)}, {target.name}_{across}"
        if transposition.pitch:
            to = f"acc, {_in_scratch(across, along, across, transposition)}, {transposition.pitch}"
        whole = f"{along} + {lanes} <= {end} and {across} + {lanes} <= {across}_hi"
        with writer.block(f"if {whole}:"):
            writer.call(f"vtranspose{lanes}(", f"{to}, {at}")
        with writer.block("else:"):
            if transposition.is_masked:
                left = f"{end} - {along}, {across}_hi - {across}"
                writer.call(f"vtranspose{lanes}_masked(", f"{to}, {at}, {left}")
            else:
                _write_edge(writer, across, along, end)


def _write_edge(writer: AccessWriter, across: str, along: str, end: str) -> None:
    """Write the loops over a block that is cut off by the tile's end."""
    nest, transposition = writer.nest, _transposition(writer)
    source, target, lanes = nest.inputs[0], nest.output, transposition.lanes
    row, column = f"{across}_one", f"{along}_one"
    with (
        writer.block(f"for {row} in range({across}, min({across} + {lanes}, {across}_hi)):"),
        writer.block(f"for {column} in range({along}, min({along} + {lanes}, {end})):"),
        writer.named({across: row, along: column}),
    ):
        to = f"{target.name}[{writer.offset(target, 0)}]"
        if transposition.pitch:
            to = f"acc[{_in_scratch(row, column, across, transposition)}]"
        writer.line(f"{to} = {source.name}[{writer.offset(source, 0)}]")


def _in_scratch(row: str, column: str, across: str, transposition: Transposition) -> str:
    return f"at + ({row} - {across}_lo) * {transposition.pitch} + {column}"
