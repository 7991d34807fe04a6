"""Identities of scalar expressions that hold for every value, rounding and signs of zero included.

A sum, product, maximum or minimum with a number becomes the map of that name, which all kernels
know; so ``x * 2`` and ``multiply(2)`` of ``x`` are one expression.
"""

from __future__ import annotations

import math

from einloom_compiler.ir.maps import Map, make_map
from einloom_compiler.ir.scalar import (
    Combined,
    Mapped,
    Number,
    Scalar,
    evaluate_scalar,
    parts_of,
)

#: Functions with a number that are a map as well, in either order of arguments.
_MAPS = ("add", "multiply", "maximum", "minimum")
#: Maps that change nothing the second time.
_IDEMPOTENT = ("abs", "relu6", "hard_tanh")


def simplified(scalar: Scalar, kind: str) -> Scalar:
    """Return an expression of the same value that is simpler, or the same one.

    Args:
        scalar: the expression.
        kind: kind of its compute dtype, as NumPy writes it.
    """
    made: dict[Scalar, Scalar] = {}
    for part in parts_of(scalar):
        match part:
            case Mapped(map=step, argument=argument):
                made[part] = _mapped(step, made[argument], kind)
            case Combined(function=name, arguments=arguments):
                made[part] = _combined(name, tuple(made[a] for a in arguments), kind)
            case _:
                made[part] = part
    return made[scalar]


def size_of(scalar: Scalar) -> int:
    """Return how many functions the expression evaluates."""
    return sum(isinstance(part, Mapped | Combined) for part in parts_of(scalar))


def _mapped(step: Map, argument: Scalar, kind: str) -> Scalar:
    if step.function == "linear":
        return argument
    if isinstance(argument, Mapped):
        before = argument.map
        if step.function == before.function == "negative":
            return argument.argument
        if step == before and step.function in _IDEMPOTENT:
            return argument
    if step.function in ("add", "multiply") and _is_neutral(
        step.function, step.parameters[0], kind
    ):
        return argument
    return _folded(Mapped(step, argument), kind)


def _combined(name: str, arguments: tuple[Scalar, ...], kind: str) -> Scalar:
    match name, arguments:
        case "where", (Number(value=value), a, b):
            return a if value != 0 else b
        case "where", (_, a, b) if a is b:
            return a
        case "divide", (a, Number(value=value)) if value == 1:
            return a
        case "divide", (a, Number(value=value)) if kind == "f" and _is_power_of_two(value):
            return _combined("multiply", (a, Number(1 / value)), kind)
        case "subtract", (a, Number(value=value)) if value == 0 and not _is_minus_zero(value):
            return a
        case "subtract", (a, Number(value=value)) if kind == "f" and value != 0:
            return _combined("add", (a, Number(-value)), kind)
        case _:
            pass
    if name in _MAPS:
        a, b = arguments
        if isinstance(a, Number):
            a, b = b, a
        # Maps compare by value: of zeros and NaN the expression keeps what it says.
        if isinstance(b, Number) and not isinstance(a, Number):
            if name in ("add", "multiply") and _is_neutral(name, b.value, kind):
                return a
            if b.value != 0 and not math.isnan(b.value):
                return _mapped(make_map(name, b.value), a, kind)
    return _folded(Combined(name, arguments), kind)


def _folded(scalar: Mapped | Combined, kind: str) -> Scalar:
    """Return the number that a float expression of numbers is."""
    arguments = scalar.arguments if isinstance(scalar, Combined) else (scalar.argument,)
    if kind == "f" and all(isinstance(argument, Number) for argument in arguments):
        return Number(float(evaluate_scalar(scalar, ())))
    return scalar


def _is_neutral(name: str, value: float, kind: str) -> bool:
    """Say whether ``name`` with the value changes nothing: of floats, ``x + 0.0`` does at -0.0."""
    if name == "multiply":
        return value == 1
    return value == 0 and (kind in "iu" or (kind == "f" and _is_minus_zero(value)))


def _is_minus_zero(value: float) -> bool:
    return value == 0 and math.copysign(1, value) < 0


def _is_power_of_two(value: float) -> bool:
    return math.isfinite(value) and abs(math.frexp(value)[0]) == 0.5 and 2**-60 < abs(value) < 2**60
