"""Print the tiled family: a block of sums in registers, loads straight from the operands.

Names: ``i_1`` is the second point of a block's row index ``i``, ``x0_at_1`` the offset in ``x0`` of
that row, ``a1_0`` the first vector loaded there, ``c1_0`` its sum. A complex sum is two of real
lanes, ``c`` with the real parts of the first factor and ``d`` with its imaginary parts, so that the
loops hold nothing but multiply-adds; they are combined once a block. Integers not in the nest are
the kernel's arguments; strides and offsets of complex operands count real elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from einloom_compiler.codegen.numba_source import OPTIONS, print_module, print_split
from einloom_compiler.codegen.scalar_source import scalar_lines
from einloom_compiler.codegen.text import KernelText, wrapped
from einloom_compiler.codegen.tiled_joined import Joined
from einloom_compiler.codegen.tiled_streams import Streams
from einloom_compiler.codegen.tiled_values import name_of, plus, set_of, times
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.scalar import positions_of
from einloom_compiler.ir.tiled import Piece, TiledNest, print_tiled


def numbers_of(nest: TiledNest) -> tuple[str, ...]:
    """Return the kernel's integers: run-time extents, then strides of inputs and output."""
    return (
        *(f"n_{index}" for index in nest.run_time),
        *(f"{access.name}_{index}" for access in nest.accesses for index in access.strided),
    )


def print_functions(nest: TiledNest, name: str = "kernel") -> list[str]:
    """Return the kernel, called ``name``, and the function that spreads it over threads."""
    names = (*(access.name for access in nest.accesses), *numbers_of(nest))
    split = print_split(name, (*names, "acc"), nest.scratch_elements)
    return [_Emitter(nest).emit(name, names), split]


def print_kernel_text(nest: TiledNest) -> KernelText:
    """Return the module of the kernel of ``nest``."""
    return KernelText(
        title=print_tiled(nest).splitlines()[-1].strip(),
        source=print_module("\n\n".join(print_functions(nest))),
        pointers=tuple((access.name, nest.element) for access in nest.accesses),
        numbers=numbers_of(nest),
        scratch_elements=nest.scratch_elements,
        scratch_dtype=nest.element,
    )


