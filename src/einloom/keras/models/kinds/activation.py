"""Activations: Keras's functions by name, with the numbers they were given.

Source: ``keras/src/activations/activations.py`` of Keras 3.15.1, and ``keras/activations.py`` of
Keras 2 where the same name meant something else (``hard_sigmoid``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from einloom.keras.models.documents import shown
from einloom.keras.models.kinds.base import Kind, Shape, Slot, shape_text
from einloom.keras.models.kinds.fields import Fields, NotKnownError
from einloom_compiler.errors import ShapeError
from einloom_compiler.extents import quotient

#: A parameter's value; a tuple holds several axes.
Parameter: TypeAlias = "float | int | bool | tuple[int, ...] | None"


@dataclass(frozen=True, slots=True)
class Function:
    """An activation function.

    Attributes:
        name: Keras 3's name of it, such as ``gelu``.
        arguments: its parameters by name, all of them, defaults included. None where Keras has
            None (no upper bound of ``relu``).
    """

    name: str
    arguments: tuple[tuple[str, Parameter], ...] = ()

    def __str__(self) -> str:
        """Print as ``relu(negative_slope=0.0, max_value=6.0, threshold=0.0)``."""
        inner = ", ".join(f"{name}={value}" for name, value in self.arguments)
        return f"{self.name}({inner})" if inner else self.name

    def argument(self, name: str) -> Parameter:
        """Return the value of one parameter."""
        return dict(self.arguments)[name]

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The axes that it runs along, as configured; None for a function of elements."""
        found = dict(self.arguments).get("axis")
        return found if found is None or isinstance(found, tuple) else (int(found),)


LINEAR = Function("linear")

#: Every function of Keras 3 that has a name, with the defaults of its parameters.
FUNCTIONS: Mapping[str, Function] = {
    function.name: function
    for function in (
        LINEAR,
        Function("relu", (("negative_slope", 0.0), ("max_value", None), ("threshold", 0.0))),
        Function("leaky_relu", (("negative_slope", 0.2),)),
        Function("relu6"),
        Function("softmax", (("axis", -1),)),
        Function("log_softmax", (("axis", -1),)),
        Function("elu", (("alpha", 1.0),)),
        Function("celu", (("alpha", 1.0),)),
        Function("selu"),
        Function("softplus"),
        Function("softsign"),
        Function("squareplus", (("b", 4.0),)),
        Function("soft_shrink", (("threshold", 0.5),)),
        Function("hard_shrink", (("threshold", 0.5),)),
        Function("tanh_shrink"),
        Function("sparse_plus"),
        Function("sparse_sigmoid"),
        # Exactly the nearest point of the simplex; no release up to 3.15.1 computes that.
        Function("sparsemax", (("axis", -1), ("is_exact", True))),
        Function("silu"),
        Function("hard_silu"),
        Function("gelu", (("approximate", False),)),
        Function("glu", (("axis", -1),)),
        Function("tanh"),
        Function("hard_tanh"),
        Function("sigmoid"),
        # clip(slope * x + 0.5, 0, 1): a sixth in Keras 3, 0.2 before.
        Function("hard_sigmoid", (("slope", 1 / 6),)),
        Function("log_sigmoid"),
        Function("exponential"),
        Function("mish"),
    )
}
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
_KERAS_2_HARD_SIGMOID = Function("hard_sigmoid", (("slope", 0.2),))
#: Up to this release, the threshold is taken from the sum of cumulative sums where it should be
#: the last of them (keras-team/keras issue 23425): too large where two elements are not 0.
_LAST_WRONG_SPARSEMAX = (3, 15, 1)
_WRONG_SPARSEMAX = Function("sparsemax", (("axis", -1), ("is_exact", False)))

#: Functions that halve an axis: no map from elements to elements.
_CHANGING_SHAPE = frozenset({"glu"})


def function_of(fields: Fields, value: Any) -> Function:
    """Return the activation function that a configuration names.

    Args:
        fields: the layer's configuration, for messages and the release.
        value: null, a name, or the serialised form of a function or an activation layer.

    Raises:
        NotKnownError: it is none of Keras's.
        ModelFileError: it is malformed.
    """
    if value is None:
        return LINEAR
    if isinstance(value, str):
        return _named(fields, value)
    if isinstance(value, Mapping):
        kind, config = value.get("class_name"), value.get("config")
        if kind == "function" and isinstance(config, str):
            module = value.get("module")
            if isinstance(module, str) and module not in ("builtins", "keras.activations"):
                raise NotKnownError(f"its activation {shown(config)} is a function of {module!r}")
            return _named(fields, config)
        if isinstance(kind, str) and kind in LAYER_FUNCTIONS and isinstance(config, Mapping):
            inner = Fields(fields.layer, kind, config, fields.release)
            return LAYER_FUNCTIONS[kind](inner)
    raise NotKnownError(f"its activation {shown(value)} is none of Keras's functions")


