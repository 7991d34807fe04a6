"""Formulas as C expressions of 64-bit integers.

A formula's text is Python: ``//`` and ``%`` round down. In C they are functions of the runtime
(``runtime.c``), which do the same and cost nothing more where the divisor is a constant. ``pick``
chooses by the launch's ``threads``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.lowering.formula import Formula, definitions, formula_text

_INFIX = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_CALLS = {ast.FloorDiv: "floordiv", ast.Mod: "floormod"}


def c_number(value: int, names: Mapping[str, str]) -> str:
    """Return a C expression of type int64_t for an integer or formula.

    Args:
        value: the integer or formula.
        names: the C name of each symbol; definitions keep theirs, behind ``d_``.
    """
    if not isinstance(value, Formula):
        return _integer(int(value))
    defined = {name for name, _ in definitions(value)}
    return _translated(formula_text(value), names, defined)


def c_definitions(values: tuple[int, ...], names: Mapping[str, str]) -> list[str]:
    """Return C declarations of all names that formulas use and symbols do not have."""
    found = dict.fromkeys(pair for value in values for pair in definitions(value))
    defined = {name for name, _ in found}
    return [
        f"const int64_t d_{name} = {_translated(meaning, names, defined)};"
        for name, meaning in found
    ]


def _translated(text: str, names: Mapping[str, str], defined: set[str]) -> str:
    def visit(tree: ast.expr) -> str:
        match tree:
            case ast.Constant(value=int(number)):
                return _integer(number)
            case ast.Name(id=name) if name in defined:
                return f"d_{name}"
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"(-{visit(operand)})"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _INFIX:
                return f"({visit(left)} {_INFIX[type(op)]} {visit(right)})"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _CALLS:
                return f"{_CALLS[type(op)]}({visit(left)}, {visit(right)})"
            case ast.Call(func=ast.Name(id="pick"), args=arguments):
                listed = ", ".join(map(visit, arguments))
                return f"pick(threads, (const int64_t[]){{{listed}}})"
        raise InternalCompilerError("aot", f"{ast.unparse(tree)} has no C form", text)

    return visit(ast.parse(text, mode="eval").body)


def _integer(number: int) -> str:
    if number == -(1 << 63):
        return "INT64_MIN"
    return str(number) if abs(number) < 1 << 31 else f"INT64_C({number})"
