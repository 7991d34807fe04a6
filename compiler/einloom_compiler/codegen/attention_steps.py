"""Print the functions that an attention kernel is made of; names as in :mod:`.attention_source`."""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.numba_source import OPTIONS
from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.codegen.text import wrapped
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.attention import AttentionNest, Mask

#: Rows between the one that is copied and the one that is asked for. Rows of a head lie whole pages
#: apart, too far for the processor to foresee. Measured 2026-11 (one AVX2 core, 12 heads of 512
#: queries and keys): attention takes 0.96 of the time that it takes without.
_AHEAD = 8


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


class StepWriter:
    """Writes one function after another for a nest."""

    def __init__(self, nest: AttentionNest) -> None:
        """Start for ``nest``."""
        self.nest = nest
        self.block = nest.block
        self.width = nest.block.width
        self.lanes = nest.block.lanes
        self.vectors = range(nest.block.vectors)
        self.element = nest.element

    def functions(self) -> list[str]:
        """Return the functions that the kernel calls."""
        nest = self.nest
        found = [
            self._score("score_rows", self.block.rows),
            self._score("score_row", 1),
            self._add("add_rows", self.block.rows),
            self._add("add_row", 1),
            self._pack_queries(),
        ]
        if nest.copies_keys:
            found.append(self._copy("keys", nest.key, nest.is_key_contiguous))
        if nest.copies_values:
            found.append(self._copy("values", nest.value, nest.is_value_contiguous))
        found += [
            self._move_mask(number, mask) for number, mask in enumerate(nest.masks) if mask.is_moved
        ]
        found.append(self._weigh(is_diagonal=False))
        if nest.is_causal:
            found.append(self._weigh(is_diagonal=True))
        return [*found, self._rescale(), self._store()]

    def _function(self, name: str, arguments: str, docstring: str, lines: list[str]) -> str:
        head = wrapped(f"def {name}(", arguments, "):")
        body = "\n".join(f"    {line}" for line in lines)
        return f'@njit({OPTIONS})\n{head}\n    """{docstring}"""\n{body}\n'

    def _constant(self, value: str) -> str:
        return f"np.{self.element}({value})"

    # --- products in registers --------------------------------------------------------------------

    def _score(self, name: str, rows: int) -> str:
        shape = f"{rows}, {self.block.vectors}"
        arguments, k, k_s, k_d = "acc, k, a, k_s, k_d", "k", "k_s", "k_d"
        if self.nest.copies_keys:
            arguments, k, k_s, k_d = "acc, a", "acc", self._pitch("keys"), "1"
        return self._function(
            name,
            f"{arguments}, panel, n_points, to, is_first",
            "Write, or add to, the scores of neighbouring keys: sums of packed points.",
            [
                f"c = bzero{self.width}({shape}, {self._constant('0')})",
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
            arguments, v_s = "acc, a", self._pitch("values")
            outer = f"bouter{self.width}(c, acc, a, acc, weights)"
        elif nest.is_value_contiguous:
            outer = f"bouter{self.width}(c, v, a, acc, weights)"
        return self._function(
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

    # --- to and from scratch ----------------------------------------------------------------------

    def _pack_queries(self) -> str:
        nest, width, lanes = self.nest, self.width, self.lanes
        loaded = casts.load("q[at + r * q_q + d * q_d]", nest.query, nest.compute)
        lines = [
            f"if n_rows < {lanes}:",
            f"    for i in range(to, to + n_points * {lanes}):",
            f"        acc[i] = {self._constant('0')}",
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
        return self._function(
            "pack_queries",
            "q, acc, to, at, q_q, q_d, n_rows, n_points",
            "Pack points of a panel of queries, zeros in the lanes beyond.",
            lines,
        )

    def _pitch(self, what: str) -> str:
        """Return elements from row to row of a copy."""
        block = self.block
        return str(self.nest.pitch(block.points if what == "keys" else block.columns))

    def _copy(self, what: str, dtype: str, is_contiguous: bool) -> str:
        """Return the function that copies a block of keys or values, a row for each key."""
        nest, width, pitch = self.nest, self.width, self._pitch(what)
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
        return self._function(
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
            f"        acc[i] = {self._constant('0')}",
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
        return self._function(
            f"move_mask{number}",
            "x, acc, to, at, x_q, x_s, n_rows, n_keys"
            + (", rows" if mask.lanes == "converted" else ""),
            "Write a block of a mask with queries as lanes, zeros in the lanes beyond.",
            lines,
        )

    # --- softmax ----------------------------------------------------------------------------------

    def _weigh(self, *, is_diagonal: bool) -> str:
        """Return the function that makes a block of scores weights: ``exp(score - maximum)``."""
        nest, width, lanes = self.nest, self.width, self.lanes
        arguments = ["acc", "scores", "state", "n_keys", *(["ahead"] if is_diagonal else [])]
        for number, mask in enumerate(nest.masks):
            if mask.is_moved:
                arguments.append(f"moved{number}")
            else:
                arguments += [f"mask{number}", f"at{number}", f"mask{number}_s"]
                arguments += ["n_rows"] if mask.lanes == "vectors" else []
        low = self._constant("-np.inf")
        lines = [
            *(f"m{v} = vload{width}(acc, state + {v * width})" for v in self.vectors),
            *(f"top{v} = m{v}" for v in self.vectors),
        ]
        if is_diagonal:
            lines += [
                f"lane{v} = vload{width}(acc, state + {3 * lanes + v * width})"
                for v in self.vectors
            ]
        lines.append("for s in range(n_keys):")
        lines += [f"    {line}" for line in self._scored(is_diagonal=is_diagonal)]
        for v in self.vectors:
            lines += [
                "# Where all scores so far are -inf, weights must be 0, not NaN.",
                f"low{v} = vselect(top{v} == {low}, {self._constant('0')}, top{v})",
                f"scale{v} = exp_weight_{self.element}(m{v} - low{v})",
                f"sum{v} = vload{width}(acc, state + {lanes + v * width}) * scale{v}",
            ]
        lines.append("for s in range(n_keys):")
        for v in self.vectors:
            at = f"scores + s * {lanes} + {v * width}"
            lines += [
                f"    x = exp_weight_{self.element}(vload{width}(acc, {at}) - low{v})",
                f"    vstore{width}(acc, {at}, x)",
                f"    sum{v} = sum{v} + x",
            ]
        for v in self.vectors:
            lines += [
                f"vstore{width}(acc, state + {v * width}, top{v})",
                f"vstore{width}(acc, state + {lanes + v * width}, sum{v})",
                f"vstore{width}(acc, state + {2 * lanes + v * width}, scale{v})",
            ]
        scales = "scale0"
        for v in self.vectors[1:]:
            scales = f"vmin({scales}, scale{v})"
        lines.append(f"return vmin_all({scales}) < {self._constant('1')}")
        return self._function(
            "weigh_diagonal" if is_diagonal else "weigh",
            ", ".join(dict.fromkeys(arguments)),
            "Make scores weights; say whether a maximum has grown.",
            lines,
        )

    def _scored(self, *, is_diagonal: bool) -> list[str]:
        """Return the lines that finish the scores of key ``s``."""
        nest, width, lanes = self.nest, self.width, self.lanes
        lines: list[str] = []
        for number, mask in enumerate(nest.masks):
            if mask.lanes == "same":
                element = f"mask{number}[at{number} + s * mask{number}_s]"
                loaded = casts.load(element, mask.dtype, nest.compute)
                lines.append(f"y{number} = {loaded}")
        for v in self.vectors:
            at = f"scores + s * {lanes} + {v * width}"
            lines.append(f"x = vload{width}(acc, {at})")
            values, vectors = ["x"], [0]
            for number, mask in enumerate(nest.masks):
                values.append(f"y{number}")
                if mask.lanes == "same":
                    continue
                vectors.append(1 + number)
                if mask.is_moved:
                    place = f"moved{number} + s * {lanes} + {v * width}"
                    lines.append(f"y{number} = vload{width}(acc, {place})")
                else:
                    place = f"at{number} + s * mask{number}_s + {v * width}"
                    lines.append(
                        f"y{number} = vload{width}_masked(mask{number}, {place}, "
                        f"n_rows - {v * width})"
                    )
            text = scalar_lines(nest.score, values, self.element, "t", vectors)
            lines += text.lines
            result = text.result if text.is_vector else f"vset{width}({text.result})"
            if is_diagonal:
                key = f"{self._constant('s - ahead')}"
                result = f"vselect(lane{v} >= {key}, {result}, {self._constant('-np.inf')})"
            lines += [
                f"x = {result}",
                f"vstore{width}(acc, {at}, x)",
                f"top{v} = vmax(top{v}, x)",
            ]
        return lines

    def _rescale(self) -> str:
        width, lanes = self.width, self.lanes
        lines = [
            f"scale{v} = vload{width}(acc, state + {2 * lanes + v * width})" for v in self.vectors
        ]
        lines.append(f"for at in range(sums, sums + n * {lanes}, {lanes}):")
        for v in self.vectors:
            at = f"at + {v * width}" if v else "at"
            lines.append(f"    vstore{width}(acc, {at}, vload{width}(acc, {at}) * scale{v})")
        return self._function(
            "rescale", "acc, sums, state, n", "Make sums relative to grown maxima.", lines
        )

    # --- results ----------------------------------------------------------------------------------

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
                f"    total{v} = vset{width}({self._constant('1')})",
                f"total{v} = {self._constant('1')} / total{v}",
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
        return self._function(
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
