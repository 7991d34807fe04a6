"""Position axes: where they are, and how many windows fit along them.

Source: ``keras/src/ops/operation_utils.py`` of Keras 3.15.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from einloom.keras.models.kinds.base import Kind, Shape, shape_text
from einloom.keras.models.kinds.fields import Fields
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import Extent, text


def rank_of(fields: Fields) -> int:
    """Return the number of position axes, which the class's name states: ``Conv2DTranspose``."""
    return int(fields.class_name.removesuffix("Transpose")[-2])


def position_axes(rank: int, channels_first: bool) -> tuple[int, ...]:
    """Return the position axes: those before or behind the channels."""
    return tuple(range(2, 2 + rank)) if channels_first else tuple(range(1, 1 + rank))


def check_rank(kind: Kind, shape: Shape, rank: int) -> None:
    """Check that a shape is batch, positions and channels.

    Raises:
        ShapeError: it has more or fewer axes.
    """
    if len(shape) != rank + 2:
        raise ShapeError(
            f"{type(kind).__name__} along {rank} axes takes rank {rank + 2}, but inputs has shape "
            f"{shape_text(shape)}"
        )


def channels_first(fields: Fields) -> bool:
    """Return whether the positions come after the channels."""
    form = fields.choice("data_format", "channels_last", "channels_first", default="channels_last")
    return form == "channels_first"


def window_counts(
    kind: Kind,
    shape: Shape,
    positions: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
    padding: str,
) -> tuple[Extent, ...]:
    """Return the number of windows along each position axis.

    Raises:
        ShapeError: an axis is shorter than a window.
    """
    found: list[Extent] = []
    for axis, across, step in zip(positions, reach, stride, strict=True):
        length = shape[axis]
        if padding != "valid":
            found.append(_quotient_below(length + step - 1, step))
            continue
        if isinstance(length, int) and length < across:
            raise ShapeError(
                f"{type(kind).__name__} with windows that reach over {across} elements cannot take "
                f"a sequence of {text(length)} (shape {shape_text(shape)})"
            )
        found.append(_quotient_below(length - across, step) + 1)
    return tuple(found)


def with_positions(
    shape: Shape, positions: Sequence[int], extents: Sequence[Extent]
) -> tuple[Extent, ...]:
    """Return the shape with other extents along the position axes."""
    result = list(shape)
    for axis, extent in zip(positions, extents, strict=True):
        result[axis] = extent
    return tuple(result)


def _quotient_below(dividend: Extent, divisor: int) -> Extent:
    return dividend if divisor == 1 else dividend // divisor
