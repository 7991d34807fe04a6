"""Expressions as JSON documents.

Grammar (one JSON object)::

    document   = {"einloom": 1, "operands": [operand], "expression": value, "derived": facts}
    operand    = {"name": str, "shape": [int | str], "dtype": str | null}     extents as text
    value      = null | bool | number | str | [value] | {"tuple": [value]} | {"dtype": str}
               | {"operand": name} | constant | {"call": name, "arguments": {parameter: value}}
    constant   = {"constant": base64, "dtype": str, "shape": [int], "name": str}
                                                   its bytes are little-endian, in C order
    facts      = {"call": str | null, "equation": str, "shape": [int | str], "dtype": str | null}

``call`` names a registered front-end function and ``arguments`` all its parameters, so that reading
builds the expression again by the same rules; the derived facts are for people and other tools, and
must agree with what was built. ``version`` is always among ``batch_dot``'s arguments.
"""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from einloom.expression import Expression, constant, spec
from einloom.frontends.dispatch import REGISTRY, call
from einloom.text.extents import MAX_RANK, Unknowns
from einloom.text.functions import load_registered
from einloom_compiler.dtypes import as_dtype, has_kernel
from einloom_compiler.errors import DTypeError, EinloomError, SpecError
from einloom_compiler.extents import Extent, is_equal, parseable
from einloom_compiler.ir.graph import Constant, Input

#: Version of the schema above; a reader refuses others.
SCHEMA = 1
#: Limits of what is read: characters, nesting, and values in the unfolded call tree.
MAX_CHARACTERS = 2**28
MAX_DEPTH = 64
MAX_VALUES = 10_000


