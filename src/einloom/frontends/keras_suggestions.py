"""What a user may have meant by a ``K.dot`` whose extents do not fit: calls that do fit.

Each proposal is built before it is shown, so none can fail as the original call did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from einloom.expression import Expression, spec
from einloom.frontends.letters import shape_text
from einloom_compiler.errors import EinloomError
from einloom_compiler.extents import is_equal, text
from einloom_compiler.ir.graph import Shape

#: More would bury the message.
_MOST_OF_A_KIND = 3


@dataclass(frozen=True, slots=True)
class FittingCall:
    """A call that fits, and the shape that it gives.

    Attributes:
        written: as a user types it, operands called x and y.
        shape: shape of its result.
        note: what it contracts, in words.
    """

    written: str
    shape: Shape
    note: str


def fitting_calls(x: Expression, y: Expression) -> list[FittingCall]:
    """Return calls close to ``K.dot(x, y)`` that accept the operands.

    Tried are K.dot with one operand's axes permuted, K.batch_dot over axes of equal extent, and the
    contraction of all axes of equal extents that can be paired.
    """
    x, y = spec(x.shape, dtype=x.dtype, name="x"), spec(y.shape, dtype=y.dtype, name="y")
    kinds = (_permuted_y(x, y), _permuted_x(x, y), _batched(x, y), _paired(x, y))
    found: list[FittingCall] = []
    for kind in kinds:
        fitting = [call for call in map(_tried, kind) if call is not None]
        found.extend(fitting[:_MOST_OF_A_KIND])
    return found


_Trial = tuple[str, str, Callable[[], Expression]]


def _tried(trial: _Trial) -> FittingCall | None:
    written, note, build = trial
    try:
        return FittingCall(written, build().shape, note)
    except EinloomError:
        return None


def _permuted_y(x: Expression, y: Expression) -> list[_Trial]:
    from einloom.frontends.keras_dot import dot
    from einloom.frontends.keras_tensors import permute_dimensions

    trials: list[_Trial] = []
    for axis in range(y.ndim):
        if axis == y.ndim - 2 or is_equal(x.shape[-1], y.shape[axis]) is not True:
            continue
        rest = [other for other in range(y.ndim) if other != axis]
        order = (*rest[:-1], axis, rest[-1])
        trials.append(
            (
                f"K.dot(x, K.permute_dimensions(y, {order}))",
                f"axis {axis} of y, of extent {text(y.shape[axis])}",
                lambda order=order: dot(x, permute_dimensions(y, order)),  # type: ignore[misc]
            )
        )
    return trials


def _permuted_x(x: Expression, y: Expression) -> list[_Trial]:
    from einloom.frontends.keras_dot import dot
    from einloom.frontends.keras_tensors import permute_dimensions

    trials: list[_Trial] = []
    for axis in range(x.ndim - 1):
        if is_equal(x.shape[axis], y.shape[-2]) is not True:
            continue
        order = (*(other for other in range(x.ndim) if other != axis), axis)
        trials.append(
            (
                f"K.dot(K.permute_dimensions(x, {order}), y)",
                f"axis {axis} of x, of extent {text(x.shape[axis])}",
                lambda order=order: dot(permute_dimensions(x, order), y),  # type: ignore[misc]
            )
        )
    return trials


def _batched(x: Expression, y: Expression) -> list[_Trial]:
    from einloom.frontends.keras_batch_dot import batch_dot

    trials: list[_Trial] = []
    if is_equal(x.shape[0], y.shape[0]) is not True:
        return trials
    for left in range(1, x.ndim):
        for right in range(1, y.ndim):
            if is_equal(x.shape[left], y.shape[right]) is True:
                axes = (left, right)
                trials.append(
                    (
                        f"K.batch_dot(x, y, axes={axes}, version='2.2.5')",
                        f"axis {left} of x with axis {right} of y, batched over axis 0",
                        lambda axes=axes: batch_dot(x, y, axes, "2.2.5"),  # type: ignore[misc]
                    )
                )
    return trials


def _paired(x: Expression, y: Expression) -> list[_Trial]:
    """Pair each axis of x, from the last, with the first free axis of y of the same extent."""
    from einloom.frontends.keras_ops import tensordot

    free = list(range(y.ndim))
    pairs: list[tuple[int, int]] = []
    for left in range(x.ndim - 1, -1, -1):
        right = next((r for r in free if is_equal(x.shape[left], y.shape[r]) is True), None)
        if right is not None:
            free.remove(right)
            pairs.append((left, right))
    pairs.sort()
    lefts, rights = [left for left, _ in pairs], [right for _, right in pairs]
    trials: list[_Trial] = []
    if len(pairs) > 1:
        trials.append(
            (
                f"einloom.keras.ops.tensordot(x, y, axes=({lefts}, {rights}))",
                f"all axes of {shape_text(x.shape)} and {shape_text(y.shape)} that pair up",
                lambda: tensordot(x, y, axes=[lefts, rights]),
            )
        )
    return trials
