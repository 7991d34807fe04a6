"""Activations: maps in the epilogue of what they are applied to, softmax as rows.

Source: ``keras/src/activations/activations.py`` of Keras 3.15.1.
"""

from __future__ import annotations

import math

from einloom.keras.lowering.building import elementwise, settled_dtype
from einloom.keras.models.kinds.activation import Function
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.maps import MAPS, Map, make_map
from einloom_compiler.ir.scalar import Scalar, Value, chain

_OTHER_NAMES = {"exponential": "exp"}


def maps_of_activation(function: Function) -> tuple[Map, ...] | None:
    """Return the maps that the function is one after another; None for a function of rows."""
    given = {name: value for name, value in function.arguments if value is not None}
    match function.name:
        case "linear":
            return ()
        case "relu":
            top = function.argument("max_value")
            return (
                make_map(
                    "relu",
                    negative_slope=float(given["negative_slope"]),
                    max_value=math.inf if top is None else float(top),
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
        UnsupportedError: it is a function of rows other than softmax and log-softmax.
    """
    maps = maps_of_activation(function)
    if maps is not None:
        if not maps:
            return node
        return elementwise(chain(maps, Value(0)), node, dtype=settled_dtype(node))
    axis = function.argument("axis")
    assert isinstance(axis, int)
    match function.name:
        case "softmax":
            return builders.softmax(node, axis)
        case "log_softmax":
            return builders.log_softmax(node, axis)
    raise UnsupportedError(f"the activation {function}, which sorts rows, is not supported")
