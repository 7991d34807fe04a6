r"""Formulas of expressions: LaTeX for documents, Unicode for terminals.

One line a statement; an operand may be called as an index is (``c_{abc}``), so names and indices
are set apart by their place alone. An index ``0`` marks an axis of extent 1 that is broadcast.
"""

from __future__ import annotations

import math
import re

from einloom.expression import Expression
from einloom.report.statements import Statement, statements
from einloom_compiler.extents import latex as extent_latex
from einloom_compiler.extents import text as extent_text
from einloom_compiler.ir.graph import Contraction, Reshape
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.printer import print_node

_PRODUCT = "\N{MIDDLE DOT}"
_SUM = "\N{GREEK CAPITAL LETTER SIGMA}"


def latex(expression: Expression) -> str:
    r"""Return the formula in LaTeX; several statements become an ``aligned`` block.

    >>> import einloom as el
    >>> print(latex(el.einsum("ij,jk->ik", el.spec(2, 3, name="x"), el.spec(3, 4, name="y"))))
    \mathrm{out}_{ik} = \sum_{j} x_{ij}\, y_{jk}
    """
    lines = [_latex_line(statement) for statement in statements(expression)]
    if not lines:
        return _latex_name(expression.name)
    if len(lines) == 1:
        return lines[0]
    body = " \\\\\n".join(line.replace(" = ", " &= ", 1) for line in lines)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def formula(expression: Expression) -> str:
    """Return the formula as Unicode text, one statement a line.

    >>> import einloom as el
    >>> formula(el.einsum("ij,jk->ik", el.spec(2, 3, name="x"), el.spec(3, 4, name="y")))
    'out[i,k] = Σ_j x[i,j] · y[j,k]'
    """
    lines = [_text_line(statement) for statement in statements(expression)]
    return "\n".join(lines) or expression.name


def _latex_line(statement: Statement) -> str:
    name = _latex_name(statement.name)
    if (shown := _other_text(statement)) is not None:
        return f"{name} = \\text{{{re.sub(r'([_&%#$])', _escape, shown)}}}"
    if not isinstance(statement.node, Contraction):
        inner = _latex_name(statement.factors[0].name)
        shape = ", ".join(map(extent_latex, statement.shape))
        trailing = "," if len(statement.shape) == 1 else ""
        return f"{name} = \\operatorname{{reshape}}({inner}, ({shape}{trailing}))"
    factors = []
    for factor in statement.factors:
        term = _latex_indexed(_latex_name(factor.name), factor.letters)
        factors.append(f"\\overline{{{term}}}" if factor.is_conjugated else term)
    value = "\\, ".join(factors)
    if statement.contracted:
        value = f"\\sum_{{{_joined(statement.contracted)}}} {value}"
    for step in statement.node.epilogue.maps or ():
        value = _latex_map(step, value)
    return f"{_latex_indexed(name, statement.letters)} = {value}"


def _latex_map(step: Map, value: str) -> str:
    match step:
        case Map(function="sqrt"):
            return f"\\sqrt{{{value}}}"
        case Map(function="reciprocal"):
            return f"\\frac{{1}}{{{value}}}"
    arguments = ",\\ ".join([value, *map(_latex_number, step.parameters)])
    if step.function in ("maximum", "minimum"):
        return f"\\{step.function[:3]}\\left({arguments}\\right)"
    name = step.function.replace("_", "\\_")
    return f"\\operatorname{{{name}}}\\left({arguments}\\right)"


def _latex_number(number: float) -> str:
    if math.isinf(number):
        return "\\infty" if number > 0 else "-\\infty"
    mantissa, exponential, exponent = f"{number:g}".partition("e")
    if not exponential:
        return mantissa
    factor = "" if mantissa == "1" else f"{mantissa} \\cdot "
    return f"{factor}10^{{{int(exponent)}}}"


def _latex_indexed(name: str, letters: tuple[str, ...]) -> str:
    return f"{name}_{{{_joined(letters)}}}" if letters else name


def _joined(letters: tuple[str, ...]) -> str:
    return "".join(letters)


def _latex_name(name: str) -> str:
    escaped = name.replace("_", "\\_")
    return escaped if len(name) == 1 else f"\\mathrm{{{escaped}}}"


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[1]}"


def _other_text(statement: Statement) -> str | None:
    """Return what a node that is no sum of products and no reshape computes; None for those."""
    node = statement.node
    is_sum = isinstance(node, Contraction) and node.epilogue.maps is not None
    if is_sum or isinstance(node, Reshape):
        return None
    return print_node(node, [factor.name for factor in statement.factors])


def _text_line(statement: Statement) -> str:
    if (shown := _other_text(statement)) is not None:
        return f"{statement.name} = {shown}"
    if not isinstance(statement.node, Contraction):
        shape = ", ".join(map(extent_text, statement.shape))
        trailing = "," if len(statement.shape) == 1 else ""
        return f"{statement.name} = reshape({statement.factors[0].name}, ({shape}{trailing}))"
    factors = []
    for factor in statement.factors:
        term = _text_indexed(factor.name, factor.letters)
        factors.append(f"conj({term})" if factor.is_conjugated else term)
    value = f" {_PRODUCT} ".join(factors)
    if statement.contracted:
        letters = ",".join(statement.contracted)
        value = f"{_SUM}_{letters if len(statement.contracted) == 1 else f'{{{letters}}}'} {value}"
    for step in statement.node.epilogue.maps or ():
        is_term = step is (statement.node.epilogue.maps or ())[0] and " " in value
        value = _text_map(step, f"({value})" if is_term else value)
    return f"{_text_indexed(statement.name, statement.letters)} = {value}"


def _text_map(step: Map, value: str) -> str:
    """Apply a map to a value that stands as one factor, in parentheses where it needs them."""
    bare = value[1:-1] if value.startswith("(") else value
    match step:
        case Map(function="sqrt"):
            return f"√({bare})"
        case Map(function="reciprocal"):
            return f"1 / {value}"
    arguments = ", ".join([bare, *(f"{number:g}" for number in step.parameters)])
    name = step.function[:3] if step.function in ("maximum", "minimum") else step.function
    return f"{name}({arguments})"


def _text_indexed(name: str, letters: tuple[str, ...]) -> str:
    return f"{name}[{','.join(letters)}]" if letters else name
