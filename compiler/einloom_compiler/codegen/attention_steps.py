"""Print the functions that an attention kernel is made of; names as in :mod:`.attention_source`."""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.attention_moves import MoveWriter
from einloom_compiler.codegen.attention_weights import WeightWriter
from einloom_compiler.codegen.attention_writer import FunctionWriter
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.attention import AttentionNest


def numbers_of(nest: AttentionNest) -> tuple[str, ...]:
    """Return the names of extents and strides, in the order of the kernel ABI."""
    batch = [f"b{number}" for number in range(nest.n_batch)]
    contracted = [f"c{number}" for number in range(nest.n_contracted)]
    names = [f"n_{index}" for index in (*batch, "q", "s", "d", "e", *contracted)]
    names += [f"q_{index}" for index in (*batch, "q", "d", *contracted)]
    names += [f"k_{index}" for index in (*batch, "s", "d", *contracted)]
    names += [f"v_{index}" for index in (*batch, "s", "e")]
    for number in range(len(nest.masks)):
        names += [f"mask{number}_{index}" for index in (*batch, "q", "s")]
    names += [f"out_{index}" for index in (*batch, "q", "e")]
    return tuple(names)


class StepWriter(FunctionWriter):
    """Writes one function after another for a nest."""

    def functions(self) -> list[str]:
        """Return the functions that the kernel calls."""
        return [
            self._score("score_rows", self.block.rows),
            self._score("score_row", 1),
            self._add("add_rows", self.block.rows),
            self._add("add_row", 1),
            *MoveWriter(self.nest).functions(),
            *WeightWriter(self.nest).functions(),
            self._store(),
        ]

    def _score(self, name: str, rows: int) -> str:
        shape = f"{rows}, {self.block.vectors}"
        arguments, k, k_s, k_d = "acc, k, a, k_s, k_d", "k", "k_s", "k_d"
        if self.nest.copies_keys:
            arguments, k, k_s, k_d = "acc, a", "acc", self.pitch("keys"), "1"
        return self.function(
            name,
            f"{arguments}, panel, n_points, to, is_first",
            "Write, or add to, the scores of neighbouring keys: sums of packed points.",
            [
                f"c = bzero{self.width}({shape}, {self.constant('0')})",
                "for _ in range(n_points):",
                f"    c = bouter{self.width}_strided(c, {k}, a, {k_s}, acc, panel)",
                f"    a += {k_d}",
                f"    panel += {self.lanes}",
                "if not is_first:",
                f"    c = badd(c, bload{self.width}({shape}, acc, to, {self.lanes}))",
                f"bstore{self.width}(acc, to, {self.lanes}, c)",
            ],
        )

    def _add(self, name: str, rows: int) -> str:
        nest = self.nest
        arguments, v_s = "acc, v, a, v_s, v_e", "v_s"
        outer = f"bouter{self.width}_strided(c, v, a, v_e, acc, weights)"
        if nest.copies_values:
            arguments, v_s = "acc, a", self.pitch("values")
            outer = f"bouter{self.width}(c, acc, a, acc, weights)"
        elif nest.is_value_contiguous:
            outer = f"bouter{self.width}(c, v, a, acc, weights)"
        return self.function(
            name,
            f"{arguments}, weights, n_keys, to",
            "Add weighted values to the sums of neighbouring columns.",
            [
                f"c = bload{self.width}({rows}, {self.block.vectors}, acc, to, {self.lanes})",
                "for _ in range(n_keys):",
                f"    c = {outer}",
                f"    a += {v_s}",
                f"    weights += {self.lanes}",
                f"bstore{self.width}(acc, to, {self.lanes}, c)",
            ],
        )

    def _store(self) -> str:
        nest, width, lanes, rows = self.nest, self.width, self.lanes, self.block.rows
        lines = [
            f"n_whole = n_columns // {rows} * {rows}",
            f"n_sums = -(-n_columns // {rows}) * {rows} if n_columns >= {rows} else n_columns",
            "# A cut block of columns was made to end with the last one.",
            "shift = n_sums - n_columns",
        ]
        for v in self.vectors:
            lines += [
                f"total{v} = vload{width}(acc, state + {lanes + v * width})",
                "if n_s == 0:  # the sum of nothing is 0",
                f"    total{v} = vset{width}({self.constant('1')})",
                f"total{v} = {self.constant('1')} / total{v}",
            ]
        lines.append(f"for at in range(sums, sums + n_sums * {lanes}, {lanes}):")
        for v in self.vectors:
            at = f"at + {v * width}" if v else "at"
            lines.append(f"    vstore{width}(acc, {at}, vload{width}(acc, {at}) * total{v})")
        same = arithmetic(nest.output).storage == self.element
        if nest.is_output_contiguous and same:
            lines += [
                f"for r in range(0, n_rows, {width}):",
                "    to = out_at + r * out_q",
                f"    for e in range(0, n_whole, {width}):",
                *self._transposed("to + e", "n_whole - e"),
                f"    for e in range(n_whole, n_sums, {width}):",
                *self._transposed("to + e - shift", "n_sums - e"),
            ]
        else:
            stored = casts.store("acc[at + r]", nest.compute, nest.output)
            lines += [
                "for e in range(n_columns):",
                f"    at = sums + (e + shift if e >= n_whole else e) * {lanes}",
                "    for r in range(n_rows):",
                f"        out[out_at + r * out_q + e * out_e] = {stored}",
            ]
        return self.function(
            "store",
            "out, acc, sums, state, out_at, out_q, out_e, n_rows, n_columns, n_s",
            "Divide sums by those of the weights and store them.",
            lines,
        )

    def _transposed(self, to: str, n: str) -> list[str]:
        return [
            f"        vtranspose{self.width}_masked(",
            f"            out, {to}, out_q, acc, sums + e * {self.lanes} + r, {self.lanes},",
            f"            {n}, n_rows - r",
            "        )",
        ]
