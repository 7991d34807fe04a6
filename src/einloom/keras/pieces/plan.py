"""The plan of a cut model: values, and the steps that make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from einloom.keras.lowering.target import Lowered
from einloom.keras.models.record import LayerRecord
from einloom_compiler.extents import free_names
from einloom_compiler.ir.graph import Input, Node
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import at_sizes


@dataclass(frozen=True, slots=True)
class Value:
    """A value that passes from step to step.

    Attributes:
        name: of a model's input its name; else of the layer that gives it, after the names of the
            models it is nested in: ``encoder/dense``, ``dense#1`` of its second call, ``lstm.2`` a
            third output.
        node: an input of the graphs that take it; of its dtype, and of its shape if that is known.
        has_shape: whether it is.
    """

    name: str
    node: Node
    has_shape: bool = True

    def __str__(self) -> str:
        """Print as its name."""
        return self.name


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the model that is compiled.

    Attributes:
        lowered: its graph.
        takes: one value an input.
        gives: one value an output.
        layers: paths of the layers in it.
    """

    lowered: Lowered
    takes: tuple[Value, ...]
    gives: tuple[Value, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outside:
    """A call of a layer that is not compiled.

    Attributes:
        path: the layer's name after those of the models it is nested in: ``encoder/memory``.
        layer: its record, weights included.
        reason: why it is not compiled.
        args: what the model calls it with, a :class:`Value` in place of each tensor.
        kwargs: the same by name; ``mask`` where Keras gives it the padding mask of its input.
        gives: the outputs that are needed: which of its outputs, in the order in which Keras
            flattens them, and the value.
    """

    path: str
    layer: LayerRecord
    reason: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    gives: tuple[tuple[int, Value], ...]


Step: TypeAlias = Piece | Outside


@dataclass(frozen=True, slots=True)
class Plan:
    """A cut model.

    Attributes:
        name: the model's.
        keras_version: of its record.
        inputs: in Keras's order.
        outputs: a value, a tuple, or a mapping of names: as Keras structures them.
        steps: in an order in which each has what it takes.
    """

    name: str
    keras_version: str
    inputs: tuple[Value, ...]
    outputs: Any
    steps: tuple[Step, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The steps that are compiled."""
        return tuple(step for step in self.steps if isinstance(step, Piece))

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The steps that are not."""
        return tuple(step for step in self.steps if isinstance(step, Outside))


def symbols_of(plan: Plan) -> frozenset[str]:
    """Return the symbols in the shapes of a plan's inputs and of what pieces take."""
    values = (*plan.inputs, *(value for piece in plan.pieces for value in piece.takes))
    return frozenset(n for v in values for e in shape_of(v.node) for n in free_names(e))


def plan_at(plan: Plan, sizes: Mapping[str, int]) -> Plan:
    """Return a plan with these values for the symbols so named."""

    def settled(item: Any) -> Any:
        if isinstance(item, Value):
            return replace(item, node=at_sizes(item.node, sizes))
        if isinstance(item, Lowered):
            inputs = (at_sizes(node, sizes) for node in item.inputs)
            roots = tuple(at_sizes(node, sizes) for node in item.roots)
            return replace(
                item,
                inputs=tuple(node for node in inputs if isinstance(node, Input)),
                outputs=roots[0] if len(roots) == 1 else roots,
            )
        if isinstance(item, Piece):
            takes, gives = settled(item.takes), settled(item.gives)
            return replace(item, lowered=settled(item.lowered), takes=takes, gives=gives)
        if isinstance(item, Outside):
            args, kwargs, gives = settled(item.args), settled(item.kwargs), settled(item.gives)
            return replace(item, args=args, kwargs=kwargs, gives=gives)
        if isinstance(item, Mapping):
            return {name: settled(part) for name, part in item.items()}
        return tuple(map(settled, item)) if isinstance(item, tuple) else item

    inputs, outputs, steps = settled(plan.inputs), settled(plan.outputs), settled(plan.steps)
    return replace(plan, inputs=inputs, outputs=outputs, steps=steps)


def values_in(structure: Any) -> tuple[Value, ...]:
    """Return the values in a structure of arguments or outputs, in order."""
    if isinstance(structure, Value):
        return (structure,)
    if isinstance(structure, Mapping):
        return tuple(value for item in structure.values() for value in values_in(item))
    if isinstance(structure, tuple):
        return tuple(value for item in structure for value in values_in(item))
    return ()
