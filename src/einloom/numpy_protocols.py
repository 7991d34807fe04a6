"""NumPy's functions of expressions: what ``np.exp(x)`` or ``np.sum(x, axis=0)`` is.

NumPy asks its operands what a function of theirs means: ufuncs by ``__array_ufunc__`` (NEP 13),
the others by ``__array_function__`` (NEP 18). So a function that was written for arrays can be
traced as it stands. What einloom has under another name is told here; what it lacks is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from einloom_compiler.errors import UnsupportedError

#: Ufuncs by the function that they are; those of the same name in einloom.functions are not named.
_UFUNCS = {
    "true_divide": "divide",
    "fabs": "absolute",
    "rint": "round",
    "conjugate": "conj",
}
_SAME_UFUNCS = frozenset(
    (
        *("add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "negative"),
        *("absolute", "sign", "floor", "ceil", "square", "sqrt", "reciprocal", "exp", "expm1"),
        *("log", "log1p", "sin", "cos", "tanh", "isnan", "less", "less_equal", "greater"),
        *("greater_equal", "logical_and", "logical_or", "logical_xor", "logical_not"),
    )
)
#: Ufuncs that have a function of the package itself.
_PRODUCTS = frozenset(("matmul", "vecdot", "matvec", "vecmat"))
#: Ufuncs of bools that are logical ones of them.
_BITWISE = {
    "bitwise_and": "__and__",
    "bitwise_or": "__or__",
    "bitwise_xor": "__xor__",
    "invert": "__invert__",
}

#: Functions of one array, which is ``x`` here, with the parameters that have other names.
_FUNCTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    **{
        name: (name, {})
        for name in (
            *("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "argmin"),
            *("swapaxes", "moveaxis", "squeeze", "expand_dims", "flip", "tile", "repeat", "roll"),
            *("tril", "triu", "reshape", "broadcast_to", "ones_like", "zeros_like", "round"),
            *("concatenate", "stack", "where", "cumsum", "cumprod"),
        )
    },
    "amax": ("max", {}),
    "amin": ("min", {}),
    "ravel": ("flatten", {}),
    "transpose": ("permute", {}),
    "full_like": ("full_like", {"fill_value": "value"}),
    "split": ("split", {"indices_or_sections": "sections"}),
}
#: Contractions, whose parameters are NumPy's own.
_CONTRACTIONS = frozenset(("einsum", "tensordot", "dot", "inner", "outer", "kron", "vdot"))


def apply_ufunc(ufunc: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return the expression of a ufunc's call on operands of which one is an expression.

    Raises:
        UnsupportedError: einloom has no such function, or not with these options.
    """
    import einloom
    from einloom import functions
    from einloom.expression import Expression

    name = ufunc.__name__
    if method != "__call__":
        raise UnsupportedError(
            f"numpy.{name}.{method} of symbolic operands is not supported; use a function of "
            "einloom.functions, such as sum"
        )
    _refuse(name, {key: value for key, value in options.items() if value is not None})
    if name in _PRODUCTS:
        return getattr(einloom, name)(*inputs)
    if name in _BITWISE:
        return _bitwise(_BITWISE[name], inputs, Expression)
    mine = _UFUNCS.get(name, name if name in _SAME_UFUNCS else "")
    if not hasattr(functions, mine):
        raise _missing(f"numpy.{name}")
    return getattr(functions, mine)(*inputs)


def apply_function(function: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return the expression of a call of one of NumPy's other functions.

    Raises:
        UnsupportedError: einloom has no such function, or not with these arguments.
    """
    import einloom
    from einloom import functions

    name = function.__name__
    is_numpys = getattr(np, name, None) is function
    if is_numpys and name in _CONTRACTIONS:
        return getattr(einloom, name)(*args, **options)
    if is_numpys and name in _OWN:
        return _OWN[name](*args, **options)
    if not is_numpys or name not in _FUNCTIONS:
        raise _missing(f"{function.__module__}.{name}")
    mine, renamed = _FUNCTIONS[name]
    first, *rest = _given(function, args, options)
    target = getattr(functions, mine)
    known = inspect.signature(target).parameters
    named = {renamed.get(key, key): value for key, value in rest}
    _refuse(name, {key: value for key, value in named.items() if key not in known})
    return target(first[1], **named)


def _given(function: Any, args: Sequence[Any], options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the arguments that differ from their defaults, by NumPy's names, in order."""
    bound = _signature(function).bind(*args, **options)
    parameters = bound.signature.parameters
    return [
        (key, value)
        for number, (key, value) in enumerate(bound.arguments.items())
        if number == 0 or not _is_default(value, parameters[key].default)
    ]


@cache
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, int | str | bool) and value == default)


def _bitwise(name: str, inputs: Sequence[Any], expression: type) -> Any:
    """Apply an operator of bools to an expression and whatever else there is; all commute."""
    first = 0 if isinstance(inputs[0], expression) else 1
    return getattr(inputs[first], name)(*inputs[:first], *inputs[first + 1 :])


# --- functions with arguments of another kind ----------------------------------------------------


def _clip(a: Any, a_min: Any = None, a_max: Any = None, **options: Any) -> Any:
    from einloom.functions import clip

    low, high = options.pop("min", a_min), options.pop("max", a_max)
    _refuse("clip", options)
    return clip(a, low, high)


def _take(a: Any, indices: Any, axis: int | None = None, **options: Any) -> Any:
    from einloom.functions import take

    _refuse("take", options)
    return take(a, indices, axis)


def _pad(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    from einloom.functions import pad

    value = options.pop("constant_values", 0.0)
    if mode != "constant" or not isinstance(value, int | float):
        raise UnsupportedError(
            f"numpy.pad of a symbolic operand is for mode='constant' and one value, not {mode!r} "
            f"and {value!r}"
        )
    _refuse("pad", options)
    if isinstance(pad_width, Sequence) and len(pad_width) == 1:
        (pad_width,) = pad_width
    return pad(array, pad_width, value)


_OWN: Mapping[str, Callable[..., Any]] = {
    "clip": _clip,
    "take": _take,
    "pad": _pad,
    "shape": lambda a: a.shape,
    "ndim": lambda a: a.ndim,
}


def _refuse(name: str, options: Mapping[str, Any]) -> None:
    for key in options:
        raise UnsupportedError(
            f"numpy.{name} of symbolic operands takes no {key}=; apply it to the result, or to "
            "arrays"
        )


def _missing(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name} of symbolic operands is not supported; einloom.functions lists what is, and "
        ".compile() makes a function of arrays"
    )
