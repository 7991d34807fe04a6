"""Write the statements of a loop nest: loads, products, sums and stores, of scalars or vectors.

The writer's state says in which loops the statement stands: whether they run over vectors, whether
those are masked, and which copy of an unrolled loop is being written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

from einloom_compiler.codegen import casts
from einloom_compiler.codegen.lines import Lines
from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.ir.loops import Access, LoopNest
from einloom_compiler.ir.scalar import positions_of

_VALUES = "abcdefgh"


class AccessWriter(Lines):
    """Lines of Python, and the statements that a loop nest is made of.

    Attributes:
        nest: what is written.
        copies: numbers of the copies of the unrolled output level.
        lanes: elements of a vector or of a block's edge, 1 where there are none.
        is_vector: whether the innermost index stands for a vector's first element.
        shift: elements that the vector lies behind that index.
        rest: what a masked vector's number of elements is called, None for a whole one.
        point: which of the jammed level's points is meant, None for the only one.
    """

    def __init__(self, nest: LoopNest) -> None:
        """Start without any line."""
        super().__init__()
        self.nest = nest
        self._names: dict[str, str] = {}
        unrolled = nest.unrolled
        self.copies = range(unrolled.unroll) if unrolled else range(1)
        shaped = nest.vectors or nest.transposition
        self.lanes = shaped.lanes if shaped else 1
        self.is_vector = False
        self.shift = 0
        self.rest: str | None = None
        self.is_streamed = False
        self.point: int | None = None

    @contextmanager
    def vectors(self) -> Iterator[None]:
        """Let statements inside stand for vectors along the innermost index."""
        self.is_vector = True
        yield
        self.is_vector = False

    @contextmanager
    def named(self, names: Mapping[str, str]) -> Iterator[None]:
        """Call indices by other variables inside; an empty name leaves the index out."""
        before = self._names
        self._names = {**before, **names}
        yield
        self._names = before

    # --- loads and stores ------------------------------------------------------------------------

    def load_operands(self, bound: frozenset[str], loaded: frozenset[int]) -> frozenset[int]:
        """Load the operands whose indices are all bound now, once for each copy they depend on."""
        ready = [
            number
            for number, access in enumerate(self.nest.inputs)
            if number not in loaded and bound.issuperset(access.indices)
        ]
        for number in ready:
            access = self.nest.inputs[number]
            for lane in self.copies if self._has_copies(access) else range(1):
                offset = self.offset(access, lane)
                is_vector = self._is_vector(access)
                element = self.vload(access.name, offset) if is_vector else None
                value = casts.load(
                    element or f"{access.name}[{offset}]", access.dtype, self.nest.compute
                )
                if access.is_conjugated:
                    value = f"vconj({value})" if is_vector else f"({value}).conjugate()"
                self.line(f"{self._value(number, lane)} = {value}")
        return loaded | set(ready)

    def vload(self, name: str, offset: str) -> str:
        """Return the vector at an offset, zero beyond the rest of a masked one."""
        if self.rest is None:
            return f"vload{self.lanes}({name}, {offset})"
        return f"vload{self.lanes}_masked({name}, {offset}, {self.rest})"

    def vstore(self, name: str, offset: str, value: str) -> str:
        """Return the statement that stores a vector."""
        if self.rest is None:
            streamed = "_streamed" if self.is_streamed else ""
            return f"vstore{self.lanes}{streamed}({name}, {offset}, {value})"
        return f"vstore{self.lanes}_masked({name}, {offset}, {value}, {self.rest})"

    def store(self, value: str, lane: int) -> None:
        """Write the epilogue of a finished value, and its store."""
        output = self.nest.output
        value = casts.store(self._finished(value, lane), self.nest.compute, output.dtype)
        offset = self.offset(output, lane)
        if self._is_vector(output):
            self.line(self.vstore(output.name, offset, value))
        else:
            self.line(f"{output.name}[{offset}] = {value}")

    def _finished(self, value: str, lane: int) -> str:
        """Write the epilogue of a value and return its result."""
        body = self.nest.epilogue
        used = positions_of(body)
        values, vectors = [value], {0} if self.is_vector else set()
        for number, access in enumerate(self.nest.extras, 1):
            values.append(self._loaded_extra(access, lane) if number in used else "")
            if self._is_vector(access):
                vectors.add(number)
        compute = arithmetic(self.nest.compute).compute
        text = scalar_lines(body, values, compute, f"v{lane}_" if lane else "v", vectors)
        for line in text.lines:
            self.line(line)
        if self.is_vector and not text.is_vector:
            return self._spread(text.result)
        return text.result

    def _loaded_extra(self, access: Access, lane: int) -> str:
        """Return the element or vector of a further operand, in the dtype of arithmetic."""
        offset = self.offset(access, lane)
        is_vector = self._is_vector(access)
        element = self.vload(access.name, offset) if is_vector else f"{access.name}[{offset}]"
        compute = self.nest.compute
        # 16-bit floats are computed in float32, to which these are not rounded first.
        held = "float32" if arithmetic(compute).is_half else compute
        return casts.load(element, access.dtype, held)

    def offset(self, access: Access, lane: int) -> str:
        """Return the element offset of an access, in one copy of the unrolled index."""
        unrolled, jammed = self.nest.unrolled, self.nest.jammed
        parts = [f"{access.name}_start"] if access.has_start else []
        for index in access.indices:
            variable = self._names.get(index, index)
            if not variable:
                continue
            if lane and unrolled is not None and index == unrolled.index:
                variable = f"{index}{lane}"
            if self.point and jammed is not None and index == jammed.index:
                behind = f"{self.point} * span_{index}" if jammed.apart else str(self.point)
                variable = f"({index} + {behind})"
            is_unit = index == access.unit
            parts.append(variable if is_unit else f"{variable} * {access.name}_{index}")
        if self.shift and self._is_vector(access):
            parts.append(str(self.shift))
        return " + ".join(parts) or "0"

    def row_at(self, lane: int) -> str:
        """Return the offset of a row's accumulator in scratch."""
        row = self.nest.row
        return f"at + {lane * row.size}" if lane and row is not None else "at"

    # --- expressions -----------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """Whether sums run over blocks of the innermost index."""
        return self.nest.row is None and self.nest.levels[-1].kind == "within"

    @property
    def has_vector_sums(self) -> bool:
        """Whether each sum is a vector whose lanes are added up at the end."""
        return self.nest.vectors is not None and self.nest.row is None

    def _is_vector(self, access: Access) -> bool:
        return self.is_vector and self.nest.levels[-1].index in access.indices

    def _has_copies(self, access: Access) -> bool:
        unrolled = self.nest.unrolled
        return unrolled is not None and unrolled.index in access.indices

    def _value(self, number: int, lane: int) -> str:
        access, jammed = self.nest.inputs[number], self.nest.jammed
        name = _VALUES[number] if number < len(_VALUES) else f"value{number}_"
        name = f"{name}{lane}" if self._has_copies(access) else name
        is_point = jammed is not None and jammed.index in access.indices
        return f"{name}_{self.point}" if is_point and self.point is not None else name

    def _factor(self, number: int, lane: int) -> str:
        """Return an operand's value, in every lane where it is one value for a whole vector."""
        value = self._value(number, lane)
        if not self.is_vector or self._is_vector(self.nest.inputs[number]):
            return value
        return self._spread(value)

    def _spread(self, value: str) -> str:
        """Return a vector whose lanes are one value."""
        if self.rest is None:
            return f"vset{self.lanes}({value})"
        return f"vset{self.lanes}_masked({value}, {self.rest})"

    def product(self, lane: int, n_factors: int | None = None) -> str:
        """Return the product of the first ``n_factors`` operands, of all where None."""
        count = len(self.nest.inputs) if n_factors is None else n_factors
        factors = [self._factor(number, lane) for number in range(count)]
        if self.is_vector:
            return reduce(lambda left, right: f"vmul({left}, {right})", factors)
        return (" & " if self.nest.compute == "bool" else " * ").join(factors)

    def accumulate(self, target: str, lane: int) -> None:
        """Write the addition of one product to ``target``."""
        n_inputs = len(self.nest.inputs)
        if not self.is_vector:
            plus = "|=" if self.nest.compute == "bool" else "+="
            self.line(f"{target} {plus} {self.product(lane)}")
        elif n_inputs == 1:
            self.line(f"{target} = vadd({target}, {self.product(lane)})")
        else:
            left, right = self.product(lane, n_inputs - 1), self._factor(n_inputs - 1, lane)
            self.line(f"{target} = vfma({left}, {right}, {target})")

    def zero(self, is_vector: bool) -> str:
        """Return the zero that sums start from."""
        value = f"np.{arithmetic(self.nest.compute).compute}(0)"
        return f"vset{self.lanes}({value})" if is_vector else value

    def sum(self, lane: int) -> str:
        """Return the accumulator of one copy."""
        return f"sum{lane}" if self.nest.row is None else f"acc[{self.row_at(lane)}]"

    def part(self, lane: int, number: int) -> str:
        """Return one of the accumulators of a copy's sum over a block."""
        several = self.nest.vectors is not None and self.nest.vectors.n_sums > 1
        return f"part{lane}_{number}" if several else f"part{lane}"

    def target(self, lane: int, number: int) -> str:
        """Return what products are added to."""
        return self.part(lane, number) if self.is_blocked else self.sum(lane)

    def added(self, total: str, parts: Sequence[str]) -> str:
        """Return the statement that adds a block's accumulators, in pairs, to ``total``."""
        if not self.has_vector_sums:
            plus = "|=" if self.nest.compute == "bool" else "+="
            return f"{total} {plus} {parts[0]}"
        terms = list(parts)
        while len(terms) > 1:
            paired = [f"vadd({a}, {b})" for a, b in zip(terms[::2], terms[1::2], strict=False)]
            terms = [*paired, *terms[len(terms) - len(terms) % 2 :]]
        return f"{total} = vadd({total}, {terms[0]})"

    def total(self, lane: int) -> str:
        """Return the value of a finished sum."""
        return f"vsum({self.sum(lane)})" if self.has_vector_sums else self.sum(lane)
