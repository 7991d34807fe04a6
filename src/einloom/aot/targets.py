"""What a library can be built from, as an expression with settled dtypes."""

from __future__ import annotations

import sys
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
from einloom_compiler.errors import SpecError, UnsupportedError
from einloom_compiler.ir.graph import inputs_of


def source_of(
    target: Any, operands: Sequence[Any], dtype: object, ranges: Mapping[str, Any] | None
) -> Source:
    """Return what is built.

    Raises:
        SpecError: the target is none, or an operand has no dtype.
        AmbiguousMeaningError: framework releases differ on the call and none was named.
        UnsupportedError: a Keras model has a layer that is not covered, or several outputs.
    """
    if isinstance(target, CompiledFunction):
        if operands or ranges:
            raise SpecError("a compiled function brings its own operands and ranges")
        compiled = target
    elif is_from_keras(target):
        compiled = _of_keras(target, operands, ranges)
    else:
        compiled = compile_expression(expression_of(target, operands), ranges=ranges)
    expression = _settled(compiled.expression, dtype)
    return Source(expression, compiled.optimize, compiled.choices)


def is_from_keras(target: Any) -> bool:
    """Say whether the target is a saved Keras model, or a live layer or model of Keras.

    Keras is looked up among the loaded modules: who holds such an object has imported it.
    """
    if isinstance(target, str | Path):
        return Path(target).suffix in (".keras", ".h5", ".hdf5")
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(target, keras.layers.Layer)


def _of_keras(
    target: Any, operands: Sequence[Any], ranges: Mapping[str, Any] | None
) -> CompiledFunction:
    from einloom.keras.lowering.target import lowered

    found = lowered(target, *operands)
    if len(found.roots) != 1:
        raise UnsupportedError(
            f"{found.name!r} has several outputs, which a library does not have yet; build one "
            "library an output: keras.Model(model.inputs, model.outputs[0])"
        )
    (root,) = found.roots
    in_order = ", ".join(node.name for node in inputs_of(root))
    if inputs_of(root) != found.inputs:
        raise UnsupportedError(
            f"a library of {found.name!r} would take its inputs as {in_order}, not in the model's "
            "order; make a model whose inputs come in this order"
        )
    return compile_expression(Expression(root), ranges=ranges)


def specs_of(target: Any) -> tuple[Spec, ...] | None:
    """Return the specs of the file that ``target`` names, None where it names none.

    Raises:
        SpecError: the file is malformed.
    """
    if is_from_keras(target):
        return None
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