def _named(fields: Fields, name: str) -> Function:
    name = _ALIASES.get(name, name)
    if name == "hard_sigmoid" and not fields.is_keras_3:
        return _KERAS_2_HARD_SIGMOID
    if name == "hard_silu" and not fields.is_keras_3:
        raise NotKnownError("its activation hard_silu is none of Keras 2's")
    if name == "sparsemax" and fields.release <= _LAST_WRONG_SPARSEMAX:
        return _WRONG_SPARSEMAX
    if name not in FUNCTIONS:
        raise NotKnownError(f"its activation {shown(name)} is none of Keras's functions")
    return FUNCTIONS[name]


def _relu(fields: Fields) -> Function:
    return Function(
        "relu",
        (
            ("negative_slope", fields.number("negative_slope", 0.0)),
            ("max_value", fields.optional_number("max_value")),
            ("threshold", fields.number("threshold", 0.0)),
        ),
    )


def _leaky_relu(fields: Fields) -> Function:
    old_name = "alpha" in fields.config and "negative_slope" not in fields.config
    slope = fields.number("alpha" if old_name else "negative_slope", 0.3)
    return Function("leaky_relu", (("negative_slope", slope),))


def _elu(fields: Fields) -> Function:
    return Function("elu", (("alpha", fields.number("alpha", 1.0)),))


def _softmax(fields: Fields) -> Function:
    if "axis" not in fields.config:
        return FUNCTIONS["softmax"]
    axes = fields.axes("axis")
    return Function("softmax", (("axis", axes[0] if len(axes) == 1 else axes),))


def _activation(fields: Fields) -> Function:
    return function_of(fields, fields.get("activation"))


#: Layers that are one function.
LAYER_FUNCTIONS = {
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}


@dataclass(frozen=True, slots=True)
class Activation(Kind):
    """An activation as a layer: ``Activation``, ``ReLU``, ``LeakyReLU``, ``ELU``, ``Softmax``.

    Attributes:
        function: what it applies.
    """

    function: Function

    RANKS: ClassVar[tuple[int, int | None]] = (0, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape, its axis halved by a ``glu``."""
        self.check_inputs(*inputs)
        (shape,) = inputs
        axes = [self.axis_of(axis, shape) for axis in self.function.axes or ()]
        return _halved(shape, axes[0]) if self.function.name in _CHANGING_SHAPE else shape


def activation(fields: Fields) -> Kind:
    """Return the layer for an activation layer's configuration."""
    return Activation(LAYER_FUNCTIONS[fields.class_name](fields))


def _halved(shape: Shape, axis: int) -> Shape:
    half = quotient(shape[axis], 2)
    if half is None:
        raise ShapeError(
            f"glu halves axis {axis}, whose extent in shape {shape_text(shape)} is odd; give it an "
            "even one"
        )
    return (*shape[:axis], half, *shape[axis + 1 :])


def activation_field(fields: Fields) -> Function:
    """Return the function in a layer's field ``activation``."""
    return applied(function_of(fields, fields.get("activation")))


def applied(function: Function) -> Function:
    """Return the function unless it changes shapes: Keras's own layers then state a wrong shape.

    Raises:
        NotKnownError: it does.
    """
    if function.name in _CHANGING_SHAPE:
        raise NotKnownError(
            f"its activation {function.name} changes the shape; use a layer "
            f"Activation({function.name!r}) behind it"
        )
    return function


@dataclass(frozen=True, slots=True)
class PReLU(Kind):
    """``x`` above 0, and a trained multiple of it below.

    Attributes:
        shared_axes: axes along which the multiple is one.
    """

    shared_axes: tuple[int, ...]

    RANKS: ClassVar[tuple[int, int | None]] = (2, None)

    def slots(self) -> tuple[Slot, ...]:
        """Return the place of ``alpha``."""
        return (Slot("alpha"),)

    def weight_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the input's extents after the batch axis, 1 along shared axes."""
        self.check_inputs(*inputs)
        shape = inputs[0]
        shared = {self.axis_of(axis, shape, 1) for axis in self.shared_axes}
        return (
            tuple(
                1 if axis in shared else self.known_extent(shape, axis)
                for axis in range(1, len(shape))
            ),
        )


def prelu(fields: Fields) -> Kind:
    """Return the layer for a configuration of ``PReLU``."""
    return PReLU(() if fields.get("shared_axes") is None else fields.axes("shared_axes"))
