"""What snippets use around ``K.dot`` and ``K.batch_dot``: make tensors, look at them, reshape them.

Arrays are handled by NumPy, without copies where it allows; symbolic operands give expressions.
Source: ``keras/src/legacy/backend.py`` of Keras 3.15.1 (``tf.keras.backend``), whose functions are
those of Keras 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from einloom.expression import Expression, spec
from einloom.frontends import build
from einloom.frontends.arguments import (
    concrete_shape,
    listed_extents,
    target_shape,
    wrap_axis,
)
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.frontends.dispatch import frontend
from einloom.frontends.letters import letters, shape_text
from einloom.frontends.values import Tensor, as_tensor
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import (
    is_equal,
    is_known,
    product,
    quotient,
    text,
)
from einloom_compiler.ir.graph import Shape

_FLOATX = {"name": "float32"}


def floatx() -> str:
    """Return the dtype that tensors are made with where none is named; ``float32`` at first."""
    return _FLOATX["name"]


def set_floatx(value: str) -> None:
    """Set what :func:`floatx` returns.

    Raises:
        DTypeError: not one of float16, bfloat16, float32, float64.
    """
    if value not in ("float16", "bfloat16", "float32", "float64"):
        raise DTypeError(f"floatx must be float16, bfloat16, float32 or float64, not {value!r}")
    _FLOATX["name"] = value


def keras_numbers(values: Sequence[Any]) -> list[Any]:
    """Return operands with Python numbers and lists of them as the arrays that Keras makes of them.

    Floats get dtype :func:`floatx`, integers int32, complex numbers complex64.
    """
    narrow = {"float64": floatx(), "int64": "int32", "complex128": "complex64"}
    converted: list[Any] = []
    for value in values:
        if isinstance(value, bool | int | float | complex | list) and not isinstance(
            value, np.generic
        ):
            array = np.asarray(value)
            value = array.astype(as_dtype(narrow.get(array.dtype.name, array.dtype)), copy=False)
        converted.append(value)
    return converted


def cast_to_floatx(x: Any) -> np.ndarray[Any, Any]:
    """Return a NumPy array of ``x`` in dtype :func:`floatx`.

    >>> cast_to_floatx([1, 2])
    array([1., 2.], dtype=float32)
    """
    return np.asarray(x, dtype=as_dtype(floatx()))


# --- making tensors ------------------------------------------------------------------------------


def _dtype(dtype: object) -> AnyDType:
    return as_dtype(floatx() if dtype is None else dtype)


def ones(shape: Any, dtype: object = None, name: str | None = None) -> Tensor:
    """Return a tensor of ones; dtype :func:`floatx` where none is named, ``name`` for habit."""
    return as_tensor(np.ones(concrete_shape(shape, "K.ones"), _dtype(dtype)))


def zeros(shape: Any, dtype: object = None, name: str | None = None) -> Tensor:
    """Return a tensor of zeros; dtype :func:`floatx` where none is named, ``name`` for habit."""
    return as_tensor(np.zeros(concrete_shape(shape, "K.zeros"), _dtype(dtype)))


def variable(
    value: Any, dtype: object = None, name: str | None = None, constraint: None = None
) -> Tensor:
    """Return a copy of ``value`` in dtype :func:`floatx` where none is named, integers included.

    Example:
        >>> import numpy as np
        >>> variable(np.arange(3)).dtype
        dtype('float32')
    """
    return as_tensor(np.array(as_numpy(value), _dtype(dtype)))


def constant(
    value: Any,
    dtype: object = None,
    shape: Any = None,
    name: str | None = None,
) -> Tensor:
    """Return ``value`` as a tensor; a single number fills ``shape``.

    Raises:
        ShapeError: ``value`` has another number of elements than ``shape``.
    """
    array = np.array(as_numpy(value), _dtype(dtype))
    if shape is None:
        return as_tensor(array)
    wanted = concrete_shape(shape, "K.constant")
    if array.size == 1:
        return as_tensor(np.full(wanted, array.reshape(()), array.dtype))
    if array.size != product(wanted):
        raise ShapeError(
            f"a value of shape {array.shape} with {array.size} elements does not fill {wanted}"
        )
    return as_tensor(array.reshape(wanted))


def placeholder(
    shape: Sequence[Any] | None = None,
    ndim: int | None = None,
    dtype: object = None,
    sparse: bool = False,
    name: str | None = None,
) -> Expression:
    """Return a symbolic operand, as :func:`einloom.spec` does.

    Args:
        shape: extents: integers, names, or None for a fresh unknown.
        ndim: rank, where no shape is given; every extent is then a fresh unknown.
        dtype: :func:`floatx` where None.
        sparse: must be False.
        name: what messages and formulas call it.

    Raises:
        SpecError: ``shape`` is no sequence of extents.
        UnsupportedError: it is to be sparse, or neither a shape nor a rank is given.
    """
    if sparse:
        raise UnsupportedError("sparse placeholders are not supported; declare a dense one")
    if shape is None:
        if ndim is None:
            raise UnsupportedError("a placeholder needs shape= or ndim=: ranks are not symbolic")
        shape = (None,) * ndim
    return spec(listed_extents(shape, "K.placeholder"), dtype=_dtype(dtype), name=name)


# --- looking at tensors --------------------------------------------------------------------------


def _extents(x: Any) -> Shape:
    return x.shape if isinstance(x, Expression) else as_numpy(x).shape


def int_shape(x: Any) -> tuple[int | None, ...]:
    """Return the shape, None for each symbolic extent."""
    return tuple(int(extent) if is_known(extent) else None for extent in _extents(x))


def shape(x: Any) -> Any:
    """Return the shape: an int32 tensor, or a tuple of extents for a symbolic operand."""
    if isinstance(x, Expression):
        return x.shape
    return as_tensor(np.asarray(as_numpy(x).shape, np.int32))


def ndim(x: Any) -> int:
    """Return the rank."""
    return len(_extents(x))


def dtype(x: Any) -> str | None:
    """Return the name of the dtype, None for a symbolic operand whose dtype is not settled."""
    found = x.dtype if isinstance(x, Expression) else as_numpy(x).dtype
    return None if found is None else dtype_name(found)


def get_value(x: Any) -> Any:
    """Return the values as a plain NumPy array.

    Raises:
        SpecError: ``x`` is symbolic.
    """
    if isinstance(x, Expression):
        raise SpecError(f"{x} is symbolic and has no values; call .compile() and pass arrays")
    return as_numpy(x)


def eval(x: Any) -> Any:
    """Return the values as a plain NumPy array; the same as :func:`get_value`."""
    return get_value(x)


# --- reshaping them ------------------------------------------------------------------------------


def _like(x: Any, result: np.ndarray[Any, Any]) -> Any:
    """Return ``result`` as the kind of tensor that ``x`` is."""
    return wrapper_for([x], as_tensor)(result)


def _permuted(x: Expression, order: Sequence[int], dtype: AnyDType | None) -> Expression:
    term = letters(x.ndim)
    return build.contract(f"{term}->{''.join(term[axis] for axis in order)}", x, dtype=dtype)


def transpose(x: Any) -> Any:
    """Return ``x`` with its axes reversed."""
    if isinstance(x, Expression):
        return _transpose(x)
    return _like(x, as_numpy(x).T)


@frontend("keras.backend.transpose", operands=("x",))
def _transpose(x: Expression) -> Expression:
    return _permuted(x, range(x.ndim - 1, -1, -1), x.dtype)


def permute_dimensions(x: Any, pattern: Sequence[int]) -> Any:
    """Return ``x`` with its axes in the order of ``pattern``.

    Raises:
        AxisError: ``pattern`` does not name each axis once.
    """
    if isinstance(x, Expression):
        return _permute_dimensions(x, tuple(pattern))
    array = as_numpy(x)
    return _like(x, array.transpose(_order(pattern, array.shape)))


@frontend("keras.backend.permute_dimensions", operands=("x",))
def _permute_dimensions(x: Expression, pattern: Sequence[int]) -> Expression:
    return _permuted(x, _order(pattern, x.shape), x.dtype)


def _order(pattern: Sequence[int], shape: Shape) -> tuple[int, ...]:
    rank = len(shape)
    listed = list(pattern) if isinstance(pattern, Iterable) else [pattern]
    wrapped = tuple(wrap_axis(axis, rank, "K.permute_dimensions") for axis in listed)
    if sorted(wrapped) != list(range(rank)):
        raise AxisError(
            f"pattern {tuple(listed)} must name each axis of an operand of rank {rank} (shape "
            f"{shape_text(shape)}) once: 0 to {rank - 1}"
        )
    return wrapped


def reshape(x: Any, shape: Any) -> Any:
    """Return the elements of ``x`` in C order under ``shape``, in which one extent may be -1.

    Raises:
        SpecError: ``shape`` is no sequence of extents.
        ShapeError: the numbers of elements differ.
    """
    if isinstance(x, Expression):
        return _reshape(x, tuple(listed_extents(shape, "reshape")))
    array = as_numpy(x)
    return _like(x, array.reshape(_target(shape, array.shape, is_symbolic=False)))


@frontend("keras.backend.reshape", operands=("x",))
def _reshape(x: Expression, shape: Sequence[Any]) -> Expression:
    return build.reshape(x, _target(shape, x.shape, is_symbolic=True))


def _target(shape: Any, old: Shape, *, is_symbolic: bool) -> tuple[Any, ...]:
    """Return ``shape`` with its -1 worked out."""
    given, rest = target_shape(shape, "reshape", is_symbolic=is_symbolic)
    total, known = product(old), product(given)
    if rest is None:
        if is_equal(total, known) is False:
            raise ShapeError(
                f"cannot reshape {shape_text(old)} of {text(total)} elements to "
                f"{shape_text(tuple(given))} of {text(known)}; the number of elements must stay"
            )
        return tuple(given)
    found = quotient(total, known)
    if found is None:
        raise ShapeError(
            f"cannot reshape {shape_text(old)} of {text(total)} elements to "
            f"{shape_text((*given[:rest], -1, *given[rest + 1 :]))}: {text(total)} is no multiple "
            f"of {text(known)}"
        )
    return (*given[:rest], found, *given[rest + 1 :])


def expand_dims(x: Any, axis: int = -1) -> Any:
    """Return ``x`` with an axis of extent 1 inserted at ``axis``.

    Raises:
        AxisError: ``axis`` lies outside the result.
    """
    if isinstance(x, Expression):
        return _expand_dims(x, axis)
    array = as_numpy(x)
    return _like(
        x, np.expand_dims(array, wrap_axis(axis, array.ndim + 1, "K.expand_dims, in its result"))
    )


@frontend("keras.backend.expand_dims", operands=("x",))
def _expand_dims(x: Expression, axis: int = -1) -> Expression:
    at = wrap_axis(axis, x.ndim + 1, "K.expand_dims, in its result")
    return build.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def squeeze(x: Any, axis: int) -> Any:
    """Return ``x`` without ``axis``, whose extent must be 1.

    Raises:
        AxisError: ``axis`` lies outside ``x``.
        ShapeError: its extent is not 1.
    """
    if isinstance(x, Expression):
        return _squeeze(x, axis)
    array = as_numpy(x)
    return _like(x, array.squeeze(_squeezed(axis, array.shape)))


@frontend("keras.backend.squeeze", operands=("x",))
def _squeeze(x: Expression, axis: int) -> Expression:
    at = _squeezed(axis, x.shape)
    return build.reshape(x, (*x.shape[:at], *x.shape[at + 1 :]))


def _squeezed(axis: int, shape: Shape) -> int:
    at = wrap_axis(axis, len(shape), "K.squeeze")
    if is_equal(shape[at], 1) is False:
        raise ShapeError(
            f"cannot squeeze axis {at} of shape {shape_text(shape)}: its extent is "
            f"{text(shape[at])}, not 1"
        )
    return at


def cast(x: Any, dtype: object) -> Any:
    """Return ``x`` in another dtype: floats are truncated, imaginary parts dropped, as in tf.cast.

    Raises:
        DTypeError: ``dtype`` names none.
    """
    wanted = as_dtype(dtype)
    if isinstance(x, Expression):
        return _cast(x, wanted.name)
    array = as_numpy(x)
    if array.dtype.kind == "c" and wanted.kind not in "cb":
        array = array.real
    return _like(x, array.astype(wanted, copy=False))


@frontend("keras.backend.cast", operands=("x",))
def _cast(x: Expression, dtype: str) -> Expression:
    return x if x.dtype == as_dtype(dtype) else _permuted(x, range(x.ndim), as_dtype(dtype))
