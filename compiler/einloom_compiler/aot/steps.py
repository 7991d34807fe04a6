"""The C functions that make a library's launches; equal ones of several variants are one.

A function gets the launch's threads and where its operands are; its numbers are formulas of the
request's sizes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from einloom_compiler.aot.expressions import c_definitions, c_number
from einloom_compiler.aot.library import NEVER, Launch
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.tables import DigitTable, Table

#: Words of a table that is kept in the library instead of being built at each call.
KEPT_WORDS = 2048
#: A choice by the launch's threads: cells differ in little else, so that it is an argument.
_PICK = re.compile(r"pick\(threads, \(const int64_t\[\]\)\{((?:\d+(?:, )?)+)\}\)")


@dataclass(frozen=True, slots=True)
class Room:
    """A table that a launch builds in memory.

    Attributes:
        table: what it holds.
        n_bytes: C expression of its size.
    """

    table: Table
    n_bytes: str


class Steps:
    """Writes launches; functions and tables that are equal are written once."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Take the C name of each symbol's value."""
        self.names = names
        self._tables: dict[tuple[int, ...], str] = {}
        self._functions: dict[str, str] = {}

    def text(self) -> str:
        """Return tables and functions as C."""
        tables = [
            f"static const int64_t {name}[] = {braces(list(map(str, words)))};"
            for words, name in self._tables.items()
        ]
        functions = [text.replace("STEP", name, 1) for text, name in self._functions.items()]
        return "\n".join([*tables, "", *functions])

    def call(
        self, step: Launch, kernel: KernelText, symbol: str, pointers: Sequence[str]
    ) -> list[str]:
        """Return the statements that make a launch.

        Args:
            step: the launch.
            kernel: its kernel.
            symbol: of the kernel's object code.
            pointers: C expressions: operands, target, rooms of tables, and scratch where needed.
        """
        name, picks = self._function(step, kernel, symbol, len(pointers))
        is_large = is_at_least(step.points, step.parallel_points, self.names)
        threads = f"threads_of(request, {is_large}, {self._most_awake(step)})"
        title = f"/* {kernel.title.replace('*/', '* /')} */"
        return [title, f"{name}({', '.join(('request', threads, *pointers, *picks))});"]

    def _most_awake(self, step: Launch) -> str:
        """Return a C expression: among how many awake threads a launch is shared."""
        if step.shared_points == NEVER:
            return "1"
        points, each = c_number(step.points, self.names), c_number(step.shared_points, {})
        return f"1 + ({points}) / {each}"

    def rooms(self, step: Launch) -> list[Room]:
        """Return the tables that a launch builds in memory."""
        return [
            Room(table, f"8 * {self._table_size(table)}")
            for table in step.tables
            if _words(table) is None
        ]

    def _function(
        self, step: Launch, kernel: KernelText, symbol: str, n_pointers: int
    ) -> tuple[str, list[str]]:
        """Return a launch's function, and the tables that it picks from by the threads."""
        parameters = [f"p{number}" for number in range(n_pointers)]
        built = iter(parameters[len(step.operands) + 1 :])
        fills: list[str] = []
        tables: list[str] = []
        for table in step.tables:
            words = _words(table)
            if words is not None:
                tables.append(f"(int64_t)(uintptr_t){self._table(words)}")
            else:
                place = next(built)
                fills.append(self._fill(table, place))
                tables.append(f"(int64_t)(uintptr_t){place}")
        words_of = [f"(int64_t)(uintptr_t)p{n}" for n in range(len(step.operands) + 1)]
        block = [*words_of, *tables, *(c_number(number, self.names) for number in step.numbers)]
        block.append(f"(int64_t)(uintptr_t){next(built)}" if scratch_bytes(kernel) else "0")
        body = [
            *fills,
            *c_definitions((*step.numbers, step.total), self.names),
            f"int64_t block[] = {braces(block)};",
            f"launch({symbol}, block, {kernel.scratch_elements}, "
            f"{c_number(step.total, self.names)}, threads);",
        ]
        picks: list[str] = []

        def given_pick(found: re.Match[str]) -> str:
            words = tuple(map(int, found[1].split(", ")))
            picks.append(self._table(words))
            return f"pick(threads, q{len(picks) - 1})"

        body = [_PICK.sub(given_pick, line) for line in body]
        used = set(re.findall(r"\w+", " ".join(body)))
        sizes = [
            f"const int64_t {name} = request->sizes[{number}];"
            for number, name in enumerate(self.names.values())
            if name in used
        ]
        given = "".join(f", char *{name}" for name in parameters)
        given += "".join(f", const int64_t *q{number}" for number in range(len(picks)))
        lines = [f"static void STEP(const Request *request, int64_t threads{given}) {{"]
        lines += [f"    {line}" for line in (*sizes, *body)]
        if not sizes:
            lines.append("    (void)request;")
        text = "\n".join([*lines, "}", ""])
        return self._functions.setdefault(text, f"step_{len(self._functions)}"), picks

    def _table(self, words: tuple[int, ...]) -> str:
        return self._tables.setdefault(words, f"table_{len(self._tables)}")

    def _table_size(self, table: Table) -> str:
        if isinstance(table, DigitTable):
            return str(4 * max(1, len(table.rows)))
        columns = len(table.axes[0]) - 1
        extents = (c_number(axis[0], self.names) for axis in table.axes)
        return " * ".join([str(columns), *extents])

    def _fill(self, table: Table, place: str) -> str:
        if isinstance(table, DigitTable):
            rows = table.rows or ((1, 0, 0, 0),)
            words = [c_number(n, self.names) for row in rows for n in row]
            return f"memcpy({place}, (const int64_t[]){braces(words)}, {8 * len(words)});"
        words = [c_number(n, self.names) for axis in table.axes for n in axis]
        shape = f"{len(table.axes)}, {len(table.axes[0]) - 1}"
        pointer = f"(int64_t *)(void *){place}"
        return f"fill_offsets({pointer}, (const int64_t[]){braces(words)}, {shape});"


def is_at_least(points: int, least: int, names: Mapping[str, str]) -> str:
    """Return a C expression that says whether there are ``least`` points or more."""
    if least in (0, NEVER):
        return "0" if least else "1"
    return f"{c_number(points, names)} >= {c_number(least, {})}"


def scratch_bytes(kernel: KernelText) -> int:
    """Return the bytes of scratch that each thread of a launch needs."""
    return kernel.scratch_elements * np.dtype(kernel.scratch_dtype).itemsize


def braces(words: Sequence[str]) -> str:
    """Return an initialiser."""
    return f"{{{', '.join(words)}}}"


def _words(table: Table) -> tuple[int, ...] | None:
    """Return a table's words where they are known and few, else None."""
    rows = table.rows if isinstance(table, DigitTable) else table.axes
    if any(isinstance(number, Formula) for row in rows for number in row):
        return None
    words = tuple(int(word) for word in table.array().reshape(-1))
    return words if len(words) <= KEPT_WORDS else None
