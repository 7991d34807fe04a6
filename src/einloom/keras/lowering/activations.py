"""Activations: maps in the epilogue of what they are applied to, softmax as rows.

Source: ``keras/src/activations/activations.py`` of Keras 3.15.1.
"""

from __future__ import annotations

import math
from typing import Any

from einloom.keras.lowering.building import cast, elementwise, indices, settled_dtype, wide
from einloom.keras.models.kinds.activation import Function
from einloom_compiler.errors import ShapeError, UnsupportedError
from einloom_compiler.extents import Extent, quotient, text
from einloom_compiler.ir import builders
from einloom_compiler.ir.einsum import Index
from einloom_compiler.ir.graph import Node, Reduction, Rows, Strided, ViewAxis
from einloom_compiler.ir.maps import MAPS, Map, make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, chain, combined
from einloom_compiler.ir.shapes import shape_of

_OTHER_NAMES = {"exponential": "exp"}


def maps_of_activation(function: Function) -> tuple[Map, ...] | None:
    """Return the maps that the function is one after another; None for a function of rows."""
    given: dict[str, Any] = {name: value for name, value in function.arguments if value is not None}
    match function.name:
        case "linear":
            return ()
        case "relu":
            top = given.get("max_value", math.inf)
            return (
                make_map(
                    "relu",
                    negative_slope=float(given["negative_slope"]),
                    max_value=float(top),
                    threshold=float(given["threshold"]),
                ),
            )
        case "gelu":
            return (make_map("gelu_tanh" if given["approximate"] else "gelu"),)
        case "hard_sigmoid":
            slope = float(given["slope"])
            if slope == 1 / 6:
                return (make_map("hard_sigmoid"),)
            steps = (("multiply", slope), ("add", 0.5), ("maximum", 0.0), ("minimum", 1.0))
            return tuple(make_map(name, constant) for name, constant in steps)
        case "hard_tanh":
            return (make_map("hard_tanh"),)
        case name if "axis" in given:
            return None
        case name:
            name = _OTHER_NAMES.get(name, name)
            if name not in MAPS:
                raise UnsupportedError(f"the activation {function} has no map")
            return (make_map(name, **{key: float(value) for key, value in given.items()}),)


def fused(function: Function, body: Scalar) -> Scalar | None:
    """Return the function of ``body`` as an epilogue's body; None where it needs whole rows."""
    maps = maps_of_activation(function)
    return None if maps is None else chain(maps, body)


def activated(function: Function, node: Node) -> Node:
    """Return the function of a node.

    Raises:
        ShapeError: ``glu`` of an axis of odd extent.
        UnsupportedError: there is no lowering of it.
    """
    maps = maps_of_activation(function)
    if maps is not None:
        if not maps:
            return node
        return elementwise(chain(maps, Value(0)), node, dtype=settled_dtype(node))
    axes = function.axes or ()
    match function.name:
        case "softmax":
            return builders.softmax(node, axes)
        case "log_softmax":
            return builders.log_softmax(node, axes)
        case "glu":
            return _gated(node, axes[0] % len(shape_of(node)))
        case "sparsemax":
            is_exact = bool(function.argument("is_exact"))
            return _sparsemax(node, axes[0] % len(shape_of(node)), is_exact)
    raise UnsupportedError(f"the activation {function} is not supported")


def _gated(node: Node, axis: int) -> Node:
    """Return the first half along an axis times the sigmoid of the second."""
    shape = shape_of(node)
    half = quotient(shape[axis], 2)
    if half is None:
        raise ShapeError(
            f"glu halves axis {axis}, which has the odd extent {text(shape[axis])}; give it an "
            "even one"
        )
    view = [ViewAxis(extent, a) for a, extent in enumerate(shape)]
    view[axis] = ViewAxis(half, axis)
    starts: list[Extent] = [0] * len(shape)
    first = Strided(node, tuple(starts), tuple(view))
    starts[axis] = half
    second = Strided(node, tuple(starts), tuple(view))
    body = combined("multiply", Value(0), Mapped(make_map("sigmoid"), Value(1)))
    return elementwise(body, first, second, dtype=settled_dtype(node))


def _sparsemax(node: Node, axis: int, is_exact: bool) -> Node:
    """Return ``max(x - tau, 0)`` along an axis, where tau makes the sum 1.

    Keras sorts to find tau; here an element is in the support if what exceeds it sums to less than
    1, which compares all pairs and sorts nothing. Where it is not exact, each element of the
    support counts as often as there are elements up to it, as in Keras's sum of cumulative sums.
    Source: A. Martins, R. Astudillo, "From softmax to sparsemax", 2016, algorithm 1.
    """
    dtype = settled_dtype(node)
    # Halves are compared in float32, as their sums are.
    x = cast(node, wide(dtype))
    term = indices(len(shape_of(x)))
    other = Index("o", 1)
    others = (*term[:axis], other, *term[axis + 1 :])
    excess = combined("maximum", combined("subtract", Value(1), Value(0)), Number(0.0))
    support = Rows(
        (x, x), (term, others), term, (other,), (Reduction("sum", excess),),
        combined("less", Value(2), Number(1.0)), settled_dtype(x),
    )  # fmt: skip
    operands, inside = [x, support], Value(0)
    if not is_exact:
        # Of equal elements, each counts half of the others: in any order they sum to the same.
        below = combined("less", Value(1), Value(0))
        tied = combined("multiply", combined("equal", Value(1), Value(0)), Number(0.5))
        counted = combined("where", Value(2), combined("add", below, tied), Number(0.0))
        times = Rows(
            (x, x, support), (term, others, others), term, (other,),
            (Reduction("sum", counted),), combined("add", Value(3), Number(0.5)),
            settled_dtype(x),
        )  # fmt: skip
        operands.append(times)
    n = len(operands)
    taken: Scalar = inside if is_exact else combined("multiply", inside, Value(2))
    total = Reduction("sum", combined("where", Value(1), taken, Number(0.0)))
    tau = combined("divide", combined("subtract", Value(n), Number(1.0)), Value(n + 1))
    body = combined("maximum", combined("subtract", Value(0), tau), Number(0.0))
    whole = Rows(
        tuple(operands), (term,) * n, term, (term[axis],),
        (total, Reduction("sum", Value(1))), body, settled_dtype(x),
    )  # fmt: skip
    return cast(whole, dtype)
