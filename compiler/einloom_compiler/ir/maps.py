"""Elementwise maps: what each one means, which parameters it takes, and for which dtypes.

A :class:`Map` names one of :data:`MAPS`; its parameters are numbers
known when code is generated. Activations mean what they mean in Keras 3 (``keras.activations``),
which agrees with PyTorch where both have the function; defaults are Keras's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from einloom_compiler.dtypes import arithmetic
from einloom_compiler.errors import DTypeError, SpecError, UnsupportedError

Reference = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Map:
    """One elementwise step, such as ``sqrt`` or ``leaky_relu`` with its slope.

    Attributes:
        function: a name in :data:`MAPS`.
        parameters: its numbers, all of them, known when code is generated.
    """

    function: str
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Return the step as a call, its value left out: ``leaky_relu(0.2)``."""
        numbers = ", ".join(f"{number:g}" for number in self.parameters)
        return f"{self.function}({numbers})" if numbers else self.function


@dataclass(frozen=True, slots=True)
class Definition:
    """What a map means.

    Attributes:
        name: how maps call it.
        parameters: names and defaults, in order; None where a parameter must be given.
        kinds: kinds of dtypes it is defined for, as NumPy writes them: of ``fiuc``.
        reference: the map of a NumPy array of one of these kinds, in the array's precision.
    """

    name: str
    parameters: tuple[tuple[str, float | None], ...]
    kinds: str
    reference: Reference = field(repr=False, compare=False)


def make_map(function: str, *values: float, **named: float) -> Map:
    """Return the map called ``function``, its other parameters at their defaults.

    Example:
        >>> make_map("leaky_relu", negative_slope=0.1)
        Map(function='leaky_relu', parameters=(0.1,))

    Raises:
        SpecError: a parameter is unknown, given twice, missing, or no usable number.
        UnsupportedError: there is no such map.
    """
    definition = definition_of(function)
    names = [name for name, _ in definition.parameters]
    if len(values) > len(names):
        raise SpecError(
            f"map '{function}' takes {_listed(names)}, but {len(values)} values were given: "
            f"{', '.join(map(str, values))}"
        )
    given: dict[str, float | None] = dict(zip(names, values, strict=False))
    for name, value in named.items():
        if name not in names:
            raise SpecError(f"map '{function}' takes {_listed(names)}, not '{name}'")
        if name in given:
            raise SpecError(f"parameter '{name}' of map '{function}' is given twice")
        given[name] = value
    complete = [given.get(name, default) for name, default in definition.parameters]
    for (name, _), number in zip(definition.parameters, complete, strict=True):
        if number is None:
            raise SpecError(f"map '{function}' needs a value for its parameter '{name}'")
    made = Map(function, tuple(float(number) for number in complete if number is not None))
    _check_parameters(made, definition)
    return made


def check_map(step: Map, dtype: str | None = None) -> None:
    """Refuse a map that has no meaning for values of ``dtype`` (None: not settled yet).

    Raises:
        DTypeError: the map, or one of its parameters, has no meaning in this dtype.
        SpecError: its parameters are too few, too many, or no usable numbers.
        UnsupportedError: there is no such map.
    """
    definition = definition_of(step.function)
    _check_parameters(step, definition)
    if dtype is None:
        return
    kind = np.dtype(arithmetic(dtype).compute).kind if dtype != "bool" else "b"
    if kind not in definition.kinds:
        names = ", ".join(_KINDS[kind] for kind in definition.kinds)
        raise DTypeError(
            f"map '{step.function}' is defined for {names} dtypes, not for {dtype}; "
            "cast the operands first"
        )
    if kind in "iu":
        _check_integers(step, definition, dtype)


def definition_of(function: str) -> Definition:
    """Return what the map called ``function`` means.

    Raises:
        UnsupportedError: there is no such map.
    """
    try:
        return MAPS[function]
    except KeyError:
        raise UnsupportedError(
            f"there is no elementwise map '{function}'; there are {', '.join(MAPS)}"
        ) from None


_KINDS = {"f": "floating", "i": "signed", "u": "unsigned", "c": "complex"}


def _listed(names: list[str]) -> str:
    return f"the parameters {', '.join(names)}" if names else "no parameters"


def _check_parameters(step: Map, definition: Definition) -> None:
    names = [name for name, _ in definition.parameters]
    if len(step.parameters) != len(names):
        raise SpecError(
            f"map '{step.function}' takes {_listed(names)}, but has the values {step.parameters}"
        )
    for name, value in zip(names, step.parameters, strict=True):
        where = f"parameter '{name}' of map '{step.function}' is {value}"
        if math.isnan(value):
            raise SpecError(f"{where}; give a number")
        if name in _POSITIVE.get(step.function, ()) and not value > 0:
            raise SpecError(f"{where}; it must be positive")
        if name in _NON_NEGATIVE.get(step.function, ()) and value < 0:
            raise SpecError(f"{where}; it must not be negative")


_POSITIVE = {"celu": ("alpha",)}
_NON_NEGATIVE = {
    "relu": ("max_value",),
    "hard_shrink": ("threshold",),
    "soft_shrink": ("threshold",),
    "squareplus": ("b",),
}


def _check_integers(step: Map, definition: Definition, dtype: str) -> None:
    """Refuse parameters that are no numbers of an integer dtype."""
    info = np.iinfo(dtype)
    bounds = f"from {info.min} to {info.max}"
    for (name, default), value in zip(definition.parameters, step.parameters, strict=True):
        is_absent = math.isinf(value) and value == default
        if is_absent or (value.is_integer() and info.min <= value <= info.max):
            continue
        raise DTypeError(
            f"parameter '{name}' of map '{step.function}' is {value}, which is no value of "
            f"{dtype}; give an integer {bounds}, or cast the operands to a float"
        )
    if step.function == "relu" and step.parameters[0] != 0:
        raise DTypeError(
            f"the slope of map 'relu' in {dtype} is {step.parameters[0]}; it must be 0"
        )


