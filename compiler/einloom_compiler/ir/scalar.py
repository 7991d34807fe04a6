"""Scalar expressions: what is computed for one element, from the elements of operands.

Grammar::

    Scalar  = Value(position)                          an operand's element, or an earlier result
            | Number(value)
            | Mapped(map: Map, argument: Scalar)       one of :data:`einloom_compiler.ir.maps.MAPS`
            | Combined(function, arguments: Scalar+)   one of :data:`FUNCTIONS`

What positions mean is said by the node that holds the expression. All values are of one compute
dtype, to which operands are cast on load; a condition holds where its value is not 0, and
comparisons give 1 and 0. Expressions are hash-consed: a part that is used twice is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import DTypeError, SpecError, UnsupportedError
from einloom_compiler.ir.consed import Structural
from einloom_compiler.ir.maps import Map, check_map, definition_of


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Value(Structural):
    """The element of the operand, or the earlier result, at this position."""

    position: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Number(Structural):
    """A number known when code is generated; any float, infinities and NaN included."""

    value: float

    def _key(self) -> tuple[Any, ...]:
        return (float(self.value).hex(),)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Mapped(Structural):
    """A map of one value."""

    map: Map
    argument: Scalar


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Combined(Structural):
    """A function of several values."""

    function: str
    arguments: tuple[Scalar, ...]


Scalar = Value | Number | Mapped | Combined

#: What an epilogue gets first: the finished sum, and all of it where nothing else is computed.
SUM = Value(0)


@dataclass(frozen=True, slots=True)
class Function:
    """What a function of several values means.

    Attributes:
        name: how expressions call it.
        arity: how many arguments it takes.
        kinds: kinds of dtypes it is defined for, as NumPy writes them: of ``fiuc``.
        symbol: how it is printed between its arguments, empty where it is printed as a call.
        reference: the function of NumPy arrays of one dtype.
    """

    name: str
    arity: int
    kinds: str
    symbol: str
    reference: Callable[..., Any] = field(repr=False, compare=False)


def _flag(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: function(a, b).astype(np.result_type(a, b))


#: Every function of several values by name. Maxima and minima are NaN where an argument is.
FUNCTIONS: dict[str, Function] = {
    name: Function(name, arity, kinds, symbol, reference)
    for name, arity, kinds, symbol, reference in (
        ("add", 2, "fiuc", "+", np.add),
        ("subtract", 2, "fiuc", "-", np.subtract),
        ("multiply", 2, "fiuc", "*", np.multiply),
        ("divide", 2, "fc", "/", np.divide),
        ("power", 2, "f", "", np.power),
        ("maximum", 2, "fiu", "", np.maximum),
        ("minimum", 2, "fiu", "", np.minimum),
        ("equal", 2, "fiuc", "==", _flag(np.equal)),
        ("not_equal", 2, "fiuc", "!=", _flag(np.not_equal)),
        ("less", 2, "fiu", "<", _flag(np.less)),
        ("less_equal", 2, "fiu", "<=", _flag(np.less_equal)),
        ("where", 3, "fiuc", "", lambda c, a, b: np.where(c != 0, a, b)),
    )
}


def combined(function: str, *arguments: Scalar) -> Scalar:
    """Return ``function`` of the arguments.

    Raises:
        UnsupportedError: there is no such function.
        SpecError: it takes another number of arguments.
    """
    if function not in FUNCTIONS:
        raise UnsupportedError(
            f"there is no function '{function}' of several values; there are {', '.join(FUNCTIONS)}"
        )
    arity = FUNCTIONS[function].arity
    if len(arguments) != arity:
        raise SpecError(f"'{function}' takes {arity} arguments, but {len(arguments)} were given")
    return Combined(function, arguments)


def chain(maps: Sequence[Map], start: Scalar | None = None) -> Scalar:
    """Return the maps applied one after another, to ``Value(0)`` where nothing else is said."""
    result: Scalar = Value(0) if start is None else start
    for step in maps:
        result = Mapped(step, result)
    return result


def maps_of(scalar: Scalar) -> tuple[Map, ...] | None:
    """Return the maps whose chain on ``Value(0)`` this is; None where it is something else."""
    found: list[Map] = []
    while isinstance(scalar, Mapped):
        found.append(scalar.map)
        scalar = scalar.argument
    return tuple(reversed(found)) if scalar is Value(0) else None


def parts_of(scalar: Scalar) -> tuple[Scalar, ...]:
    """Return the expression's parts, once each, every one after those it is computed from."""
    found: dict[Scalar, None] = {}
    pending: list[tuple[Scalar, bool]] = [(scalar, False)]
    while pending:
        part, is_ready = pending.pop()
        if part in found:
            continue
        if is_ready:
            found[part] = None
            continue
        pending.append((part, True))
        match part:
            case Mapped(argument=argument):
                pending.append((argument, False))
            case Combined(arguments=arguments):
                pending += [(argument, False) for argument in reversed(arguments)]
            case _:
                pass
    return tuple(found)


