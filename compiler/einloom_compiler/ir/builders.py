"""Builders of the usual :class:`~.graph.Rows`: softmax, norms, and reductions along axes.

Each takes a node and the axes that it runs along, negative ones counted from the last, and returns
a node. Dtypes are the node's own; a front end that wants another one casts before. Sources: the
definitions in the documentation of ``torch.nn.functional`` and ``keras.layers`` for softmax and
norms, of NumPy for the reductions.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import index as as_integer
from typing import Literal

import numpy as np

from einloom_compiler.dtypes import AnyDType
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError
from einloom_compiler.extents import Extent, is_equal, text
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Iota, Node, Reduction, Rows, Strided, ViewAxis
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of

Kind = Literal["sum", "mean", "max", "min", "prod"]
Axes = int | Iterable[int] | None

_X = Value(0)
_LETTERS = "bcdefghijklmnopqrstuvwxyz"


def normalized_axes(node: Node, axes: Axes, caller: str) -> tuple[int, ...]:
    """Return the axes as non-negative numbers in the order given; None means all of them.

    Raises:
        AxisError: an axis lies outside the node's rank.
        SpecError: an axis is named twice.
    """
    rank = len(shape_of(node))
    if axes is None:
        return tuple(range(rank))
    given = tuple(axes) if isinstance(axes, Iterable) else (axes,)
    found = []
    for axis in map(as_integer, given):
        if not -rank <= axis < rank:
            raise AxisError(
                f"{caller}: axis {axis} lies outside an operand of rank {rank}; give one from "
                f"{-rank} to {rank - 1}"
            )
        found.append(axis % rank)
    if len(set(found)) < len(found):
        raise SpecError(f"{caller}: axes {given} name one axis twice; name each once")
    return tuple(found)


def reduce(node: Node, kind: Kind, axes: Axes = None, keepdims: bool = False) -> Node:
    """Return the sum, mean, maximum, minimum or product along axes.

    ``keepdims`` leaves reduced axes at extent 1.

    Raises:
        AxisError, SpecError: as :func:`normalized_axes`.
        DTypeError: the mean of integers, whose dtype the front end must choose.
    """
    if kind == "mean":
        _require_mean(node)
    return _reduced(node, axes, keepdims, kind, (Reduction(kind, _X),), Value(1))


def scan(node: Node, kind: Literal["sum", "prod"], axis: int) -> Rows:
    """Return, at each place along an axis, the sum or product of the elements up to it.

    Raises:
        AxisError, SpecError: as :func:`normalized_axes`.
    """
    reductions = (Reduction(kind, _X, is_running=True),)
    return _rows(node, axis, f"cum{kind}", reductions, Value(1))


def holds(
    node: Node, kind: Literal["any", "all"], axes: Axes = None, keepdims: bool = False
) -> Node:
    """Return whether any or all bools along axes hold; of nothing, all do and none does.

    Raises:
        AxisError, SpecError: as :func:`normalized_axes`.
    """
    fails = combined("equal", _X, Number(0.0))
    value, body = (fails, combined("equal", Value(1), Number(0.0)))
    if kind == "all":
        value, body = combined("not_equal", _X, Number(0.0)), Value(1)
    dtypes = np.dtype("uint8"), np.dtype(bool)
    return _reduced(node, axes, keepdims, kind, (Reduction("prod", value),), body, dtypes)


def position(node: Node, kind: Literal["max", "min"], axis: int) -> Rows:
    """Return where along an axis the largest or smallest element is, the first of several.

    A NaN is both, as in NumPy. The result is int64.

    Raises:
        AxisError, SpecError: as :func:`normalized_axes`.
        DTypeError: numbers of the dtype have no order.
    """
    shape, dtype = shape_of(node), dtype_of(node)
    (along,) = normalized_axes(node, axis, f"arg{kind}")
    if dtype is not None and dtype.kind == "c":
        raise DTypeError(f"arg{kind}: {dtype.name} numbers have no order; compare absolute values")
    term = _indices(len(shape))
    is_best = combined("equal", _X, Value(2))
    beyond = float(2**62)
    if dtype is None or dtype.kind not in "biu":
        is_best = combined("maximum", is_best, combined("not_equal", _X, _X))
        beyond = float("inf")
    first = combined("where", is_best, Value(1), Number(beyond))
    return Rows(
        operands=(node, Iota(shape[along], np.dtype("int64"))),
        terms=(term, (term[along],)),
        output=tuple(index for number, index in enumerate(term) if number != along),
        reduced=(term[along],),
        reductions=(Reduction(kind, _X), Reduction("min", first)),
        body=Value(3),
        dtype=_counting_dtype(dtype, shape[along]),
        result=None if dtype is None else np.dtype("int64"),
    )


def _counting_dtype(dtype: AnyDType | None, extent: Extent) -> AnyDType | None:
    """Return a dtype that holds both elements and positions up to ``extent``."""
    if dtype is None or dtype.name == "uint64":
        return dtype
    if dtype.kind in "biu":
        return np.dtype("int64")
    is_short = isinstance(extent, int) and extent <= 2**24
    return np.dtype("float32" if is_short and dtype.name != "float64" else "float64")


def variance(node: Node, axes: Axes = None, keepdims: bool = False) -> Node:
    """Return the mean squared distance from the mean along axes.

    Raises:
        AxisError, SpecError: as :func:`reduce`.
        DTypeError: the operand has integers, whose mean's dtype the front end must choose, or
            complex numbers, whose variance is real.
    """
    _require_mean(node)
    dtype = dtype_of(node)
    if dtype is not None and dtype.kind == "c":
        raise DTypeError(
            f"the variance of {dtype.name} is not computed; add those of the real and the "
            "imaginary parts"
        )
    return _reduced(node, axes, keepdims, "variance", _MOMENTS, Value(2))


def logsumexp(node: Node, axes: Axes = None, keepdims: bool = False) -> Node:
    """Return the logarithm of the sum of exponentials along axes, without overflow.

    Raises:
        AxisError, SpecError: as :func:`normalized_axes`.
    """
    # A row of nothing but -inf, or with an infinity, is not shifted: inf - inf would be NaN.
    is_finite = combined("less", Mapped(make_map("abs"), Value(1)), Number(float("inf")))
    shift = combined("where", is_finite, Value(1), Number(0.0))
    total = Reduction("sum", _exp(combined("subtract", _X, shift)))
    # NaN is not below infinity either, and its sum is NaN unshifted, too.
    body = combined("add", Mapped(make_map("log"), Value(2)), shift)
    return _reduced(node, axes, keepdims, "logsumexp", (Reduction("max", _X), total), body)


def softmax(node: Node, axes: Axes = -1) -> Rows:
    """Return exponentials divided by their sum along axes, shifted by the maximum.

    Raises:
        AxisError, SpecError: as :func:`normalized_axes`, or no axis is given.
    """
    shifted = _exp(combined("subtract", _X, Value(1)))
    body = combined("divide", shifted, Value(2))
    reductions = (Reduction("max", _X), Reduction("sum", shifted))
    return _rows(node, axes, "softmax", reductions, body)


def log_softmax(node: Node, axes: Axes = -1) -> Rows:
    """Return the logarithm of :func:`softmax`, computed without dividing.

    Raises:
        AxisError, SpecError: as :func:`softmax`.
    """
    shifted = combined("subtract", _X, Value(1))
    body = combined("subtract", shifted, Mapped(make_map("log"), Value(2)))
    reductions = (Reduction("max", _X), Reduction("sum", _exp(shifted)))
    return _rows(node, axes, "log_softmax", reductions, body)


def layer_norm(
    node: Node,
    axes: Axes = -1,
    epsilon: float = 1e-3,
    gamma: Node | None = None,
    beta: Node | None = None,
) -> Rows:
    """Return ``(x - mean) * rsqrt(variance + epsilon) * gamma + beta`` along axes.

    ``gamma`` and ``beta`` have the shape of the normalised axes, in the order of ``axes``. The
    variance is the mean of squared distances from the mean, in a second pass.

    Raises:
        AxisError, SpecError: as :func:`softmax`.
        ShapeError: ``gamma`` or ``beta`` has another shape.
        DTypeError: as :func:`reduce`.
    """
    _require_mean(node)
    first = 1 + (gamma is not None) + (beta is not None)
    center = combined("subtract", _X, Value(first))
    square = Mapped(make_map("square"), center)
    reductions = (Reduction("mean", _X), Reduction("mean", square))
    raised = combined("add", Value(first + 1), Number(epsilon))
    body = combined("multiply", center, Mapped(make_map("rsqrt"), raised))
    return _rows(node, axes, "layer_norm", reductions, *_scaled(body, gamma, beta))


def rms_norm(node: Node, axes: Axes = -1, epsilon: float = 1e-6, gamma: Node | None = None) -> Rows:
    """Return ``x * rsqrt(mean(x * x) + epsilon) * gamma`` along axes.

    Raises:
        AxisError, SpecError, ShapeError, DTypeError: as :func:`layer_norm`.
    """
    _require_mean(node)
    first = 1 + (gamma is not None)
    raised = combined("add", Value(first), Number(epsilon))
    body = combined("multiply", _X, Mapped(make_map("rsqrt"), raised))
    reductions = (Reduction("mean", Mapped(make_map("square"), _X)),)
    return _rows(node, axes, "rms_norm", reductions, *_scaled(body, gamma, None))


def l2_normalize(node: Node, axes: Axes = -1, epsilon: float = 1e-12) -> Rows:
    """Return ``x * rsqrt(max(sum(x * x), epsilon))`` along axes, as ``tf.math.l2_normalize``.

    Raises:
        AxisError, SpecError: as :func:`softmax`.
    """
    total = Reduction("sum", Mapped(make_map("square"), _X))
    at_least = combined("maximum", Value(1), Number(epsilon))
    body = combined("multiply", _X, Mapped(make_map("rsqrt"), at_least))
    return _rows(node, axes, "l2_normalize", (total,), body)


#: Mean and variance of operand 0, the only one.
_MOMENTS = (
    Reduction("mean", _X),
    Reduction("mean", Mapped(make_map("square"), combined("subtract", _X, Value(1)))),
)


def _exp(value: Scalar) -> Scalar:
    return Mapped(make_map("exp"), value)


def _scaled(
    body: Scalar, gamma: Node | None, beta: Node | None
) -> tuple[Scalar, tuple[tuple[str, Node], ...]]:
    """Return the body scaled and shifted by the operands after the first, and these."""
    further: list[tuple[str, Node]] = []
    if gamma is not None:
        further.append(("gamma", gamma))
        body = combined("multiply", body, Value(len(further)))
    if beta is not None:
        further.append(("beta", beta))
        body = combined("add", body, Value(len(further)))
    return body, tuple(further)


def _indices(rank: int) -> Term:
    return tuple(Index(_LETTERS[n % len(_LETTERS)], n // len(_LETTERS)) for n in range(rank))


def _rows(
    node: Node,
    axes: Axes,
    caller: str,
    reductions: tuple[Reduction, ...],
    body: Scalar,
    further: tuple[tuple[str, Node], ...] = (),
) -> Rows:
    """Return the rows of the node, all elements stored; further operands have the axes' shape."""
    shape = shape_of(node)
    along = normalized_axes(node, axes, caller)
    if not along:
        raise SpecError(f"{caller}: no axis is given (operand of rank {len(shape)}); give one")
    for name, operand in further:
        given, wanted = shape_of(operand), tuple(shape[axis] for axis in along)
        pairs = zip(given, wanted, strict=False)
        if len(given) != len(wanted) or any(is_equal(a, b) is False for a, b in pairs):
            shown = ["(" + ", ".join(map(text, extents)) + ")" for extents in (given, wanted)]
            raise ShapeError(
                f"{caller}: {name} has shape {shown[0]}, but axes {along} of the operand have "
                f"extents {shown[1]}; give {name} that shape"
            )
    term = _indices(len(shape))
    reduced = tuple(term[axis] for axis in along)
    return Rows(
        operands=(node, *(operand for _, operand in further)),
        terms=(term, *(reduced for _ in further)),
        output=term,
        reduced=reduced,
        reductions=reductions,
        body=body,
        dtype=dtype_of(node),
    )


