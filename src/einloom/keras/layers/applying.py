"""One call of a layer on operands: the lowering of ``el.keras.compile``, weights as operands.

In come expressions (inputs, weights, masks, each with its role), out come expressions. What a layer
means is told in :mod:`einloom.keras.lowering` alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from einloom.expression import Expression
from einloom.frontends.dispatch import frontend
from einloom.frontends.values import as_tensor
from einloom.keras.lowering.building import cast
from einloom.keras.lowering.layer_call import LayerCall, Tensor, compute_dtype
from einloom.keras.lowering.table import lower_layer
from einloom.keras.models.documents import frozen
from einloom.keras.models.kinds import Kind, kind_of
from einloom.keras.models.kinds.base import Shape, shape_text
from einloom.keras.models.kinds.dense import Embedding
from einloom.keras.models.kinds.wrapping import SpectralNormalization, TimeDistributed
from einloom.keras.models.record import LayerRecord, Weight
from einloom.keras.models.structure import Source, layer_record
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import ModelFileError, ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import is_equal, is_known
from einloom_compiler.ir.graph import Constant, Node
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.ir.verify_graph import verify_graph

#: The release whose layers these are.
KERAS_VERSION = "3.15.1"


def record_of(name: str, class_name: str, config: str, policy: str) -> LayerRecord:
    """Return a layer's record without weights; ``config`` is JSON.

    Raises:
        SpecError: the configuration of a wrapped layer is malformed.
    """
    read = frozen(json.loads(config))
    assert isinstance(read, Mapping)
    try:
        wrapped = layer_record(read["layer"], Source(KERAS_VERSION)) if "layer" in read else None
    except ModelFileError as error:
        raise SpecError(str(error)) from None
    return LayerRecord(name, class_name, "layer", read, policy, wrapped=wrapped)


def known_kind(record: LayerRecord) -> Kind:
    """Return what a layer is.

    Raises:
        SpecError: its configuration is malformed.
        UnsupportedError: it asks for what is not covered.
    """
    try:
        kind = kind_of(record, KERAS_VERSION)
    except ModelFileError as error:
        raise SpecError(str(error)) from None
    if not isinstance(kind, Kind):
        raise UnsupportedError(f"layer {record.name!r} ({record.class_name}): {kind.reason}")
    return kind


@frontend("keras.layers.apply", operands=("*operands",), finish=as_tensor)
def apply(
    *operands: Any,
    layer: tuple[str, str, str, str],
    roles: tuple[str, ...],
    settings: tuple[tuple[str, bool], ...] = (),
    output: int = 0,
) -> Any:
    """Return one of the tensors that a layer gives.

    Args:
        operands: inputs, weights and masks.
        layer: its name, class, configuration as JSON, and dtype policy.
        roles: of each operand: ``input``, ``weight:kernel``, ``mask:attention_mask``; the n-th of
            several masks in one argument is ``mask:mask:n``.
        settings: further arguments of the call.
        output: which tensor, from 0.

    Raises:
        ShapeError: an operand does not fit the layer or the others.
        UnsupportedError: the call asks for what is not covered.
    """
    return applied(operands, layer, roles, settings)[output]


def applied(
    operands: Sequence[Expression],
    layer: tuple[str, str, str, str],
    roles: tuple[str, ...],
    settings: tuple[tuple[str, bool], ...] = (),
) -> tuple[Expression, ...]:
    """Return all tensors that a layer gives; arguments and errors as of :func:`apply`."""
    record = record_of(*layer)
    kind = known_kind(record)
    inputs: list[Tensor] = []
    weights: list[Weight] = []
    given: dict[str, Node] = {}
    arguments: dict[str, Any] = dict(settings)
    for operand, role in zip(operands, roles, strict=True):
        what, _, name = role.partition(":")
        node = operand.node
        if what == "input":
            inputs.append(Tensor(_settled(node, _input_dtype(record, kind))))
        elif what == "mask":
            _add_mask(arguments, name, Tensor(_settled(node, as_dtype("bool"))))
        elif isinstance(node, Constant):
            weights.append(Weight(name, node.array))
        else:
            given[name] = _settled(node, compute_dtype(record.dtype_policy))
    if "query_mask" in arguments:  # what Keras reads off the query itself
        inputs[0] = Tensor(inputs[0].node, arguments.pop("query_mask").node)
    record = replace(record, weights=tuple(weights))
    _check_weights(record, kind, inputs, given)
    call = LayerCall(record, kind, tuple(inputs), arguments, operands=given)
    try:
        outputs = lower_layer(call)
    except (ShapeError, UnsupportedError) as error:
        if record.name in str(error):
            raise
        raise type(error)(f"layer {record.name!r} ({record.class_name}): {error}") from None
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    verify_graph(*(each.node for each in several), stage="keras.layers")
    return tuple(Expression(each.node) for each in several)


def _add_mask(arguments: dict[str, Any], name: str, mask: Tensor) -> None:
    """Put a mask among the arguments; those of one argument as a list, None where there is none."""
    name, _, number = name.partition(":")
    if not number:
        arguments[name] = mask
        return
    listed = arguments.setdefault(name, [])
    listed += [None] * (int(number) + 1 - len(listed))
    listed[int(number)] = mask


def _input_dtype(record: LayerRecord, kind: Kind) -> AnyDType:
    """Return the dtype that an input is taken to have before a call settles it."""
    while isinstance(kind, TimeDistributed | SpectralNormalization):
        kind = kind.inner
    if isinstance(kind, Embedding):
        return as_dtype("int32")
    return compute_dtype(record.dtype_policy)


def _settled(node: Node, dtype: AnyDType) -> Node:
    """Return the node with a dtype, in which it is cast where it has none yet."""
    return cast(node, dtype) if dtype_of(node) is None else node


def _check_weights(
    record: LayerRecord, kind: Kind, inputs: Sequence[Tensor], given: Mapping[str, Node]
) -> None:
    """Check every weight's shape.

    Raises:
        ShapeError: naming weight, axis and both extents.
    """
    shapes = [shape_of(tensor.node) for tensor in inputs]
    title = f"layer {record.name!r} ({record.class_name})"
    try:
        wanted = kind.weight_shapes(*shapes)
    except ShapeError as error:
        if all(is_known(extent) for shape in shapes for extent in shape[1:]) or not given:
            raise ShapeError(f"{title}: {error}") from None
        return  # extents of weights follow from symbols: the graph compares them
    named: dict[str, Shape] = {weight.name: weight.shape for weight in record.weights}
    named |= {name: shape_of(node) for name, node in given.items()}
    of_inputs = " and ".join(map(shape_text, shapes))
    for slot, shape in zip(kind.slots(), wanted, strict=True):
        found = named[slot.name]
        if len(found) != len(shape):
            raise ShapeError(
                f"{title}: the weight {slot.name!r} has rank {len(found)} (shape "
                f"{shape_text(found)}), but for inputs of shape {of_inputs} it must have shape "
                f"{shape_text(shape)}"
            )
        for axis, (has, needs) in enumerate(zip(found, shape, strict=True)):
            if is_equal(has, needs) is False:
                raise ShapeError(
                    f"{title}: axis {axis} of the weight {slot.name!r} (shape "
                    f"{shape_text(found)}) is {has}, but for inputs of shape {of_inputs} it must "
                    f"be {needs}: shape {shape_text(shape)}"
                )
