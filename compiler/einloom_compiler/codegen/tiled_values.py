"""Names, loads and single operations of tiled kernels: what :mod:`.tiled_source` writes with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from einloom_compiler.codegen.lines import Lines
from einloom_compiler.ir.loops import Access
from einloom_compiler.ir.tiled import Piece, TiledNest

#: Of the first factors; ``c`` and ``d`` are sums, ``e0`` an operand of the epilogue.
_LETTERS = "abfgh"


class Values(Lines):
    """Lines of one kernel, and the names of what they compute."""

    def __init__(self, nest: TiledNest) -> None:
        """Start an empty kernel of ``nest``."""
        super().__init__()
        self.nest = nest
        self.static = dict(nest.static)
        #: Loads of the epilogue's operands in the block that is written, by name.
        self.extras: dict[str, str] = {}
        #: Positions in the block of every row index, one tuple for each accumulator row.
        self.points = list(product(*(range(rows.count) for rows in nest.rows)))
        dual = next((a for a in nest.inputs if not self._has_lanes(a)), nest.inputs[0])
        #: The factor of complex products that is split into real and imaginary parts.
        self.dual = dual if nest.is_complex and len(nest.inputs) > 1 else None

    def _value(self, access: Access, point: tuple[int, ...], number: int, width: int) -> str:
        last = number if self._has_lanes(access) else f"w{width}"
        return name_of(self._letter(access), self._of(access, point), last)

    def _letter(self, access: Access) -> str:
        number = self.nest.inputs.index(access)
        return _LETTERS[number] if number < len(_LETTERS) else f"value{number}_"

    def _of(self, access: Access, point: tuple[int, ...]) -> tuple[int, ...]:
        """Return the positions along those rows that ``access`` depends on."""
        return tuple(
            r for r, rows in zip(point, self.nest.rows, strict=True) if rows.index in access.indices
        )

    def _at(self, access: Access, point: tuple[int, ...]) -> str:
        return "_".join([f"{access.name}_at", *map(str, point)])

    def _has_lanes(self, access: Access) -> bool:
        lanes = self.nest.lanes
        return lanes is not None and lanes.index in access.indices

    def _ready(self, access: Access) -> int:
        """Return the number of open summed loops from which on an operand can be loaded."""
        contracted = self.nest.contracted
        return max((contracted.index(i) + 1 for i in access.indices if i in contracted), default=0)

    def _moves(self, index: str) -> bool:
        """Say whether blocks start anywhere but at 0 along an output index."""
        is_task = index in self.nest.tasks
        return is_task or self.static.get(index, 0) > self.nest.block(index)

    def _term(self, access: Access, index: str, variable: str | None = None) -> str:
        variable = variable or index
        if index != access.unit:
            stride = f"{access.name}_{index}"
            return stride if variable == "1" else f"{variable} * {stride}"
        return variable if self.nest.scale == 1 else f"{variable} * {self.nest.scale}"

    def _extent(self, index: str) -> str:
        return str(self.static[index]) if index in self.static else f"n_{index}"

    # --- loads -----------------------------------------------------------------------------------

    def _is_late(self, access: Access) -> bool:
        """Say whether an operand is loaded row by row, next to the products that use it."""
        has_rows = any(rows.index in access.indices for rows in self.nest.rows)
        return has_rows and len(self.nest.rows) == 1

    def _load(
        self, access: Access, point: tuple[int, ...], pieces: list[tuple[Piece, str | None]]
    ) -> None:
        nest = self.nest
        letter = self._letter(access)
        at = self._at(access, point)
        loops = [self._term(access, i) for i in access.indices if i in nest.contracted]
        if (
            nest.is_dot
            and nest.lanes
            and self.static.get(nest.lanes.index, 1 << 60) <= nest.block(nest.lanes.index)
        ):
            loops = [
                self._term(access, i)
                for i in access.indices
                if i in nest.contracted and i != nest.lanes.index
            ]
        at = " + ".join([at, *loops])
        seen: set[int] = set()
        for number, (piece, valid) in enumerate(pieces):
            if not self._has_lanes(access):
                if piece.width in seen:
                    continue
                seen.add(piece.width)
                self._load_scalar(access, point, at, piece.width)
                continue
            value = self._vector(access, at, piece, valid)
            name = name_of(letter, point, number)
            self.line(f"{name} = {value}")
            if access is self.dual:
                self._split(name)

    def _split(self, name: str) -> None:
        self.line(f"{name}i = vdup_odd({name})")
        self.line(f"{name}r = vdup_even({name})")

    def _load_scalar(self, access: Access, point: tuple[int, ...], at: str, width: int) -> None:
        name = name_of(self._letter(access), point, f"w{width}")
        pointer = access.name
        if access is self.dual:
            self.line(f"{name}r = {set_of(width, f'{pointer}[{at}]')}")
            self.line(f"{name}i = {set_of(width, f'{pointer}[{at} + 1]')}")
        elif self.nest.is_complex and width == 2:
            self.line(f"{name} = vload2({pointer}, {at})")
        elif self.nest.is_complex:
            self.line(f"{name} = vpair{width}({pointer}[{at}], {pointer}[{at} + 1])")
        else:
            self.line(f"{name} = {set_of(width, f'{pointer}[{at}]')}")

    def _vector(self, access: Access, at: str, piece: Piece, valid: str | None) -> str:
        """Return the load of one vector."""
        lanes = self.nest.lanes
        width = piece.width
        stride = None
        if lanes is not None and access.unit != lanes.index:
            stride = f"{access.name}_{lanes.index}"
        if piece.offset:
            at += f" + {piece.offset}" + (f" * {stride}" if stride else "")
        if width == 1:
            return f"{access.name}[{at}]"
        masked, n = ("_masked", f", {valid}") if valid else ("", "")
        if stride:
            return f"vgather{width}{masked}({access.name}, {at}, {stride}{n})"
        return f"vload{width}{masked}({access.name}, {at}{n})"


def name_of(letter: str, point: tuple[int, ...], last: int | str) -> str:
    """Return the name of a value of a block: its letter, its rows, its vector or width."""
    return f"{letter}{'_'.join([*map(str, point), str(last)])}"


def set_of(width: int, value: str) -> str:
    """Return a vector whose lanes are all ``value``; the value itself where it is one lane."""
    return value if width == 1 else f"vset{width}({value})"


def times(values: Sequence[str], width: int) -> str:
    """Return the product of vectors of ``width`` lanes, of scalars where it is 1."""
    first, *others = values
    for value in others:
        first = f"{first} * {value}" if width == 1 else f"vmul({first}, {value})"
    return first


def plus(left: str, right: str, width: int) -> str:
    """Return the sum of two vectors of ``width`` lanes, of scalars where it is 1."""
    return f"{left} + {right}" if width == 1 else f"vadd({left}, {right})"