def positions_of(scalar: Scalar) -> frozenset[int]:
    """Return the positions of the values that the expression uses."""
    return frozenset(part.position for part in parts_of(scalar) if isinstance(part, Value))


def substituted(scalar: Scalar, values: Mapping[int, Scalar]) -> Scalar:
    """Return the expression with the values at these positions replaced, all at once."""
    return rebuilt(scalar, {Value(position): value for position, value in values.items()})


def rebuilt(scalar: Scalar, replaced: Mapping[Scalar, Scalar]) -> Scalar:
    """Return the expression with these parts replaced, all at once."""
    made: dict[Scalar, Scalar] = {}
    for part in parts_of(scalar):
        match part:
            case _ if part in replaced:
                made[part] = replaced[part]
            case Mapped(map=step, argument=argument):
                made[part] = Mapped(step, made[argument])
            case Combined(function=function, arguments=arguments):
                made[part] = Combined(function, tuple(made[a] for a in arguments))
            case _:
                made[part] = part
    return made[scalar]


def evaluate_scalar(scalar: Scalar, values: Sequence[Any]) -> Any:
    """Return the expression's value for NumPy arrays that broadcast together, of one dtype."""
    made: dict[Scalar, Any] = {}
    dtype = np.result_type(*values) if values else np.dtype("float64")
    with np.errstate(all="ignore"):
        for part in parts_of(scalar):
            match part:
                case Value(position=position):
                    made[part] = values[position]
                case Number(value=value):
                    made[part] = dtype.type(value)
                case Mapped(map=step, argument=argument):
                    function = definition_of(step.function).reference
                    made[part] = function(np.asarray(made[argument]), *step.parameters)
                case Combined(function=name, arguments=arguments):
                    made[part] = FUNCTIONS[name].reference(*(made[a] for a in arguments))
    return made[scalar]


def check_scalar(scalar: Scalar, dtype: str) -> None:
    """Refuse an expression with a part that has no meaning in the compute dtype of this name.

    Raises:
        DTypeError: a function or map is not defined for the dtype, or a number is not one of it.
        SpecError, UnsupportedError: as :func:`einloom_compiler.ir.maps.check_map`.
    """
    kind = np.dtype(dtype).kind
    for part in parts_of(scalar):
        match part:
            case Mapped(map=step):
                check_map(step, dtype)
            case Combined(function=name) if kind not in FUNCTIONS[name].kinds:
                raise DTypeError(f"'{name}' is not defined for {dtype}; cast the operands first")
            case Number(value=value) if kind in "iu":
                info = np.iinfo(dtype)
                if not (float(value).is_integer() and info.min <= value <= info.max):
                    raise DTypeError(
                        f"{value} is no value of {dtype}; give an integer from {info.min} to "
                        f"{info.max}, or cast the operands to a float"
                    )
            case _:
                pass


def check_body(body: Scalar, dtype: str) -> None:
    """Refuse an epilogue that has no meaning in a contraction of this dtype's name.

    Raises:
        DTypeError, SpecError, UnsupportedError: as :func:`check_scalar`.
    """
    if body is not SUM:
        check_scalar(body, dtype if dtype == "bool" else arithmetic(dtype).compute)


def print_scalar(scalar: Scalar, names: Sequence[str] = ()) -> str:
    """Return the expression as text, values by name, ``%n`` where there is none.

    >>> print_scalar(combined("add", Value(0), Number(2.0)), ["x"])
    '(x + 2)'
    """
    made: dict[Scalar, str] = {}
    for part in parts_of(scalar):
        match part:
            case Value(position=position):
                made[part] = names[position] if position < len(names) else f"%{position}"
            case Number(value=value):
                made[part] = f"{value:g}"
            case Mapped(map=step, argument=argument):
                numbers = "".join(f", {number:g}" for number in step.parameters)
                made[part] = f"{step.function}({made[argument]}{numbers})"
            case Combined(function=name, arguments=arguments):
                given = [made[argument] for argument in arguments]
                symbol = FUNCTIONS[name].symbol
                between = f" {symbol} " if symbol else ", "
                made[part] = f"{'' if symbol else name}({between.join(given)})"
    return made[scalar]
