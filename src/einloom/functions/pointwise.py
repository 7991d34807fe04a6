"""Functions of corresponding elements: arithmetic, activations, ``cast``.

Operands broadcast as NumPy's do; a symbolic extent stands for a longer one only where it is a plain
1. Dtypes promote as NumPy's: Python numbers take the arrays' dtype, and integers become floats
where a function needs them. Activations mean what they mean in Keras 3.
"""

from __future__ import annotations

import functools
import inspect
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom.frontends.build import check_names, contract
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import letters
from einloom.frontends.values import numpy_scalar
from einloom.functions.promotion import inexact, promoted, quotient_dtype
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.errors import DTypeError, ShapeError
from einloom_compiler.extents import Extent, is_equal, text
from einloom_compiler.ir.einsum import Index
from einloom_compiler.ir.graph import Elementwise, Node, Strided, ViewAxis
from einloom_compiler.ir.maps import MAPS, Definition, make_map
from einloom_compiler.ir.scalar import Combined, Mapped, Number, Scalar, Value, check_scalar
from einloom_compiler.ir.shapes import index_extents


def elementwise(
    body: Callable[..., Scalar],
    operands: Sequence[Any],
    dtype: AnyDType | None,
    result: AnyDType | None = None,
) -> Expression:
    """Return a function of corresponding elements.

    Args:
        body: makes the scalar expression of the operands' elements.
        operands: at least one expression; numbers become part of the body.
        dtype: that it is computed in; None while one is not settled.
        result: dtype of the result where it is another.

    Raises:
        ShapeError: shapes do not broadcast.
        DTypeError: the function is not defined for ``dtype``, or a number is none of it.
    """
    tensors = [operand for operand in operands if isinstance(operand, Expression)]
    positions = iter(range(len(tensors)))
    values = [
        Value(next(positions)) if isinstance(operand, Expression) else _number(operand, dtype)
        for operand in operands
    ]
    scalar = body(*values)
    if dtype is not None:
        computed = as_dtype("uint8") if dtype.kind == "b" else dtype
        result = dtype if dtype.kind == "b" and result is None else result
        dtype = computed
        check_scalar(scalar, dtype_name(dtype))
    shape = broadcast_shape([tensor.shape for tensor in tensors])
    output = tuple(Index(chr(97 + n % 26), n // 26) for n in range(len(shape)))
    nodes, terms = [], []
    for tensor in tensors:
        node, kept = aligned(tensor.node, shape)
        nodes.append(node)
        terms.append(tuple(output[axis] for axis in kept))
    made = Elementwise(scalar, tuple(nodes), tuple(terms), output, dtype, result)
    index_extents(made)
    check_names(tensors)
    return Expression(made)


def broadcast_shape(shapes: Sequence[Sequence[Extent]]) -> tuple[Extent, ...]:
    """Return the common shape that these broadcast to, axes counted from the last.

    Raises:
        ShapeError: two extents differ and none is 1.
    """
    rank = max(map(len, shapes))
    found: list[Extent] = [1] * rank
    for number, shape in enumerate(shapes):
        for axis, extent in enumerate(shape, start=rank - len(shape)):
            known = found[axis]
            if is_equal(extent, 1) is True:
                continue
            if is_equal(known, 1) is not True and is_equal(known, extent) is False:
                shown = ", ".join(f"({', '.join(map(text, shape))})" for shape in shapes)
                raise ShapeError(
                    f"operands of shapes {shown} do not broadcast: axis {axis - rank} of operand "
                    f"{number} has extent {text(extent)}, but {text(known)} before; extents must "
                    "be equal, or 1"
                )
            if is_equal(known, 1) is True or isinstance(extent, int):
                found[axis] = extent
    return tuple(found)


def aligned(node: Node, shape: Sequence[Extent]) -> tuple[Node, tuple[int, ...]]:
    """Return a view without the axes of extent 1 that stand for longer ones of ``shape``.

    The second is the axis of ``shape`` that each axis of the view is.
    """
    own = Expression(node).shape
    first = len(shape) - len(own)
    kept = [
        axis
        for axis, extent in enumerate(own)
        if is_equal(extent, 1) is not True or is_equal(shape[first + axis], 1) is True
    ]
    if len(kept) < len(own):
        axes = tuple(ViewAxis(own[axis], axis) for axis in kept)
        node = Strided(node, (0,) * len(own), axes)
    return node, tuple(first + axis for axis in kept)


def _number(value: Any, dtype: AnyDType | None) -> Scalar:
    if isinstance(value, complex):
        if value.imag:
            raise DTypeError(f"the number {value} has an imaginary part; pass an array of it")
        value = value.real
    if isinstance(value, int) and int(float(value)) != value:
        raise DTypeError(f"the number {value} is no double; pass an array of it")
    del dtype
    return Number(float(value))


def _combine(function: str) -> Callable[..., Scalar]:
    return lambda *arguments: Combined(function, arguments)


# --- arithmetic ----------------------------------------------------------------------------------

pointwise = functools.partial(frontend, finish=numpy_scalar, keeps_numbers=True)


@pointwise("functions.add", operands=("x", "y"))
def add(x: Any, y: Any) -> Any:
    """Return ``x + y``; of bools, whether one holds.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    dtype = promoted(x, y)
    return elementwise(_combine("maximum" if _is_bool(dtype) else "add"), (x, y), dtype)


@pointwise("functions.subtract", operands=("x", "y"))
def subtract(x: Any, y: Any) -> Any:
    """Return ``x - y``.

    Raises:
        DTypeError: both are bools.
        ShapeError: the shapes do not broadcast.
    """
    dtype = promoted(x, y)
    if _is_bool(dtype):
        raise DTypeError("bools are not subtracted; use not_equal, or cast them")
    return elementwise(_combine("subtract"), (x, y), dtype)


@pointwise("functions.multiply", operands=("x", "y"))
def multiply(x: Any, y: Any) -> Any:
    """Return ``x * y``; of bools, whether both hold.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    dtype = promoted(x, y)
    return elementwise(_combine("minimum" if _is_bool(dtype) else "multiply"), (x, y), dtype)


@pointwise("functions.divide", operands=("x", "y"))
def divide(x: Any, y: Any) -> Any:
    """Return the true quotient ``x / y``; integers are divided in float64.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    return elementwise(_combine("divide"), (x, y), quotient_dtype(x, y))


@pointwise("functions.power", operands=("x", "y"))
def power(x: Any, y: Any) -> Any:
    """Return ``x ** y``; numbers 2, 1/2, 1 and -1 are taken as what they are.

    Raises:
        DTypeError: both are integers, but for those exponents.
    """
    dtype = promoted(x, y)
    plain: dict[float, str] = {2: "square", 1: "linear"}
    if dtype is None or dtype.kind in "fc" or dtype.name == "bfloat16":
        plain |= {0.5: "sqrt", -1: "reciprocal"}
    if isinstance(y, bool | int | float) and y in plain:
        step = make_map(plain[y])
        return elementwise(lambda value: Mapped(step, value), (x,), dtype)
    return elementwise(_combine("power"), (x, y), dtype)


@pointwise("functions.maximum", operands=("x", "y"))
def maximum(x: Any, y: Any) -> Any:
    """Return the larger of each pair; NaN where one is.

    Raises:
        DTypeError: an operand is complex.
        ShapeError: the shapes do not broadcast.
    """
    return elementwise(_combine("maximum"), (x, y), promoted(x, y))


@pointwise("functions.minimum", operands=("x", "y"))
def minimum(x: Any, y: Any) -> Any:
    """Return the smaller of each pair; NaN where one is.

    Raises:
        DTypeError: an operand is complex.
        ShapeError: the shapes do not broadcast.
    """
    return elementwise(_combine("minimum"), (x, y), promoted(x, y))


@pointwise("functions.clip", operands=("x", "low", "high"))
def clip(x: Any, low: Any, high: Any) -> Any:
    """Return x, but at least ``low`` and at most ``high``, where they are given.

    Raises:
        DTypeError: an operand is complex.
        ShapeError: the shapes do not broadcast.
    """
    bounds = [bound for bound in (low, high) if bound is not None]

    def body(value: Scalar, *given: Scalar) -> Scalar:
        rest = list(given)
        if low is not None:
            value = Combined("maximum", (value, rest.pop(0)))
        return Combined("minimum", (value, rest[0])) if rest else value

    return elementwise(body, (x, *bounds), promoted(x, *bounds))


# --- casts ---------------------------------------------------------------------------------------

#: The dtype of conditions.
BOOL = np.dtype(bool)


def holds(value: Scalar) -> Scalar:
    """Return whether a number is not 0."""
    return Combined("not_equal", (value, Number(0.0)))


@pointwise("functions.cast", operands=("x",))
def cast(x: Any, dtype: Any) -> Any:
    """Return x in another dtype; as bool, whether it is not 0.

    Raises:
        DTypeError: ``dtype`` names none, or x is complex and it is not.
    """
    target = as_dtype(dtype)
    if x.dtype == target:
        return x
    if x.dtype is None:
        return elementwise(lambda value: value, (x,), None)
    if target.kind == "b":
        return elementwise(holds, (x,), x.dtype, BOOL)
    if x.dtype.kind == "c" and target.kind != "c":
        raise DTypeError(f"casting {x.dtype} to {target} drops imaginary parts; take the real part")
    return elementwise(lambda value: value, (x,), target)


@pointwise("functions.conj", operands=("x",))
def conj(x: Any) -> Any:
    """Return the complex conjugate; real numbers are as they are."""
    if x.dtype is not None and x.dtype.kind != "c":
        return x
    term = letters(x.ndim)
    return contract(f"{term}->{term}", x, dtype=x.dtype, conjugated=(True,))


# --- maps ----------------------------------------------------------------------------------------


def _map(name: str, doc: str, function: str = "") -> Callable[..., Any]:
    """Return the front-end function of a map, its parameters after x."""
    definition = MAPS[function or name]

    def build(x: Any, *values: float | None) -> Any:
        given = zip(definition.parameters, values, strict=True)
        named = {key: value for (key, _), value in given if value is not None}
        step = make_map(definition.name, **named)
        dtype = promoted(x)
        if dtype is not None and dtype.kind in "biu" and not set("iu") & set(definition.kinds):
            dtype = inexact(dtype)
        return elementwise(lambda value: Mapped(step, value), (x,), dtype)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("x", kind, annotation=Any)]
    for parameter, default in definition.parameters:
        # No bound is None, as in Keras, not infinity, which JSON cannot say.
        is_unbounded = default is not None and math.isinf(default)
        shown: Any = inspect.Parameter.empty if default is None else default
        shown = None if is_unbounded else shown
        parameters.append(inspect.Parameter(parameter, kind, default=shown, annotation=float))
    build.__signature__ = inspect.Signature(parameters, return_annotation=Any)  # type: ignore[attr-defined]
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{doc}\n\n{_map_notes(definition)}"
    return pointwise(f"functions.{name}", operands=("x",))(build)


def _map_notes(definition: Definition) -> str:
    """Return what a map's documentation says of shapes, dtypes and errors."""
    kept = {"i": "signed integers", "u": "unsigned integers", "c": "complex numbers"}
    keeps = ", ".join(["floats", *(kept[kind] for kind in definition.kinds if kind in kept)])
    notes = [f"The result has the shape of ``x``; {keeps} keep their dtype."]
    if not set("iu") & set(definition.kinds):
        notes.append("Integers and bools become floats, as in NumPy.")
    given = [
        name if value is None or math.isinf(value) else f"{name}={value:g}"
        for name, value in definition.parameters
    ]
    if given:
        notes.append(f"Numbers beside it: {', '.join(given)}.")
    told = textwrap.fill(" ".join(notes), 100)
    return f"{told}\n\nRaises:\n    DTypeError: the function is not defined for x's dtype."


negative = _map("negative", "Return ``-x``.")
absolute = _map("absolute", "Return the absolute value.", "abs")
sign = _map("sign", "Return 1 where x is positive, -1 where it is negative, else x.")
floor = _map("floor", "Return the greatest integer that is at most x.")
ceil = _map("ceil", "Return the least integer that is at least x.")
round = _map("round", "Return the nearest integer, the even one of two.")
square = _map("square", "Return ``x * x``.")
sqrt = _map("sqrt", "Return the square root.")
rsqrt = _map("rsqrt", "Return ``1 / sqrt(x)``.")
reciprocal = _map("reciprocal", "Return ``1 / x``.")
exp = _map("exp", "Return the exponential.")
expm1 = _map("expm1", "Return ``exp(x) - 1``, exact near 0.")
log = _map("log", "Return the natural logarithm.")
log1p = _map("log1p", "Return ``log(1 + x)``, exact near 0.")
sin = _map("sin", "Return the sine.")
cos = _map("cos", "Return the cosine.")
erf = _map("erf", "Return the error function.")
tanh = _map("tanh", "Return the hyperbolic tangent.")
sigmoid = _map("sigmoid", "Return ``1 / (1 + exp(-x))``.")
log_sigmoid = _map("log_sigmoid", "Return the logarithm of the sigmoid.")
relu = _map("relu", "Return x where it is positive, else 0; slope, top and threshold as Keras's.")
relu6 = _map("relu6", "Return x between 0 and 6.")
leaky_relu = _map("leaky_relu", "Return x where it is positive, else ``negative_slope * x``.")
elu = _map("elu", "Return x where it is positive, else ``alpha * (exp(x) - 1)``.")
selu = _map("selu", "Return the scaled exponential linear unit.")
celu = _map("celu", "Return x where it is positive, else ``alpha * (exp(x / alpha) - 1)``.")
silu = _map("silu", "Return ``x * sigmoid(x)``, also called swish.")
mish = _map("mish", "Return ``x * tanh(softplus(x))``.")
softplus = _map("softplus", "Return ``log(1 + exp(x))``.")
softsign = _map("softsign", "Return ``x / (1 + abs(x))``.")
squareplus = _map("squareplus", "Return ``(x + sqrt(x * x + b)) / 2``.")
hard_sigmoid = _map("hard_sigmoid", "Return ``relu6(x + 3) / 6``.")
hard_silu = _map("hard_silu", "Return ``x * hard_sigmoid(x)``.")
hard_tanh = _map("hard_tanh", "Return x between ``low`` and ``high``.")
hard_shrink = _map("hard_shrink", "Return x where it is beyond the threshold, else 0.")
soft_shrink = _map("soft_shrink", "Return x moved towards 0 by the threshold.")
tanh_shrink = _map("tanh_shrink", "Return ``x - tanh(x)``.")
sparse_plus = _map("sparse_plus", "Return Keras's sparse_plus.")
sparse_sigmoid = _map("sparse_sigmoid", "Return x between -1 and 1, scaled to 0 to 1.")
threshold = _map("threshold", "Return x where it is above the threshold, else a default value.")


@pointwise("functions.gelu", operands=("x",))
def gelu(x: Any, approximate: bool = False) -> Any:
    """Return ``x * Phi(x)`` with the normal distribution's Phi, or its approximation by tanh."""
    step = make_map("gelu_tanh" if approximate else "gelu")
    return elementwise(lambda value: Mapped(step, value), (x,), inexact(promoted(x)))


def _is_bool(dtype: AnyDType | None) -> bool:
    return dtype is not None and dtype.kind == "b"
