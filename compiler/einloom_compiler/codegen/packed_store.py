"""Print the microkernel of the packed family and how its sums reach the output."""

from __future__ import annotations

from einloom_compiler.codegen import casts, maps
from einloom_compiler.codegen.numba_source import OPTIONS
from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.packed import Extra, PackedNest
from einloom_compiler.ir.scalar import positions_of

#: Points of one turn of the microkernel's loop. Measured 2026-11 (2-core Zen 3, both busy): 1024
#: cubed in float64 took 0.86 of the time of turns of one point, 512 cubed in complex128 0.90; how
#: fast those were depended on where else the kernel had code.
POINTS = 4


def points_of_turn(nest: PackedNest) -> int:
    """Return the points of one turn of the loop over them.

    LLVM loads the next point's vectors early. It then spills sums where products take a register
    before they are added (integers, and floats on x86-64-v2, which has no multiply-add), where many
    rows are one vector each, and in NEON's complex blocks: vectors of 128 bits take one point.
    """
    block = nest.block
    is_fused = nest.element.startswith("float") and block.width * nest.itemsize >= 32
    return POINTS if is_fused and block.vectors > 1 else 1


def print_multiply(nest: PackedNest) -> str:
    """Return ``multiply``: one register block of sums over a packed block of points.

    An epilogue of polynomials is a function ``finish`` before it, which is not inlined: their
    constants would take registers from the sums, which LLVM then moves and spills within the loop
    over points (AVX2: 34 GFLOP/s with gelu behind it instead of 72, 2026-11).
    """
    printed = _Multiply(nest)
    return "\n\n".join(
        [printed.finish_text(), printed.text()] if printed.is_apart else [printed.text()]
    )


