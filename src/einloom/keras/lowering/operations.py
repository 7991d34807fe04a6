"""Operations that stand in a functional model without being a layer: ``x * 2.0``, ``x[:, -1]``.

Source: ``keras/src/ops`` of Keras 3.15.1, whose rules of dtypes they follow: a Python number takes
the tensor's dtype, integers divided are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from einloom.expression import Expression
from einloom.keras.lowering.activations import activated
from einloom.keras.lowering.building import (
    BOOL,
    FLAG,
    FLOAT32,
    cast,
    elementwise,
    settled_dtype,
)
from einloom.keras.lowering.layer_call import Outputs, Tensor, frozen
from einloom.keras.lowering.operation_functions import OPERATIONS
from einloom.keras.lowering.operation_views import (
    broadcast,
    concatenated,
    einsum,
    item,
    matrix_product,
    moved,
    reshaped_to,
    squeezed,
    with_axis,
)
from einloom.keras.models.kinds.activation import FUNCTIONS, Function
from einloom.keras.models.record import LayerRecord
from einloom_compiler.dtypes import AnyDType, as_dtype, is_floating
from einloom_compiler.errors import EinloomError, UnsupportedError
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Constant, Node
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import Mapped, Number, Scalar, Value, combined

_BINARY = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Divide": "divide",
    "TrueDivide": "divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Power": "power",
}
#: Function, and whether its arguments change places.
_COMPARISONS = {
    "Equal": ("equal", False),
    "NotEqual": ("not_equal", False),
    "Less": ("less", False),
    "LessEqual": ("less_equal", False),
    "Greater": ("less", True),
    "GreaterEqual": ("less_equal", True),
}
#: Maps that any number has.
_MAPS = {
    "Absolute": "abs",
    "Abs": "abs",
    "Negative": "negative",
    "Square": "square",
}
#: Maps of floats; integers become float32.
_FLOAT_MAPS = {
    "Sqrt": "sqrt",
    "Rsqrt": "rsqrt",
    "Reciprocal": "reciprocal",
    "Exp": "exp",
    "Expm1": "expm1",
    "Log": "log",
    "Log1p": "log1p",
    "Erf": "erf",
    "Sin": "sin",
    "Cos": "cos",
    "Tanh": "tanh",
}
_ACTIVATIONS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Celu": "celu",
    "Selu": "selu",
    "Gelu": "gelu",
    "Silu": "silu",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "log_sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "HardShrink": "hard_shrink",
    "SoftShrink": "soft_shrink",
    "TanhShrink": "tanh_shrink",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
_REDUCTIONS: dict[str, Any] = {
    "Sum": "sum",
    "Mean": "mean",
    "Max": "max",
    "Min": "min",
    "Prod": "prod",
    "Any": "any",
    "All": "all",
}
_LOGICAL = {"LogicalAnd": "multiply", "LogicalOr": "maximum"}
_VIEWS: Mapping[str, Callable[..., Node]] = {
    "ExpandDims": with_axis,
    "Squeeze": squeezed,
    "Reshape": reshaped_to,
    "Transpose": moved,
    "GetItem": item,
    "BroadcastTo": broadcast,
}
_OTHERS = frozenset(
    {
        *("LogicalNot", "Where", "Concatenate", "Matmul", "Einsum", "Cast", "ConvertToTensor"),
        *("ZerosLike", "OnesLike", "Identity"),
    }
)

#: Names of all operations that are lowered.
KNOWN_OPERATIONS = frozenset(
    {
        *(*_BINARY, *_COMPARISONS, *_MAPS, *_FLOAT_MAPS, *_ACTIVATIONS, *_REDUCTIONS),
        *(*_LOGICAL, *_VIEWS, *_OTHERS, *OPERATIONS),
    }
)


#: What reading a malformed configuration raises.
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)


def lower_operation(
    layer: LayerRecord, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Outputs:
    """Return what an operation gives; it hands no mask on.

    Args:
        layer: the operation's record; its configuration holds its settings.
        args: tensors, numbers, and what else it takes.
        kwargs: further ones by name.

    Raises:
        UnsupportedError: the operation, or one of its arguments, is not covered.
    """
    if layer.class_name not in KNOWN_OPERATIONS:
        raise UnsupportedError(f"the operation {layer.class_name} is not interpreted")
    try:
        return _lowered(layer, args, kwargs)
    except EinloomError:
        raise
    except _MALFORMED as error:  # settings come from a file as they are, without a schema
        raise UnsupportedError(
            f"the operation {layer.class_name} has settings that are none: {error!r}"
        ) from None


def _lowered(layer: LayerRecord, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outputs:
    if layer.class_name in OPERATIONS:
        given = {name: _expression(value) for name, value in kwargs.items()}
        found = OPERATIONS[layer.class_name](layer.config, *map(_expression, args), **given)
        if isinstance(found, tuple):
            return tuple(Tensor(part.node) for part in found)
        return Tensor(found.node)
    values = [value for value in (*args, *kwargs.values()) if value is not None]
    return Tensor(_Operation(layer).lower(layer.class_name, [_operand(v) for v in values]))


def _operand(value: Any) -> Any:
    """Return a tensor's node, a constant's node, or what it is else."""
    if isinstance(value, Tensor):
        return value.node
    if isinstance(value, Mapping) and value.get("class_name") in ("__tensor__", "__numpy__"):
        config = value["config"]
        array = np.asarray(config["value"], as_dtype(config["dtype"]))
        return Constant(frozen(array), "constant")
    if isinstance(value, tuple) and any(isinstance(part, Tensor) for part in value):
        return tuple(map(_operand, value))
    return value


def _expression(value: Any) -> Any:
    """Return a tensor or constant as an expression, or what it is else."""
    found = _operand(value)
    if isinstance(value, tuple):
        return tuple(map(_expression, value))
    return Expression(found) if isinstance(found, Node) else found


@dataclass(frozen=True, slots=True)
class _Operation:
    layer: LayerRecord

    def lower(self, name: str, values: list[Any]) -> Node:
        if name in _BINARY:
            is_quotient = _BINARY[name] == "divide" or name == "Power"
            return self.combine(_BINARY[name], values, needs_float=is_quotient)
        if name in _COMPARISONS:
            function, is_turned = _COMPARISONS[name]
            return self.combine(function, values[::-1] if is_turned else values, result=BOOL)
        if name in _LOGICAL:
            flags = [_flag(self.node(value)) for value in values]
            body = combined(_LOGICAL[name], Value(0), Value(1))
            return elementwise(body, *flags, dtype=FLAG, result=BOOL)
        if name in _VIEWS:
            return _VIEWS[name](self.node(values[0]), *values[1:], **self.settings(name))
        x = values[0]
        if name == "Where":
            condition, a, b = values
            return self.combine("where", [_flag(self.node(condition)), a, b])
        if name in ("Concatenate", "Matmul", "Einsum"):
            return self.join(name, values)
        x = self.node(x)
        dtype = settled_dtype(x)
        if name in _MAPS:
            return elementwise(Mapped(make_map(_MAPS[name]), Value(0)), x, dtype=dtype)
        if name in _FLOAT_MAPS:
            step = make_map(_FLOAT_MAPS[name])
            return elementwise(Mapped(step, Value(0)), x, dtype=_floating(dtype))
        if name in _ACTIVATIONS:
            return activated(self.activation(_ACTIVATIONS[name]), cast(x, _floating(dtype)))
        if name in _REDUCTIONS:
            return self.reduce(name, x)
        return self.copy(name, x)

    def node(self, value: Any) -> Node:
        if isinstance(value, bool | int | float):
            dtype = FLOAT32 if isinstance(value, float) else as_dtype("int32")
            return Constant(frozen(np.asarray(value, dtype)), "number")
        if isinstance(value, tuple | Mapping | str) or value is None:
            raise UnsupportedError(f"an operand {value!r} is not interpreted")
        return value  # type: ignore[no-any-return]

    def settings(self, name: str) -> dict[str, Any]:
        """Return what the configuration of a view says beside the name."""
        given = {k: v for k, v in self.layer.config.items() if k not in ("name", "dtype")}
        wanted = {
            "ExpandDims": ("axis",),
            "Squeeze": ("axis",),
            "Reshape": ("newshape",),
            "Transpose": ("axes",),
            "BroadcastTo": ("shape",),
        }.get(name, ())
        return {key: given.get(key) for key in wanted}

    def combine(
        self,
        function: str,
        values: list[Any],
        *,
        needs_float: bool = False,
        result: AnyDType | None = None,
    ) -> Node:
        """Return a function of tensors and numbers; numbers are part of its body."""
        nodes: list[Node] = []
        arguments: list[Scalar] = []
        for value in values:
            if isinstance(value, bool | int | float):
                arguments.append(Number(float(value)))
            else:
                arguments.append(Value(len(nodes)))
                nodes.append(self.node(value))
        counted = nodes[1:] if function == "where" else nodes
        numbers = [v for v in values if isinstance(v, bool | int | float)]
        dtype = promoted([settled_dtype(node) for node in counted], numbers)
        is_number = dtype.kind != "b"
        if needs_float and not is_floating(dtype):
            if function == "power":
                raise UnsupportedError(f"a power of {dtype} is not supported")
            dtype = FLOAT32
        body = combined(function, *arguments)
        stored = result or (None if is_number else BOOL)
        return elementwise(body, *nodes, dtype=dtype if is_number else FLAG, result=stored)

    def join(self, name: str, values: list[Any]) -> Node:
        listed = values[0] if isinstance(values[0], tuple) else tuple(values)
        nodes = [self.node(value) for value in listed]
        dtype = promoted([settled_dtype(node) for node in nodes], [])
        if name == "Concatenate":
            return concatenated([cast(n, dtype) for n in nodes], int(self.layer.config["axis"]))
        if not is_floating(dtype):
            raise UnsupportedError(f"a product of {dtype} is not supported")
        if name == "Einsum":
            return einsum(str(self.layer.config["subscripts"]), nodes, dtype)
        return matrix_product(nodes[0], nodes[1], dtype)

    def activation(self, name: str) -> Function:
        """Return the function with the operation's settings in place of defaults."""
        known, config = FUNCTIONS[name], self.layer.config
        names = {"negative_slope": "negative_slope", "axis": "axis", "approximate": "approximate"}
        arguments = tuple(
            (key, config.get(names.get(key, key), value)) for key, value in known.arguments
        )
        return Function(name, arguments)

    def reduce(self, name: str, x: Node) -> Node:
        axes = self.layer.config.get("axis")
        keepdims = bool(self.layer.config.get("keepdims"))
        dtype = settled_dtype(x)
        if name in ("Any", "All"):
            return builders.holds(_flag(x), _REDUCTIONS[name], axes, keepdims)
        if not is_floating(dtype):
            if name == "Mean":
                x = cast(x, FLOAT32)
            elif name in ("Sum", "Prod") and dtype != as_dtype("int64"):
                x = cast(x, as_dtype("uint32" if dtype.kind == "u" else "int32"))
        return builders.reduce(x, _REDUCTIONS[name], axes, keepdims)

    def copy(self, name: str, x: Node) -> Node:
        """Return the values in another dtype, negated, or others of the same shape."""
        named = self.layer.config.get("dtype")
        dtype = as_dtype(named) if isinstance(named, str) else settled_dtype(x)
        match name:
            case "LogicalNot":
                body = combined("equal", Value(0), Number(0.0))
                return elementwise(body, _flag(x), dtype=FLAG, result=BOOL)
            case "ZerosLike" | "OnesLike":
                value = Number(0.0 if name == "ZerosLike" else 1.0)
                is_flag = dtype == BOOL
                return elementwise(
                    value, x, dtype=FLAG if is_flag else dtype, result=BOOL if is_flag else None
                )
            case "Cast" if dtype == BOOL:
                return _flag(x)
            case _:
                return cast(x, dtype)


