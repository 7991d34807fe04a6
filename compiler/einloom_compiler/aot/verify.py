"""Verify libraries: what a step refers to exists, and nothing writes what it must not."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from einloom_compiler.aot.library import (
    Gather,
    Launch,
    Level,
    Library,
    Place,
    Positions,
    Step,
    Variant,
    read_by,
)
from einloom_compiler.aot.printer import print_library
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.lowering.formula import Formula, definitions, formula_text
from einloom_compiler.lowering.tables import DigitTable


def verify_library(library: Library) -> None:
    """Raise unless the library can be printed as C.

    Raises:
        InternalCompilerError: a step's kernel, place or number is none, a formula has a name that
            is no symbol, a step writes to an input or constant, or cells lack a choice.
    """
    for reason in _faults(library):
        raise InternalCompilerError("aot", reason, print_library(library))


def _faults(library: Library) -> Iterator[str]:
    names = {symbol.name for symbol in library.symbols}
    if not library.outputs or not library.levels:
        yield "there is no output, or no level"
    for symbol in library.symbols:
        ports = library.inputs
        if symbol.input >= len(ports) or symbol.axis >= len(ports[symbol.input].shape):
            yield f"no input shows symbol {symbol.name}"
        if list(symbol.bounds) != sorted(set(symbol.bounds)):
            yield f"the bounds of {symbol.name} do not ascend"
    shapes = [extent for port in (*library.inputs, *library.outputs) for extent in port.shape]
    sides = [side for check in library.checks for side in (check.left, check.right)]
    yield from _unnamed([*shapes, *sides], names)
    for level in library.levels:
        if len(level.choice) != library.n_cells:
            yield f"{level.cpu} has {len(level.choice)} cells of {library.n_cells}"
        if any(n is not None and n >= len(level.variants) for n in level.choice):
            yield f"{level.cpu} chooses a variant that it has not"
        for packed in level.packed:
            if not 0 <= packed.constant < len(library.constants):
                yield f"{level.cpu} packs a constant {packed.constant} that there is not"
        for variant in level.variants:
            for step in variant.steps:
                yield from _step_faults(library, level, variant, step)
            yield from _unnamed(list(numbers_of(variant)), names)


def _step_faults(library: Library, level: Level, variant: Variant, step: Step) -> Iterator[str]:
    if step.target.kind not in ("output", "buffer"):
        yield f"a step of {level.cpu} writes to {step.target}"
    if isinstance(step, Gather):
        if np.dtype(step.dtype).kind not in "iu":
            yield f"rows are looked up by {step.dtype}"
    elif isinstance(step, Launch):
        if step.kernel >= len(level.kernels):
            yield f"{level.cpu} has no kernel {step.kernel}"
            return
        kernel = level.kernels[step.kernel]
        n_pointers = len(step.operands) + 1 + len(step.tables)
        if n_pointers != len(kernel.pointers) or len(step.numbers) != len(kernel.numbers):
            yield f"a launch gives kernel {step.kernel} of {level.cpu} other arguments"
        if step.target in step.operands:
            yield f"a launch of {level.cpu} reads what it writes, {step.target}"
    counts = {
        "input": len(library.inputs),
        "output": len(library.outputs),
        "constant": len(library.constants),
        "packed": len(level.packed),
        "buffer": len(variant.buffers),
    }
    yield from (f"there is no {p}" for p in (step.target, *read_by(step)) if not _exists(p, counts))


def _exists(place: Place, counts: dict[str, int]) -> bool:
    return 0 <= place.number < counts[place.kind]


def numbers_of(variant: Variant) -> Iterator[int]:
    """Yield every number that may be a formula."""
    for buffer in variant.buffers:
        yield buffer.n_bytes
    for step in variant.steps:
        if isinstance(step, Launch):
            yield from (*step.numbers, step.total, step.points)
            for table in step.tables:
                rows = table.rows if isinstance(table, DigitTable) else table.axes
                yield from (number for row in rows for number in row)
        elif isinstance(step, Positions):
            yield step.count
        else:
            yield from (step.extent, step.count, step.row_bytes)
        yield from (place.offset for place in (*read_by(step), step.target))


def _unnamed(values: list[int], names: set[str]) -> Iterator[str]:
    for value in values:
        if not isinstance(value, Formula):
            continue
        defined = {name for name, _ in definitions(value)}
        texts = [formula_text(value), *(meaning for _, meaning in definitions(value))]
        for text in dict.fromkeys(texts):
            for node in ast.walk(ast.parse(text, mode="eval")):
                if isinstance(node, ast.Name) and node.id not in names | defined | {"pick"}:
                    yield f"{node.id} in {text} is no symbol"