class _Multiply:
    def __init__(self, nest: PackedNest) -> None:
        self.nest = nest
        block = nest.block
        self.width = block.width
        self.shape = f"{block.mr}, {block.vectors}"
        self.memory_shape = f"{block.mr}, {block.vectors * nest.parts}"
        self.parts = ("re", "im") if nest.is_complex else ("c",)
        self.kind = "_complex" if nest.is_complex else "_halves" if nest.has_halves else ""
        # Whether the epilogue is a function of its own.
        epilogue = "\n".join(self._finished(True)) if not nest.is_plain else ""
        self.is_apart = any("vmuladd(" in helper for helper in maps.helpers_in(epilogue))

    def finish_text(self) -> str:
        """Return the function that applies the epilogue to finished sums in scratch."""
        lines = [
            f'@njit({OPTIONS}, inline="never")',
            "def finish(",
            "    acc, tile, n_rows, n_columns" + ("," if self.nest.extras else ""),
            *_extra_parameters(self.nest),
            "):",
            '    """Apply the epilogue to a tile of finished sums."""',
            *(f"    {line}" for line in self._finished(True)),
        ]
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        nest, width = self.nest, self.width
        block = nest.block
        zero = f"bzero{width}({self.shape}, np.{nest.element}(0))"
        near = ""
        if nest.columns.is_prepacked:
            near = "near, " if nest.is_streamed else "near, near_step, "
        lines = [
            f"@njit({OPTIONS})",
            "def multiply(",
            f"    out, acc, rows, a, columns, b, {near}tile, n_k, at, out_row, out_column,",
            "    n_rows, n_columns, is_first, is_last" + ("," if nest.extras else ""),
            *_extra_parameters(nest),
            "):",
            '    """Add the product of a packed row panel and column panel to a block of out."""',
        ]
        if nest.is_output_contiguous:
            lines.append(f"    bprefetch{width}({self.memory_shape}, out, at, out_row)")
        lines.append(f"    bfree{width}()")
        lines.append(f"    c = {f'({zero}, {zero})' if self.kind else zero}")
        point = [
            *self._prefetch("        "),
            f"        c = bouter{width}{self.kind}(c, rows, a, columns, b)",
            f"        a += {block.mr * nest.parts}",
            f"        b += {block.nr * nest.parts}",
        ]
        turn = points_of_turn(nest)
        if turn > 1:
            lines += [f"    for _ in range(n_k // {turn}):", *point * turn]
        lines += [f"    for _ in range({'n_k' if turn == 1 else f'n_k % {turn}'}):", *point]
        if nest.is_complex:
            lines.append("    re, im = c")
        elif nest.has_halves:
            lines += ["    low, mixed = c", "    c = bwhole(low, mixed)"]
        if nest.sum_elements:
            lines.append("    if not is_first:")
            lines += self._add_tile("        ")
            lines.append("    if not is_last:")
            lines += self._store_tile("        ")
            lines.append("        return")
        if nest.is_output_contiguous:
            lines += [
                f"    if n_rows == {block.mr} and n_columns == {block.nr}:",
                *self._to_memory("        ", is_masked=False),
                "    else:",
                *self._to_memory("        ", is_masked=True),
            ]
        else:
            lines += self._one_by_one("    ")
        return "\n".join(lines) + "\n"

    def _prefetch(self, pad: str) -> list[str]:
        """Return the lines that ask for a part of the next columns, which come from memory."""
        nest, width = self.nest, self.width
        if not nest.columns.is_prepacked:
            return []
        vectors = nest.block.vectors * nest.parts if nest.is_streamed else 1
        return [
            f"{pad}bprefetch_far{width}(1, {vectors}, columns, near, 0)",
            f"{pad}near += {width * vectors if nest.is_streamed else 'near_step'}",
        ]

    # --- blocks of scratch ------------------------------------------------------------------------

    def _tile(self, part: int) -> str:
        size = self.nest.block.mr * self.nest.block.nr
        return f"tile + {part * size}" if part else "tile"

    def _add_tile(self, pad: str) -> list[str]:
        nr = self.nest.block.nr
        return [
            f"{pad}{c} = badd({c}, bload{self.width}({self.shape}, acc, {self._tile(part)}, {nr}))"
            for part, c in enumerate(self.parts)
        ]

    def _store_tile(self, pad: str) -> list[str]:
        nr = self.nest.block.nr
        return [
            f"{pad}bstore{self.width}(acc, {self._tile(part)}, {nr}, {c})"
            for part, c in enumerate(self.parts)
        ]

    # --- whole vectors of the output --------------------------------------------------------------

    def _to_memory(self, pad: str, *, is_masked: bool) -> list[str]:
        nest, width = self.nest, self.width
        n_lanes = "2 * n_columns" if nest.is_complex else "n_columns"
        suffix = "_masked" if is_masked else ""
        edges = f", n_rows, {n_lanes}" if is_masked else ""
        load = f"bload{width}{suffix}({self.memory_shape}, out, at, out_row{edges})"
        lines: list[str] = []
        if not nest.sum_elements and not arithmetic(nest.output).is_half:
            lines.append(f"{pad}if not is_first:")
            if nest.is_complex:
                lines += [
                    f"{pad}    d = {load}",
                    f"{pad}    re = badd(re, breal(d))",
                    f"{pad}    im = badd(im, bimag(d))",
                ]
            else:
                load = casts.block_load(load, nest.output, nest.compute, nest.element)
                lines.append(f"{pad}    c = badd(c, {load})")
        lines += self._maps(pad, is_masked=is_masked)
        value = "bjoin(re, im)" if nest.is_complex else "c"
        value = casts.block_store(value, nest.output, nest.element)
        lines.append(f"{pad}bstore{width}{suffix}(out, at, out_row, {value}{edges})")
        return lines

    def _maps(self, pad: str, *, is_masked: bool) -> list[str]:
        """Return the lines that apply the epilogue to finished sums, vector by vector of a tile."""
        nest, width = self.nest, self.width
        if nest.is_plain:
            return []
        inner = pad if nest.sum_elements else pad + "    "
        lines = [] if nest.sum_elements else [f"{pad}if is_last:"]
        lines += self._store_tile(inner)
        if self.is_apart:
            extras = [line.strip().rstrip(",") for line in _extra_parameters(nest)]
            lines.append(
                f"{inner}finish({', '.join(['acc', 'tile', 'n_rows', 'n_columns', *extras])})"
            )
        else:
            lines += [inner + line for line in self._finished(is_masked)]
        lines.append(f"{inner}c = bload{width}({self.shape}, acc, tile, {nest.block.nr})")
        return lines

    def _finished(self, is_masked: bool) -> list[str]:
        """Return the loops that apply the epilogue to a tile of scratch."""
        if self.nest.extras:
            return self._with_extras(is_masked)
        return [
            f"for p in range(tile, tile + {self.nest.tile_elements}, {self.width}):",
            *(f"    {line}" for line in self._vector({}, frozenset())),
        ]

    def _vector(self, extras: dict[int, str], vectors: frozenset[int]) -> list[str]:
        """Return the lines that finish the vector at ``p`` of scratch."""
        nest, width = self.nest, self.width
        values = ["x", *(extras.get(number, "") for number in range(1, 1 + len(nest.extras)))]
        text = scalar_lines(nest.epilogue, values, nest.element, vectors=vectors | {0})
        result = text.result if text.is_vector else f"vset{width}({text.result})"
        return [
            f"x = vload{width}(acc, p)",
            *text.lines,
            f"vstore{width}(acc, p, {result})",
        ]

    def _with_extras(self, is_masked: bool) -> list[str]:
        """Return the loops over the columns and rows of a tile that has operands in its epilogue.

        What does not depend on the row is loaded once a vector of columns, or once a tile.
        """
        nest, width = self.nest, self.width
        mr, nr = nest.block.mr, nest.block.nr
        names: dict[int, str] = {}
        vectors: set[int] = set()
        once: list[str] = []
        of_column: list[str] = []
        of_row: list[str] = []
        for number, extra in enumerate(nest.extras, 1):
            if number not in positions_of(nest.epilogue):
                continue
            pointer = f"e{number - 1}"
            names[number] = f"{pointer}_value"
            at = [f"{pointer}_at"]
            at += [f"r * {pointer}_row"] if extra.has_rows else []
            if extra.columns == "none":
                loaded = f"{pointer}[{' + '.join(at)}]"
            else:
                vectors.add(number)
                loaded = self._extra_vector(pointer, extra, at, is_masked)
            value = casts.load(loaded, extra.dtype, nest.element)
            place = of_row if extra.has_rows else once if extra.columns == "none" else of_column
            place.append(f"{names[number]} = {value}")
        rows = "n_rows" if is_masked else mr
        return [
            *once,
            f"for q in range(0, {nr}, {width}):",
            *(f"    {line}" for line in of_column),
            f"    for r in range({rows}):",
            f"        p = tile + r * {nr} + q",
            *(f"        {line}" for line in of_row),
            *(f"        {line}" for line in self._vector(names, frozenset(vectors))),
        ]

    def _extra_vector(self, pointer: str, extra: Extra, at: list[str], is_masked: bool) -> str:
        """Return the load of the vector that begins at column ``q``."""
        width = self.width
        masked, n = ("_masked", ", n_columns - q") if is_masked else ("", "")
        if extra.columns == "unit":
            return f"vload{width}{masked}({pointer}, {' + '.join([*at, 'q'])}{n})"
        step = f"{pointer}_column"
        start = " + ".join([*at, f"q * {step}"])
        return f"vgather{width}{masked}({pointer}, {start}, {step}{n})"

    # --- elements of the output -------------------------------------------------------------------

    def _one_by_one(self, pad: str) -> list[str]:
        """Return the lines that go through a block of scratch to any strides and dtype."""
        nest = self.nest
        nr = nest.block.nr
        # 16-bit floats are computed in float32, complex numbers in their parts.
        is_half = arithmetic(nest.compute).is_half
        compute = "float32" if is_half else arithmetic(casts.part_storage(nest.compute)).compute
        lines: list[str] = []
        if not nest.sum_elements and not arithmetic(nest.output).is_half:
            values = casts.parts("out", "to", nest.output, nest.compute, False)
            if compute != nest.element:
                values = [f"np.{nest.element}({value})" for value in values]
            lines += [
                f"{pad}if not is_first:",
                f"{pad}    for r in range(n_rows):",
                f"{pad}        for q in range(n_columns):",
                f"{pad}            to = at + r * out_row + q * out_column",
                *(
                    f"{pad}            acc[{self._tile(part)} + r * {nr} + q] = {value}"
                    for part, value in enumerate(values)
                ),
                *self._add_tile(pad + "    "),
            ]
        lines += self._maps(pad, is_masked=True)
        lines += self._store_tile(pad)
        lines += [
            f"{pad}for r in range(n_rows):",
            f"{pad}    for q in range(n_columns):",
            f"{pad}        to = at + r * out_row + q * out_column",
        ]
        stored = [f"acc[{self._tile(part)} + r * {nr} + q]" for part in range(len(self.parts))]
        if compute != nest.element:
            stored = [f"np.{compute}({value})" for value in stored]
        if nest.is_complex:
            lines += [
                f"{pad}        out[to] = {stored[0]}",
                f"{pad}        out[to + 1] = {stored[1]}",
            ]
        else:
            value = casts.store(stored[0], nest.compute, nest.output)
            lines.append(f"{pad}        out[to] = {value}")
        return lines


def _extra_parameters(nest: PackedNest) -> list[str]:
    """Return the parameters of ``multiply`` for the epilogue's operands, a line each."""
    found = [f"    e{n}, e{n}_at, e{n}_row, e{n}_column" for n in range(len(nest.extras))]
    return [f"{line}," for line in found[:-1]] + found[-1:]
