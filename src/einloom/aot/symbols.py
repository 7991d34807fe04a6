"""The symbolic extents of a shipped function: where calls show them, how their sizes are cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from einloom_compiler.aot.library import Check, Symbol
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.extents import (
    Extent,
    evaluate,
    exact_text,
    fraction,
    free_names,
    is_symbol,
    text,
)
from einloom_compiler.ir.graph import Input, Node, Pad, Strided
from einloom_compiler.ir.shapes import Guard, guards, shape_of
from einloom_compiler.ir.traversal import nodes_of
from einloom_compiler.lowering.formula import Formula, formula_text, open_symbol
from einloom_compiler.order.select import Ranges

#: How sizes of a symbol are cut into ranges, the finest first. The least size of a range settles
#: how its kernels are chosen, so usual sizes begin ranges: powers of two and what lies between.
#: Odd ones would have register blocks of their own, up to three times as many kernels.
_GRIDS = (
    (
        *(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768),
        *(1024, 2048, 4096, 16384, 65536, 1 << 18, 1 << 21),
    ),
    (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 4096, 32768, 1 << 18),
    (1, 2, 8, 64, 512),
    (1, 2, 32),
    (1, 2),
    (1,),
)
#: Cells of all symbols together; each is planned, for every CPU level.
_MOST_CELLS = 400


def bound_symbols(
    inputs: Sequence[Input], ranges: Ranges, roots: Sequence[Node] = ()
) -> tuple[Symbol, ...]:
    """Return the symbols of a function's inputs, in order of first appearance.

    Args:
        inputs: in the order of calls.
        ranges: least and largest values.
        roots: what is computed from them.

    Raises:
        UnsupportedError: a symbol is no axis of any input by itself, so that a call cannot tell its
            value.
    """
    shown: dict[str, tuple[int, int]] = {}
    used: dict[str, Extent] = {}
    for number, operand in enumerate(inputs):
        for axis, extent in enumerate(operand.shape):
            if is_symbol(extent):
                shown.setdefault(str(extent), (number, axis))
            used.update(dict.fromkeys(sorted(free_names(extent)), extent))
    for node in nodes_of(*roots):
        for extent in shape_of(node):
            for name in sorted(free_names(extent)):
                used.setdefault(name, extent)
    for name, extent in used.items():
        if name not in shown:
            raise UnsupportedError(
                f"no input has the axis {name} alone, only {text(extent)}, so that a library "
                f"cannot tell its value; declare {name} as an axis of its own, or give it a number"
            )
    bounds = next((g for g in _GRIDS if (len(g) + 1) ** len(shown) <= _MOST_CELLS), _GRIDS[-1])
    found = []
    for name, (number, axis) in shown.items():
        least, most = ranges.get(name, (0, math.inf))
        limit = None if most == math.inf else int(most)
        found.append(Symbol(name, number, axis, int(least), limit, bounds))
    return tuple(found)


def representative(symbol: Symbol, number: int, start: int = 64) -> Formula:
    """Return the open formula that stands for a symbol's range: its least size decides."""
    return open_symbol(max(2, start, symbol.least), symbol.name, number)


def unified(relations: Sequence[Guard], sizes: Mapping[str, int]) -> Mapping[str, int] | None:
    """Return sizes under which guards hold as formulas; None where they hold at none.

    A guard between a symbol and another extent lets the symbol be that extent.

    Raises:
        UnsupportedError: neither side of a guard on one index is a symbol.
    """
    found = dict(sizes)
    for guard in relations:
        left, right = evaluate(guard.left, found), evaluate(guard.right, found)
        if left == right:
            continue
        if type(left) is int and type(right) is int:
            return None
        for side, other in ((guard.left, right), (guard.right, left)):
            if is_symbol(side):
                _substitute(found, str(side), other)
                break
        else:
            if "reshape" not in guard.reason:
                raise UnsupportedError(
                    f"the guard {guard} relates two computed extents, which a library cannot plan "
                    "for; declare them by the same expression"
                )
    return found


def _substitute(sizes: dict[str, int], name: str, value: int) -> None:
    """Let a symbol, and all that were settled to be equal to it, be ``value``."""
    known = sizes[name]
    for other, size in sizes.items():
        if size == known:
            sizes[other] = value


def checks_of(roots: Sequence[Node], sizes: Mapping[str, int]) -> tuple[Check, ...]:
    """Return what must hold at a call besides ranges: guards; whole, non-negative extents."""
    found: dict[str, Check] = {}
    for guard in guards(*roots):
        left, right = evaluate(guard.left, sizes), evaluate(guard.right, sizes)
        found.setdefault(str(guard), Check(left, right, str(guard)))
    for node in nodes_of(*roots):
        if isinstance(node, Pad):
            for check in _widths(node, sizes):
                found.setdefault(check.text, check)
        for extent in shape_of(node):
            if not isinstance(extent, int) and not is_symbol(extent):
                for check in _whole(extent, sizes):
                    found.setdefault(check.text, check)
        if isinstance(node, Strided):
            for check in _within(node, sizes):
                found.setdefault(check.text, check)
    return tuple(found.values())


def _within(node: Strided, sizes: Mapping[str, int]) -> list[Check]:
    """Return the checks that a view stays within its operand, but those that hold at all sizes.

    Its own extents are at least 1 by other checks, or 0, of which these say nothing wrong.
    """
    found = []
    for axis, (extent, start) in enumerate(zip(shape_of(node.operand), node.starts, strict=True)):
        first = last = evaluate(start + 1, sizes) - 1
        for own in node.axes:
            if own.source == axis:
                reach = (evaluate(own.extent, sizes) - 1) * own.step
                first, last = (first + reach, last) if own.step < 0 else (first, last + reach)
        left = evaluate(extent, sizes) - 1 - last
        for slack, end in ((first, "before"), (left, "behind")):
            if isinstance(slack, Formula) and slack != 0:
                shown = text(extent)
                reason = f"a slice takes no element {end} an axis of extent {shown}"
                found.append(Check(slack, 0, f"{reason} ({formula_text(slack)} >= 0)", ">="))
    return found


def _widths(node: Pad, sizes: Mapping[str, int]) -> list[Check]:
    """Return the checks that what is put around an operand is a whole, non-negative number."""
    found = []
    for width in (*node.before, *node.after):
        if isinstance(width, int) or is_symbol(width):
            continue
        numerator, denominator = fraction(width)
        over, under = evaluate(numerator, sizes), evaluate(denominator, sizes)
        if denominator != 1:
            reason = f"the width {text(width)} of a pad is a whole number"
            found.append(Check(over % under, 0, reason))
        found.append(Check(over, 0, f"the width {text(width)} of a pad is not negative", ">="))
    return found


def _whole(extent: Extent, sizes: Mapping[str, int]) -> list[Check]:
    """Return the checks that an extent is a whole number, and positive.

    Sums of no elements are planned where a symbol is 0; an extent that is 0 at other sizes too, as
    a difference or a quotient, would need code of its own.
    """
    found = []
    numerator, denominator = fraction(extent)
    if denominator != 1:
        over, under = evaluate(numerator, sizes), evaluate(denominator, sizes)
        found.append(Check(over % under, 0, f"{text(extent)} is a whole number"))
    written = exact_text(numerator)
    if "-" in written or "//" in written:
        reason = f"{text(extent)} is at least 1; no code was made for less"
        found.append(Check(evaluate(extent, sizes), 1, reason, ">="))
    return found
