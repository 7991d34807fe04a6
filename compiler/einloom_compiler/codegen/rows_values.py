"""Write the values of rows: loads, and the parts of bodies, each once where it is first known.

A part that is one for a whole row is computed before the loop along it. A part is *wide* where it
is a vector: along the row those of operands that have the vector's index, across rows also every
reduction's. Wide parts of blocks are written once a copy.
"""

from __future__ import annotations

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.lines import Lines
from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.rows import RowsNest, is_shifted_sum
from einloom_compiler.ir.scalar import Combined, Mapped, Number, Scalar, Value, parts_of

#: The name of each part; of wide ones, one a copy.
Scope = dict[Scalar, tuple[str, ...]]


class RowsValues(Lines):
    """Lines of Python and the values they define.

    Attributes:
        nest: what is written.
        copies: how many vectors the statement stands for.
        rest: what a masked vector's number of elements is called, None for a whole one.
        points: names of the loops along the row that are open.
        row: values that are one for the whole row.
    """

    def __init__(self, nest: RowsNest) -> None:
        """Start without any line."""
        super().__init__()
        self.nest = nest
        self.compute = arithmetic(nest.compute).compute
        self._count = 0
        self.copies = 1
        self.rest: str | None = None
        self.points: tuple[str, ...] = ()
        self.row: Scope = {}
        self.n_inputs = len(nest.inputs)
        self.held = nest.held

    # --- what a part is --------------------------------------------------------------------------

    def is_row(self, part: Scalar) -> bool:
        """Say whether a part is one for the whole row."""
        known = self.nest.row_values
        return all(p.position in known for p in parts_of(part) if isinstance(p, Value))

    def is_wide(self, part: Scalar) -> bool:
        """Say whether a part is a vector."""
        values = (p.position for p in parts_of(part) if isinstance(p, Value))
        return any(self._is_wide_value(position) for position in values)

    def is_copied(self, part: Scalar) -> bool:
        """Say whether a part differs between the copies of a statement."""
        return self.is_wide(part)

    def _is_wide_value(self, position: int) -> bool:
        vector = self.nest.vector
        if vector is None:
            return False
        if position < self.n_inputs:
            return vector in self.nest.inputs[position].indices
        return self.nest.is_across or position == self.held.position

    # --- memory ----------------------------------------------------------------------------------

    def offset(self, access: Access, copy: int) -> str:
        """Return the element offset of an access at the loops that are open."""
        parts = [f"{access.name}_at"]
        for index in access.indices:
            if index in self.points or (index == self.nest.vector and self.nest.is_across):
                shift = copy * self.nest.lanes if index == self.nest.vector else 0
                variable = f"{index} + {shift}" if shift else index
                if index != access.unit:
                    variable = f"({variable})" if shift else variable
                    variable = f"{variable} * {access.name}_{index}"
                parts.append(variable)
        return " + ".join(parts)

    def load(self, access: Access, copy: int, is_wide: bool) -> str:
        """Return the element, or vector, of an access in the compute dtype."""
        at, lanes = self.offset(access, copy), self.nest.lanes
        if not is_wide:
            element = f"{access.name}[{at}]"
        else:
            masked, rest = ("_masked", f", {self.rest}") if self.rest else ("", "")
            is_unit = access.unit == self.nest.vector
            verb, step = ("load", "") if is_unit else ("gather", f", {access.name}_{self._vector}")
            element = f"v{verb}{lanes}{masked}({access.name}, {at}{step}{rest})"
        return casts.load(element, access.dtype, self.nest.compute)

    def store(self, value: str, copy: int, dtype: str | None = None) -> None:
        """Write the store of a value of the compute dtype, a vector where the output has them."""
        output, lanes = self.nest.output, self.nest.lanes
        value = casts.store(value, self.nest.compute, dtype or output.dtype)
        at = self.offset(output, copy)
        if self.nest.vector not in output.indices:
            self.line(f"{output.name}[{at}] = {value}")
            return
        masked, rest = ("_masked", f", {self.rest}") if self.rest else ("", "")
        is_unit = output.unit == self.nest.vector
        verb, step = ("store", "") if is_unit else ("scatter", f", {output.name}_{self._vector}")
        self.line(f"v{verb}{lanes}{masked}({output.name}, {at}{step}, {value}{rest})")

    @property
    def _vector(self) -> str:
        return self.nest.vector or ""

    # --- values ----------------------------------------------------------------------------------

    def fresh(self) -> str:
        """Return a new variable."""
        self._count += 1
        return f"t{self._count}"

    def define_row(self, *bodies: Scalar) -> None:
        """Compute the parts of bodies that are one for the whole row."""
        before, self.points = self.points, ()
        for body in bodies:
            for part in self._order(body):
                if self.is_row(part) and part not in self.row:
                    self.row[part] = self._define(part, self.row)
        self.points = before

    def define(self, body: Scalar, scope: Scope) -> tuple[str, ...]:
        """Compute a body at a point of the row; return its names, one a copy if it is wide."""
        for part in self._order(body):
            if part not in scope and part not in self.row:
                scope[part] = self._define(part, {**self.row, **scope})
        return self.row.get(body) or scope[body]

    def _order(self, body: Scalar) -> list[Scalar]:
        """Return the parts in order, the reciprocal of a divisor that allows it before its use."""
        found: list[Scalar] = []
        for part in parts_of(body):
            reciprocal = self._reciprocal(part)
            found += [part] if reciprocal is None else [*parts_of(reciprocal), part]
        return found

    def _reciprocal(self, part: Scalar) -> Scalar | None:
        """Return what to multiply a row's elements by where a quotient allows it."""
        match part:
            case Combined("divide", (dividend, divisor)) if not self.is_row(dividend):
                if is_shifted_sum(self.nest, divisor):
                    return Combined("divide", (Number(1.0), divisor))
        return None

    def _define(self, part: Scalar, scope: Scope) -> tuple[str, ...]:
        """Write the assignments of one part whose arguments are known; return its names."""
        if isinstance(part, Number):
            return (self.number(part.value),)
        name = self.fresh()
        names = tuple(f"{name}_{c}" if self.copies > 1 else name for c in range(self.copies))
        names = names if self.is_copied(part) else (name,)
        for copy, target in enumerate(names):
            self._assign(target, part, scope, copy)
        return names

    def _assign(self, target: str, part: Scalar, scope: Scope, copy: int) -> None:
        """Write one part's assignment, for one copy."""
        if isinstance(part, Value):
            is_held = part is self.held
            access = self.nest.output if is_held else self.nest.inputs[part.position]
            self.line(f"{target} = {self.load(access, copy, self.is_wide(part))}")
            return
        reciprocal = self._reciprocal(part)
        if reciprocal is not None and isinstance(part, Combined):
            part = Combined("multiply", (part.arguments[0], reciprocal))
        names: list[str] = []

        def known(argument: Scalar) -> Scalar:
            if isinstance(argument, Number):
                return argument
            found = scope[argument]
            names.append(found[copy] if len(found) > 1 else found[0])
            return Value(len(names) - 1)

        if isinstance(part, Mapped):
            part = Mapped(part.map, known(part.argument))
        elif isinstance(part, Combined):
            part = Combined(part.function, tuple(known(a) for a in part.arguments))
        text = scalar_lines(part, names, self.compute, f"{target}_")
        last = f"{text.result} = "
        for line in text.lines:
            self.line(f"{target} = {line.removeprefix(last)}" if line.startswith(last) else line)
        if not any(line.startswith(last) for line in text.lines):
            self.line(f"{target} = {text.result}")

    def number(self, value: float) -> str:
        """Return a constant of the compute dtype."""
        return scalar_lines(Number(value), (), self.compute).result

    def widened(self, names: tuple[str, ...], body: Scalar) -> tuple[str, ...]:
        """Return a body's names as vectors, one a copy, where statements stand for vectors."""
        if self.nest.vector is None or self.is_wide(body):
            return names
        return (f"vset{self.nest.lanes}({names[0]})",) * self.copies
