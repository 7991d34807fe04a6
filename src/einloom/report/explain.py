"""What an expression means and costs, as text for terminals or a self-contained HTML page."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from einloom.expression import Expression
from einloom.report.cost import cost_of
from einloom.report.formula import formula, latex
from einloom.report.statements import Statement, statements
from einloom.report.tables import table
from einloom.report.versions import BATCH_DOT, version_table
from einloom_compiler.errors import SpecError
from einloom_compiler.extents import Extent, factored
from einloom_compiler.extents import text as extent_text
from einloom_compiler.ir.graph import Contraction
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.order.search import Optimize


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a report; the title is empty for the first one."""

    title: str
    body: str


def explain(expression: Expression, *, optimize: Optimize = None, code: bool = False) -> str:
    """Return notation, operands, shapes, formula, guards, cost and order as text.

    For ``batch_dot`` every version's meaning follows side by side; for an expression that is
    ambiguous, the two meanings and what settles it.

    Args:
        expression: what to explain.
        optimize: how the order is chosen; where None, as the expression's call says.
        code: whether to append the schedule and the generated program.
    """
    parts = []
    for section in sections(expression, optimize=optimize, code=code):
        parts.append(f"{section.title}\n{section.body}" if section.title else section.body)
    return "\n\n".join(parts)


def explain_html(expression: Expression, *, optimize: Optimize = None, code: bool = False) -> str:
    """Return the same report as an HTML page without any outside reference."""
    body = []
    for section in sections(expression, optimize=optimize, code=code):
        if section.title:
            body.append(f"<h2>{html.escape(section.title)}</h2>")
        body.append(f"<pre>{html.escape(section.body)}</pre>")
    title = html.escape(expression.equation)
    return _PAGE.format(title=title, body="\n".join(body))


def sections(
    expression: Expression, *, optimize: Optimize = None, code: bool = False
) -> tuple[Section, ...]:
    """Return the parts of the report."""
    if optimize is None:
        optimize = expression.optimize
    found = [Section("", _summary(expression))]
    steps = statements(expression)
    for statement in steps:
        node = statement.node
        if isinstance(node, Contraction) and node.epilogue.maps is not None:
            suffix = f" of {statement.name}" if len(steps) > 1 else ""
            found.append(Section(f"operands{suffix}", _operands(statement)))
    if expression.guards:
        lines = [f"  {guard}, checked at each call" for guard in expression.guards]
        found.append(Section("guards", "\n".join(lines)))
    found.append(Section("cost", _cost(expression, optimize)))
    if steps:
        from einloom.report.plan import report

        plan = report((expression,), optimize)
        found.append(Section("order", _indented(plan.order)))
        if code:
            found.append(Section("schedule", _indented(plan.schedule)))
            found.append(Section("generated code", plan.source))
    if expression.call is not None and expression.call.function == BATCH_DOT:
        meanings = version_table(expression.call.arguments)
        found.append(Section("batch_dot in every version", meanings))
    return tuple(found)


def _summary(expression: Expression) -> str:
    from einloom.text.writing import to_text

    rows = []
    try:
        rows.append(("call", to_text(expression)))
    except SpecError as error:
        rows.append(("call", f"(no text: {error})"))
    rows.append(("einsum", expression.equation))
    rows.append(("formula", formula(expression)))
    rows.append(("LaTeX", latex(expression)))
    rows.append(("result", f"{expression.dtype or 'any dtype'}[{_shape(expression.shape)}]"))
    if expression.ambiguity is not None:
        rows.append(("beware", _wrapped(expression.ambiguity.message)))
    return "\n".join(f"{name:<9}" + value.replace("\n", "\n" + " " * 9) for name, value in rows)


def _operands(statement: Statement) -> str:
    assert isinstance(statement.node, Contraction)
    uses = [letter for factor in statement.factors for letter in set(factor.letters)]
    rows = []
    for factor in statement.factors:
        own = tuple(dict.fromkeys(letter for letter in factor.letters if letter != "0"))
        kept = [letter for letter in own if letter in statement.letters]
        rows.append(
            (
                factor.name,
                "".join(factor.letters),
                _shape(shape_of(factor.node)),
                str(dtype_of(factor.node) or "any"),
                " ".join(letter for letter in kept if uses.count(letter) > 1),
                " ".join(letter for letter in kept if uses.count(letter) == 1),
                " ".join(letter for letter in own if letter in statement.contracted),
            )
        )
    rows.append(
        (
            statement.name,
            "".join(statement.letters),
            _shape(statement.shape),
            str(statement.node.dtype or "any"),
            " ".join(letter for letter in statement.letters if uses.count(letter) > 1),
            " ".join(letter for letter in statement.letters if uses.count(letter) == 1),
            "",
        )
    )
    return table(("", "indices", "shape", "dtype", "batch", "free", "contracted"), rows)


def _cost(expression: Expression, optimize: Optimize) -> str:
    cost = cost_of((expression.node,), optimize)
    note = "" if expression.dtype is not None else "  (for float32 operands)"
    return (
        f"  {factored(cost.flops)} FLOPs\n"
        f"  {factored(cost.bytes)} bytes{note}\n"
        f"  {factored(cost.intensity)} FLOPs a byte"
    )


def _wrapped(message: str) -> str:
    return textwrap.fill(message, 90, break_on_hyphens=False, break_long_words=False)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _shape(shape: Sequence[Extent]) -> str:
    return ", ".join(map(extent_text, shape))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }}
pre {{ background: #f5f5f5; overflow-x: auto; padding: 0.8em; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
