"""What ``el.keras.compile`` takes, lowered: live objects, files and records to a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from einloom.expression import Expression
from einloom.keras.lowering.layer_call import LayerCall, Tensor, Weights, compute_dtype
from einloom.keras.lowering.model import TensorStructure, lower_model
from einloom.keras.lowering.table import lower_layer
from einloom.keras.models.dataflow import tensor_inputs
from einloom.keras.models.kinds import Kind, kind_of
from einloom.keras.models.kinds.dense import Embedding
from einloom.keras.models.kinds.shaping import Input as InputKind
from einloom.keras.models.live import record_from_keras
from einloom.keras.models.reading import read_model
from einloom.keras.models.record import LayerRecord, ModelRecord, TensorRef, references
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import Extent, parse_extent, symbol
from einloom_compiler.ir.graph import Input, Node
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import inputs_of
from einloom_compiler.ir.verify_graph import verify_graph

#: Outputs as Keras structures them.
NodeStructure: TypeAlias = "Node | tuple[Any, ...] | Mapping[str, Any]"
#: The extent of the batch where nothing is said.
BATCH = "B"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A layer or model as a graph.

    Attributes:
        name: the layer's or model's name.
        inputs: in the order in which Keras takes them, further arguments last; an operand given
            twice is one input.
        outputs: a node, a tuple, or a mapping of names.
        output_names: of each output, in order: its key in a mapping, else the layer's that gives
            it where there are several, else ``out``.
    """

    name: str
    inputs: tuple[Input, ...]
    outputs: NodeStructure
    output_names: tuple[str, ...]

    @property
    def roots(self) -> tuple[Node, ...]:
        """The outputs, in order."""
        return flat_nodes(self.outputs)


def lowered(target: Any, *specs: Any, **arguments: Any) -> Lowered:
    """Return a layer's or model's inference as a graph.

    Args:
        target: a live Keras 3 layer or model, the path of a ``.keras`` or ``.h5`` file, or a
            :class:`~einloom.keras.models.ModelRecord`.
        specs: operands or shapes of the inputs, in Keras's order; where none is given, those that
            the model or the built layer has, its open extents as symbols (the batch is ``B``). One
            operand given twice is one input.
        arguments: of the call: ``use_causal_mask=True``, ``attention_mask=el.spec(...)``.

    Raises:
        ModelFileError: the file is none, or broken.
        ShapeError: inputs do not fit.
        SpecError: an argument is neither an operand nor a setting.
        UnsupportedError: a layer is not covered.
    """
    if isinstance(target, str | os.PathLike):
        record, is_layer = read_model(target), False
    elif isinstance(target, ModelRecord):
        record, is_layer = target, False
    else:
        record = record_from_keras(target, *specs)
        is_layer = not _is_model(target)
    result = (
        _lowered_layer(record, specs, arguments)
        if is_layer
        else _lowered_model(record, specs, arguments)
    )
    verify_graph(*result.roots, stage="keras")
    return result


def _is_model(target: Any) -> bool:
    import sys

    keras = sys.modules["keras"]
    return isinstance(target, keras.Model)


def _lowered_model(
    record: ModelRecord, specs: Sequence[Any], arguments: Mapping[str, Any]
) -> Lowered:
    wrong = {name: value for name, value in arguments.items() if value not in (None, False)}
    if wrong:
        raise UnsupportedError(
            f"model {record.name!r} takes no argument {next(iter(wrong))!r} when it is compiled; "
            "give it to the layer that reads it when the model is built"
        )
    nodes, tensors = model_inputs(record, specs)
    return _finished(
        record.name, nodes, lower_model(record, tensors), _output_names(record.outputs)
    )


def model_inputs(
    record: ModelRecord, specs: Sequence[Any]
) -> tuple[tuple[Node, ...], Mapping[str, Tensor]]:
    """Return a node for each input of a model, and the tensors by the names of the InputLayers.

    Args:
        record: the model.
        specs: operands or shapes in Keras's order; what the record says where none is given.

    Raises:
        ShapeError, SpecError: they do not fit the model.
    """
    names = [ref.layer for ref in references(record.inputs)]
    nodes = _inputs(record, names, specs, names)
    return nodes, {name: Tensor(node) for name, node in zip(names, nodes, strict=True)}


def _lowered_layer(
    record: ModelRecord, specs: Sequence[Any], arguments: Mapping[str, Any]
) -> Lowered:
    layer = record.layers[-1]
    kind = kind_of(layer, record.keras_version)
    if not isinstance(kind, Kind):
        raise UnsupportedError(
            f"layer {layer.name!r} ({layer.class_name}) cannot be compiled: {kind.reason}"
        )
    refs = tensor_inputs(layer.calls[0], kind)
    assert refs is not None
    names = [ref.layer for ref in refs]
    titles = [f"x{n}" for n in range(len(names))]
    if not kind.IS_VARIADIC:
        titles = list(kind.INPUT_NAMES[: len(names)])
    nodes = list(_inputs(record, names, specs, titles))
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        given[name] = _argument(name, value, nodes, layer)
    tensors = tuple(map(Tensor, nodes[: len(names)]))
    outputs = lower_layer(LayerCall(layer, kind, tensors, given, Weights()))
    return _finished(layer.name, nodes, outputs, ())


