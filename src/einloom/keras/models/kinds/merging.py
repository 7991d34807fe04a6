"""Layers that merge several tensors: elementwise, by concatenation, by a batchwise product.

Source: ``keras/src/layers/merging`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape, same_extent, shape_text
from einloom.keras.models.kinds.fields import Fields
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent, is_equal


@dataclass(frozen=True, slots=True)
class Merge(Kind):
    """An elementwise function of several tensors, with broadcasting.

    Where ranks differ, the lower one gets extents of 1 after its batch axis.

    Attributes:
        function: ``add``, ``subtract``, ``multiply``, ``average``, ``maximum`` or ``minimum``.
        skips_masked: whether padded elements of some tensors leave products and extrema to the
            others, as in Keras 3; in Keras 2 they are elements like others.
    """

    function: str
    skips_masked: bool = True

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ("inputs",)
    MIN_INPUTS: ClassVar[int] = 1
    IS_VARIADIC: ClassVar[bool] = True

    def check_inputs(self, *inputs: Shape) -> None:
        """Check the number of inputs: two of a subtraction.

        Raises:
            ShapeError: there are others.
        """
        Kind.check_inputs(self, *inputs)
        if self.function == "subtract" and len(inputs) != 2:
            raise ShapeError(f"Subtract takes 2 inputs, not {len(inputs)}")

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the broadcast shape."""
        self.check_inputs(*inputs)
        rank = max(map(len, inputs))
        padded = [(shape[0], *(1,) * (rank - len(shape)), *shape[1:]) for shape in inputs]
        merged = padded[0]
        for number, shape in enumerate(padded[1:], 1):
            where = (
                f"{self.function} of shapes {shape_text(inputs[0])} and "
                f"{shape_text(inputs[number])}"
            )
            batch = same_extent(merged[0], shape[0], where)
            inner = (_broadcast(a, b, where) for a, b in zip(merged[1:], shape[1:], strict=True))
            merged = (batch, *inner)
        return merged


def merge(fields: Fields) -> Kind:
    """Return the layer for the configuration of an elementwise merge."""
    return Merge(fields.class_name.lower(), fields.is_keras_3)


def _broadcast(left: Extent, right: Extent, where: str) -> Extent:
    if is_equal(left, 1) is True:
        return right
    if is_equal(right, 1) is True:
        return left
    return same_extent(left, right, where)


@dataclass(frozen=True, slots=True)
class Concatenate(Kind):
    """Tensors one after the other along an axis.

    Attributes:
        axis: may be negative.
    """

    axis: int

    MIN_INPUTS: ClassVar[int] = 1
    IS_VARIADIC: ClassVar[bool] = True

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape with the extents along the axis summed; all others agree."""
        self.check_inputs(*inputs)
        axis = self.axis_of(self.axis, inputs[0])
        joined = inputs[0]
        for number, shape in enumerate(inputs[1:], 1):
            where = f"Concatenate of shapes {shape_text(inputs[0])} and {shape_text(shape)}"
            if len(shape) != len(joined):
                raise ShapeError(f"{where}: ranks differ (input {number})")
            joined = tuple(
                a + b if n == axis else same_extent(a, b, f"{where}, axis {n}")
                for n, (a, b) in enumerate(zip(joined, shape, strict=True))
            )
        return joined


def concatenate(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Concatenate``."""
    return Concatenate(fields.axis("axis"))


@dataclass(frozen=True, slots=True)
class Dot(Kind):
    """A product over one axis of each input, batchwise over the first axis only.

    Attributes:
        axes: one for each input; may be negative.
        normalize: whether each operand is divided by its L2 norm along its axis first.
        is_settled: whether the release that wrote the layer settles its meaning at all ranks. The
            layer calls ``K.batch_dot``, which before Keras 2.2.5 was a batched matrix product above
            rank 3 (on TensorFlow); what recorded 2.2.4-tf may be on either side.
    """

    axes: tuple[int, int]
    normalize: bool
    is_settled: bool

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ("x", "y")
    MIN_INPUTS: ClassVar[int] = 2
    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return batch, x's other extents, y's other extents; ``(batch, 1)`` for two vectors."""
        self.check_inputs(*inputs)
        x, y = inputs
        if not self.is_settled and max(len(x), len(y)) > 3:
            raise ShapeError(
                f"Dot of shapes {shape_text(x)} and {shape_text(y)} had two meanings in the Keras "
                "releases up to 2.2.4, and the file does not say which; load the model with the "
                "release that trained it, and write the product as layers of rank 3"
            )
        first, second = self.axis_of(self.axes[0], x, 1), self.axis_of(self.axes[1], y, 1)
        where = f"Dot of shapes {shape_text(x)} and {shape_text(y)} over axes {self.axes}"
        same_extent(x[first], y[second], where)
        batch = same_extent(x[0], y[0], where)
        inner = (
            *(extent for axis, extent in enumerate(x) if axis not in (0, first)),
            *(extent for axis, extent in enumerate(y) if axis not in (0, second)),
        )
        return (batch, *(inner or (1,)))


def dot(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Dot``."""
    axes = fields.axes("axes")
    if len(axes) > 2 or (len(axes) == 1 and isinstance(fields.get("axes"), tuple)):
        raise fields.wrong("axes", "one axis, or one for each of the two inputs")
    pair = (axes[0], axes[-1])
    return Dot(pair, fields.boolean("normalize", False), fields.release >= (2, 2, 5))
