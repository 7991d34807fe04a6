"""The plan of a cut model: values, and the steps that make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from einloom.keras.lowering.target import Lowered
from einloom.keras.models.record import LayerRecord
from einloom_compiler.ir.graph import Node


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


def values_in(structure: Any) -> tuple[Value, ...]:
    """Return the values in a structure of arguments or outputs, in order."""
    if isinstance(structure, Value):
        return (structure,)
    if isinstance(structure, Mapping):
        return tuple(value for item in structure.values() for value in values_in(item))
    if isinstance(structure, tuple):
        return tuple(value for item in structure for value in values_in(item))
    return ()