def _argument(name: str, value: Any, nodes: list[Node], layer: LayerRecord) -> Any:
    """Return an argument of a layer's call, operands among them as further inputs."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and any(isinstance(v, Expression) for v in value):
        items = [_argument(f"{name}_{n}", v, nodes, layer) for n, v in enumerate(value)]
        return tuple(items)
    if isinstance(value, Expression):
        dtype = "bool" if "mask" in name else layer.dtype_policy.removeprefix("mixed_")
        node = _as_node(value, name, dtype)
        nodes.append(node)
        return Tensor(node)
    raise SpecError(
        f"the argument {name} of layer {layer.name!r} must be an operand (el.spec) or a setting, "
        f"not {type(value).__name__}"
    )


def _finished(
    name: str, nodes: Sequence[Node], outputs: TensorStructure, names: tuple[str, ...]
) -> Lowered:
    inputs = dict.fromkeys(part for node in nodes for part in inputs_of(node))
    values = _values(outputs)
    n_outputs = len(flat_nodes(values))
    if len(names) != n_outputs:
        names = tuple(f"out{number}" for number in range(n_outputs))
    return Lowered(name, tuple(inputs), values, ("out",) if n_outputs == 1 else names)


def _output_names(structure: Any, key: str = "") -> tuple[str, ...]:
    """Return a name for each output: its key in a mapping, else the layer's that gives it."""
    if isinstance(structure, TensorRef):
        return (key or structure.layer,)
    if isinstance(structure, Mapping):
        return tuple(n for name, item in structure.items() for n in _output_names(item, name))
    return tuple(name for item in structure for name in _output_names(item))


def _values(structure: Any) -> NodeStructure:
    if isinstance(structure, Tensor):
        return structure.node
    if isinstance(structure, Mapping):
        return {name: _values(item) for name, item in structure.items()}
    return tuple(map(_values, structure))


def flat_nodes(structure: NodeStructure) -> tuple[Node, ...]:
    """Return a structure's nodes, in order."""
    if isinstance(structure, Mapping):
        return tuple(node for item in structure.values() for node in flat_nodes(item))
    if isinstance(structure, tuple):
        return tuple(node for item in structure for node in flat_nodes(item))
    return (structure,)


def _inputs(
    record: ModelRecord, names: Sequence[str], specs: Sequence[Any], titles: Sequence[str]
) -> tuple[Node, ...]:
    """Return a node for each input: what is given for it, else what the record says."""
    if specs and len(specs) != len(names):
        raise SpecError(
            f"{record.name!r} takes {len(names)} inputs ({', '.join(titles)}), but {len(specs)} "
            "are given"
        )
    nodes: list[Node] = []
    for number, (name, title) in enumerate(zip(names, titles, strict=True)):
        kind = kind_of(record.layer(name), record.keras_version)
        if not isinstance(kind, InputKind):
            reason = "it is no input" if isinstance(kind, Kind) else kind.reason
            raise UnsupportedError(f"input {name!r} of {record.name!r}: {reason}")
        dtype = _input_dtype(record, name, kind)
        if specs:
            nodes.append(_given(specs[number], title, dtype, kind, record))
            continue
        if kind.shape is None:
            raise SpecError(
                f"the shape of input {name!r} of {record.name!r} is not recorded; give it: "
                "el.spec('B', 128)"
            )
        shape = tuple(
            extent if extent is not None else open_extent(title, axis)
            for axis, extent in enumerate(kind.shape)
        )
        nodes.append(Input(title, shape, as_dtype(dtype)))
    return tuple(nodes)


def open_extent(title: str, axis: int) -> Extent:
    """Return the symbol of an extent that a tensor so called leaves open; the batch's is ``B``.

    >>> open_extent("tokens", 1), open_extent("my-input", 1), open_extent("my-input", 0)
    (tokens_1, my_2d_input_1, B)
    """
    if axis == 0:
        return symbol(BATCH)
    plain = "".join(c if f"x{c}".isidentifier() else f"_{ord(c):x}_" for c in title)
    return symbol(f"{plain}_{axis}" if plain.isidentifier() else f"x{plain}_{axis}")


def _input_dtype(record: ModelRecord, name: str, kind: InputKind) -> str:
    """Return an input's dtype; integers where embeddings alone read it, which cast it to them."""
    readers = [
        kind_of(layer, record.keras_version)
        for layer in record.layers
        for call in layer.calls
        if TensorRef(name) in set(call.references())
    ]
    is_read_by_embeddings = bool(readers) and all(isinstance(k, Embedding) for k in readers)
    if is_read_by_embeddings and as_dtype(kind.dtype).kind not in "iu":
        return "int32"
    return compute_dtype(kind.dtype).name


def _given(spec: Any, title: str, dtype: str, kind: InputKind, record: ModelRecord) -> Node:
    if isinstance(spec, Expression):
        node = _as_node(spec, title, dtype)
    else:
        shape = getattr(spec, "shape", spec)
        if isinstance(shape, str) or not isinstance(shape, Sequence):
            raise ShapeError(f"{spec!r} is no shape and no operand; write el.spec('B', 128)")
        found = getattr(spec, "dtype", None)
        extents: list[Extent] = [
            parse_extent(extent) if extent is not None else open_extent(title, axis)
            for axis, extent in enumerate(shape)
        ]
        node = Input(title, tuple(extents), as_dtype(dtype if found is None else found))
    rank = len(shape_of(node))
    if kind.shape is not None and len(kind.shape) != rank:
        raise ShapeError(
            f"input {title!r} of {record.name!r} has rank {len(kind.shape)}, but an operand of "
            f"rank {rank} is given"
        )
    return node


def _as_node(spec: Expression, title: str, dtype: str) -> Node:
    """Return an operand with a dtype, and with the input's name where it has none."""
    node = spec.node
    if not isinstance(node, Input):
        return node
    if node.dtype is None:
        node = replace(node, dtype=as_dtype(dtype))
    return node