def to_json(expression: Expression) -> str:
    """Return the expression as a JSON document; operands without a name get x, y, z, ...

    Raises:
        SpecError: a part was not made by a front-end call, or is too deep or too large.
    """
    writer = _Writer(expression)
    document = {
        "einloom": SCHEMA,
        "operands": [
            {
                "name": writer.names[operand.node.name],  # type: ignore[union-attr]
                "shape": _shape(operand.shape),
                "dtype": _dtype(operand.dtype),
            }
            for operand in expression.inputs
        ],
        "expression": writer.value(expression, 0),
        "derived": {
            "call": _text(expression),
            "equation": expression.equation,
            "shape": _shape(expression.shape),
            "dtype": _dtype(expression.dtype),
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)


def from_json(document: str) -> Expression:
    """Return the expression that :func:`to_json` wrote.

    Raises:
        SpecError: the document is malformed, of another schema, or contradicts itself; nothing in
            it is executed but the front-end functions it names.
        ShapeError, DTypeError: a call does not accept its operands.
    """
    if not isinstance(document, str):
        raise SpecError(f"a document must be text, not {type(document).__name__}")
    if len(document) > MAX_CHARACTERS:
        raise SpecError(f"the document has {len(document)} characters; {MAX_CHARACTERS} are read")
    try:
        data = json.loads(document, parse_constant=_no_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise SpecError(
            f"not a JSON document: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise SpecError(f"not a JSON document that is read: {error}") from None
    fields = _fields(data, "the document", ("einloom", "operands", "expression", "derived"))
    if fields["einloom"] != SCHEMA or isinstance(fields["einloom"], bool):
        raise SpecError(
            f"the document is of schema {fields['einloom']!r}; this einloom reads {SCHEMA}"
        )
    reader = _Reader(fields["operands"])
    expression = reader.value(fields["expression"], "expression", 0)
    if not isinstance(expression, Expression):
        raise SpecError(f"expression: is the value {expression!r}, not a call or an operand")
    reader.check_all_used()
    _check_derived(expression, fields["derived"], reader.unknowns)
    return expression


# --- writing -------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, expression: Expression) -> None:
        self.names = expression.operand_names
        self.n_values = 0

    def value(self, value: Any, depth: int) -> Any:
        self.n_values += 1
        _check_limits(self.n_values, depth)
        match value:
            case Expression(node=Input(name=name)):
                return {"operand": self.names[name]}
            case Expression(node=Constant(array=array, name=name), call=None):
                return _constant(array, name)
            case Expression(call=None):
                raise SpecError(
                    f"{value} was not made by a front-end call and cannot be written; build it "
                    "with functions such as einloom.einsum"
                )
            case Expression(call=made):
                assert made is not None
                load_registered(made.function)
                arguments = {
                    key: self.value(argument, depth + 1) for key, argument in made.arguments.items()
                }
                return {"call": made.function, "arguments": arguments}
            case tuple():
                return {"tuple": [self.value(item, depth + 1) for item in value]}
            case list():
                return [self.value(item, depth + 1) for item in value]
            case np.dtype():
                return {"dtype": _dtype(value)}
            case np.generic():
                return value.item()
            case float() if not math.isfinite(value):
                raise SpecError(f"the argument {value} cannot be written; it must be finite")
            case bool() | int() | float() | str() | None:
                return value
        raise SpecError(f"an argument of type {type(value).__name__} cannot be written: {value!r}")


def _constant(array: np.ndarray[Any, Any], name: str) -> dict[str, Any]:
    if not has_kernel(array.dtype):
        raise SpecError(f"a constant of dtype {array.dtype} cannot be written; cast it to float64")
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "constant": base64.b64encode(little.tobytes()).decode("ascii"),
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "name": name,
    }


def _shape(shape: tuple[Extent, ...]) -> list[int | str]:
    return [extent if isinstance(extent, int) else parseable(extent) for extent in shape]


def _dtype(dtype: np.dtype[Any] | None) -> str | None:
    return None if dtype is None else dtype.name


def _text(expression: Expression) -> str | None:
    """Return the call text for people, None where it has none (large constants)."""
    from einloom.text.writing import to_text

    try:
        return to_text(expression)
    except SpecError:
        return None


# --- reading -------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, operands: Any) -> None:
        self.unknowns = Unknowns()
        self.operands: dict[str, Expression] = {}
        self.used: set[str] = set()
        self.n_values = 0
        for number, entry in enumerate(_list(operands, "operands")):
            where = f"operands[{number}]"
            fields = _fields(entry, where, ("name", "shape", "dtype"))
            name = _string(fields["name"], f"{where}.name")
            if name in self.operands:
                raise SpecError(f"{where}.name: there are two operands called {name!r}")
            written = _list(fields["shape"], f"{where}.shape")
            if len(written) > MAX_RANK:
                raise SpecError(f"{where}.shape: has {len(written)} axes; at most {MAX_RANK}")
            shape = tuple(_extent(e, f"{where}.shape", self.unknowns) for e in written)
            dtype = fields["dtype"]
            settled = None if dtype is None else _read_dtype(dtype, f"{where}.dtype")
            self.operands[name] = spec(shape, dtype=settled, name=name)

    def value(self, data: Any, where: str, depth: int) -> Any:
        self.n_values += 1
        _check_limits(self.n_values, depth)
        match data:
            case None | bool() | int() | float() | str():
                return data
            case list():
                return [self.value(v, f"{where}[{n}]", depth + 1) for n, v in enumerate(data)]
            case {"operand": name}:
                return self._operand(_fields(data, where, ("operand",)) and name, where)
            case {"tuple": items}:
                _fields(data, where, ("tuple",))
                return tuple(self.value(_list(items, where), where, depth))
            case {"dtype": name, **rest} if not rest:
                return _read_dtype(name, where)
            case {"constant": _}:
                return _read_constant(data, where)
            case {"call": name}:
                arguments = _fields(data, where, ("call", "arguments"))["arguments"]
                return self._call(_string(name, f"{where}.call"), arguments, where, depth)
        raise SpecError(
            f"{where}: an object is an operand, tuple, dtype, constant or call, but this has the "
            f"keys {', '.join(map(repr, data))}"
        )

    def _operand(self, name: Any, where: str) -> Expression:
        if not isinstance(name, str) or name not in self.operands:
            raise SpecError(
                f"{where}: there is no operand {name!r}; declared: {', '.join(self.operands)}"
            )
        self.used.add(name)
        return self.operands[name]

    def _call(self, name: str, data: Any, where: str, depth: int) -> Expression:
        try:
            load_registered(name)
        except SpecError as error:
            raise SpecError(f"{where}.call: {error}") from None
        parameters = {  # a call's record never holds the array that results are written to
            key: parameter
            for key, parameter in inspect.signature(REGISTRY[name]).parameters.items()
            if key != "out"
        }
        given = _fields(data, f"{where}.arguments", tuple(parameters))
        arguments = {
            key: self.value(given[key], f"{where}.arguments.{key}", depth + 1) for key in parameters
        }
        for key, parameter in parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL and not isinstance(arguments[key], tuple):
                raise SpecError(f"{where}.arguments.{key}: must be a tuple")
        if not any(map(_has_expression, arguments.values())):
            raise SpecError(f"{where}: the call {name} has no operand")
        try:
            return call(name, arguments)
        except EinloomError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise SpecError(f"{where}: {name} does not take these arguments: {error}") from error

    def check_all_used(self) -> None:
        unused = [name for name in self.operands if name not in self.used]
        if unused:
            raise SpecError(f"operands: the expression does not use {', '.join(unused)}")


def _check_derived(expression: Expression, data: Any, unknowns: Unknowns) -> None:
    facts = _fields(data, "derived", ("call", "equation", "shape", "dtype"))
    if facts["equation"] != expression.equation:
        raise SpecError(
            f"derived.equation: is {facts['equation']!r}, but the calls give "
            f"{expression.equation!r}; the document was changed by hand"
        )
    shape = [_extent(e, "derived.shape", unknowns) for e in _list(facts["shape"], "derived.shape")]
    if len(shape) != expression.ndim or not all(
        is_equal(left, right) is True for left, right in zip(shape, expression.shape, strict=True)
    ):
        raise SpecError(
            f"derived.shape: is {facts['shape']}, but the calls give {_shape(expression.shape)}"
        )
    if facts["dtype"] != _dtype(expression.dtype):
        raise SpecError(
            f"derived.dtype: is {facts['dtype']!r}, but the calls give {_dtype(expression.dtype)!r}"
        )


def _read_constant(data: Mapping[str, Any], where: str) -> Expression:
    fields = _fields(data, where, ("constant", "dtype", "shape", "name"))
    dtype = _read_dtype(fields["dtype"], f"{where}.dtype")
    shape = _list(fields["shape"], f"{where}.shape")
    if not all(isinstance(e, int) and not isinstance(e, bool) and e >= 0 for e in shape):
        raise SpecError(f"{where}.shape: must be non-negative integers, not {shape}")
    try:
        values = base64.b64decode(_string(fields["constant"], where), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SpecError(f"{where}.constant: is not base64: {error}") from None
    expected = math.prod(shape) * dtype.itemsize
    if len(values) != expected or len(shape) > MAX_RANK:
        raise SpecError(
            f"{where}.constant: has {len(values)} bytes, but shape {shape} of {dtype} needs "
            f"{expected}"
        )
    array = np.frombuffer(values, dtype.newbyteorder("<")).reshape(shape)
    return constant(array.astype(dtype), _string(fields["name"], f"{where}.name"))


def _read_dtype(name: Any, where: str) -> np.dtype[Any]:
    try:
        dtype = as_dtype(_string(name, where))
    except DTypeError as error:
        raise SpecError(f"{where}: {error}") from None
    if not has_kernel(dtype):
        raise SpecError(f"{where}: no kernel is generated for dtype {name!r}; use a numeric one")
    return dtype


def _extent(data: Any, where: str, unknowns: Unknowns) -> Extent:
    if not isinstance(data, int | str):
        raise SpecError(f"{where}: an extent is an integer or text, not {data!r}")
    try:
        return unknowns.read(data)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def _fields(data: Any, where: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the object's fields, which are exactly ``names``."""
    if not isinstance(data, dict):
        raise SpecError(f"{where}: must be an object with {', '.join(names)}")
    for name in data:
        if name not in names:
            raise SpecError(f"{where}: unknown key {name!r}; known are {', '.join(names)}")
    for name in names:
        if name not in data:
            raise SpecError(f"{where}: the key {name!r} is missing")
    return data


def _list(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise SpecError(f"{where}: must be a list, not {data!r}")
    return data


def _string(data: Any, where: str) -> str:
    if not isinstance(data, str):
        raise SpecError(f"{where}: must be text, not {data!r}")
    return data


def _has_expression(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_expression, value))
    return isinstance(value, Expression)


def _check_limits(n_values: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise SpecError(f"the call tree is more than {MAX_DEPTH} deep")
    if n_values > MAX_VALUES:
        raise SpecError(f"the call tree has more than {MAX_VALUES} values")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object")
    return dict(pairs)