def _flag(node: Node) -> Node:
    if settled_dtype(node) == BOOL:
        return node
    body = combined("not_equal", Value(0), Number(0.0))
    return elementwise(body, node, dtype=settled_dtype(node), result=BOOL)


def _floating(dtype: AnyDType) -> AnyDType:
    return dtype if is_floating(dtype) else FLOAT32


def promoted(dtypes: list[AnyDType], numbers: list[Any]) -> AnyDType:
    """Return the dtype in which Keras combines tensors and Python numbers.

    Raises:
        UnsupportedError: Keras's rule for these integers is not covered.
    """
    floats = {dtype for dtype in dtypes if is_floating(dtype)}
    if floats:
        if len(floats) == 1:
            return floats.pop()
        return as_dtype("float64") if as_dtype("float64") in floats else FLOAT32
    if any(isinstance(number, float) for number in numbers):
        return FLOAT32
    if not dtypes:
        raise UnsupportedError("an operation of numbers alone is not interpreted")
    found = set(dtypes) - {BOOL}
    if not found:
        has_integer = any(not isinstance(number, bool) for number in numbers)
        return as_dtype("int32") if has_integer else BOOL
    if len(found) > 1:
        names = ", ".join(sorted(dtype.name for dtype in found))
        raise UnsupportedError(f"a combination of {names} is not interpreted; cast one of them")
    return found.pop()
