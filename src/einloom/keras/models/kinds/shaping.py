"""Layers without arithmetic: inputs, layers that pass their input on, and those that rearrange it.

Source: ``keras/src/layers/reshaping`` and ``regularization`` of Keras 3.15.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from einloom.keras.models.kinds.base import Kind, Shape, shape_text
from einloom.keras.models.kinds.fields import Fields
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import is_equal, product, quotient, text


@dataclass(frozen=True, slots=True)
class Input(Kind):
    """A model's input.

    Attributes:
        shape: batch axis included, None for extents that are not known; None for a shape that is
            not.
        dtype: of the values.
    """

    shape: tuple[int | None, ...] | None
    dtype: str

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ()
    MIN_INPUTS: ClassVar[int] = 0

    def output_shape(self, *inputs: Shape) -> Shape:
        """Refuse: an input's shape is a field.

        Raises:
            ShapeError: always.
        """
        raise ShapeError("an InputLayer takes no input")


def input_layer(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``InputLayer``.

    Keras 3 writes ``batch_shape``, Keras 2 ``batch_input_shape``.
    """
    name = "batch_shape" if "batch_shape" in fields.config else "batch_input_shape"
    shape = None
    if fields.get(name) is not None:
        shape = fields.extents(name, with_none=True)
    dtype = fields.get("dtype")
    if not (dtype is None or isinstance(dtype, str)):
        raise fields.wrong("dtype", "a dtype's name")
    fields.refuse_unless_default("sparse", False, "sparse input")
    fields.refuse_unless_default("ragged", False, "ragged input")
    return Input(shape, dtype or "float32")


@dataclass(frozen=True, slots=True)
class Identity(Kind):
    """A layer that does nothing at inference: a dropout, a noise, ``Identity``."""

    RANKS: ClassVar[tuple[int, int | None]] = (0, None)


def identity(fields: Fields) -> Kind:
    """Return the layer for the configuration of one that only matters in training."""
    return Identity()


@dataclass(frozen=True, slots=True)
class Flatten(Kind):
    """All axes but the batch joined, in row-major order.

    Attributes:
        channels_first: whether axis 1 is moved to the end before.
    """

    channels_first: bool

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return ``(batch, product of the rest)``; the product of none is 1."""
        self.check_inputs(*inputs)
        return (inputs[0][0], product(inputs[0][1:]))


def flatten(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Flatten``."""
    form = fields.choice("data_format", "channels_last", "channels_first", default="channels_last")
    return Flatten(form == "channels_first")


@dataclass(frozen=True, slots=True)
class Reshape(Kind):
    """The same elements in row-major order under another shape.

    Attributes:
        target: without the batch axis; at most one -1, which takes what is left.
    """

    target: tuple[int, ...]

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the batch extent and the target, its -1 resolved."""
        self.check_inputs(*inputs)
        shape = inputs[0]
        given = product(shape[1:])
        fixed = product(extent for extent in self.target if extent != -1)
        rest = quotient(given, fixed)
        has_rest = -1 in self.target
        fits = rest is not None if has_rest else is_equal(given, fixed) is not False
        if not fits:
            raise ShapeError(
                f"Reshape to {self.target} takes a multiple of {fixed} elements, but shape "
                f"{shape_text(shape)} has {text(given)} after its batch axis"
            )
        inner = tuple(
            rest if extent == -1 and rest is not None else extent for extent in self.target
        )
        return (shape[0], *inner)


def reshape(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Reshape``."""
    value = fields.get("target_shape")
    listed = value if isinstance(value, tuple) else (value,)
    target = tuple(n for n in listed if isinstance(n, int) and not isinstance(n, bool) and n >= -1)
    if len(target) != len(listed) or target.count(-1) > 1:
        raise fields.wrong("target_shape", "a list of extents with at most one -1")
    return Reshape(target)


@dataclass(frozen=True, slots=True)
class Permute(Kind):
    """Axes in another order.

    Attributes:
        order: which axis comes where, batch axis 0 included: output axis n is axis order[n].
    """

    order: tuple[int, ...]

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the extents in the new order."""
        self.check_inputs(*inputs)
        shape = inputs[0]
        if len(shape) != len(self.order):
            raise ShapeError(
                f"Permute of {len(self.order) - 1} axes cannot take shape {shape_text(shape)}"
            )
        return tuple(shape[axis] for axis in self.order)


def permute(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Permute``, whose axes count from 1."""
    axes = fields.axes("dims")
    if sorted(axes) != list(range(1, len(axes) + 1)):
        raise fields.wrong("dims", "a permutation of 1 to the number of axes")
    return Permute((0, *axes))


@dataclass(frozen=True, slots=True)
class RepeatVector(Kind):
    """A new axis after the batch axis, along which nothing changes.

    Attributes:
        times: its extent.
    """

    times: int

    RANKS: ClassVar[tuple[int, int | None]] = (2, 2)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return ``(batch, times, features)``."""
        self.check_inputs(*inputs)
        return (inputs[0][0], self.times, inputs[0][1])


def repeat_vector(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``RepeatVector``."""
    return RepeatVector(fields.integer("n"))


@dataclass(frozen=True, slots=True)
class Masking(Kind):
    """Positions whose features all have one value become 0, and do not count in later layers.

    Attributes:
        value: that value.
    """

    value: float

    RANKS: ClassVar[tuple[int, int | None]] = (2, None)


def masking(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``Masking``."""
    return Masking(fields.number("mask_value", 0.0))
