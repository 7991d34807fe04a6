"""Expressions as the text of a call, the inverse of :func:`einloom.text.calls.parse`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom.frontends.dispatch import REGISTRY
from einloom.text.functions import find, load_registered
from einloom_compiler.errors import SpecError
from einloom_compiler.extents import is_unknown, parseable
from einloom_compiler.ir.graph import Constant, Input

#: Constants of more elements are not written as text; JSON takes them.
_MAX_CONSTANT = 64


def to_text(expression: Expression) -> str:
    """Return the call text of an expression; :func:`parse` makes an equal expression of it.

    An operand is written with its shape and dtype where it first occurs, and by name after that.
    Operands without a name get x, y, z, ... Unknown extents are fresh ones when read back.

    Raises:
        SpecError: the expression was not made by a front-end call, or has large constants.

    >>> import einloom as el
    >>> to_text(el.einsum("ij,jk->ik", el.spec("M", 3, name="a"), el.spec(3, "N", name="b")))
    "np.einsum('ij,jk->ik', a[M, 3], b[3, N])"
    """
    return _Writer(expression).write(expression)


class _Writer:
    def __init__(self, expression: Expression) -> None:
        self.names = expression.operand_names
        self.written: set[str] = set()
        extents = [extent for operand in expression.inputs for extent in operand.shape]
        self.uses = Counter(extents)

    def write(self, value: Any) -> str:
        match value:
            case Expression(node=Input() as node):
                return self._operand(node)
            case Expression(node=Constant(array=array), call=None):
                return _constant(array)
            case Expression(call=None):
                raise SpecError(
                    f"{value} was not made by a front-end call, so it has no call text; build it "
                    "with functions such as einloom.einsum"
                )
            case Expression(call=call):
                assert call is not None
                return self._call(call.function, call.arguments)
            case tuple():
                inner = ", ".join(map(self.write, value))
                return f"({inner},)" if len(value) == 1 else f"({inner})"
            case list():
                return f"[{', '.join(map(self.write, value))}]"
            case bool() | int() | float() | str() | None:
                return _literal(value)
            case np.generic():
                return _literal(value.item())
            case np.dtype():
                return repr(value.name)
        raise SpecError(f"an argument of type {type(value).__name__} has no text: {value!r}")

    def _operand(self, node: Input) -> str:
        name = self.names[node.name]
        if name in self.written:
            return name
        self.written.add(name)
        parts = [
            "None" if is_unknown(extent) and self.uses[extent] == 1 else parseable(extent)
            for extent in node.shape
        ]
        if node.dtype is not None:
            parts.append(repr(node.dtype.name))
        return f"{name}[{', '.join(parts) or '()'}]"

    def _call(self, function: str, arguments: Mapping[str, Any]) -> str:
        written = load_registered(function)
        parameters = inspect.signature(REGISTRY[function]).parameters
        public = find(written)
        assert public is not None
        # What the text leaves out gets the default of the function that the text calls.
        defaults = {**parameters, **inspect.signature(public.load()).parameters}
        if function == "keras.layers.Dot":
            rest = {k: v for k, v in arguments.items() if k not in ("x1", "x2")}
            operands = self.write([arguments["x1"], arguments["x2"]])
            return f"{written}({self._keywords(rest, defaults)})({operands})"
        names = [name for name in parameters if name in arguments]
        variadic = [n for n in names if parameters[n].kind is inspect.Parameter.VAR_POSITIONAL]
        n_positional = names.index(variadic[0]) if variadic else 0
        if not variadic:
            while n_positional < len(names) and _is_operand(arguments[names[n_positional]]):
                n_positional += 1
        parts = [self.write(arguments[name]) for name in names[:n_positional]]
        if variadic:
            parts += [self.write(operand) for operand in arguments[variadic[0]]]
        keywords = {n: arguments[n] for n in names[n_positional:] if n not in variadic}
        if text := self._keywords(keywords, defaults):
            parts.append(text)
        return f"{written}({', '.join(parts)})"

    def _keywords(
        self, values: Mapping[str, Any], defaults: Mapping[str, inspect.Parameter]
    ) -> str:
        return ", ".join(
            f"{name}={self.write(value)}"
            for name, value in values.items()
            if not _is_default(value, defaults[name].default)
        )


def _is_operand(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_operand, value))
    return isinstance(value, Expression)


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _literal(value: Any) -> str:
    if isinstance(value, float) and not np.isfinite(value):
        raise SpecError(f"{value} has no text; only finite numbers have")
    if isinstance(value, str) and ("\\" in repr(value) or not value.isprintable()):
        raise SpecError(f"the string {value!r} has no text without a backslash")
    return repr(value)


def _constant(array: np.ndarray[Any, Any]) -> str:
    """Return the literal that NumPy reads as an equal array of the same dtype."""
    literal = array.tolist()
    if array.size > _MAX_CONSTANT:
        raise SpecError(
            f"a constant of {array.size} elements is too long for a text; use to_json()"
        )
    again = np.asarray(literal)
    if again.dtype != array.dtype or again.shape != array.shape:
        raise SpecError(
            f"a constant of dtype {array.dtype} and shape {array.shape} has no text (literals are "
            "int64, float64 and bool); use to_json()"
        )
    return _nested(literal)


def _nested(literal: Any) -> str:
    if isinstance(literal, list):
        return f"[{', '.join(map(_nested, literal))}]"
    return _literal(literal)
