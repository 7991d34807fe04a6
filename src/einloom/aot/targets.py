"""What a library can be built from, as an expression with settled dtypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einloom.aot.lowering import Source
from einloom.commands.build import small_sizes
from einloom.compiled import CompiledFunction, compile_expression, expression_of
from einloom.expression import Expression
from einloom.frontends.dispatch import settle
from einloom.text.specs import Spec, read_specs
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import SpecError
from einloom_compiler.ir.graph import inputs_of


def source_of(
    target: Any, operands: Sequence[Any], dtype: object, ranges: Mapping[str, Any] | None
) -> Source:
    """Return what is built.

    Raises:
        SpecError: the target is none, or an operand has no dtype.
        AmbiguousMeaningError: framework releases differ on the call and none was named.
    """
    if isinstance(target, CompiledFunction):
        if operands or ranges:
            raise SpecError("a compiled function brings its own operands and ranges")
        compiled = target
    else:
        compiled = compile_expression(expression_of(target, operands), ranges=ranges)
    expression = _settled(compiled.expression, dtype)
    return Source(expression, compiled.optimize, compiled.choices)


def specs_of(target: Any) -> tuple[Spec, ...] | None:
    """Return the specs of the file that ``target`` names, None where it names none.

    Raises:
        SpecError: the file is malformed.
    """
    if isinstance(target, Path) or (isinstance(target, str) and target.endswith(".toml")):
        return read_specs(target)
    return None


def _settled(expression: Expression, dtype: object) -> Expression:
    """Return the expression with a dtype on every operand."""
    names = expression.operand_names
    nodes = inputs_of(expression.node)
    missing = [node.name for node in nodes if node.dtype is None]
    if not missing:
        return expression
    if dtype is None:
        shown = ", ".join(names[name] for name in missing)
        raise SpecError(
            f"the dtype of {shown} is not declared, which a library must know; declare it on the "
            "operand, or give dtype="
        )
    dtypes = {node.name: as_dtype(dtype) if node.dtype is None else node.dtype for node in nodes}
    return settle((expression,), dtypes)[0]


def example_sizes(source: Source, name: str) -> Mapping[str, int]:
    """Return small sizes that all guards allow."""
    return small_sizes(source.expression, name, source.choices.ranges)
