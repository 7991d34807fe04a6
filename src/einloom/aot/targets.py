"""What a library can be built from, as graphs with settled dtypes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einloom.aot.lowering import Source
from einloom.aot.naming import output_names
from einloom.aot.unknowns import counted
from einloom.commands.build import small_sizes
from einloom.compiled import CompiledFunction, compile_expression, expression_of
from einloom.expression import Expression, names_of
from einloom.frontends.dispatch import settle
from einloom.text.specs import Spec, read_specs
from einloom.tracing import Jit, leaves_of
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import SpecError
from einloom_compiler.ir.graph import Input
from einloom_compiler.ir.traversal import inputs_of

#: Endings of files of Keras models.
_MODEL_FILES = (".keras", ".h5", ".hdf5")


def source_of(
    target: Any, operands: Sequence[Any], dtype: object, ranges: Mapping[str, Any] | None
) -> Source:
    """Return what is built.

    Raises:
        SpecError: the target is none, or an operand has no dtype.
        AmbiguousMeaningError: framework releases differ on the call and none was named.
    """
    parts: list[tuple[str | int, ...]] | None = None
    if isinstance(target, Jit):
        traced = target.trace(*operands)
        parts = [path for path, _ in leaves_of(traced)]
        target = target.compile_traced(traced, operands, {}, ranges)
    elif isinstance(target, CompiledFunction):
        if operands or ranges:
            raise SpecError("a compiled function brings its own operands and ranges")
    elif isinstance(target, tuple | list | dict):
        if operands:
            raise SpecError("expressions bring their own operands; give none beside them")
        found = list(leaves_of(target))
        parts = [path for path, _ in found]
        wrong = [leaf for _, leaf in found if not isinstance(leaf, Expression)]
        if wrong or not found:
            raise SpecError(f"a library's outputs are expressions, not {wrong or 'none'}")
        target = compile_expression(tuple(leaf for _, leaf in found), ranges=ranges)
    else:
        target = compile_expression(expression_of(target, operands), ranges=ranges)
    return _settled(target, dtype, parts)


def is_keras(target: Any) -> bool:
    """Say whether a target is a layer, a model, the record or path of one, or compiled from one.

    Only who holds such an object has imported what its class is defined in.
    """
    if isinstance(target, str | os.PathLike):
        return os.fspath(target).endswith(_MODEL_FILES)
    classes = (
        ("einloom.keras.models.record", "ModelRecord"),
        ("einloom.keras.compiling", "KerasFunction"),
        ("keras.layers", "Layer"),
    )
    return any(
        module in sys.modules and isinstance(target, getattr(sys.modules[module], name))
        for module, name in classes
    )


def specs_of(target: Any) -> tuple[Spec, ...] | None:
    """Return the specs of the file that ``target`` names, None where it names none.

    Raises:
        SpecError: the file is malformed.
    """
    if is_keras(target):
        return None
    if isinstance(target, Path) or (isinstance(target, str) and target.endswith(".toml")):
        return read_specs(target)
    return None


def _settled(
    function: CompiledFunction, dtype: object, parts: list[tuple[str | int, ...]] | None
) -> Source:
    """Return the function with a dtype on every operand.

    ``parts`` says where each output is in what is returned, positions where None.
    """
    expressions, inputs = function.expressions, function.inputs
    nodes = tuple(node for operand in inputs for node in inputs_of(operand.node))
    names = names_of(*nodes)
    missing = [node.name for node in nodes if node.dtype is None]
    if missing:
        if dtype is None:
            shown = ", ".join(names[name] for name in missing)
            raise SpecError(
                f"the dtype of {shown} is not declared, which a library must know; declare it on "
                "the operand, or give dtype= (--dtype)"
            )
        own = as_dtype(dtype)
        dtypes = {node.name: own if node.dtype is None else node.dtype for node in nodes}
        expressions = settle(expressions, dtypes)
        nodes = tuple(Input(node.name, node.shape, dtypes[node.name]) for node in nodes)
    return counted(
        Source(
            tuple(expression.node for expression in expressions),
            output_names(parts or [(n,) for n in range(len(expressions))], list(names.values())),
            nodes,
            names,
            function.equation,
            function.optimize,
            function.choices,
        )
    )


def example_sizes(source: Source, name: str) -> Mapping[str, int]:
    """Return small sizes that all guards allow."""
    shapes = [node.shape for node in source.inputs]
    return small_sizes(shapes, source.guards, name, source.choices.ranges)
