"""Compile the specs of a file just in time and say what came out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom.report.tables import table
from einloom.text.specs import Spec, read_specs
from einloom_compiler.errors import ShapeError, SpecError
from einloom_compiler.extents import evaluate, factored, free_names
from einloom_compiler.extents import text as extent_text
from einloom_compiler.ir.graph import Shape
from einloom_compiler.ir.shapes import Guard
from einloom_compiler.order.polynomial import Bounds
from einloom_compiler.order.select import Ranges

#: Extents tried for symbols, so that a spec with symbolic extents can be run once. Distinct for
#: distinct symbols at first; all equal where guards demand it.
_SMALL = (3, 4, 5, 6, 7)


@dataclass(frozen=True, slots=True)
class Built:
    """A spec that was compiled and run once.

    Attributes:
        spec: the spec.
        seconds: from the expression to the first result, most of it compile time.
    """

    spec: Spec
    seconds: float


def compile_specs(path: Path) -> list[Built]:
    """Compile and run every spec of the file once.

    Raises:
        EinloomError: a spec is malformed or cannot be compiled.
    """
    return [_build(spec) for spec in read_specs(path)]


def summary(built: Sequence[Built]) -> str:
    """Return a table: name, equation, shape, FLOPs and compile seconds."""
    head = ("name", "einsum", "shape", "FLOPs", "compiled in")
    rows = []
    for item in built:
        expression = item.spec.expression
        shape = ", ".join(map(extent_text, expression.shape))
        rows.append(
            (
                item.spec.name,
                expression.equation,
                f"({shape})",
                factored(expression.cost.flops),
                f"{item.seconds:.2f} s",
            )
        )
    return table(head, rows)


def _build(spec: Spec) -> Built:
    expression = spec.expression
    start = time.perf_counter()
    try:
        compiled = expression.compile()
        compiled(*sample_arrays(expression, spec.name))
    except MemoryError:
        raise SpecError(
            f"spec {spec.name}: its operands do not fit into memory; write large extents as "
            "letters, and the compiled code serves every size"
        ) from None
    return Built(spec, time.perf_counter() - start)


def sample_arrays(expression: Expression, name: str) -> list[np.ndarray[Any, Any]]:
    """Return small arrays that the expression accepts, float32 where no dtype was declared.

    Raises:
        SpecError: no small extents satisfy all guards.
    """
    shapes = [operand.shape for operand in expression.inputs]
    sizes = small_sizes(shapes, expression.guards, name)
    generator = np.random.default_rng(0)
    return [
        generator.integers(0, 3, [evaluate(extent, sizes) for extent in operand.shape]).astype(
            np.float32 if operand.dtype is None else operand.dtype
        )
        for operand in expression.inputs
    ]


def small_sizes(
    shapes: Sequence[Shape], guards: Sequence[Guard], name: str, ranges: Ranges | None = None
) -> Mapping[str, int]:
    """Return small values of all symbols in operands' shapes that satisfy ranges and guards.

    Raises:
        SpecError: none were found.
    """
    symbols = sorted({n for shape in shapes for extent in shape for n in free_names(extent)})
    known = {extent for shape in shapes for extent in shape if isinstance(extent, int)}
    candidates = [
        {symbol: _SMALL[n % len(_SMALL)] for n, symbol in enumerate(symbols)},
        *(dict.fromkeys(symbols, size) for size in (4, 1, *sorted(known))),
    ]
    for candidate in candidates:
        sizes = {name: _within(size, (ranges or {}).get(name)) for name, size in candidate.items()}
        try:
            for shape in shapes:
                for extent in shape:
                    evaluate(extent, sizes)
            holds = all(
                evaluate(guard.left, sizes) == evaluate(guard.right, sizes) for guard in guards
            )
        except ShapeError:  # an extent such as B - 8 is negative here
            continue
        if holds:
            return sizes
    shown = "; ".join(map(str, guards)) or "no extent is negative"
    raise SpecError(f"spec {name}: found no small extents for which {shown}; write integers")


def _within(size: int, bounds: Bounds | None) -> int:
    least, most = (0, math.inf) if bounds is None else bounds
    return int(min(max(size, least), most))
