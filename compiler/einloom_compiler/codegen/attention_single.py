"""Print the functions of an attention kernel whose tasks are single queries.

Vectors run along contracted points while scores are summed, then along keys, then along columns.
Names as in :mod:`.attention_source`.
"""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.attention_writer import FunctionWriter
from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.dtypes import arithmetic

#: Keys whose scores are summed at a time, and vectors of columns that are.
_KEYS = 4
_VECTORS = 4


class SingleWriter(FunctionWriter):
    """Writes one function after another for a nest."""

    def functions(self) -> list[str]:
        """Return the functions that the kernel calls."""
        moved = [self._move_mask(n) for n, mask in enumerate(self.nest.masks) if mask.is_moved]
        return [
            self._pack_queries(),
            self._score(),
            *moved,
            self._weigh(),
            self._rescale(),
            self._add(),
            self._store(),
        ]

    def _pack_queries(self) -> str:
        loaded = casts.load("q[at + d * q_d]", self.nest.query, self.nest.compute)
        return self.function(
            "pack_queries",
            "q, acc, to, at, q_d, n_points",
            "Write points of a query side by side.",
            ["for d in range(n_points):", f"    acc[to + d] = {loaded}"],
        )

    def _score(self) -> str:
        width, keys = self.width, range(_KEYS)
        lines = [
            f"n_whole = n_points // {width} * {width}",
            f"for s in range(0, n_keys, {_KEYS}):",
            "    # Keys beyond the last one repeat it.",
            *(f"    a{i} = at + min(s + {i}, n_keys - 1) * k_s" for i in keys),
            *(f"    c{i} = vset{width}({self.constant('0')})" for i in keys),
            f"    for d in range(0, n_whole, {width}):",
            f"        y = vload{width}(acc, panel + d)",
            *(f"        c{i} = vfma(vload{width}(k, a{i} + d), y, c{i})" for i in keys),
            "    if n_whole < n_points:",
            "        n = n_points - n_whole",
            f"        y = vload{width}_masked(acc, panel + n_whole, n)",
            *(
                f"        c{i} = vfma(vload{width}_masked(k, a{i} + n_whole, n), y, c{i})"
                for i in keys
            ),
            "    if is_first:",
            *(f"        acc[scores + s + {i}] = vsum(c{i})" for i in keys),
            "    else:",
            *(f"        acc[scores + s + {i}] += vsum(c{i})" for i in keys),
        ]
        return self.function(
            "score_rows",
            "acc, k, at, k_s, panel, n_points, scores, n_keys, is_first",
            "Write, or add to, the scores of keys: sums of packed points.",
            lines,
        )

    def _move_mask(self, number: int) -> str:
        mask = self.nest.masks[number]
        loaded = casts.load("x[at + s * x_s]", mask.dtype, self.nest.compute)
        return self.function(
            f"move_mask{number}",
            "x, acc, to, at, x_q, x_s, n_rows, n_keys",
            "Write a mask's elements of a block of keys side by side.",
            ["for s in range(n_keys):", f"    acc[to + s] = {loaded}"],
        )

    def _weigh(self) -> str:
        nest, width = self.nest, self.width
        low = self.constant("-np.inf")
        arguments = ["acc", "scores", "state", "n_keys"]
        values, vectors, loads, lines = ["x"], [0], [], []
        for number, mask in enumerate(nest.masks):
            values.append(f"y{number}")
            if mask.is_moved:
                arguments.append(f"moved{number}")
            else:
                arguments += [f"mask{number}", f"at{number}", f"mask{number}_s"]
            if mask.lanes == "same":
                loaded = casts.load(f"mask{number}[at{number}]", mask.dtype, nest.compute)
                lines.append(f"y{number} = {loaded}")
                continue
            vectors.append(1 + number)
            place = f"acc, moved{number} + s" if mask.is_moved else f"mask{number}, at{number} + s"
            loads.append(f"    y{number} = vload{width}_masked({place}, n_keys - s)")
        text = scalar_lines(nest.score, values, self.element, "t", vectors)
        result = text.result if text.is_vector else f"vset{width}({text.result})"
        lines += [
            f"lane = vload{width}(acc, state + 4)",
            f"tops = vset{width}({low})",
            f"for s in range(0, n_keys, {width}):",
            f"    x = vload{width}(acc, scores + s)",
            *loads,
            *(f"    {line}" for line in text.lines),
            f"    x = vselect(lane < {self.constant('n_keys - s')}, {result}, {low})",
            f"    vstore{width}(acc, scores + s, x)",
            "    tops = vmax(tops, x)",
            "top = vmax(acc[state], vmax_all(tops))",
            "# Where all scores so far are -inf, weights must be 0, not NaN.",
            f"low = vselect(top == {low}, {self.constant('0')}, top)",
            f"scale = exp_weight_{self.element}(acc[state] - low)",
            f"total = vset{width}({self.constant('0')})",
            f"for s in range(0, n_keys, {width}):",
            f"    x = exp_weight_{self.element}(vload{width}(acc, scores + s) - low)",
            f"    vstore{width}(acc, scores + s, x)",
            "    total = total + x",
            "acc[state] = top",
            "acc[state + 1] = acc[state + 1] * scale + vsum(total)",
            "acc[state + 2] = scale",
            f"return scale < {self.constant('1')}",
        ]
        return self.function(
            "weigh",
            ", ".join(arguments),
            "Make scores weights; say whether the maximum has grown.",
            lines,
        )

    def _rescale(self) -> str:
        width = self.width
        return self.function(
            "rescale",
            "acc, sums, state, n",
            "Make sums relative to a grown maximum.",
            [
                f"for at in range(sums, sums + n, {width}):",
                f"    vstore{width}(acc, at, vload{width}(acc, at) * acc[state + 2])",
            ],
        )

    def _add(self) -> str:
        width = self.width
        columns = _VECTORS * width
        return self.function(
            "add_rows",
            "acc, v, at, v_s, weights, n_keys, sums, n_columns",
            "Add weighted values to the sums of columns.",
            [
                f"n_whole = n_columns // {columns} * {columns}",
                f"for e in range(0, n_whole, {columns}):",
                f"    c = bload{width}(1, {_VECTORS}, acc, sums + e, 0)",
                "    a = at + e",
                "    for s in range(n_keys):",
                f"        c = bouter{width}(c, acc, weights + s, v, a)",
                "        a += v_s",
                f"    bstore{width}(acc, sums + e, 0, c)",
                f"for e in range(n_whole, n_columns, {width}):",
                f"    x = vload{width}(acc, sums + e)",
                "    a = at + e",
                "    for s in range(n_keys):",
                f"        y = vload{width}_masked(v, a, n_columns - e)",
                f"        x = vfma(y, vset{width}(acc[weights + s]), x)",
                "        a += v_s",
                f"    vstore{width}(acc, sums + e, x)",
            ],
        )

    def _store(self) -> str:
        nest, width = self.nest, self.width
        lines = [
            "# The sum of nothing is 0.",
            f"total = acc[state + 1] if n_s > 0 else {self.constant('1')}",
        ]
        if nest.is_output_contiguous and arithmetic(nest.output).storage == self.element:
            lines += [
                f"for e in range(0, n_columns, {width}):",
                f"    x = vload{width}(acc, sums + e) / total",
                f"    vstore{width}_masked(out, out_at + e, x, n_columns - e)",
            ]
        else:
            stored = casts.store("acc[sums + e] / total", nest.compute, nest.output)
            lines += ["for e in range(n_columns):", f"    out[out_at + e * out_e] = {stored}"]
        return self.function(
            "store",
            "out, acc, sums, state, out_at, out_q, out_e, n_rows, n_columns, n_s",
            "Divide sums by that of the weights and store them.",
            lines,
        )
