"""What every known kind of layer says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent, is_equal, is_known, text

Shape: TypeAlias = tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one weight.

    Attributes:
        name: ``kernel``, or ``query/kernel``.
        part: the attribute of the layer that holds the weight, such as ``query_dense``; empty for
            the layer itself.
        is_trained: whether training changes it while its layer is trainable. HDF5 files list the
            trained weights first.
    """

    name: str
    part: str = ""
    is_trained: bool = True

    @property
    def last_name(self) -> str:
        """The variable's own name, ``kernel`` of ``query/kernel``."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Kind:
    """A known layer's configuration.

    A subclass states the class variables, and overrides ``output_shape``, and ``slots`` and
    ``weight_shapes`` where it has weights.

    Attributes:
        INPUT_NAMES: names of the tensors that a call takes; where IS_VARIADIC, one for all.
        MIN_INPUTS: how many of them must be given.
        RANKS: lowest and highest rank of each of them, batch axis included; None for no bound.
        IS_VARIADIC: whether any number of tensors of that kind may be given.
    """

    INPUT_NAMES: ClassVar[tuple[str, ...]] = ("inputs",)
    MIN_INPUTS: ClassVar[int] = 1
    RANKS: ClassVar[tuple[int, int | None]] = (1, None)
    IS_VARIADIC: ClassVar[bool] = False

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the output's shape, batch axis included.

        Args:
            inputs: shapes in the order of INPUT_NAMES; one that is left out of a call is left out.

        Raises:
            ShapeError: the layer cannot take such inputs.
        """
        self.check_inputs(*inputs)
        return inputs[0]

    def slots(self) -> tuple[Slot, ...]:
        """Return the places of its weights, in Keras's order."""
        return ()

    def stored(self) -> tuple[Slot, ...]:
        """Return the places of the variables that an archive holds, a part's in its order.

        They are those of ``slots``; a weight that two parts hold is stored with both.
        """
        return self.slots()

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the shapes of its weights, in the order of ``slots``.

        Args:
            inputs: as for ``output_shape``.

        Raises:
            ShapeError: the layer cannot take such inputs.
        """
        self.check_inputs(*inputs)
        return ()

    def check_inputs(self, *inputs: Shape) -> None:
        """Check the number of inputs and their ranks.

        Raises:
            ShapeError: naming what does not fit.
        """
        title = type(self).__name__
        most = None if self.IS_VARIADIC else len(self.INPUT_NAMES)
        if len(inputs) < self.MIN_INPUTS or (most is not None and len(inputs) > most):
            wanted = f"{self.MIN_INPUTS} or more" if most is None else _span(self.MIN_INPUTS, most)
            raise ShapeError(f"{title} takes {wanted} inputs, not {len(inputs)}")
        low, high = self.RANKS
        for number, shape in enumerate(inputs):
            if len(shape) < low or (high is not None and len(shape) > high):
                raise ShapeError(
                    f"{title} takes rank {_span(low, high)}, but {self.input_name(number)} has "
                    f"shape {shape_text(shape)}"
                )

    def input_name(self, number: int) -> str:
        """Return how messages call the input of that number."""
        return f"input {number}" if self.IS_VARIADIC else self.INPUT_NAMES[number]

    def axis_of(self, axis: int, shape: Shape, lowest: int = 0) -> int:
        """Return ``axis``, counted from the front.

        Raises:
            ShapeError: the shape has no such axis, or it lies before ``lowest``.
        """
        counted = axis + len(shape) if axis < 0 else axis
        if not lowest <= counted < len(shape):
            raise ShapeError(
                f"{type(self).__name__} works on axis {axis}, which the shape {shape_text(shape)} "
                f"does not have{'' if lowest == 0 else ' after its batch axis'}"
            )
        return counted

    def known_extent(self, shape: Shape, axis: int) -> int:
        """Return the extent of an axis that a weight's shape depends on.

        Raises:
            ShapeError: it is symbolic.
        """
        extent = shape[axis]
        if isinstance(extent, int):
            return extent
        raise ShapeError(
            f"{type(self).__name__} needs to know axis {axis} of its input, whose shape is "
            f"{shape_text(shape)}"
        )


def _span(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"


def shape_text(shape: Shape) -> str:
    """Return a shape for people: ``(B, 7, 16)``."""
    inner = ", ".join(map(text, shape))
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def same_extent(left: Extent, right: Extent, where: str) -> Extent:
    """Return the extent that both must be; a known one where either is.

    Raises:
        ShapeError: they differ at all sizes.
    """
    if is_equal(left, right) is False:
        raise ShapeError(f"{where}: extents {text(left)} and {text(right)} differ")
    return right if is_known(right) else left