def _reduced(
    node: Node,
    axes: Axes,
    keepdims: bool,
    caller: str,
    reductions: tuple[Reduction, ...],
    body: Scalar,
    dtypes: tuple[AnyDType, AnyDType] | None = None,
) -> Node:
    """Return one result a row. Without an axis, each element is a row: of a view with one more."""
    shape = shape_of(node)
    along = normalized_axes(node, axes, caller)
    starts = (0,) * len(shape)
    if not along:
        kept = tuple(ViewAxis(extent, axis) for axis, extent in enumerate(shape))
        along, keepdims = (len(shape),), False
        node = Strided(node, starts, (*kept, ViewAxis(1)))
    term = _indices(len(shape_of(node)))
    output = tuple(index for axis, index in enumerate(term) if axis not in along)
    reduced = tuple(term[axis] for axis in along)
    dtype, result = dtypes or (dtype_of(node), None)
    rows = Rows((node,), (term,), output, reduced, reductions, body, dtype, result)
    if not keepdims:
        return rows
    sources = iter(range(len(output)))
    view = tuple(
        ViewAxis(1) if axis in along else ViewAxis(extent, next(sources))
        for axis, extent in enumerate(shape)
    )
    return Strided(rows, (0,) * len(output), view)


def _require_mean(node: Node) -> None:
    dtype = dtype_of(node)
    if dtype is not None and dtype.kind in "biu":
        raise DTypeError(
            f"a mean of {dtype.name} is no {dtype.name}; cast the operand to a float first, or "
            "take the sum"
        )
