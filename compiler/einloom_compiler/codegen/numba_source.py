"""Print a scheduled loop nest as Python source that Numba compiles and Python runs.

The kernel's parameters follow one order, the kernel ABI::

    x0, x1, ..., out      pointers: anything indexable by element offset
    n_<index> ...         extents, in the nest's index order
    <access>_<index> ...  strides in elements, for inputs then output, stride 1 left out
    acc, acc_0            scratch accumulators and the offset of this range's own
    lo, hi                the part of the parallel range to compute

It allocates nothing, raises nothing and reads no global state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from textwrap import fill

from einloom_compiler.codegen import casts, simd
from einloom_compiler.codegen.text import KernelText
from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.graph import Map
from einloom_compiler.ir.loops import Access, Level, LoopNest
from einloom_compiler.ir.printer import print_nest

NUMBA_IMPORT = "from numba import njit, prange\n"
_VALUES = "abcdefgh"
_WIDTH = 100
_FASTMATH = '{"reassoc", "contract"}'
OPTIONS = f'nogil=True, error_model="numpy", fastmath={_FASTMATH}'


def parameters(nest: LoopNest) -> tuple[str, ...]:
    """Return the kernel's parameter names in ABI order."""
    accesses = (*nest.inputs, nest.output)
    return (
        *(access.name for access in accesses),
        *(f"n_{index}" for index in nest.indices),
        *(f"{access.name}_{index}" for access in accesses for index in access.strided),
        *("acc", "acc_0", "lo", "hi"),
    )


def print_kernel(nest: LoopNest, name: str = "kernel") -> str:
    """Return the kernel function of ``nest``, decorated for Numba."""
    return f"@njit({OPTIONS})\n" + _Emitter(nest).emit(name)


def print_parallel(nest: LoopNest, name: str = "kernel") -> str:
    """Return the function that spreads the kernel's range over Numba's threads."""
    return print_split(name, parameters(nest)[:-3], nest.scratch_elements)


def print_split(name: str, shared: Sequence[str], scratch_elements: int) -> str:
    """Return ``parallel_<name>``, which gives each of ``parts`` its share of the kernel's range.

    Args:
        name: the kernel's name.
        shared: the kernel's parameters up to its scratch pointer.
        scratch_elements: what each part needs of the scratch.
    """
    names = ", ".join(shared)
    own = f"acc_0 + r * {scratch_elements}" if scratch_elements else "acc_0"
    head = wrapped(f"def parallel_{name}(", f"{names}, acc_0, total, parts", "):")
    call = wrapped(f"        {name}(", f"{names}, {own}, lo, hi", ")")
    return f"""\
@njit(parallel=True, {OPTIONS})
{head}
    for r in prange(parts):
        lo = total * r // parts
        hi = total * (r + 1) // parts
{call}
"""


def print_direct(nest: LoopNest) -> KernelText:
    """Return the module of one kernel of the direct family."""
    accesses = (*nest.inputs, nest.output)
    return KernelText(
        title=print_nest(nest).splitlines()[-1].strip(),
        source=print_module(f"{print_kernel(nest)}\n\n{print_parallel(nest)}"),
        pointers=tuple((access.name, arithmetic(access.dtype).storage) for access in accesses),
        numbers=parameters(nest)[len(accesses) : -4],
        scratch_elements=nest.scratch_elements,
        scratch_dtype=arithmetic(nest.compute).compute,
    )


def wrapped(head: str, items: str, tail: str) -> str:
    """Return ``head``, comma-separated ``items`` and ``tail``, broken where the line is long."""
    line = f"{head}{items}{tail}"
    if len(line) <= _WIDTH:
        return line
    pad = " " * (len(head) - len(head.lstrip()) + 4)
    body = fill(items, _WIDTH, initial_indent=pad, subsequent_indent=pad, break_long_words=False)
    return f"{head}\n{body}\n{pad[:-4]}{tail}"


def print_module(functions: str) -> str:
    """Return ``functions`` with the imports that they need."""
    used = sorted(name for name in simd.PRIMITIVES if f"{name}(" in functions)
    imports = ""
    if used:
        head = "from einloom_compiler.codegen.simd import ("
        imports = "\n" + wrapped(head, ", ".join(used), ")") + "\n"
    return f"import numpy as np\n{NUMBA_IMPORT}{imports}\n\n{functions}"


