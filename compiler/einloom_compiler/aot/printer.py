"""Libraries as text, for people and for messages."""

from __future__ import annotations

from collections.abc import Sequence

from einloom_compiler.aot.library import (
    Gather,
    Level,
    Library,
    Place,
    Port,
    Positions,
    Step,
    Variant,
)
from einloom_compiler.lowering.formula import formula_text


def print_library(library: Library) -> str:
    """Return one line an input, output, symbol, check, variant and step.

    Kernels are shown by their titles, constants by their sizes.
    """
    lines = [f"library {library.name}"]
    lines += [f"  input {_port(port)}" for port in library.inputs]
    lines += [f"  output {_port(port)}" for port in library.outputs]
    for symbol in library.symbols:
        most = "any" if symbol.most is None else symbol.most
        lines.append(
            f"  symbol {symbol.name}: axis {symbol.axis} of input {symbol.input}, {symbol.least} "
            f"to {most}, cut at {', '.join(map(str, symbol.bounds)) or 'nothing'}"
        )
    lines += [f"  check {check.text}" for check in library.checks]
    lines += [
        f"  constant {number}: {len(constant.contents)} bytes"
        for number, constant in enumerate(library.constants)
    ]
    for level in library.levels:
        lines.append(f"  level {level.cpu}: cells {_runs(level.choice)}")
        lines += [
            f"    packed {number}: constant {packed.constant} of {packed.dtype} as panels of "
            f"{packed.packing.size}, {packed.packing.n_bytes} bytes"
            for number, packed in enumerate(level.packed)
        ]
        for number, variant in enumerate(level.variants):
            lines.append(f"    variant {number}")
            lines += [f"      {line}" for line in _variant(variant, level)]
    return "\n".join(lines)


def _port(port: Port) -> str:
    return f"{port.name}: {port.dtype}[{', '.join(map(formula_text, port.shape))}]"


def _variant(variant: Variant, level: Level) -> list[str]:
    buffers = [
        f"buffer {number} in room {buffer.room}: {formula_text(buffer.n_bytes)} bytes"
        for number, buffer in enumerate(variant.buffers)
    ]
    return [*buffers, *(_step(step, level) for step in variant.steps)]


def _step(step: Step, level: Level) -> str:
    if isinstance(step, Positions):
        return f"{_place(step.target)} = 0, 1, ... below {formula_text(step.count)}"
    if isinstance(step, Gather):
        return (
            f"{_place(step.target)} = {formula_text(step.count)} rows of "
            f"{formula_text(step.row_bytes)} bytes, by {step.dtype} {_place(step.indices)}, of "
            f"{formula_text(step.extent)} in {_place(step.table)}"
        )
    title = level.kernels[step.kernel].title if step.kernel < len(level.kernels) else "none"
    operands = ", ".join(map(_place, step.operands))
    numbers = ", ".join(map(formula_text, step.numbers))
    return (
        f"{_place(step.target)} = kernel {step.kernel}({operands}; {numbers}) over "
        f"{formula_text(step.total)}: {title}"
    )


def _place(place: Place) -> str:
    offset = formula_text(place.offset)
    return f"{place.kind} {place.number}" + ("" if offset == "0" else f" at {offset}")


def _runs(choice: Sequence[int | None]) -> str:
    """Return the variants of consecutive cells, equal ones counted: ``0, 1, 2 x 3, none``."""
    parts: list[tuple[int | None, int]] = []
    for number in choice:
        if parts and parts[-1][0] == number:
            parts[-1] = number, parts[-1][1] + 1
        else:
            parts.append((number, 1))
    shown = (("none" if n is None else str(n)) + (f" x {k}" if k > 1 else "") for n, k in parts)
    return ", ".join(shown)
