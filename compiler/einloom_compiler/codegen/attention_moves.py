"""Print what moves blocks of attention's operands to scratch: queries, keys, values, masks.

Names as in :mod:`.attention_source`.
"""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.attention_writer import FunctionWriter
from einloom_compiler.ir.attention import Mask

#: Rows between the one that is copied and the one that is asked for. Rows of a head lie whole pages
#: apart, too far for the processor to foresee. Measured 2026-11 (one AVX2 core, 12 heads of 512
#: queries and keys): attention takes 0.96 of the time that it takes without.
_AHEAD = 8


class MoveWriter(FunctionWriter):
    """Writes the functions that pack and copy."""

    def functions(self) -> list[str]:
        """Return those that the nest needs."""
        nest = self.nest
        found = [self._pack_queries()]
        if nest.copies_keys:
            found.append(self._copy("keys", nest.key, nest.is_key_contiguous))
        if nest.copies_values:
            found.append(self._copy("values", nest.value, nest.is_value_contiguous))
        masks = enumerate(nest.masks)
        return [*found, *(self._move_mask(number, mask) for number, mask in masks if mask.is_moved)]

    def _pack_queries(self) -> str:
        nest, width, lanes = self.nest, self.width, self.lanes
        loaded = casts.load("q[at + r * q_q + d * q_d]", nest.query, nest.compute)
        lines = [
            f"if n_rows < {lanes}:",
            f"    for i in range(to, to + n_points * {lanes}):",
            f"        acc[i] = {self.constant('0')}",
        ]
        if nest.is_query_contiguous and not nest.is_cast(nest.query):
            lines += [
                f"for r in range(0, n_rows, {width}):",
                f"    for d in range(0, n_points, {width}):",
                f"        vtranspose{width}_masked(",
                f"            acc, to + d * {lanes} + r, {lanes}, q, at + r * q_q + d, q_q,",
                "            n_rows - r, n_points - d",
                "        )",
            ]
        else:
            lines += [
                "for d in range(n_points):",
                "    for r in range(n_rows):",
                f"        acc[to + d * {lanes} + r] = {loaded}",
            ]
        return self.function(
            "pack_queries",
            "q, acc, to, at, q_q, q_d, n_rows, n_points",
            "Pack points of a panel of queries, zeros in the lanes beyond.",
            lines,
        )

    def _copy(self, what: str, dtype: str, is_contiguous: bool) -> str:
        """Return the function that copies a block of keys or values, a row for each key."""
        nest, width, pitch = self.nest, self.width, self.pitch(what)
        loaded = casts.load("x[at + s * x_s + i * x_i]", dtype, nest.compute)
        if is_contiguous and not nest.is_cast(dtype):
            lines = [
                f"n_whole = n // {width} * {width}",
                "for s in range(n_keys):",
                f"    for i in range(0, n, {nest.line}):",
                f"        bprefetch{width}(1, 1, x, at + {_AHEAD} * x_s + i, 0)",
                f"    for i in range(0, n_whole, {width}):",
                f"        vstore{width}(acc, to + i, vload{width}(x, at + i))",
                "    if n_whole < n:",
                f"        rest = vload{width}_masked(x, at + n_whole, n - n_whole)",
                f"        vstore{width}(acc, to + n_whole, rest)",
                "    at += x_s",
                f"    to += {pitch}",
            ]
        else:
            lines = [
                "if x_i == 1:",
                "    for s in range(n_keys):",
                "        for i in range(n):",
                f"            acc[to + s * {pitch} + i] = {loaded.replace('i * x_i', 'i')}",
                "else:",
                "    for s in range(n_keys):",
                "        for i in range(n):",
                f"            acc[to + s * {pitch} + i] = {loaded}",
            ]
        return self.function(
            f"copy_{what}",
            "x, acc, to, at, x_s, x_i, n_keys, n",
            f"Copy a block of {what}, in the dtype that is computed in.",
            lines,
        )

    def _move_mask(self, number: int, mask: Mask) -> str:
        width, lanes = self.width, self.lanes
        lines = [
            f"if n_rows < {lanes}:",
            f"    for i in range(to, to + n_keys * {lanes}):",
            f"        acc[i] = {self.constant('0')}",
        ]
        source, at, step = "x", "at + r * x_q + s", "x_q"
        if mask.lanes == "converted":
            loaded = casts.load("x[at + r * x_q + s]", mask.dtype, self.nest.compute)
            source, at, step = "acc", f"rows + r * {self.block.keys} + s", str(self.block.keys)
            lines += [
                "for r in range(n_rows):",
                "    for s in range(n_keys):",
                f"        acc[rows + r * {self.block.keys} + s] = {loaded}",
            ]
        if mask.lanes in ("transposed", "converted"):
            lines += [
                f"for r in range(0, n_rows, {width}):",
                f"    for s in range(0, n_keys, {width}):",
                f"        vtranspose{width}_masked(",
                f"            acc, to + s * {lanes} + r, {lanes}, {source}, {at}, {step},",
                "            n_rows - r, n_keys - s",
                "        )",
            ]
        else:
            loaded = casts.load("x[at + r * x_q + s * x_s]", mask.dtype, self.nest.compute)
            lines += [
                "for s in range(n_keys):",
                "    for r in range(n_rows):",
                f"        acc[to + s * {lanes} + r] = {loaded}",
            ]
        return self.function(
            f"move_mask{number}",
            "x, acc, to, at, x_q, x_s, n_rows, n_keys"
            + (", rows" if mask.lanes == "converted" else ""),
            "Write a block of a mask with queries as lanes, zeros in the lanes beyond.",
            lines,
        )
