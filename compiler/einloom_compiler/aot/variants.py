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
    Copy,
    Gather,
    Launch,
    Level,
    Library,
    Place,
    Variant,
)
from einloom_compiler.aot.verify import numbers_of
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.tables import DigitTable, OffsetTable, Table

#: Constants begin at multiples of it, in bytes.
ALIGNMENT = 64
#: Work that takes so much less than what threads are woken for lets others have Python's lock.
LONG = 8
#: Words of a table that is kept in the library instead of being built at each call.
KEPT_WORDS = 2048


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
        self._tables: dict[tuple[int, ...], str] = {}

    def text(self) -> str:
        """Return tables and functions as C."""
        functions = [self._level(level) for level in self.library.levels]
        tables = [
            f"static const int64_t {name}[] = {_braces(list(map(str, words)))};"
            for words, name in self._tables.items()
        ]
        return "\n".join(tables) + "\n\n" + "\n".join(functions)

    def _level(self, level: Level) -> str:
        symbols = [
            kernel_symbol(self.library.name, level.cpu, n) for n in range(len(level.kernels))
        ]
        lines = [
            f'__attribute__((visibility("hidden"))) void {symbol}(int64_t *, int64_t, int64_t, '
            "int64_t);"
            for symbol in symbols
        ]
        key = level_key(level.cpu)
        names = [f"{key}_variant_{number}" for number in range(len(level.variants))]
        for name, variant in zip(names, level.variants, strict=True):
            lines.append(self._variant(name, variant, level.kernels, symbols))
        entries = ["NULL" if n is None else names[n] for n in level.choice]
        lines.append(f"static const Variant {key}_choice[] = {_braces(entries)};\n")
        return "\n".join(lines)

    def _variant(
        self, name: str, variant: Variant, kernels: Sequence[KernelText], symbols: Sequence[str]
    ) -> str:
        launches = [step for step in variant.steps if isinstance(step, Launch)]
        used = self._used_symbols(variant)
        lines = [f"static int64_t {name}(Request *request) {{"]
        lines += [f"    const int64_t s{n} = request->sizes[{n}];" for n in used]
        large = [self._large(step) for step in launches]
        long = [self._large(step, LONG) for step in launches]
        lines.append(
            f"    settle_threads(request, {' || '.join(dict.fromkeys(large)) or '0'}, "
            f"{' || '.join(dict.fromkeys(long)) or '0'});"
        )
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
        tables = [self._table_places(number, step) for number, step in enumerate(launches)]
        for _, declarations in tables:
            lines += declarations
        scratch = max((_scratch_bytes(kernels[step.kernel]) for step in launches), default=0)
        if scratch:
            lines.append("    const int64_t scratch = need;")
            lines.append(f"    need += aligned({scratch} * request->threads);")
        lines.append("    char *const memory = request->memory;")
        lines.append("    if (memory == NULL)")
        lines.append("        return need;")
        place = {n: f"memory + room_{b.room}" for n, b in enumerate(variant.buffers)}
        number = 0
        for step in variant.steps:
            if isinstance(step, Copy):
                source, target = self._place(step.source, place), self._place(step.target, place)
                lines.append(
                    f"    memcpy({target}, {source}, (size_t)({self._number(step.n_bytes)}));"
                )
                continue
            if isinstance(step, Gather):
                lines += self._gather(step, place)
                continue
            lines += self._launch(
                step, kernels[step.kernel], symbols[step.kernel], tables[number][0], place
            )
            number += 1
        lines += ["    return need;", "}", ""]
        return "\n".join(lines)

    def _gather(self, step: Gather, place: Mapping[int, str]) -> list[str]:
        table, indices, target = (
            self._place(p, place) for p in (step.table, step.indices, step.target)
        )
        dtype = np.dtype(step.dtype)
        numbers = ", ".join(map(self._number, (step.extent, step.count, step.row_bytes)))
        kind = f"{dtype.itemsize}, {int(dtype.kind == 'i')}"
        return [
            f"    if (!gather({target}, {table}, {indices}, {kind}, {numbers}))",
            f"        return -{self.library.name.upper()}_ERROR_INDEX;",
        ]

    def _launch(
        self,
        step: Launch,
        kernel: KernelText,
        symbol: str,
        tables: Sequence[str],
        place: Mapping[int, str],
    ) -> list[str]:
        pointers = [self._place(p, place) for p in (*step.operands, step.target)]
        words = [f"(int64_t)(uintptr_t)({pointer})" for pointer in (*pointers, *tables)]
        words += [self._number(number) for number in step.numbers]
        words.append("(int64_t)(uintptr_t)(memory + scratch)" if _scratch_bytes(kernel) else "0")
        body = [
            f"const int64_t threads = threads_of(request, {self._large(step)});",
            *c_definitions((*step.numbers, step.total), self.names),
            f"int64_t block[] = {_braces(words)};",
            f"launch({symbol}, block, {kernel.scratch_elements}, "
            f"{self._number(step.total)}, threads);",
        ]
        filled = [
            line
            for built, place_of in zip(step.tables, tables, strict=True)
            for line in self._fill(built, place_of)
        ]
        lines = [f"/* {kernel.title} */".replace("*/ */", "*/"), "{"]
        return [f"    {line}" for line in (*lines, *(f"    {b}" for b in (*filled, *body)), "}")]

    # --- tables ----------------------------------------------------------------------------------

    def _table_places(self, number: int, step: Launch) -> tuple[list[str], list[str]]:
        """Return where each table of a launch is, and the lines that make room for it."""
        places, lines = [], []
        for position, table in enumerate(step.tables):
            words = _words(table)
            if words is not None:
                name = self._tables.setdefault(words, f"table_{len(self._tables)}")
                places.append(name)
                continue
            name = f"table_{number}_{position}"
            lines.append(f"    const int64_t {name} = need;")
            lines.append(f"    need += aligned(8 * {self._table_size(table)});")
            places.append(f"memory + {name}")
        return places, lines

    def _table_size(self, table: Table) -> str:
        if isinstance(table, DigitTable):
            return str(4 * max(1, len(table.rows)))
        columns = len(table.axes[0]) - 1
        return " * ".join([str(columns), *(self._number(axis[0]) for axis in table.axes)])

    def _fill(self, table: Table, place: str) -> list[str]:
        """Return the lines that fill a table in memory; none for one that is kept."""
        if not place.startswith("memory"):
            return []
        pointer = f"(int64_t *)(void *)({place})"
        if isinstance(table, DigitTable):
            words = [self._number(n) for row in table.rows or ((1, 0, 0, 0),) for n in row]
            return [
                f"memcpy({place}, (const int64_t[]){_braces(words)}, {8 * len(words)});",
            ]
        words = [self._number(n) for axis in table.axes for n in axis]
        shape = f"{len(table.axes)}, {len(table.axes[0]) - 1}"
        return [f"fill_offsets({pointer}, (const int64_t[]){_braces(words)}, {shape});"]

    # --- parts -----------------------------------------------------------------------------------

    def _number(self, value: int) -> str:
        return c_number(value, self.names)

    def _large(self, step: Launch, share: int = 1) -> str:
        least = max(1, step.parallel_points // share)
        return f"{self._number(step.points)} >= {c_number(least, {})}"

    def _place(self, place: Place, buffers: Mapping[int, str]) -> str:
        start = self._start(place, buffers)
        offset = self._number(place.offset)
        return start if offset == "0" else f"{start} + {offset}"

    def _start(self, place: Place, buffers: Mapping[int, str]) -> str:
        match place.kind:
            case "input":
                return f"request->inputs[{place.number}]"
            case "output":
                return f"request->outputs[{place.number}]"
            case "buffer":
                return buffers[place.number]
        start = self.offsets[place.number] + self.library.constants[place.number].start
        return f"constants() + {start}"

    def _used_symbols(self, variant: Variant) -> list[int]:
        """Return the numbers of the symbols that a variant's formulas use."""
        texts = [
            c_number(value, self.names) + " " + " ".join(c_definitions((value,), self.names))
            for value in numbers_of(variant)
            if isinstance(value, Formula)
        ]
        words = set(re.findall(r"\w+", " ".join(texts)))
        return [n for n in range(len(self.library.symbols)) if f"s{n}" in words]


def _scratch_bytes(kernel: KernelText) -> int:
    return kernel.scratch_elements * np.dtype(kernel.scratch_dtype).itemsize


def _words(table: Table) -> tuple[int, ...] | None:
    """Return a table's words where they are known and few, else None."""
    rows = table.rows if isinstance(table, DigitTable) else table.axes
    if any(isinstance(number, Formula) for row in rows for number in row):
        return None
    words = tuple(int(word) for word in table.array().reshape(-1))
    return words if len(words) <= KEPT_WORDS else None


def _braces(words: Sequence[str]) -> str:
    return f"{{{', '.join(words)}}}"


__all__ = ["OffsetTable", "Variants", "constant_offsets", "kernel_symbol", "level_key"]
