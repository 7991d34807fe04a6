"""Keras layers, models and saved files as what a library is built from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.aot.checking import CheckError, Reference
from einloom.aot.lowering import Source
from einloom.aot.naming import identifiers
from einloom.aot.unknowns import counted
from einloom.expression import names_of
from einloom.keras.compiling import KerasFunction
from einloom.keras.lowering.target import Lowered, lowered
from einloom.keras.models.cutting import piece_of
from einloom.keras.models.live import record_from_keras, takes_a_list
from einloom.keras.models.reading import read_model
from einloom.keras.models.record import ModelRecord, TensorRef, references
from einloom.keras.pieces.live import function_of, layer_at
from einloom.runtime.choices import Choices, read_ranges
from einloom.tracing import leaves_of
from einloom_compiler.errors import SpecError
from einloom_compiler.extents import free_names
from einloom_compiler.ir.graph import Input, Node
from einloom_compiler.ir.printer import print_einsum
from einloom_compiler.ir.traversal import at_sizes, contractions_of

Array = npt.NDArray[Any]
#: The extent of the batch where nothing is said, as :mod:`einloom.keras.lowering.target` names it.
_BATCH = "B"


def keras_source(
    target: Any,
    specs: Sequence[Any] = (),
    *,
    layer: str | None = None,
    batch: int | tuple[int, int | None] | None = None,
    ranges: Mapping[str, Any] | None = None,
) -> Source:
    """Return a layer's or model's inference as what a library is built from.

    Args:
        target: a live layer or model of Keras 3, the path of a ``.keras`` or ``.h5`` file, a
            record, or what :func:`einloom.keras.compile` made of one.
        specs: operands or shapes of the inputs, in Keras's order; as recorded where none is given.
        layer: the one layer of a model to build.
        batch: the one batch size, or the least and largest; any where None.
        ranges: least and largest value of further symbols.

    Raises:
        SpecError: there is no such layer, or a range is none.
        UnsupportedError: a layer is not covered; the message names it.
        ModelFileError: the file is none, or broken.
    """
    if isinstance(target, KerasFunction):
        if specs or layer:
            raise SpecError("a compiled model brings its own operands and layers")
        found, reference = target.lowered, None
    elif layer is not None:
        piece = piece_of(_record(target), layer)
        found, reference = lowered(piece), _layer_reference(target, piece)
    else:
        found, reference = lowered(target, *specs), _reference(target)
    return lowered_source(found, batch=batch, ranges=ranges, reference=reference)


def lowered_source(
    found: Lowered,
    *,
    batch: int | tuple[int, int | None] | None = None,
    ranges: Mapping[str, Any] | None = None,
    reference: Reference | None = None,
) -> Source:
    """Return a graph of a layer, model or piece as what a library is built from.

    Args:
        found: the graph.
        batch: as for :func:`keras_source`.
        ranges: as for it.
        reference: what checks compare with.

    Raises:
        SpecError: the batch is fixed already, or a range is none.
    """
    if isinstance(batch, int):
        found = _with_batch(found, batch)
    elif batch is not None:
        ranges = {**(ranges or {}), _BATCH: batch}
    shown = names_of(*found.inputs)  # of unnamed ones, the same in every build
    names = identifiers([shown[node.name] for node in found.inputs])
    symbols = frozenset(n for node in found.inputs for e in node.shape for n in free_names(e))
    return counted(
        Source(
            roots=found.roots,
            outputs=identifiers(found.output_names, taken=names),
            inputs=found.inputs,
            names={node.name: name for node, name in zip(found.inputs, names, strict=True)},
            equation="; ".join(print_einsum(part.einsum) for part in contractions_of(*found.roots)),
            optimize=True,
            choices=Choices(ranges=read_ranges(ranges, symbols)),
            reference=reference,
        )
    )


def _record(target: Any) -> ModelRecord:
    if isinstance(target, ModelRecord):
        return target
    if isinstance(target, str | os.PathLike):
        return read_model(target)
    return record_from_keras(target)


def _with_batch(found: Lowered, size: int) -> Lowered:
    """Return the graphs at one batch size."""
    if size < 1:
        raise SpecError(f"batch must be positive, not {size}")
    if not any(_BATCH in free_names(extent) for node in found.inputs for extent in node.shape):
        raise SpecError(f"no input of {found.name!r} has the extent {_BATCH}: its batch is fixed")

    def settled(node: Node) -> Node:
        return at_sizes(node, {_BATCH: size})

    inputs = [settled(node) for node in found.inputs]
    return Lowered(
        found.name,
        tuple(node for node in inputs if isinstance(node, Input)),
        tuple(map(settled, found.roots)),
        found.output_names,
    )


def _reference(target: Any) -> Reference | None:
    """Return what Keras computes, where the target is a live object or Keras is installed."""
    if (live := _live(target)) is None:
        return None

    def reference(arrays: Sequence[Array]) -> Sequence[Array]:
        return arrays_of(called(live(), arrays))

    return reference


def _layer_reference(target: Any, piece: ModelRecord) -> Reference | None:
    """Return what Keras computes by the one layer of a piece, called as the model calls it."""
    if (live := _live(target)) is None:
        return None
    (call,) = piece.layers[-1].calls

    def reference(arrays: Sequence[Array]) -> Sequence[Array]:
        given = dict(zip((ref.layer for ref in references(piece.inputs)), arrays, strict=True))

        def filled(value: Any) -> Any:
            if isinstance(value, TensorRef):
                return given[value.layer]
            if isinstance(value, tuple):
                return list(map(filled, value))
            if isinstance(value, Mapping):
                return {key: filled(item) for key, item in value.items()}
            return value

        layer = layer_at(live(), piece.layers[-1].name)
        return arrays_of(function_of(layer)(*filled(call.args), **filled(call.kwargs)))

    return reference


def _live(target: Any) -> Callable[[], Any] | None:
    """Return what gives the live object, loaded once; None where there is no such."""
    if isinstance(target, ModelRecord):
        return None
    if not isinstance(target, str | os.PathLike):
        return lambda: target
    from importlib.util import find_spec

    if find_spec("keras") is None:
        return None

    @cache
    def loaded() -> Any:
        import keras

        try:
            return keras.saving.load_model(os.fspath(target), compile=False)
        except (TypeError, ValueError, NotImplementedError) as error:
            said = str(error).strip().partition(". ")[0]
            raise CheckError(
                f"{target} is built, but cannot be compared with Keras, which does not load it: "
                f"{said}. Build without the check, or save the model as a .keras file"
            ) from None

    return loaded


def arrays_of(results: Any) -> list[Array]:
    """Return what Keras gave, dicts in the order of their keys, which Keras's own tools sort."""
    import keras

    return [np.asarray(keras.ops.convert_to_numpy(each)) for _, each in leaves_of(results)]


def called(target: Any, arrays: Sequence[Array]) -> Any:
    """Return what a live layer or model gives at inference, as Keras structures it.

    Functional models take what they were made with; layers of several inputs a list or arguments.
    """
    import inspect

    import keras

    is_model = isinstance(target, keras.Model)
    if is_model and not isinstance(target, keras.Sequential):
        return target(_filled(target.input, iter(arrays)), training=False)
    if len(arrays) == 1:
        given: tuple[Any, ...] = (arrays[0],)
    elif takes_a_list(type(target).__name__, len(arrays)):
        given = (list(arrays),)
    else:
        given = tuple(arrays)
    has_training = "training" in inspect.signature(target.call).parameters
    return target(*given, training=False) if is_model or has_training else target(*given)


def _filled(structure: Any, arrays: Iterator[Array]) -> Any:
    """Return a model's inputs with arrays in their places."""
    if isinstance(structure, dict):
        return {key: _filled(item, arrays) for key, item in structure.items()}
    if isinstance(structure, tuple | list):
        return [_filled(item, arrays) for item in structure]
    return next(arrays)
