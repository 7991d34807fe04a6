"""A model's record to graphs: calls of layers in order, each lowered to nodes.

Padding masks travel with tensors as Keras attaches them. A call that is not covered stops the
lowering with an error that offers to cut the model there; where it is cut, a :class:`Boundary`
says what the call gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from einloom.keras.lowering.layer_call import LayerCall, Outputs, Tensor, Weights
from einloom.keras.lowering.operations import KNOWN_OPERATIONS, lower_operation
from einloom.keras.lowering.table import lower_layer
from einloom.keras.models.dataflow import call_depths, call_order, tensor_inputs
from einloom.keras.models.kinds import Kind, Unknown, kind_of
from einloom.keras.models.kinds.attention import MultiHeadAttention
from einloom.keras.models.kinds.table import release_of
from einloom.keras.models.record import (
    LayerRecord,
    ModelRecord,
    TensorRef,
    references,
)
from einloom_compiler.errors import ModelFileError, ShapeError, UnsupportedError

#: What a model gives: a tensor, a tuple, or a mapping of names.
TensorStructure: TypeAlias = "Tensor | tuple[Any, ...] | Mapping[str, Any]"


@dataclass(frozen=True, slots=True)
class UncoveredCall:
    """A call that cannot be lowered.

    Attributes:
        path: names of the models it is nested in, and of its layer.
        layer: its layer.
        number: which call of the layer, from 0.
        model: the model that calls it.
        reason: why it is not covered.
        args: positional arguments, with a :class:`Tensor` in place of each reference to one.
        kwargs: those by name.
    """

    path: tuple[str, ...]
    layer: LayerRecord
    number: int
    model: ModelRecord
    reason: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Boundary(Protocol):
    """What a model is cut along."""

    def given_by(self, call: UncoveredCall) -> tuple[Tensor, ...]:
        """Return what a call gives that is not covered: new inputs of the graph."""

    def passed(self, path: tuple[str, ...], number: int, outputs: tuple[Tensor, ...]) -> None:
        """Note what a call of a layer gave, covered or not."""


def lower_model(
    model: ModelRecord,
    inputs: Mapping[str, Tensor],
    weights: Weights | None = None,
    boundary: Boundary | None = None,
    path: tuple[str, ...] = (),
) -> TensorStructure:
    """Return the model's outputs, structured as Keras structures them.

    Args:
        model: a verified record.
        inputs: by the name of the InputLayer.
        weights: constants that the graph has already.
        boundary: where the model is cut at what is not covered.
        path: names of the models that this one is nested in.

    Raises:
        ShapeError: a layer cannot take what it is given; the message names it.
        UnsupportedError: a layer is not covered, and the model is not cut.
    """
    return _ModelLowering(model, weights or Weights(), boundary, path).run(inputs)


class _UncoveredError(UnsupportedError):
    """A call is not covered, for this reason."""


class _ModelLowering:
    def __init__(
        self,
        model: ModelRecord,
        weights: Weights,
        boundary: Boundary | None,
        path: tuple[str, ...],
    ) -> None:
        self.model, self.weights = model, weights
        self.boundary, self.path = boundary, path
        self.layers = {layer.name: layer for layer in model.layers}
        self.tensors: dict[TensorRef, Tensor] = {}
        self.taken: set[int] = set()  # of nodes whose masks are gone; tensors keep the nodes alive

    def run(self, inputs: Mapping[str, Tensor]) -> TensorStructure:
        for name, tensor in inputs.items():
            self.tensors[TensorRef(name)] = tensor
        depths = call_depths(self.model)
        level = 0
        for name, number in sorted(call_order(self.model), key=lambda key: -depths[key]):
            if depths[name, number] != level:  # what a level takes is missing from the next one on
                self._forget_taken_masks()
                level = depths[name, number]
            if all(ref in self.tensors for ref in self.layers[name].calls[number].references()):
                self._call(self.layers[name], number)
        return self._structured(self.model.outputs)

    def _call(self, layer: LayerRecord, number: int) -> None:
        try:
            if layer.model is not None:
                outputs = self._nested(layer, layer.model, number)
            else:
                outputs = self._known(layer, number)
        except _UncoveredError as error:
            if self.boundary is None:
                raise self._uncovered(layer, str(error)) from None
            outputs = self.boundary.given_by(self._uncovered_call(layer, number, str(error)))
        given = outputs if isinstance(outputs, tuple) else (outputs,)
        if self.boundary is not None:
            self.boundary.passed((*self.path, layer.name), number, given)
        for position, tensor in enumerate(given):
            self.tensors[TensorRef(layer.name, number, position)] = tensor

    def _nested(self, layer: LayerRecord, model: ModelRecord, number: int) -> Outputs:
        call = layer.calls[number]
        refs = tuple(references(call.args))
        names = [ref.layer for ref in references(model.inputs)]
        if len(refs) != len(names) or any(
            value for name, value in call.kwargs.items() if name != "mask"
        ):
            raise _UncoveredError("a call with such arguments is not supported")
        given = dict(zip(names, (self.tensors[ref] for ref in refs), strict=True))
        path = (*self.path, layer.name)
        found = _flat(lower_model(model, given, self.weights, self.boundary, path))
        return found[0] if len(found) == 1 else found

    def _known(self, layer: LayerRecord, number: int) -> Outputs:
        if layer.origin == "operation":
            return self._operation(layer, number)
        kind = kind_of(layer, self.model.keras_version)
        if isinstance(kind, Unknown):
            raise _UncoveredError(kind.reason)
        call = layer.calls[number]
        refs = tensor_inputs(call, kind)
        if refs is None:
            raise _UncoveredError("its arguments are not tensors alone")
        further = {
            name: self._argument(value)
            for name, value in call.kwargs.items()
            if name not in kind.INPUT_NAMES
        }
        tensors = tuple(self._tensor(ref) for ref in refs)
        try:
            outputs = lower_layer(LayerCall(layer, kind, tensors, further, self.weights))
        except ShapeError as error:
            if layer.name in str(error):
                raise
            raise ShapeError(f"layer {layer.name!r} ({layer.class_name}): {error}") from None
        except UnsupportedError as error:
            raise _UncoveredError(str(error)) from None
        if isinstance(kind, MultiHeadAttention) and release_of(self.model.keras_version)[0] >= 3:
            self.taken |= {id(tensor.node) for tensor in tensors}
        return outputs

    def _forget_taken_masks(self) -> None:
        """Forget the masks of tensors that a MultiHeadAttention of Keras 3 was given.

        It takes them off its inputs, so that layers which run later see none, but where the model
        records a mask as their argument (Keras records those that it finds when the model is
        built, which are none behind a model within it). Calls of one depth run in no settled
        order; they are taken to run before the masks are gone.
        """
        for ref, tensor in self.tensors.items():
            if tensor.mask is not None and id(tensor.node) in self.taken:
                self.tensors[ref] = Tensor(tensor.node)

    def _operation(self, layer: LayerRecord, number: int) -> Outputs:
        if layer.class_name not in KNOWN_OPERATIONS:
            raise _UncoveredError(f"the operation {layer.class_name} is not interpreted")
        call = layer.calls[number]
        args = tuple(map(self._argument, call.args))
        kwargs = {name: self._argument(value) for name, value in call.kwargs.items()}
        try:
            return lower_operation(layer, args, kwargs)
        except (ShapeError, UnsupportedError) as error:
            raise _UncoveredError(str(error)) from None

    def _uncovered_call(self, layer: LayerRecord, number: int, reason: str) -> UncoveredCall:
        def tensors_in(value: Any) -> Any:
            if isinstance(value, TensorRef):
                return self.tensors[value]
            if isinstance(value, tuple):
                return tuple(map(tensors_in, value))
            if isinstance(value, Mapping):
                return {name: tensors_in(item) for name, item in value.items()}
            return value

        call = layer.calls[number]
        args, kwargs = tensors_in(call.args), tensors_in(call.kwargs)
        path = (*self.path, layer.name)
        return UncoveredCall(path, layer, number, self.model, reason, args, kwargs)

    def _tensor(self, ref: TensorRef) -> Tensor:
        """Return a tensor that a layer is lowered on.

        Raises:
            UnsupportedError: its shape is not known: the model is cut right before.
        """
        tensor = self.tensors[ref]
        if not tensor.has_shape:
            path = "/".join((*self.path, ref.layer))
            raise UnsupportedError(
                f"the shape of what layer {path!r} gives is not known, which is where the model is "
                f"cut; say it: cut={{{path!r}: ('B', 16)}}, or --cut-shape {path}=B,16"
            )
        return tensor

    def _argument(self, value: Any) -> Any:
        if isinstance(value, TensorRef):
            return self._tensor(value)
        if isinstance(value, tuple):
            return tuple(map(self._argument, value))
        return value

    def _structured(self, structure: Any) -> TensorStructure:
        if isinstance(structure, TensorRef):
            if structure not in self.tensors:
                raise ModelFileError(
                    f"output {structure} of model {self.model.name!r} needs an output that no "
                    "call of a layer gives"
                )
            return self.tensors[structure]
        if isinstance(structure, Mapping):
            return {name: self._structured(item) for name, item in structure.items()}
        return tuple(map(self._structured, structure))

    def _uncovered(self, layer: LayerRecord, reason: str) -> UnsupportedError:
        """Return the error that names the layer and says where the model can be cut."""
        return UnsupportedError(
            f"layer {layer.name!r} ({layer.class_name}) of model {self.model.name!r} cannot be "
            f"compiled: {reason}. {cut_text(self.model, layer)}"
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """What is left of a model without one of its layers.

    Attributes:
        before: names of covered layers that do not depend on it.
        behind: names of covered layers that do.
        uncovered: names of other layers that are not covered.
    """

    before: tuple[str, ...]
    behind: tuple[str, ...]
    uncovered: tuple[str, ...]


def cut_at(model: ModelRecord, layer: LayerRecord) -> Cut:
    """Return which layers can be compiled on each side of ``layer``."""
    dependent: set[str] = {layer.name}
    for name, number in call_order(model):
        call = next(item for item in model.layers if item.name == name).calls[number]
        if any(ref.layer in dependent for ref in call.references()):
            dependent.add(name)
    before: list[str] = []
    behind: list[str] = []
    uncovered: list[str] = []
    for item in model.layers:
        if item.name == layer.name or not item.calls:
            continue
        if not is_covered(item, model.keras_version):
            uncovered.append(item.name)
        else:
            (behind if item.name in dependent else before).append(item.name)
    return Cut(tuple(before), tuple(behind), tuple(uncovered))


def is_covered(layer: LayerRecord, keras_version: str) -> bool:
    """Say whether a layer, or every layer of a nested model, is of a kind that is lowered."""
    if layer.origin == "operation":
        return layer.class_name in KNOWN_OPERATIONS
    if layer.model is not None:
        inner = layer.model
        return all(is_covered(item, inner.keras_version) for item in inner.layers)
    return isinstance(kind_of(layer, keras_version), Kind)


def cut_text(model: ModelRecord, layer: LayerRecord) -> str:
    """Return where to cut the model, and what is covered on each side."""
    cut = cut_at(model, layer)
    name = layer.name
    lines = [
        "Cut the model there: with cut=True (einloom build --cut) all other layers are compiled, "
        f"and how the pieces connect with {name!r}, which stays yours or Keras's to run, is told."
    ]
    if cut.before:
        lines.append(f"Before it these layers are covered: {_listed(cut.before)}.")
    if cut.behind:
        lines.append(f"Behind it these are: {_listed(cut.behind)}.")
    if cut.uncovered:
        lines.append(f"Not covered either: {_listed(cut.uncovered)}.")
    return " ".join(lines)


def _listed(names: tuple[str, ...], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _flat(structure: TensorStructure) -> tuple[Tensor, ...]:
    if isinstance(structure, Tensor):
        return (structure,)
    items = structure.values() if isinstance(structure, Mapping) else structure
    return tuple(tensor for item in items for tensor in _flat(item))
