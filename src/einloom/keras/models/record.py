"""Models as neutral, immutable records, wherever they came from.

Grammar::

    ModelRecord = (name, class_name, layers: LayerRecord*, inputs, outputs, keras_version, backend?,
                   stated: TensorRef -> TensorSpec)
    LayerRecord = (name, class_name, origin, config, dtype_policy, weights: Weight*, calls: Call*,
                   model: ModelRecord?,                 what a nested model is made of
                   wrapped: LayerRecord?)               the layer that it wraps, whose weights
                                                        among the outer one's
    Call        = (args, kwargs)                        structures with TensorRef leaves
    TensorRef   = (layer, call, output)                 output of that layer's call of that number
    Weight      = (name, array)                         array read-only, C-contiguous

``inputs`` and ``outputs`` are structures (a TensorRef, a tuple, a mapping of names) of the tensors
that the model takes and gives; an input is what an InputLayer, which takes no call, yields. A
Sequential model is a chain of calls: its records do not differ from those of a functional model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from einloom.keras.models.documents import Json

#: Whose class it is: one of Keras's layers, one of Keras's operations that stand in a functional
#: model without being a layer (``x * 2.0``), somebody else's class, or one whose configuration
#: holds Python code, which was left out.
Origin: TypeAlias = Literal["layer", "operation", "custom", "code"]
#: What a model is given or gives: one tensor, some in order, or some by name.
Structure: TypeAlias = "TensorRef | tuple[Any, ...] | Mapping[str, Any]"
#: A call's argument: JSON with references to tensors in it.
Argument: TypeAlias = "Json | TensorRef"


@dataclass(frozen=True, slots=True)
class TensorRef:
    """One output of one call of a layer.

    Attributes:
        layer: the layer's name within its model.
        call: which call of that layer, from 0; 0 for an InputLayer.
        output: which of the call's outputs, from 0.
    """

    layer: str
    call: int = 0
    output: int = 0

    def __str__(self) -> str:
        """Print as ``dense``, ``dense#1`` (its second call), ``lstm.2`` (a third output)."""
        call = f"#{self.call}" if self.call else ""
        return f"{self.layer}{call}" + (f".{self.output}" if self.output else "")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a file says of a tensor.

    Attributes:
        shape: batch axis included, None for an extent that is not known.
        dtype: its name.
    """

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a layer: its arguments, with references to tensors as leaves.

    A file of Keras 2 does not tell ``layer([a])`` from ``layer(a)``; there one tensor is an
    argument of its own, and several are one argument that lists them.
    """

    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument]

    def references(self) -> Iterator[TensorRef]:
        """Yield the tensors it takes, positional ones first."""
        yield from references((self.args, self.kwargs))


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A named array.

    Attributes:
        name: ``kernel``, or ``query/kernel`` within a layer of layers. A layer that is not known
            keeps the names under which its file has them.
        array: read-only.
    """

    name: str
    array: npt.NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.array.shape

    def __eq__(self, other: object) -> bool:
        """Say whether name, dtype, shape and every bit agree."""
        return (
            isinstance(other, Weight)
            and self.name == other.name
            and self.array.dtype == other.array.dtype
            and self.array.shape == other.array.shape
            and self.array.tobytes() == other.array.tobytes()
        )

    def __hash__(self) -> int:
        """Hash name, dtype and shape."""
        return hash((self.name, self.array.dtype.name, self.array.shape))


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A layer of a model.

    Attributes:
        name: unique in its model.
        class_name: Keras's class, such as ``Dense``; ``package>Name`` for a registered one.
        origin: whose class it is.
        config: what its ``get_config`` gave, without the numbers by which a file shares objects.
        dtype_policy: the policy's name, such as ``float32`` or ``mixed_bfloat16``.
        weights: in Keras's order.
        calls: within its model; none for an InputLayer.
        model: the layers of a nested model, else None.
        wrapped: the layer that it is put around, such as a TimeDistributed, else None; without
            weights, which are its wrapper's.
    """

    name: str
    class_name: str
    origin: Origin
    config: Mapping[str, Any]
    dtype_policy: str
    weights: tuple[Weight, ...] = ()
    calls: tuple[Call, ...] = ()
    model: ModelRecord | None = None
    wrapped: LayerRecord | None = None

    @property
    def n_parameters(self) -> int:
        """Numbers in its weights, a nested model's included."""
        own = sum(weight.array.size for weight in self.weights)
        return own + (self.model.n_parameters if self.model else 0)

    def weight(self, name: str) -> npt.NDArray[Any]:
        """Return the array of the weight so named.

        Raises:
            KeyError: it has none.
        """
        for weight in self.weights:
            if weight.name == name:
                return weight.array
        raise KeyError(f"layer {self.name!r} has no weight {name!r}")


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model: its layers, and how they are connected.

    Attributes:
        name: the model's name.
        class_name: ``Sequential`` or ``Functional``.
        layers: in Keras's order, InputLayers included.
        inputs: the tensors it takes.
        outputs: the tensors it gives.
        keras_version: the release that the file records, ``3.15.1``; in an HDF5 file of tf.keras
            such as ``2.2.4-tf``.
        backend: the backend that the file records (``.h5`` files do), else None.
        stated: what the file says of tensors that calls take (Keras 3 files do). It is a claim,
            and the only source of shapes behind layers that are not known.
    """

    name: str
    class_name: str
    layers: tuple[LayerRecord, ...]
    inputs: Structure
    outputs: Structure
    keras_version: str
    backend: str | None = None
    stated: Mapping[TensorRef, TensorSpec] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def n_parameters(self) -> int:
        """Numbers in all weights; those of a layer shared with a nested model count twice."""
        return sum(layer.n_parameters for layer in self.layers)

    def layer(self, name: str) -> LayerRecord:
        """Return the layer so named.

        Raises:
            KeyError: the model has none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"model {self.name!r} has no layer {name!r}")


def references(structure: Any) -> Iterator[TensorRef]:
    """Yield the references in a structure, in order."""
    if isinstance(structure, TensorRef):
        yield structure
    elif isinstance(structure, Mapping):
        for item in structure.values():
            yield from references(item)
    elif isinstance(structure, tuple):
        for item in structure:
            yield from references(item)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``array`` C-contiguous and read-only; a copy where somebody else may write to it."""
    kept = np.array(array, order="C", copy=True) if array.base is not None else array
    kept = np.asarray(kept, order="C")
    kept.flags.writeable = False
    return kept