# --- references ----------------------------------------------------------------------------------


def _relu(x: Any, slope: float = 0.0, top: float = math.inf, threshold: float = 0.0) -> Any:
    if slope == threshold == 0:  # only here a NaN stays one
        return np.clip(x, 0, None if top == math.inf else top).astype(x.dtype)
    above = np.clip(x, 0, top) if top != math.inf else x
    below: Any = slope * (x - threshold) if slope else 0
    return np.where(x > threshold, above, below).astype(x.dtype)


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _hard_sigmoid(x: Any) -> Any:
    return np.clip(x + 3, 0, 6) / 6


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _squareplus(x: Any, b: float) -> Any:
    root = np.sqrt(x * x + b) + np.abs(x)
    return np.where(x < 0, b / (2 * np.where(x < 0, root, 1)), root / 2)


def _gelu_tanh(x: Any) -> Any:
    return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _soft_shrink(x: Any, threshold: float) -> Any:
    return np.where(np.abs(x) > threshold, x - np.copysign(threshold, x), 0)


def _mish(x: Any) -> Any:
    return x * np.tanh(_softplus(x))


#: Scale and alpha of selu (Klambauer et al., "Self-Normalizing Neural Networks", 2017).
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717

_ALPHA = (("alpha", 1.0),)
_CONSTANT = (("constant", None),)
_HALF = (("threshold", 0.5),)
_NONE: tuple[tuple[str, float | None], ...] = ()

#: Every map by name.
MAPS: dict[str, Definition] = {
    name: Definition(name, parameters, kinds, reference)
    for name, parameters, kinds, reference in (
        ("linear", _NONE, "fiuc", lambda x: x),
        ("negative", _NONE, "fic", np.negative),
        ("abs", _NONE, "fiu", np.abs),
        ("square", _NONE, "fiuc", np.square),
        ("sign", _NONE, "fiu", np.sign),
        ("floor", _NONE, "fiu", np.floor),
        ("ceil", _NONE, "fiu", np.ceil),
        ("round", _NONE, "fiu", np.rint),
        ("sqrt", _NONE, "fc", np.sqrt),
        ("rsqrt", _NONE, "f", lambda x: 1 / np.sqrt(x)),
        ("reciprocal", _NONE, "fc", np.reciprocal),
        ("add", _CONSTANT, "fiuc", lambda x, c: x + x.dtype.type(c)),
        ("multiply", _CONSTANT, "fiuc", lambda x, c: x * x.dtype.type(c)),
        ("maximum", _CONSTANT, "fiu", lambda x, c: np.maximum(x, x.dtype.type(c))),
        ("minimum", _CONSTANT, "fiu", lambda x, c: np.minimum(x, x.dtype.type(c))),
        ("exp", _NONE, "f", np.exp),
        ("expm1", _NONE, "f", np.expm1),
        ("sin", _NONE, "f", np.sin),
        ("cos", _NONE, "f", np.cos),
        ("log", _NONE, "f", np.log),
        ("log1p", _NONE, "f", np.log1p),
        ("erf", _NONE, "f", _erf),
        ("tanh", _NONE, "f", np.tanh),
        ("sigmoid", _NONE, "f", _sigmoid),
        ("log_sigmoid", _NONE, "f", lambda x: -_softplus(-x)),
        (
            "relu",
            (("negative_slope", 0.0), ("max_value", math.inf), ("threshold", 0.0)),
            "fiu",
            _relu,
        ),
        ("relu6", _NONE, "fiu", lambda x: np.clip(x, 0, 6)),
        ("leaky_relu", (("negative_slope", 0.2),), "f", lambda x, s: np.where(x > 0, x, s * x)),
        ("elu", _ALPHA, "f", _elu),
        ("selu", _NONE, "f", lambda x: SELU_SCALE * _elu(x, SELU_ALPHA)),
        ("celu", _ALPHA, "f", lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0) / a))),
        ("gelu", _NONE, "f", lambda x: x * _erfc(-x / math.sqrt(2)) / 2),
        ("gelu_tanh", _NONE, "f", _gelu_tanh),
        ("silu", _NONE, "f", lambda x: x * _sigmoid(x)),
        ("mish", _NONE, "f", _mish),
        ("softplus", _NONE, "f", _softplus),
        ("softsign", _NONE, "f", lambda x: x / (1 + np.abs(x))),
        ("squareplus", (("b", 4.0),), "f", _squareplus),
        ("hard_sigmoid", _NONE, "f", _hard_sigmoid),
        ("hard_silu", _NONE, "f", lambda x: x * _hard_sigmoid(x)),
        ("hard_tanh", (("low", -1.0), ("high", 1.0)), "f", np.clip),
        ("hard_shrink", _HALF, "f", lambda x, t: np.where(np.abs(x) > t, x, 0)),
        ("soft_shrink", _HALF, "f", _soft_shrink),
        ("tanh_shrink", _NONE, "f", lambda x: x - np.tanh(x)),
        (
            "sparse_plus",
            _NONE,
            "f",
            lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
        ),
        ("sparse_sigmoid", _NONE, "f", lambda x: np.clip((x + 1) / 2, 0, 1)),
        (
            "threshold",
            (("threshold", None), ("default_value", None)),
            "f",
            lambda x, t, value: np.where(x > t, x, value),
        ),
    )
}

#: Other names that frameworks use.
ALIASES = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "exponential": "exp",
    "absolute": "abs",
    "identity": "linear",
}
