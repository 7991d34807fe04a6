"""Write blocks whose vectors lie along rows and short lanes as along one index.

Such as ``bi,bif->bif`` where f has three points: eight rows are three vectors of the output, over
which one vector of the first operand is spread. Names: ``x0_v`` is a vector that is spread, or an
element that all share, ``b1`` the second vector of the second factor, ``c1`` that of the product.
"""

from __future__ import annotations

from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.codegen.tiled_values import Values, set_of, times
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.scalar import positions_of


class Joined(Values):
    """Writes the blocks of nests that join their rows."""

    def _joined_block(self) -> None:
        """Write one block, and the same masked for the last rows."""
        (rows,) = self.nest.rows
        for access in self.nest.accesses:
            terms = [self._term(access, i) for i in access.indices if self._moves(i)]
            self.line(f"{access.name}_at = {' + '.join(terms) or '0'}")
        self.line(f"left = {self._extent(rows.index)} - {rows.index}")
        with self.block(f"if left >= {rows.count}:"):
            self._joined_vectors(is_masked=False)
        with self.block("else:"):
            self._joined_vectors(is_masked=True)

    def _joined_vectors(self, *, is_masked: bool) -> None:
        """Write the loads, products and stores of a block's vectors."""
        nest, n = self.nest, self.static[self._lane]
        width = nest.rows[0].count
        used = positions_of(nest.epilogue)
        extras = {access: number for number, access in enumerate(nest.extras, 1) if number in used}
        for access in (*nest.inputs, *extras):
            if not self._is_whole(access):
                self.line(f"{access.name}_v = {self._joined_part(access, is_masked)}")
        masked = "_masked" if is_masked else ""
        for k in range(n):
            behind = f" + {k * width}" if k else ""
            valid = f", {n} * left{f' - {k * width}' if k else ''}" if is_masked else ""

            def value(access: Access, k: int = k, end: str = behind + valid) -> str:
                """Return a block's vector ``k`` of an operand, or the element that all share."""
                if not self._is_whole(access):
                    return self._spread(access, k)
                return f"vload{width}{masked}({access.name}, {access.name}_at{end})"

            factors = []
            for access in nest.inputs:
                factors.append(f"{self._letter(access)}{k}")
                part = value(access)
                self.line(f"{factors[-1]} = {part if self._kept(access) else set_of(width, part)}")
            self.line(f"c{k} = {times(factors, width)}")
            values, vectors = [f"c{k}", *("" for _ in nest.extras)], {0}
            for access, number in extras.items():
                values[number] = f"{access.name}_{k}"
                self.line(f"{values[number]} = {value(access)}")
                if self._kept(access):
                    vectors.add(number)
            text = scalar_lines(nest.epilogue, values, nest.element, vectors=vectors)
            for line in text.lines:
                self.line(line)
            result = text.result if text.is_vector else set_of(width, text.result)
            at = f"{nest.output.name}_at{behind}"
            self.line(f"vstore{width}{masked}({nest.output.name}, {at}, {result}{valid})")

    @property
    def _lane(self) -> str:
        return self.nest.lanes.index if self.nest.lanes else ""

    def _kept(self, access: Access) -> set[str]:
        """Return which of the row's and the lanes' index an access has."""
        return {self._lane, self.nest.rows[0].index} & {*access.indices}

    def _is_whole(self, access: Access) -> bool:
        """Say whether an access is contiguous along the run."""
        return len(self._kept(access)) == 2

    def _joined_part(self, access: Access, is_masked: bool) -> str:
        """Return the load of what is spread along the run: a vector, or an element."""
        rows, name = self.nest.rows[0], access.name
        width, n = rows.count, self.static[self._lane]
        if not (kept := self._kept(access)):
            return f"{name}[{name}_at]"
        if self._lane in kept:
            masked, end = ("_masked", f", {n}") if n < width else ("", "")
            return f"vload{width}{masked}({name}, {name}_at{end})"
        masked, left = ("_masked", ", left") if is_masked else ("", "")
        if access.unit == rows.index:
            return f"vload{width}{masked}({name}, {name}_at{left})"
        return f"vgather{width}{masked}({name}, {name}_at, {name}_{rows.index}{left})"

    def _spread(self, access: Access, k: int) -> str:
        """Return a block's vector ``k`` of what does not lie along the whole run."""
        if not (kept := self._kept(access)):
            return f"{access.name}_v"
        function = "vcycle" if self._lane in kept else "vrepeat"
        return f"{function}({access.name}_v, {self.static[self._lane]}, {k})"
