"""Print the packing of one operand's panels: by whole vectors where memory is contiguous."""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.numba_source import OPTIONS
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.packed import PackedNest, Side


def print_pack(nest: PackedNest, which: str) -> str:
    """Return the function that packs panels of ``which``: rows or columns."""
    return _Packing(nest, which).text()


class _Packing:
    def __init__(self, nest: PackedNest, which: str) -> None:
        self.nest = nest
        self.is_rows = which == "rows"
        self.side: Side = nest.rows if self.is_rows else nest.columns
        self.x = "x0" if self.is_rows else "x1"
        self.size = nest.block.mr if self.is_rows else nest.block.nr
        self.width = nest.block.width
        self.panel = self.size * nest.parts
        self.number = 0 if self.is_rows else 1

    def text(self) -> str:
        name = "rows" if self.is_rows else "columns"
        arguments = {
            "panel": "pitch, start, n",
            "k": "start, step, ahead, run, hop, n",
            "digit": "pitch, n_panels, start, step, n",
        }.get(self.side.order, "start, step, n")
        lines = [
            f"@njit({OPTIONS})",
            f"def pack_{name}(",
            f"    {self.x}, acc, to, {arguments}, k_offsets, k_lo, n_k",
            "):",
            *getattr(self, f"_{self.side.order}")(),
        ]
        return "\n".join(lines) + "\n"

    def _offset(self, point: str) -> str:
        plus = f" + {self.number}" if self.number else ""
        return f"k_offsets[2 * ({point}){plus}]"

    # --- contiguous along the panel --------------------------------------------------------------

    def _panel(self) -> list[str]:
        vectors = -(-self.size // self.width)
        block = f"1, {vectors * self._memory_parts}, {self.x}, source"
        stored = "bstore{width}(acc, {to}, 0, {value})"
        return [
            '    """Pack n neighbours of each point into panels, pitch apart; zeros beyond n."""',
            f"    whole = n // {self.size}",
            "    for k in range(n_k):",
            f"        source = start + {self._offset('k_lo + k')}",
            f"        target = to + k * {self.panel}",
            "        for _ in range(whole):",
            f"            x = {self._whole_panel(vectors, block)}",
            *self._converted("            "),
            *self._stored("            ", stored, "target"),
            f"            source += {self._times(str(self.size))}",
            "            target += pitch",
            f"        if whole * {self.size} < n:",
            f"            rest = {self._times(f'(n - whole * {self.size})')}",
            f"            x = bload{self.width}_masked({block}, 0, 1, rest)",
            *self._converted("            "),
            *self._stored("            ", stored, "target"),
        ]

    def _whole_panel(self, vectors: int, block: str) -> str:
        """Return the load of a whole panel, which reads no neighbour where vectors overhang."""
        if vectors * self.width == self.size:
            return f"bload{self.width}({block}, 0)"
        return f"bload{self.width}_masked({block}, 0, 1, {self._times(str(self.size))})"

    # --- contiguous along contracted points ------------------------------------------------------

    def _k(self) -> list[str]:
        rows, size, width = self._transposed_rows, self.size, self.width
        pitch = f"{self.panel} * hop"
        transposed = "btranspose{width}(acc, {to}, " + pitch + ", {value}, "
        lines = [
            '    """Pack runs of points by transposed blocks of lines; the next panel is ahead."""',
            "    k_0 = 0",
            "    while k_0 < n_k:",
            "        length = min(run - (k_lo + k_0) // hop % run, (n_k - k_0) // hop)",
            f"        whole = length - length % {width} if n == {size} else 0",
            "        for k_1 in range(k_0, k_0 + hop):",
            f"            source = start + {self._offset('k_lo + k_1')}",
            f"            target = to + k_1 * {self.panel}",
            f"            for k in range(0, whole, {width}):",
            f"                at = source + {self._times('k')}",
            f"                bprefetch_far{width}({size}, 1, {self.x}, at + ahead, step)",
        ]
        for r in range(0, size, width):
            after = f" + {r}" if r else ""
            shape = f"{min(width, size - r)}, {self._memory_parts}"
            lines += [
                f"                x = bload{width}({shape}, {self.x}, at, step)",
                *self._converted("                "),
                *self._stored(
                    "                ",
                    f"{transposed}{width})",
                    f"target + k * {pitch}{after}",
                ),
            ]
            if r + width < size:
                lines.append(f"                at += {width} * step")
        return [
            *lines,
            f"            for k in range(whole, length, {width}):",
            f"                for r in range(0, {size}, {rows}):",
            f"                    x = bload{width}_masked(",
            f"                        {rows}, {self._memory_parts}, {self.x}, "
            f"source + r * step + {self._times('k')}, step,",
            f"                        n - r, {self._times('(length - k)')}",
            "                    )",
            *self._converted("                    "),
            *self._stored(
                "                    ", f"{transposed}length - k)", f"target + k * {pitch} + r"
            ),
            "        k_0 += length * hop",
        ]

    # --- contiguous along neighbouring panels ----------------------------------------------------

    def _digit(self) -> list[str]:
        rows = self._transposed_rows
        block = f"{rows}, {self._memory_parts}, {self.x}"
        return [
            '    """Pack panels, pitch apart, that are neighbours in memory."""',
            "    for k in range(n_k):",
            f"        source = start + {self._offset('k_lo + k')}",
            # Points may lie pages apart, where no prefetcher foresees the next.
            f"        near = start + {self._offset('k_lo + min(k + 1, n_k - 1)')}",
            f"        for c in range(0, n, {rows}):",
            f"            for p in range(0, n_panels, {self.width}):",
            f"                at = source + c * step + {self._times('p')}",
            f"                bprefetch{self.width}({block}, near - source + at, step)",
            f"                x = bload{self.width}_masked(",
            f"                    {block}, at, step, n - c, {self._times('(n_panels - p)')}",
            "                )",
            *self._converted("                "),
            *self._stored(
                "                ",
                "btranspose{width}(acc, {to}, pitch, {value}, n_panels - p)",
                f"to + k * {self.panel} + p * pitch + c",
            ),
        ]

    # --- contiguous along nothing that helps -----------------------------------------------------

    def _gather(self) -> list[str]:
        loaded = casts.parts(
            self.x, "at", self.side.dtype, self.nest.compute, self.side.is_conjugated
        )
        target = f"to + k * {self.panel} + r"
        element = self.nest.element
        lines = [
            '    """Pack one by one; lanes beyond n repeat the last one."""',
            f"    for r in range({self.size}):",
            "        base = start + min(r, n - 1) * step",
            "        for k in range(n_k):",
            f"            at = base + {self._offset('k_lo + k')}",
        ]
        for part, value in enumerate(loaded):
            plus = f" + {part * self.size}" if part else ""
            if arithmetic(casts.part_storage(self.nest.compute)).compute != element:
                value = f"np.{element}({value})"
            lines.append(f"            acc[{target}{plus}] = {value}")
        return lines

    # --- parts -----------------------------------------------------------------------------------

    @property
    def _memory_parts(self) -> int:
        return self.nest.parts

    def _times(self, text: str) -> str:
        return f"{self._memory_parts} * {text}" if self._memory_parts > 1 else text

    @property
    def _transposed_rows(self) -> int:
        return min(self.size & -self.size, self.width)

    def _converted(self, pad: str) -> list[str]:
        text = casts.block_load("x", self.side.dtype, self.nest.compute, self.nest.element)
        return [] if text == "x" else [f"{pad}x = {text}"]

    def _stored(self, pad: str, store: str, to: str) -> list[str]:
        width = self.width
        if not self.nest.is_complex:
            return [pad + store.format(width=width, to=to, value="x")]
        im = "bneg(bimag(x))" if self.side.is_conjugated else "bimag(x)"
        return [
            pad + store.format(width=width, to=to, value="breal(x)"),
            pad + store.format(width=width, to=f"{to} + {self.size}", value=im),
        ]
