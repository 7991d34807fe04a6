"""One call of one layer: what its lowering is given, and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from einloom.keras.lowering.building import cast, settled_dtype
from einloom.keras.models.kinds import Kind
from einloom.keras.models.record import LayerRecord
from einloom_compiler.dtypes import AnyDType, as_dtype, is_floating
from einloom_compiler.errors import UnsupportedError
from einloom_compiler.ir.graph import Constant, Node, Shape
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import inputs_of


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor on its way through a model.

    Attributes:
        node: its value.
        mask: bools of the shape of its first axes: which positions count. None for all. Keras
            calls it ``_keras_mask``.
        has_shape: whether the node's shape is the tensor's. It is not known of what some calls
            give that are not compiled; nothing can be computed from it then.
    """

    node: Node
    mask: Node | None = None
    has_shape: bool = True


#: What a layer gives: one tensor, or several in order.
Outputs: TypeAlias = Tensor | tuple[Tensor, ...]


class Weights:
    """Weights as constants, each array once for each dtype that it is used in."""

    def __init__(self) -> None:
        """Hold none."""
        self._known: dict[tuple[int, str], Constant] = {}
        self._kept: list[npt.NDArray[Any]] = []

    def constant(self, array: npt.NDArray[Any], dtype: AnyDType, name: str) -> Constant:
        """Return the array in this dtype."""
        key = (id(array), dtype.name)
        if key not in self._known:
            self._kept.append(array)  # a number of an array that is gone could be another one's
            self._known[key] = Constant(frozen(np.asarray(array, dtype)), name)
        return self._known[key]


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array in C order and read-only."""
    kept = np.ascontiguousarray(array).reshape(array.shape)
    if kept.flags.writeable:
        kept.flags.writeable = False
    return kept


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A call of a known layer.

    Attributes:
        layer: its record.
        kind: its configuration.
        inputs: in the order of the kind's INPUT_NAMES.
        arguments: further arguments by name, tensors among them.
        weights: the constants of all weights.
        operands: weights that are given as nodes, by name, in place of the record's arrays.
    """

    layer: LayerRecord
    kind: Kind
    inputs: tuple[Tensor, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    operands: Mapping[str, Node] = field(default_factory=dict)

    @property
    def dtype(self) -> AnyDType:
        """The dtype that the layer's policy computes in."""
        return compute_dtype(self.layer.dtype_policy)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The inputs' values, floats cast to the layer's dtype as Keras does before a call."""
        return tuple(self.autocast(tensor.node) for tensor in self.inputs)

    @property
    def shapes(self) -> tuple[tuple[Any, ...], ...]:
        """The inputs' shapes."""
        return tuple(shape_of(tensor.node) for tensor in self.inputs)

    def autocast(self, node: Node) -> Node:
        """Return a float in the layer's dtype, anything else as it is."""
        return cast(node, self.dtype) if is_floating(settled_dtype(node)) else node

    def has(self, name: str) -> bool:
        """Say whether the layer has a weight of this name."""
        return name in self.operands or any(each.name == name for each in self.layer.weights)

    def weight(self, name: str, dtype: AnyDType | None = None) -> Node:
        """Return a weight in the layer's dtype, or another one: a constant called after the layer.

        Where the call brings weights of its own, it is the node that is given for this one.
        """
        dtype = dtype or self.dtype
        if name in self.operands:
            return cast(self.operands[name], dtype)
        return self.weights.constant(self.layer.weight(name), dtype, f"{self.layer.name}/{name}")

    def weight_shape(self, name: str) -> Shape:
        """Return a weight's shape."""
        given = self.operands.get(name)
        return self.layer.weight(name).shape if given is None else shape_of(given)

    def computed(self, array: npt.NDArray[Any], dtype: AnyDType, name: str) -> Constant:
        """Return numbers that follow from weights or the configuration as a constant."""
        made = frozen(np.asarray(array, dtype))
        return Constant(made, f"{self.layer.name}/{name}")

    def folded(self, node: Node, dtype: AnyDType, name: str) -> Node:
        """Return a node in this dtype: as a constant where it depends on constants alone."""
        if inputs_of(node):
            return cast(node, dtype)
        return self.computed(evaluate_graph(node, {}, {}), dtype, name)

    def unsupported(self, reason: str) -> UnsupportedError:
        """Return the error that names the layer."""
        return UnsupportedError(
            f"layer {self.layer.name!r} ({self.layer.class_name}): {reason} is not supported"
        )

    def refuse_arguments(self, *known: str) -> None:
        """Refuse further arguments that would change the result.

        Raises:
            UnsupportedError: one is given that is neither known nor empty.
        """
        for name, value in self.arguments.items():
            if name not in known and value is not None and value is not False:
                raise self.unsupported(f"the argument {name}={value!r}")


def compute_dtype(policy: str) -> AnyDType:
    """Return the dtype in which a dtype policy computes.

    >>> compute_dtype("mixed_float16"), compute_dtype("float32")
    (dtype('float16'), dtype('float32'))
    """
    return as_dtype(policy.removeprefix("mixed_"))
