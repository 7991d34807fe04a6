"""Print scalar expressions as lines of generated source, each distinct part once.

The text works on scalars and, but for complex numbers, on SIMD vectors of one dtype, mixed as they
come (a scalar beside a vector stands for every lane), and un-jitted on NumPy scalars and arrays.
Comparisons are masks where they choose, and the numbers 1 and 0 elsewhere. Meanings are those of
:mod:`einloom_compiler.ir.scalar`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from einloom_compiler.codegen import maps
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.scalar import (
    Combined,
    Mapped,
    Number,
    Scalar,
    Value,
    parts_of,
    positions_of,
)

_COMPARISONS = {"equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<="}
_OPERATORS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


@dataclass(frozen=True, slots=True)
class ScalarText:
    """A printed expression.

    Attributes:
        lines: statements, each of which gives a part a name.
        result: the value: a name or a constant.
        is_vector: whether it is a vector, where some values are.
    """

    lines: tuple[str, ...]
    result: str
    is_vector: bool


def scalar_lines(
    body: Scalar,
    values: Sequence[str],
    compute: str,
    prefix: str = "v",
    vectors: Collection[int] = (),
) -> ScalarText:
    """Return ``body`` as source.

    Args:
        body: what is computed; it has passed :func:`einloom_compiler.ir.scalar.check_scalar`.
        values: text of the value at each position, of dtype ``compute`` up to wider integers.
        compute: dtype name that arithmetic is done in: float32 for the 16-bit floats, uint8 for
            bool.
        prefix: what the names of parts begin with, a number behind it.
        vectors: positions of the values that are vectors.

    Example:
        >>> from einloom_compiler.ir.scalar import combined
        >>> scalar_lines(combined("add", Value(0), Value(1)), ["a", "b"], "float32").lines
        ('v0 = a + b',)
    """
    return _Writer(body, values, compute, prefix).text(vectors)


class _Writer:
    def __init__(self, body: Scalar, values: Sequence[str], compute: str, prefix: str) -> None:
        self.body = body
        self.values = values
        self.compute = compute
        self.prefix = prefix
        self.kind = np.dtype(compute).kind
        self.lines: list[str] = []
        self.names: dict[Scalar, str] = {}
        self.masks: dict[Scalar, str] = {}
        self.count = 0

    def text(self, vectors: Collection[int]) -> ScalarText:
        for part in parts_of(self.body):
            if not _is_comparison(part):
                self.names[part] = self._written(part)
        result = self._value(self.body)
        is_vector = not positions_of(self.body).isdisjoint(vectors)
        return ScalarText(tuple(self.lines), result, is_vector)

    def _written(self, part: Scalar) -> str:
        match part:
            case Value(position=position):
                return self._given(self.values[position], part)
            case Number(value=value):
                return self._number(value)
            case Mapped(map=step, argument=argument):
                if step.function == "linear":
                    return self._value(argument)
                return self._named(maps.apply_map(step, self._value(argument), self.compute))
            case Combined(function="where", arguments=(condition, a, b)):
                return self._chosen(self._mask(condition), self._value(a), self._value(b))
            case Combined(function=function, arguments=(a, b)):
                return self._pair(function, a, b)
        raise InternalCompilerError("codegen", "no source is known for an expression", repr(part))

    def _given(self, text: str, part: Scalar) -> str:
        """Return an operand's value: integers in their own dtype, and under a name."""
        if part is self.body:
            return text
        if self.kind in "iu":
            return self._named(f"vwrap({text}, {self._number(0)})")
        return text if text.isidentifier() else self._named(text)

    def _pair(self, function: str, a: Scalar, b: Scalar) -> str:
        left, right = self._value(a), self._value(b)
        if function in ("maximum", "minimum"):
            return self._extreme(f"v{function[:3]}", (a, left), (b, right))
        if self.kind in "iu":
            zero = self._number(0)
            match function:
                case "add":
                    return self._named(f"vplus({left}, {right})")
                case "subtract":
                    return self._named(f"vminus({left}, {right})")
                case "multiply":
                    return self._named(f"vwrap({left} * {right}, {zero})")
        if function == "power":
            return self._power(left, right, b)
        if function == "divide" and self.kind == "c":
            return self._named(f"divide_{self.compute}({left}, {right})")
        if function in _OPERATORS:
            return self._named(f"{left} {_OPERATORS[function]} {right}")
        raise InternalCompilerError("codegen", f"no source is known for '{function}'", self.compute)

    def _extreme(self, name: str, a: tuple[Scalar, str], b: tuple[Scalar, str]) -> str:
        """Return a maximum or minimum that is NaN where an argument is.

        The primitives keep a NaN of their first argument.
        """
        if self.kind in "iu" or _is_ordered(b[0]):
            return self._named(f"{name}({a[1]}, {b[1]})")
        if _is_ordered(a[0]):
            return self._named(f"{name}({b[1]}, {a[1]})")
        found = self._named(f"{name}({a[1]}, {b[1]})")
        return self._named(f"vselect({b[1]} != {b[1]}, {b[1]}, {found})")

    def _power(self, base: str, exponent: str, known: Scalar) -> str:
        """Return a power: products for small exponents known now, the library's function else."""
        if isinstance(known, Number):
            match known.value:
                case 1.0:
                    return base
                case 2.0:
                    return self._named(f"{base} * {base}")
                case 3.0:
                    return self._named(f"{base} * {base} * {base}")
                case -1.0:
                    return self._named(f"{self._number(1)} / {base}")
                case _:
                    pass
        return self._named(f"vpow({base}, {exponent})")

    def _value(self, part: Scalar) -> str:
        """Return a part's value; a comparison's as 1 or 0."""
        if part not in self.names:
            mask = self._mask(part)
            self.names[part] = self._chosen(mask, self._number(1), self._number(0))
        return self.names[part]

    def _chosen(self, mask: str, a: str, b: str) -> str:
        """Return ``a`` where the mask holds, else ``b``; complex numbers are scalars always."""
        if self.kind == "c":
            return self._named(f"{a} if {mask} else {b}")
        return self._named(f"vselect({mask}, {a}, {b})")

    def _mask(self, part: Scalar) -> str:
        """Return where a part's value is not 0."""
        if part not in self.masks:
            if isinstance(part, Combined) and _is_comparison(part):
                a, b = (self._value(argument) for argument in part.arguments)
                self.masks[part] = self._named(f"{a} {_COMPARISONS[part.function]} {b}")
            else:
                self.masks[part] = self._named(f"{self._value(part)} != {self._number(0)}")
        return self.masks[part]

    def _named(self, text: str) -> str:
        name = f"{self.prefix}{self.count}"
        self.count += 1
        self.lines.append(f"{name} = {text}")
        return name

    def _number(self, value: float) -> str:
        dtype = f"np.{self.compute}"
        if self.kind in "iu":
            return f"{dtype}({int(value)})"
        if np.isnan(value):
            return f"{dtype}(np.nan)"
        if np.isinf(value):
            return f"{dtype}({'-' if value < 0 else ''}np.inf)"
        return f"{dtype}({value!r})"


def _is_comparison(part: Scalar) -> bool:
    return isinstance(part, Combined) and part.function in _COMPARISONS


def _is_ordered(part: Scalar) -> bool:
    """Say whether a part is a number and no NaN."""
    return isinstance(part, Number) and part.value == part.value
