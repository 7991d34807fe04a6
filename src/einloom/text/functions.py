"""Which front-end function a written name means: ``K.batch_dot``, ``np.einsum``, ``tf.matmul`` ...

Only the names listed here can be called from text or data, whatever else their modules hold. A
module is imported when one of its names is first used.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from einloom.expression import Expression
from einloom_compiler.errors import EinloomError, SpecError


@dataclass(frozen=True, slots=True)
class Namespace:
    """Functions of one framework module.

    Attributes:
        module: where einloom has them.
        registered: prefix of their registered names.
        prefixes: how a text may call the namespace; the first is how it is printed.
        functions: names that may be called.
        layers: those that are configured first and called on a list of operands after.
        lists: those whose operands are one list.
    """

    module: str
    registered: str
    prefixes: tuple[str, ...]
    functions: tuple[str, ...]
    layers: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


_BACKEND = (
    *("abs", "all", "any", "argmax", "argmin", "batch_dot", "batch_flatten", "batch_normalization"),
    *("bias_add", "cast", "clip", "concatenate", "cos", "cumprod", "cumsum", "dot", "elu", "equal"),
    *("exp", "expand_dims", "flatten", "gather", "greater", "greater_equal", "hard_sigmoid"),
    *("identity", "l2_normalize", "less", "less_equal", "log", "logsumexp", "max", "maximum"),
    *("mean", "min", "minimum", "not_equal", "one_hot", "ones_like", "permute_dimensions", "pow"),
    *("prod", "relu", "repeat", "repeat_elements", "reshape", "reverse", "round", "sigmoid"),
    *("sign", "sin", "slice", "softmax", "softplus", "softsign", "spatial_2d_padding", "sqrt"),
    *("square", "squeeze", "stack", "std", "sum", "switch", "tanh", "temporal_padding", "tile"),
    *("transpose", "var", "zeros_like"),
)

NAMESPACES = (
    Namespace(
        "einloom",
        "numpy",
        ("np", "numpy", "el", "einloom", ""),
        (
            *("dot", "einsum", "inner", "kron", "matmul", "matvec", "outer", "tensordot"),
            *("transpose", "vdot", "vecdot", "vecmat"),
        ),
    ),
    Namespace(
        "einloom.functions",
        "functions",
        ("F", "el.functions", "einloom.functions", "functions"),
        (
            *("absolute", "add", "all", "any", "argmax", "argmin", "broadcast_to", "cast", "ceil"),
            *("celu", "clip", "concatenate", "conj", "cos", "cumprod", "cumsum", "divide"),
            *("dot_product_attention",),
            *("elu", "equal", "erf", "exp", "expand_dims", "expm1", "flip", "floor", "full_like"),
            *("gelu", "getitem", "greater", "greater_equal", "hard_shrink", "hard_sigmoid"),
            *("hard_silu", "hard_tanh", "isnan", "layer_norm", "leaky_relu", "less", "less_equal"),
            *("log", "log1p", "log_sigmoid", "log_softmax", "logical_and", "logical_not"),
            *("logical_or", "logical_xor", "logsumexp", "max", "maximum", "mean", "min", "minimum"),
            *("mish", "multiply", "negative", "not_equal", "one_hot", "pad", "permute", "power"),
            *("prod", "reciprocal", "relu", "relu6", "repeat", "reshape", "rms_norm", "roll"),
            *("round", "rsqrt", "selu", "sigmoid", "sign", "silu", "sin", "soft_shrink", "softmax"),
            *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sqrt", "square"),
            *("squareplus", "squeeze", "std", "subtract", "sum", "take", "tanh", "tanh_shrink"),
            *("threshold", "tile", "tril", "triu", "var", "where"),
        ),
        lists=("concatenate",),
    ),
    Namespace(
        "einloom.linalg",
        "numpy.linalg",
        ("np.linalg", "numpy.linalg", "el.linalg", "einloom.linalg", "linalg"),
        ("matmul", "multi_dot", "outer", "tensordot", "vecdot"),
        lists=("multi_dot",),
    ),
    Namespace(
        "einloom.keras.backend",
        "keras.backend",
        ("K", "keras.backend", "el.keras.backend", "einloom.keras.backend"),
        _BACKEND,
        lists=("concatenate", "stack"),
    ),
    Namespace(
        "einloom.keras.ops",
        "keras.ops",
        ("keras.ops", "ops", "el.keras.ops", "einloom.keras.ops"),
        ("cumprod", "cumsum", "dot", "einsum", "inner", "matmul", "outer", "tensordot", "vdot"),
    ),
    Namespace(
        "einloom.keras.layers",
        "keras.layers",
        (
            *("keras.layers", "layers", "tf.keras.layers", "el.keras.layers"),
            "einloom.keras.layers",
        ),
        ("Dot", "dot"),
        layers=("Dot",),
        lists=("dot",),
    ),
    Namespace(
        "einloom.keras.layers.applying",
        "keras.layers",
        ("einloom.keras.layers.applying",),
        ("apply",),
    ),
    Namespace(
        "einloom.tensorflow",
        "tensorflow",
        ("tf", "tensorflow", "el.tensorflow", "einloom.tensorflow"),
        ("cast", "cumsum", "einsum", "matmul", "reshape", "tensordot", "transpose"),
    ),
    Namespace(
        "einloom.tensorflow.linalg",
        "tensorflow.linalg",
        ("tf.linalg", "tensorflow.linalg", "el.tensorflow.linalg", "einloom.tensorflow.linalg"),
        ("einsum", "matmul", "matvec", "tensordot"),
    ),
    Namespace(
        "einloom.tensorflow.math",
        "tensorflow.math",
        ("tf.math", "tensorflow.math", "el.tensorflow.math", "einloom.tensorflow.math"),
        ("cumprod", "cumsum"),
    ),
    Namespace(
        "einloom.tensorflow.keras.backend",
        "tensorflow.keras.backend",
        (
            *("tf.keras.backend", "tensorflow.keras.backend", "el.tensorflow.keras.backend"),
            "einloom.tensorflow.keras.backend",
        ),
        _BACKEND,
        lists=("concatenate", "stack"),
    ),
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a text names.

    Attributes:
        written: the name as it was written.
        namespace: where it belongs.
        name: its name there.
    """

    written: str
    namespace: Namespace
    name: str

    @property
    def is_layer(self) -> bool:
        """Whether it is configured first, then called on a list of operands."""
        return self.name in self.namespace.layers

    def load(self) -> Callable[..., Any]:
        """Return the function itself, imported where needed."""
        function: Callable[..., Any] = getattr(
            importlib.import_module(self.namespace.module), self.name
        )
        return function

    def apply(self, operands: Sequence[Any], arguments: dict[str, Any]) -> Expression:
        """Call it on symbolic operands with further arguments by name.

        Raises:
            SpecError: it does not take these arguments, or not these operands.
            EinloomError: as the front-end function does.
        """
        if self.is_layer:
            return checked_call(
                checked_layer(self, (), arguments), ([*operands],), {}, self.written
            )
        if self.name in self.namespace.lists:
            return checked_call(self.load(), ([*operands],), arguments, self.written)
        return checked_call(self.load(), tuple(operands), arguments, self.written)


