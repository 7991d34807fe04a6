"""The C functions that run a library's variants.

Each variant is a function of a request that says how much memory it needs, or lays out
intermediates, tables and scratch in the memory it is given and makes its launches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from einloom_compiler.aot.expressions import c_definitions, c_number
from einloom_compiler.aot.library import (
    Constant,
    Gather,
    Launch,
    Level,
    Library,
    Place,
    Positions,
    Variant,
)
from einloom_compiler.aot.packing import ALIGNMENT, packed_offsets, print_packings
from einloom_compiler.aot.steps import Steps, braces, is_at_least, scratch_bytes
from einloom_compiler.aot.verify import numbers_of
from einloom_compiler.lowering.formula import Formula


def symbol_names(library: Library) -> dict[str, str]:
    """Return the C name of each symbol's value."""
    return {symbol.name: f"s{number}" for number, symbol in enumerate(library.symbols)}


def level_key(cpu: str) -> str:
    """Return a level's name as a part of C identifiers."""
    return cpu.replace("-", "_")


def kernel_symbol(library: str, cpu: str, number: int) -> str:
    """Return the symbol of a kernel's object code."""
    return f"{library}_{level_key(cpu)}_kernel_{number}"


def constant_offsets(constants: Sequence[Constant]) -> tuple[list[int], int]:
    """Return where each constant begins among all, in bytes, and how long they are together."""
    offsets, end = [], 0
    for constant in constants:
        offsets.append(end)
        end = -(-(end + len(constant.contents)) // ALIGNMENT) * ALIGNMENT
    return offsets, end


class Variants:
    """Writes the functions of all levels; tables that are equal are written once."""

    def __init__(self, library: Library) -> None:
        """Take the library."""
        self.library = library
        self.names = symbol_names(library)
        self.offsets, _ = constant_offsets(library.constants)
        self.steps = Steps(self.names)

    def text(self) -> str:
        """Return tables and functions as C."""
        levels = self.library.levels
        symbols = [
            f'__attribute__((visibility("hidden"))) void {symbol}(int64_t *, int64_t, int64_t, '
            "int64_t);"
            for level in levels
            for symbol in self._symbols(level)
        ]
        variants = [self._level(level) for level in levels]
        return "\n".join([*symbols, self.steps.text(), *variants])

    def _level(self, level: Level) -> str:
        key = level_key(level.cpu)
        names = [f"{key}_variant_{number}" for number in range(len(level.variants))]
        lines = [
            self._variant(name, variant, level)
            for name, variant in zip(names, level.variants, strict=True)
        ]
        entries = ["NULL" if n is None else names[n] for n in level.choice]
        lines.append(f"static const Variant {key}_choice[] = {braces(entries)};\n")
        if level.packed:
            lines.append(print_packings(level, key, self.constant_starts()))
        return "\n".join(lines)

    def _symbols(self, level: Level) -> list[str]:
        return [kernel_symbol(self.library.name, level.cpu, n) for n in range(len(level.kernels))]

    def constant_starts(self) -> list[int]:
        """Return where the first element of each constant is among all, in bytes."""
        constants = self.library.constants
        return [o + c.start for o, c in zip(self.offsets, constants, strict=True)]

    def _variant(self, name: str, variant: Variant, level: Level) -> str:
        launches = [step for step in variant.steps if isinstance(step, Launch)]
        used = self._used_symbols(variant)
        lines = [f"static int64_t {name}(Request *request) {{"]
        lines += [f"    const int64_t s{n} = request->sizes[{n}];" for n in used]
        wide = [(step.points, min(step.parallel_points, step.shared_points)) for step in launches]
        large = self._any(wide)
        long = self._any([(step.points, step.long_points) for step in launches])
        lines.append(f"    settle_threads(request, {large}, {long});")
        lines.append("    int64_t need = 0;")
        rooms: dict[int, list[str]] = {}
        for buffer in variant.buffers:
            rooms.setdefault(buffer.room, []).append(self._number(buffer.n_bytes))
        for room, sizes in sorted(rooms.items()):
            size = sizes[0]
            for other in dict.fromkeys(sizes[1:]):
                if other != sizes[0]:
                    size = f"largest({size}, {other})"
            lines.append(f"    const int64_t room_{room} = need;")
            lines.append(f"    need += aligned({size});")
        for number, launch in enumerate(launches):
            for position, table in enumerate(self.steps.rooms(launch)):
                lines.append(f"    const int64_t table_{number}_{position} = need;")
                lines.append(f"    need += aligned({table.n_bytes});")
        kernels = level.kernels
        scratch = max((scratch_bytes(kernels[step.kernel]) for step in launches), default=0)
        if scratch:
            lines.append("    const int64_t scratch = need;")
            lines.append(f"    request->scratch = aligned({scratch} * request->threads);")
            lines.append("    need += request->scratch;")
        if any(place.kind == "packed" for launch in launches for place in launch.operands):
            lines.append("    request->reads_packed = 1;")
        lines.append("    char *const memory = request->memory;")
        lines.append("    if (memory == NULL)")
        lines.append("        return need;")
        place = {n: f"memory + room_{b.room}" for n, b in enumerate(variant.buffers)}
        place_of = Places(self, level, place)
        symbols, number = self._symbols(level), 0
        for step in variant.steps:
            if isinstance(step, Positions):
                target, count = place_of(step.target), self._number(step.count)
                lines.append(f"    count_up({target}, {count});")
                continue
            if isinstance(step, Gather):
                lines += self._gather(step, place_of)
                continue
            kernel = kernels[step.kernel]
            pointers = [place_of(p) for p in (*step.operands, step.target)]
            n_tables = len(self.steps.rooms(step))
            pointers += [f"memory + table_{number}_{position}" for position in range(n_tables)]
            pointers += ["memory + scratch"] if scratch_bytes(kernel) else []
            called = self.steps.call(step, kernel, symbols[step.kernel], pointers)
            lines += [f"    {line}" for line in called]
            number += 1
        lines += ["    return need;", "}", ""]
        return "\n".join(lines)

    def _gather(self, step: Gather, place_of: Places) -> list[str]:
        table, indices, target = map(place_of, (step.table, step.indices, step.target))
        dtype = np.dtype(step.dtype)
        numbers = ", ".join(map(self._number, (step.extent, step.count, step.row_bytes)))
        kind = f"{dtype.itemsize}, {int(dtype.kind == 'i')}"
        return [
            f"    if (!gather({target}, {table}, {indices}, {kind}, {numbers}))",
            f"        return -{self.library.name.upper()}_ERROR_INDEX;",
        ]

    def _any(self, pairs: Sequence[tuple[int, int]]) -> str:
        """Return a C expression that says whether any launch has so many points."""
        found = dict.fromkeys(is_at_least(n, least, self.names) for n, least in pairs)
        found.pop("0", None)
        return "1" if "1" in found else " || ".join(found) or "0"

    def _number(self, value: int) -> str:
        return c_number(value, self.names)

    def _used_symbols(self, variant: Variant) -> list[int]:
        """Return the numbers of the symbols that a variant's formulas use."""
        texts = [
            c_number(value, self.names) + " " + " ".join(c_definitions((value,), self.names))
            for value in numbers_of(variant)
            if isinstance(value, Formula)
        ]
        words = set(re.findall(r"\w+", " ".join(texts)))
        return [n for n in range(len(self.library.symbols)) if f"s{n}" in words]


class Places:
    """Where a variant's values are, as C expressions."""

    def __init__(self, variants: Variants, level: Level, buffers: Mapping[int, str]) -> None:
        """Take where the buffers are."""
        self.names = variants.names
        self.buffers = buffers
        self.constants = variants.constant_starts()
        self.packed, _ = packed_offsets(level.packed)

    def __call__(self, place: Place) -> str:
        """Return the address of a value's first element."""
        offset = c_number(place.offset, self.names)
        start = self._start(place)
        return start if offset == "0" else f"{start} + {offset}"

    def _start(self, place: Place) -> str:
        match place.kind:
            case "input":
                return f"request->inputs[{place.number}]"
            case "output":
                return f"request->outputs[{place.number}]"
            case "buffer":
                return self.buffers[place.number]
            case "packed":
                return f"packed() + {self.packed[place.number]}"
        return f"constants() + {self.constants[place.number]}"


__all__ = ["Variants", "constant_offsets", "kernel_symbol", "level_key"]