class _Emitter(Joined, Streams):
    """Writes one kernel."""

    def emit(self, name: str, names: Sequence[str]) -> str:
        """Return the function."""
        self.line(f"@njit({OPTIONS})")
        with self.block(wrapped(f"def {name}(", ", ".join((*names, "acc, acc_0, lo, hi")), "):")):
            if not self.nest.joins_rows:
                self._constants()
            self._begin_stream()
            with self._tasks(), self._gathered():
                self._blocks_of_a_task()
            self._finish_stream()
        return "\n".join(self.lines) + "\n"

    def _blocks_of_a_task(self) -> None:
        if self.nest.joins_rows:
            self._joined_block()
            return
        self._begin_ahead()
        with self._inner_blocks():
            self._prefetch_ahead()
            self._clamped()
            self._offsets((*self.nest.inputs, self.nest.output))
            lanes = self.nest.lanes
            if lanes is None or lanes.index not in self.nest.tasks:
                self._sum(is_masked=False)
            elif self.nest.splits_edge:
                edge = f"{lanes.index} + {self.nest.block(lanes.index)}"
                with self.block(f"if {edge} <= {self._extent(lanes.index)}:"):
                    self._sum(is_masked=False)
                with self.block("else:"):
                    self._sum(is_masked=True)
            else:
                self._sum(is_masked=True)

    # --- loops over blocks -----------------------------------------------------------------------

    def _constants(self) -> None:
        element = self.nest.element
        for width in sorted({piece.width for piece in self.nest.pieces}):
            self.line(f"zero{width} = {set_of(width, f'np.{element}(0)')}")
            if self.dual is not None or any(a.is_conjugated for a in self.nest.inputs):
                self.line(f"minus_plus{width} = vpair{width}(np.{element}(-1), np.{element}(1))")
                self.line(f"plus_minus{width} = vpair{width}(np.{element}(1), np.{element}(-1))")

    @contextmanager
    def _tasks(self) -> Iterator[None]:
        """Open the range and step through the tasks like an odometer, the last index fastest."""
        tasks, nest = self.nest.tasks, self.nest
        if len(tasks) == 1:
            (only,) = tasks
            step = nest.block(only)
            with self.block(f"for {only if step == 1 else 'p'} in range(lo, hi):"):
                if step > 1:
                    self.line(f"{only} = p * {step}")
                yield
            return
        rest = "lo"
        for position, index in reversed(list(enumerate(tasks))):
            step = nest.block(index)
            extent = self._extent(index)
            count = extent if step == 1 else f"(({extent} + {step - 1}) // {step})"
            value = f"{rest} % {count}" if position else rest
            self.line(f"{index} = {value}" + (f" * {step}" if step > 1 else ""))
            if position:
                self.line(f"p{position} = {rest} // {count}")
                rest = f"p{position}"
        with self.block("for _ in range(lo, hi):"):
            yield
            with ExitStack() as stack:
                for position, index in reversed(list(enumerate(tasks))):
                    self.line(f"{index} += {nest.block(index)}")
                    if position:
                        stack.enter_context(self.block(f"if {index} >= {self._extent(index)}:"))
                        self.line(f"{index} = 0")

    @contextmanager
    def _inner_blocks(self) -> Iterator[None]:
        """Open the loops over blocks within a task."""
        nest = self.nest
        with ExitStack() as stack:
            for index in nest.indices:
                if index in nest.tasks or index in nest.contracted:
                    continue
                extent, block = self.static[index], nest.block(index)
                if extent <= block:
                    continue
                if extent % block == 0:
                    stack.enter_context(self.block(f"for {index} in range(0, {extent}, {block}):"))
                    continue
                stack.enter_context(self.block(f"for {index}_0 in range(0, {extent}, {block}):"))
                self.line(f"{index} = min({index}_0, {extent - block})")
            yield

    def _clamped(self) -> None:
        """Write the position of each row along a task, which ends at the last one."""
        nest = self.nest
        for rows in nest.rows:
            if rows.index in nest.tasks:
                last = f"{self._extent(rows.index)} - 1"
                for r in range(1, rows.count):
                    self.line(f"{rows.index}_{r} = min({rows.index} + {r}, {last})")

    def _offsets(self, accesses: Sequence[Access]) -> None:
        """Write the offset of the block's first element in each operand, and of each row."""
        nest = self.nest
        for access in accesses:
            rows_of = [rows for rows in nest.rows if rows.index in access.indices]
            moved = {rows.index for rows in rows_of if rows.index in nest.tasks}
            terms = [
                self._term(access, index)
                for index in access.indices
                if index not in moved and index not in nest.contracted and self._moves(index)
            ]
            if nest.is_streamed and access is nest.output:
                inner = [i for i in access.indices if i not in nest.tasks and self._moves(i)]
                terms = ["acc_0 + n_waiting", *(self._term(access, index) for index in inner)]
            start = " + ".join(terms) or "0"
            if not rows_of:
                self.line(f"{access.name}_at = {start}")
                continue
            if terms:
                self.line(f"{access.name}_at = {start}")
            for point in dict.fromkeys(self._of(access, point) for point in self.points):
                parts = [f"{access.name}_at"] if terms else []
                for rows, r in zip(rows_of, point, strict=True):
                    if rows.index in moved:
                        variable = f"{rows.index}_{r}" if r else rows.index
                        parts.append(self._term(access, rows.index, variable))
                    elif r:
                        parts.append(self._term(access, rows.index, str(r)))
                self.line(f"{self._at(access, point)} = {' + '.join(parts) or '0'}")

    # --- one block -------------------------------------------------------------------------------

    def _sum(self, *, is_masked: bool) -> None:
        """Write the sums of one block and their stores."""
        nest, lanes = self.nest, self.nest.lanes
        if is_masked and lanes is not None:
            left = f"{self._extent(lanes.index)} - {lanes.index}"
            self.line("left = " + (f"{nest.scale} * ({left})" if nest.scale > 1 else left))
        pieces = [(piece, self._valid(piece, is_masked)) for piece in nest.pieces]
        if nest.contracted:
            for point in self.points:
                for number, (piece, _) in enumerate(pieces):
                    self.line(f"{name_of('c', point, number)} = zero{piece.width}")
                    if self.dual is not None:
                        self.line(f"{name_of('d', point, number)} = zero{piece.width}")
        self._level(0, pieces)
        # Here, so that nothing of the epilogue's operands is kept in registers by the loops above.
        self._offsets(nest.extras)
        self.extras = {}
        for point in self.points:
            if nest.is_dot:
                self._store_dot(point)
            else:
                self._store(point, pieces)

    def _valid(self, piece: Piece, is_masked: bool) -> str | None:
        """Return how many lanes of ``piece`` hold elements, None where all do."""
        if is_masked:
            return f"left - {piece.offset}" if piece.offset else "left"
        return None if piece.valid == piece.width else str(piece.valid)

    def _level(self, level: int, pieces: list[tuple[Piece, str | None]]) -> None:
        """Write the loads that are ready at this depth of the summed loops, and what is inside."""
        nest = self.nest
        is_inside = level == len(nest.contracted)
        for access in nest.inputs:
            if self._ready(access) == level and not (is_inside and self._is_late(access)):
                for point in dict.fromkeys(self._of(access, point) for point in self.points):
                    self._load(access, point, pieces)
        if is_inside:
            self._multiply(pieces)
            return
        index = nest.contracted[level]
        extent = self._extent(index)
        lanes = nest.lanes
        if lanes is None or index != lanes.index:
            with self.block(f"for {index} in range({extent}):"):
                self._level(level + 1, pieces)
            return
        block = nest.block(index)
        if index in self.static and self.static[index] <= block:
            self._level(level + 1, pieces)
            return
        full = f"full_{index}"
        self.line(f"{full} = {extent} // {block} * {block}")
        with self.block(f"for {index} in range(0, {full}, {block}):"):
            self._level(level + 1, pieces)
        first = nest.pieces[0]
        step = first.width // nest.scale
        with self.block(f"for {index} in range({full}, {extent}, {step}):"):
            self.line(f"left = {f'{nest.scale} * ' if nest.scale > 1 else ''}({extent} - {index})")
            self._level(level + 1, [(first, "left")])

    def _multiply(self, pieces: list[tuple[Piece, str | None]]) -> None:
        """Write the multiply-adds of one contracted point."""
        nest = self.nest
        late = [
            access
            for access in nest.inputs
            if self._ready(access) == len(nest.contracted) and self._is_late(access)
        ]
        for point in self.points:
            for access in late:
                self._load(access, self._of(access, point), pieces)
            for number, (piece, _) in enumerate(pieces):
                self._multiply_vector(point, number, piece.width)

    def _multiply_vector(self, point: tuple[int, ...], number: int, width: int) -> None:
        target = name_of("c", point, number)
        values = [self._value(access, point, number, width) for access in self.nest.inputs]
        if self.dual is not None:
            split = values[self.nest.inputs.index(self.dual)]
            (plain,) = (v for v in values if v != split)
            pairs = ((target, f"{split}r"), (name_of("d", point, number), f"{split}i"))
            for sum_, part in pairs:
                if self.nest.contracted:
                    self.line(f"{sum_} = vfma({part}, {plain}, {sum_})")
                else:
                    self.line(f"{sum_} = vmul({part}, {plain})")
            return
        *factors, last = values
        if not self.nest.contracted:
            self.line(f"{target} = {times(values, width)}")
        elif not factors:
            self.line(f"{target} = {plus(target, last, width)}")
        elif width == 1:
            self.line(f"{target} = {times(values, 1)} + {target}")
        else:
            self.line(f"{target} = vfma({times(factors, width)}, {last}, {target})")

    def _store(self, point: tuple[int, ...], pieces: list[tuple[Piece, str | None]]) -> None:
        """Write the stores of one row whose lanes are the output's."""
        output, lanes = self.nest.output, self.nest.lanes
        name = "acc" if self.nest.is_streamed else output.name
        stride = f"{output.name}_{lanes.index}" if lanes and output.unit != lanes.index else None
        if not self._has_lanes(output):
            stride = None
        for number, (piece, valid) in enumerate(pieces):
            width = piece.width
            value = self._epilogue(
                self._combined(point, number, width), point, (number, piece, valid)
            )
            at = self._at(output, self._of(output, point))
            if piece.offset:
                at += f" + {piece.offset}" + (f" * {stride}" if stride else "")
            masked, n = ("_masked", f", {valid}") if valid else ("", "")
            if width == 1:
                self.line(f"{name}[{at}] = {value}")
            elif stride:
                self.line(f"vscatter{width}{masked}({name}, {at}, {stride}, {value}{n})")
            else:
                self.line(f"vstore{width}{masked}({name}, {at}, {value}{n})")

    def _store_dot(self, point: tuple[int, ...]) -> None:
        """Write the sums over lanes of one row, and the store of their total."""
        nest = self.nest
        by_width: dict[int, list[str]] = {}
        for number, piece in enumerate(nest.pieces):
            value = self._combined(point, number, piece.width)
            by_width.setdefault(piece.width, []).append(value)
        totals: list[tuple[int, str]] = []
        for width, values in by_width.items():
            total = values[0]
            for value in values[1:]:
                total = plus(total, value, width)
            totals.append((width, total))
        output = nest.output
        at = self._at(output, self._of(output, point))
        if nest.is_complex:
            for part, function in (("", "vsum_even"), (" + 1", "vsum_odd")):
                value = " + ".join(f"{function}({total})" for _, total in totals)
                self.line(f"{output.name}[{at}{part}] = {value}")
            return
        value = " + ".join(total if width == 1 else f"vsum({total})" for width, total in totals)
        self.line(
            f"{output.name}[{at}] = {self._epilogue(value, point, (0, Piece(0, 1, 1), None))}"
        )

    def _epilogue(
        self, value: str, point: tuple[int, ...], where: tuple[int, Piece, str | None]
    ) -> str:
        """Write the epilogue of a finished sum, and return its result.

        Args:
            value: the sum.
            point: its row.
            where: its vector's number in the row, the vector, and how many lanes hold elements.
        """
        nest, width = self.nest, where[1].width
        used = positions_of(nest.epilogue)
        values, vectors = [value], {0} if width > 1 else set()
        for number, access in enumerate(nest.extras, 1):
            values.append(self._extra(access, point, where) if number in used else "")
            if width > 1 and self._has_lanes(access):
                vectors.add(number)
        text = scalar_lines(nest.epilogue, values, nest.element, vectors=vectors)
        for line in text.lines:
            self.line(line)
        return text.result if text.is_vector or width == 1 else set_of(width, text.result)

    def _extra(
        self, access: Access, point: tuple[int, ...], where: tuple[int, Piece, str | None]
    ) -> str:
        """Return the name of an operand's element or vector, loaded where it is needed first."""
        number, piece, valid = where
        of = self._of(access, point)
        name = name_of(f"{access.name}_", of, number if self._has_lanes(access) else "s")
        if name not in self.extras:
            at = self._at(access, of)
            is_vector = self._has_lanes(access)
            self.extras[name] = (
                self._vector(access, at, piece, valid) if is_vector else f"{access.name}[{at}]"
            )
            self.line(f"{name} = {self.extras[name]}")
        return name

    def _combined(self, point: tuple[int, ...], number: int, width: int) -> str:
        """Return a sum, its real and imaginary parts' products combined where it is complex.

        With ``b`` the plain factor, ``c + i d`` is the sum where neither or both factors are
        conjugated and ``c - i d`` is it, or its conjugate, where one is.
        """
        value = name_of("c", point, number)
        nest = self.nest
        if self.dual is None:
            return f"vmul({value}, plus_minus{width})" if nest.inputs[0].is_conjugated else value
        (plain,) = (a for a in nest.inputs if a is not self.dual)
        sign = "plus_minus" if self.dual.is_conjugated != plain.is_conjugated else "minus_plus"
        value = f"vfma(vswap({name_of('d', point, number)}), {sign}{width}, {value})"
        return f"vmul({value}, plus_minus{width})" if plain.is_conjugated else value