_FUNCTIONS = {
    f"{prefix}.{name}".lstrip("."): (namespace, name)
    for namespace in NAMESPACES
    for prefix in namespace.prefixes
    for name in namespace.functions
}


def find(written: str) -> Function | None:
    """Return the function called ``written``, None where there is none."""
    found = _FUNCTIONS.get(written)
    return None if found is None else Function(written, *found)


def resolve(written: str) -> Function:
    """Return the function called ``written``.

    Raises:
        SpecError: there is none; the message lists similar names.

    >>> resolve("K.batch_dot").namespace.module
    'einloom.keras.backend'
    """
    function = find(written)
    if function is None:
        raise SpecError(f"{written!r} names no function that einloom knows; {_hint(written)}")
    return function


def _hint(written: str) -> str:
    last = written.rpartition(".")[2]
    if "." not in written and last in ("batch_dot", "Dot", "bmm"):
        import einloom

        return einloom._ELSEWHERE[last]
    close = difflib.get_close_matches(written, _FUNCTIONS, n=3, cutoff=0.6)
    same = [name for name in _FUNCTIONS if name.rpartition(".")[2] == last]
    shown = list(dict.fromkeys([*same[:6], *close]))
    if shown:
        return f"did you mean {', '.join(shown)}?"
    prefixes = ", ".join(n.prefixes[0] for n in NAMESPACES)
    return f"the namespaces are {prefixes}; functions such as K.dot, tf.matmul, np.einsum"


def checked_layer(
    function: Function, args: tuple[Any, ...], arguments: dict[str, Any]
) -> Callable[..., Any]:
    """Return the configured layer.

    Raises:
        SpecError: the layer does not take these arguments.
    """
    layer: Callable[..., Any] = _guarded(function.load(), args, arguments, function.written)
    return layer


def checked_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], written: str
) -> Expression:
    """Return what ``function`` makes of symbolic operands.

    Raises:
        SpecError: no operand is symbolic, or the arguments are not what the function takes.
        EinloomError: as the function does.
    """
    if not any(map(_has_expression, (*args, *kwargs.values()))):
        raise SpecError(f"{written} needs at least one operand with a shape, such as x[B, 20]")
    result = _guarded(function, args, kwargs, written)
    if not isinstance(result, Expression):
        raise SpecError(f"{written} gives no expression but {result!r}")
    return result


def _guarded(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], written: str
) -> Any:
    """Call, and tell what a front end does not check itself as an error of the text."""
    try:
        return function(*args, **kwargs)
    except EinloomError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise SpecError(
            f"{written} does not take these arguments: {error}; "
            f"it is {signature(function, written)}"
        ) from error


def signature(function: Callable[..., Any], written: str) -> str:
    """Return how the function is called, such as ``K.dot(x, y)``."""
    import inspect

    names = []
    for parameter in inspect.signature(function).parameters.values():
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        names.append(f"{star}{parameter.name}{default}")
    return f"{written}({', '.join(names)})"


def _has_expression(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_expression, value))
    return isinstance(value, Expression)


def load_registered(registered: str) -> str:
    """Import what defines the registered function and return how a text writes its name.

    Raises:
        SpecError: there is no such function.

    >>> load_registered("numpy.einsum")
    'np.einsum'
    """
    from einloom.frontends.dispatch import REGISTRY

    prefix, _, name = registered.rpartition(".")
    for namespace in NAMESPACES:
        if namespace.registered == prefix and name in namespace.functions:
            getattr(importlib.import_module(namespace.module), name)
            if registered in REGISTRY:
                return f"{namespace.prefixes[0]}.{name}"
    raise SpecError(
        f"{registered!r} names no front-end function; "
        f"{_hint_registered(registered) or 'a name is such as keras.backend.dot or numpy.einsum'}"
    )


def _hint_registered(registered: str) -> str:
    names = [f"{n.registered}.{name}" for n in NAMESPACES for name in n.functions]
    close = difflib.get_close_matches(registered, names, n=3, cutoff=0.6)
    return f"did you mean {', '.join(close)}?" if close else ""
