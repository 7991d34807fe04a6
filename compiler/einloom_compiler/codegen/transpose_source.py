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
    low, high = f"{across}_lo", f"{across}_hi"
    at = f"{source.name}, {writer.offset(source, 0)}, {source.name}_{along}"
    to = f"{target.name}, {writer.offset(target, 0)}, {target.name}_{across}"
    if transposition.pitch:
        to = f"acc, {_in_scratch(across, along, across, transposition)}, {transposition.pitch}"
    # The last blocks overlap those before them, and write again what these wrote.
    with (
        writer.block(f"if {end} - {start} >= {lanes} and {high} - {low} >= {lanes}:"),
        writer.block(f"for {along}_block in range({start}, {end}, {lanes}):"),
        writer.block(f"for {across}_block in range({low}, {high}, {lanes}):"),
    ):
        writer.line(f"{along} = min({along}_block, {end} - {lanes})")
        writer.line(f"{across} = min({across}_block, {high} - {lanes})")
        if transposition.ahead:
            ahead = f"{writer.offset(source, 0)} + {transposition.ahead}"
            near = f"{source.name}, {ahead}, {source.name}_{along}"
            writer.call(f"bprefetch{lanes}(", f"{lanes}, 1, {near}")
        writer.call(f"vtranspose{lanes}(", f"{to}, {at}")
    with writer.block("else:"):
        if transposition.is_masked:
            with (
                writer.block(f"for {along} in range({start}, {end}, {lanes}):"),
                writer.block(f"for {across} in range({low}, {high}, {lanes}):"),
            ):
                left = f"{end} - {along}, {high} - {across}"
                writer.call(f"vtranspose{lanes}_masked(", f"{to}, {at}, {left}")
        else:
            _write_elements(writer, across, along, start, end)


def _write_elements(writer: AccessWriter, across: str, along: str, start: str, end: str) -> None:
    """Write the loops over a tile that is narrower than a block."""
    nest, transposition = writer.nest, _transposition(writer)
    source, target = nest.inputs[0], nest.output
    with (
        writer.block(f"for {across} in range({across}_lo, {across}_hi):"),
        writer.block(f"for {along} in range({start}, {end}):"),
    ):
        to = f"{target.name}[{writer.offset(target, 0)}]"
        if transposition.pitch:
            to = f"acc[{_in_scratch(across, along, across, transposition)}]"
        writer.line(f"{to} = {source.name}[{writer.offset(source, 0)}]")


def _in_scratch(row: str, column: str, across: str, transposition: Transposition) -> str:
    return f"at + ({row} - {across}_lo) * {transposition.pitch} + {column}"
