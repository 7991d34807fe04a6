"""Check the shapes of a call against what was declared, and bind its symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import evaluate, free_names, is_symbol, text
from einloom_compiler.ir.graph import Input, Node
from einloom_compiler.ir.shapes import guards
from einloom_compiler.ir.traversal import inputs_of
from einloom_compiler.order.select import Ranges

_KEPT_SHAPES = 1024


class Signature:
    """The declared operands of expressions.

    Attributes:
        inputs: the graphs' inputs, in the order arrays are given.
        names: what messages call each.
        guards: equations of symbolic extents that must hold.
        ranges: least and largest value of symbols by name.
    """

    def __init__(
        self,
        roots: tuple[Node, ...],
        names: Mapping[str, str],
        ranges: Ranges | None = None,
        inputs: tuple[Input, ...] | None = None,
    ) -> None:
        """Take the inputs and guards of graphs, each input's name, and the ranges of symbols."""
        self.ranges = ranges or {}
        self.inputs = inputs_of(*roots) if inputs is None else inputs
        self.names = tuple(names[operand.name] for operand in self.inputs)
        self.guards = guards(*roots)
        self._checked: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}

    def check(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """Return the value of every symbol for operands of these shapes.

        Raises:
            ShapeError: a rank or extent is not the declared one, a symbol lies outside its range,
                or a guard does not hold.
        """
        key = tuple(shapes)
        found = self._checked.get(key)
        if found is None:
            found = self._bind_symbols(key)
            if len(self._checked) >= _KEPT_SHAPES:
                self._checked.clear()
            self._checked[key] = found
        return found

    def _bind_symbols(self, shapes: tuple[tuple[int, ...], ...]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        origin: dict[str, str] = {}
        declared = list(zip(self.inputs, self.names, shapes, strict=True))
        for operand, name, shape in declared:
            if len(shape) != len(operand.shape):
                wanted = ", ".join(map(text, operand.shape))
                raise ShapeError(
                    f"operand '{name}' has rank {len(shape)} (shape {shape}) but was declared "
                    f"with rank {len(operand.shape)}: ({wanted})"
                )
            for axis, (extent, given) in enumerate(zip(operand.shape, shape, strict=True)):
                if not is_symbol(extent):
                    continue
                (symbol,) = free_names(extent)
                if sizes.setdefault(symbol, given) != given:
                    raise ShapeError(
                        f"extent {text(extent)} is {sizes[symbol]} in {origin[symbol]} but {given} "
                        f"in axis {axis} of operand '{name}' (shape {shape}); it must be the same"
                    )
                origin.setdefault(symbol, f"axis {axis} of operand '{name}' (shape {shape})")
        for operand, name, shape in declared:
            for axis, (extent, given) in enumerate(zip(operand.shape, shape, strict=True)):
                size = evaluate(extent, sizes) if free_names(extent) <= set(sizes) else given
                if size != given:
                    raise ShapeError(
                        f"axis {axis} of operand '{name}' has extent {given} (shape {shape}) but "
                        f"was declared with {text(extent)}; compile for a symbolic extent to allow "
                        "others"
                    )
        for symbol, (least, most) in self.ranges.items():
            if symbol in sizes and not least <= sizes[symbol] <= most:
                raise ShapeError(
                    f"extent {symbol} is {sizes[symbol]} in {origin[symbol]}, outside the declared "
                    f"range {least} to {most}; declare a wider one in ranges="
                )
        for guard in self.guards:
            left, right = evaluate(guard.left, sizes), evaluate(guard.right, sizes)
            if left != right:
                raise ShapeError(
                    f"the guard {text(guard.left)} == {text(guard.right)} does not hold: "
                    f"{left} != {right} ({guard.reason})"
                )
        return sizes