class _Emitter:
    """Writes one kernel; ``bound`` are the indices open so far, ``loaded`` the operands read."""

    def __init__(self, nest: LoopNest) -> None:
        self.nest = nest
        self.lines: list[str] = []
        self.depth = 0
        unrolled = nest.unrolled
        self.lanes = range(unrolled.unroll) if unrolled else range(1)

    def emit(self, name: str) -> str:
        with self._block(wrapped(f"def {name}(", ", ".join(parameters(self.nest)), "):")):
            flattened = self.nest.levels[: self.nest.n_parallel]
            with ExitStack() as stack:
                self._open_parallel(stack, flattened)
                bound = frozenset(level.index for level in flattened if level.kind == "range")
                self._level(len(flattened), bound, frozenset())
        return "\n".join(self.lines) + "\n"

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head)
        self.depth += 1
        yield
        self.depth -= 1

    def _line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    # --- loops -----------------------------------------------------------------------------------

    def _open_parallel(self, stack: ExitStack, flattened: tuple[Level, ...]) -> None:
        """Open the range [lo, hi) and recover each level's position, the last running fastest."""
        if not flattened:
            return
        only = flattened[0]
        if len(flattened) == 1 and _step(only) == 1:
            stack.enter_context(self._block(f"for {only.index} in range(lo, hi):"))
            return
        stack.enter_context(self._block("for p in range(lo, hi):"))
        rest = "p"
        for position, level in reversed(list(enumerate(flattened))):
            step = _step(level)
            value = rest
            if position:
                count = f"n_{level.index}"
                if step > 1:
                    count = f"count_{level.index}"
                    self._line(f"{count} = (n_{level.index} + {step - 1}) // {step}")
                value = f"{rest} % {count}"
            scaled = value if step == 1 else f"{value} * {step}"
            self._line(f"{_start(level)} = {scaled}")
            if position:
                self._line(f"p{position} = {rest} // {count}")
                rest = f"p{position}"
        for level in flattened:
            self._bind(level)

    @contextmanager
    def _loop(self, level: Level) -> Iterator[None]:
        index = level.index
        bounds = {
            "tile": f"0, n_{index}, {level.size}",
            "within": f"{index}_lo, {index}_hi",
            "range": f"n_{index}" if level.unroll == 1 else f"0, n_{index}, {level.unroll}",
        }
        with self._block(f"for {_start(level)} in range({bounds[level.kind]}):"):
            self._bind(level)
            yield

    def _bind(self, level: Level) -> None:
        """Write what follows from a level's start: a tile's end, the unrolled neighbours."""
        index = level.index
        if level.kind == "tile":
            self._line(f"{index}_hi = min({index}_lo + {level.size}, n_{index})")
        for lane in range(1, level.unroll):
            self._line(f"{index}{lane} = min({index} + {lane}, n_{index} - 1)")

    # --- statements ------------------------------------------------------------------------------

    def _level(self, position: int, bound: frozenset[str], loaded: frozenset[int]) -> None:
        """Write the levels from ``position`` on and the statements between them."""
        nest = self.nest
        loaded = self._load_operands(bound, loaded)
        if nest.contracted and position == nest.first_contracted:
            self._for_sums(lambda lane: f"{self._sum(lane)} = {self._zero()}")
            self._reduce(position, bound, loaded)
            self._for_sums(lambda lane: self._store(self._sum(lane), lane))
        elif nest.transpose_lanes and position == len(nest.levels) - 2:
            self._transpose(bound)
        elif position == len(nest.levels):
            self._line(self._store(self._product(0), 0))
        else:
            level = nest.levels[position]
            with self._loop(level):
                opened = bound if level.kind == "tile" else bound | {level.index}
                self._level(position + 1, opened, loaded)

    def _reduce(self, position: int, bound: frozenset[str], loaded: frozenset[int]) -> None:
        """Write the contracted levels and the multiply-add inside them."""
        levels = self.nest.levels
        loaded = self._load_operands(bound, loaded)
        if position == len(levels):
            for lane in self.lanes:
                self._line(f"{self._target(lane)} {self._plus()} {self._product(lane)}")
            return
        level = levels[position]
        is_block = self._is_blocked and position == len(levels) - 1
        if is_block:
            for lane in self.lanes:
                self._line(f"part{lane} = {self._zero()}")
        opened = bound if level.kind == "tile" else bound | {level.index}
        with self._loop(level):
            if level == self.nest.row:
                self._line(self._row_offset(level))
            self._reduce(position + 1, opened, loaded)
        if is_block:
            for lane in self.lanes:
                self._line(f"{self._sum(lane)} {self._plus()} part{lane}")

    def _transpose(self, bound: frozenset[str]) -> None:
        """Write a tile's copy: whole blocks through registers, then what is left of it."""
        nest, lanes = self.nest, self.nest.transpose_lanes
        source, target = nest.inputs[0], nest.output
        across, along = (level.index for level in nest.levels[-2:])
        for index in (across, along):
            self._line(f"{index}_full = {index}_hi - ({index}_hi - {index}_lo) % {lanes}")
        with (
            self._block(f"for {across} in range({across}_lo, {across}_full, {lanes}):"),
            self._block(f"for {along} in range({along}_lo, {along}_full, {lanes}):"),
        ):
            to = f"out, {self._offset(target, 0)}, {target.name}_{across}"
            at = f"{source.name}, {self._offset(source, 0)}, {source.name}_{along}"
            self._line(f"vtranspose{lanes}({to}, {at})")
        with self._block(f"for {across} in range({across}_lo, {across}_hi):"):
            self._line(f"{along}_0 = {along}_full if {across} < {across}_full else {along}_lo")
            with self._block(f"for {along} in range({along}_0, {along}_hi):"):
                self._load_operands(bound | {across, along}, frozenset())
                self._line(self._store(self._product(0), 0))

    def _for_sums(self, statement: Callable[[int], str]) -> None:
        """Write a statement for every accumulator: a row of them in scratch, or one a lane."""
        row = self.nest.row
        with ExitStack() as stack:
            if row is not None:
                stack.enter_context(self._loop(row))
                self._line(self._row_offset(row))
            for lane in self.lanes:
                self._line(statement(lane))

    def _load_operands(self, bound: frozenset[str], loaded: frozenset[int]) -> frozenset[int]:
        """Load the operands whose indices are all bound now, once for each lane they depend on."""
        ready = [
            number
            for number, access in enumerate(self.nest.inputs)
            if number not in loaded and bound.issuperset(access.indices)
        ]
        for number in ready:
            access = self.nest.inputs[number]
            for lane in self.lanes if self._has_lanes(access) else range(1):
                element = f"{access.name}[{self._offset(access, lane)}]"
                value = casts.load(element, access.dtype, self.nest.compute)
                if access.is_conjugated:
                    value = f"({value}).conjugate()"
                self._line(f"{self._value(number, lane)} = {value}")
        return loaded | set(ready)

    # --- expressions -----------------------------------------------------------------------------

    @property
    def _is_blocked(self) -> bool:
        return self.nest.row is None and self.nest.levels[-1].kind == "within"

    def _has_lanes(self, access: Access) -> bool:
        unrolled = self.nest.unrolled
        return unrolled is not None and unrolled.index in access.indices

    def _value(self, number: int, lane: int) -> str:
        name = _VALUES[number] if number < len(_VALUES) else f"value{number}_"
        return f"{name}{lane}" if self._has_lanes(self.nest.inputs[number]) else name

    def _product(self, lane: int) -> str:
        times = " & " if self.nest.compute == "bool" else " * "
        return times.join(self._value(number, lane) for number in range(len(self.nest.inputs)))

    def _plus(self) -> str:
        return "|=" if self.nest.compute == "bool" else "+="

    def _zero(self) -> str:
        return f"np.{arithmetic(self.nest.compute).compute}(0)"

    def _sum(self, lane: int) -> str:
        row = self.nest.row
        if row is None:
            return f"sum{lane}"
        return f"acc[at + {lane * row.size}]" if lane else "acc[at]"

    def _target(self, lane: int) -> str:
        return f"part{lane}" if self._is_blocked else self._sum(lane)

    @staticmethod
    def _row_offset(row: Level) -> str:
        return f"at = acc_0 + {row.index} - {row.index}_lo"

    def _store(self, value: str, lane: int) -> str:
        for step in self.nest.epilogue:
            value = _apply_map(step, value, arithmetic(self.nest.compute).compute)
        output = self.nest.output
        value = casts.store(value, self.nest.compute, output.dtype)
        return f"{output.name}[{self._offset(output, lane)}] = {value}"

    def _offset(self, access: Access, lane: int) -> str:
        """Return the element offset of an access, in one lane of the unrolled index."""
        unrolled = self.nest.unrolled
        parts = []
        for index in access.indices:
            shifted = lane and unrolled is not None and index == unrolled.index
            variable = f"{index}{lane}" if shifted else index
            unit = index == access.unit
            parts.append(variable if unit else f"{variable} * {access.name}_{index}")
        return " + ".join(parts) or "0"


def _step(level: Level) -> int:
    return level.size if level.kind == "tile" else level.unroll


def _start(level: Level) -> str:
    return f"{level.index}_lo" if level.kind == "tile" else level.index


def _apply_map(step: Map, value: str, compute: str) -> str:
    match step:
        case Map("sqrt"):
            return f"np.sqrt({value})"
        case Map("reciprocal"):
            return f"np.{compute}(1) / {value}"
        case Map("maximum", constant):
            return f"max({value}, np.{compute}({constant!r}))"
    raise InternalCompilerError("codegen", f"no source is known for the map {step}")
