"""What every layer of :mod:`einloom.keras.layers` is: a configuration that is called on arrays."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from einloom.compiled_function import CompiledFunction
from einloom.expression import Expression, constant, spec
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.frontends.keras_tensors import floatx
from einloom.frontends.values import as_tensor
from einloom.keras.layers.applying import applied, apply, known_kind, record_of
from einloom.keras.lowering.layer_call import compute_dtype, frozen
from einloom.keras.models.kinds.activation import FUNCTIONS, LAYER_FUNCTIONS
from einloom.keras.models.live import takes_a_list
from einloom.keras.models.weights_by_class import snake_case
from einloom.runtime.stores import keep
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import Extent, parse_extent, symbol

#: Options of Keras's layers that only matter while training.
_IDLE = ("trainable", "seed", "noise_shape", "momentum", "synchronized", "flash_attention")
_IDLE_ENDINGS = ("_initializer", "_regularizer", "_constraint")
#: Options that change what is computed, and that few layers have.
_FURTHER = ("quantization_config", "renorm", "rms_scaling", "lora_rank")
#: Functions kept for a layer with weights, one for each shape beside the batch.
_KEPT = 64

_numbers: dict[str, itertools.count[int]] = {}


class Layer:
    """A layer's configuration, called on inputs and weights.

    Attributes:
        name: as given, else the class's name and a number: ``dense``, ``dense_1``.
        dtype: the policy by which floats are cast: ``float32``, ``mixed_float16``.
        TENSORS: further tensors that a call takes by name: masks.
        SETTINGS: further arguments of a call that are true or false.
    """

    TENSORS: ClassVar[tuple[str, ...]] = ()
    SETTINGS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Check the configuration.

        Args:
            config: the layer's own arguments.
            options: ``name``, ``dtype``, and what only matters while training (initializers,
                regularizers, constraints), which is not read.

        Raises:
            TypeError: an option is none of Keras's.
            SpecError: an argument is malformed.
            DTypeError: ``dtype`` names none.
            UnsupportedError: an argument asks for what is not covered.
        """
        rest = dict(options)
        name, policy = rest.pop("name", None), rest.pop("dtype", None)
        class_name = type(self).__name__
        own = {key: _plain(class_name, key, value) for key, value in config.items()}
        for key, value in rest.items():
            if key in _FURTHER and value is not None:
                own[key] = _plain(class_name, key, value)
            elif key not in (*_IDLE, *_FURTHER) and not key.endswith(_IDLE_ENDINGS):
                raise TypeError(f"{class_name}() got an unexpected keyword argument {key!r}")
        self.dtype = floatx() if policy is None else str(getattr(policy, "name", policy))
        as_dtype(compute_dtype(self.dtype))
        self.name = str(name) if name is not None else _next_name(class_name)
        self._config = own
        self._layer = (self.name, class_name, json.dumps(own, sort_keys=True), self.dtype)
        self._kind = known_kind(record_of(*self._layer))
        self._weights: tuple[npt.NDArray[Any], ...] | None = None
        self._programs: dict[Any, CompiledFunction] = {}

    # --- weights ---------------------------------------------------------------------------------

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Names of the weights in Keras's order: ``kernel``, ``bias``, ``query/kernel``."""
        return tuple(slot.name for slot in self._kind.slots())

    def weight_shapes(self, *input_shapes: Any) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, for inputs of these shapes; None is an open extent.

        Raises:
            ShapeError: the layer cannot take such inputs, or a weight depends on an open extent.
        """
        shapes = [tuple(map(_extent, shape, itertools.count())) for shape in input_shapes]
        found = self._kind.weight_shapes(*shapes)
        pairs = zip(self.weight_names, found, strict=True)
        return {name: tuple(map(int, shape)) for name, shape in pairs}

    def set_weights(self, weights: Sequence[Any] | Mapping[str, Any]) -> None:
        """Keep weights for calls that bring none; they are packed once, as constants are.

        Args:
            weights: arrays in Keras's order, as ``get_weights`` of Keras's layer gives them, or by
                name. Copied.

        Raises:
            SpecError: there are more or fewer than the layer has, or others.
        """
        arrays = (np.array(as_numpy(each), copy=True) for each in self._in_order(weights))
        self._weights = tuple(map(frozen, arrays))
        self._programs = {}

    def get_weights(self) -> list[npt.NDArray[Any]]:
        """Return the weights that are kept, in Keras's order; none before ``set_weights``."""
        return [array.copy() for array in self._weights or ()]

    def _in_order(self, weights: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        names = self.weight_names
        if isinstance(weights, Mapping):
            if set(weights) == set(names):
                return [weights[name] for name in names]
            shown = ", ".join(map(repr, weights)) or "none"
        elif len(weights) == len(names):
            return list(weights)
        else:
            shown = str(len(weights))
        raise SpecError(
            f"layer {self.name!r} ({type(self).__name__}) takes {len(names)} weights "
            f"({', '.join(names) or 'none'}), but {shown} are given"
        )

    # --- calls -----------------------------------------------------------------------------------

    def __call__(
        self,
        *inputs: Any,
        weights: Sequence[Any] | Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Any:
        """Return what Keras's layer gives at inference.

        Args:
            inputs: as Keras's layer takes them: one tensor, a list of them for a merge, ``query``,
                ``value`` and ``key``. Arrays give arrays of their kind, operands
                (``el.spec``) an expression.
            weights: in Keras's order, or by name; arrays or operands. Those of ``set_weights``
                where None.
            arguments: masks, which do not travel with arrays, and settings of the call such as
                ``use_causal_mask=True``.

        Raises:
            ShapeError: an input, weight or mask does not fit; naming axis and extents.
            SpecError: weights are missing, or there are others than the layer has.
            TypeError: an argument is none of the layer's.
            UnsupportedError: ``training=True``, or what is not covered.
        """
        operands, roles = self._inputs_of(inputs, arguments)
        settings = self._settings_of(arguments, operands, roles)
        kept = self._weights
        if weights is not None:
            given = self._in_order(weights)
        elif kept is not None or not self.weight_names:
            given = list(kept or ())
        else:
            names = ", ".join(self.weight_names)
            raise SpecError(
                f"layer {self.name!r} ({type(self).__name__}) has no weights yet: give "
                f"weights=[{names}], or set_weights([{names}])"
            )
        is_symbolic = any(isinstance(each, Expression) for each in (*operands, *given))
        if weights is not None or is_symbolic:
            operands += given
            roles += [f"weight:{name}" for name in self.weight_names]
        if is_symbolic:
            return self._expression(operands, roles, settings)
        return self._computed(operands, roles, settings)

    def _inputs_of(
        self, inputs: Sequence[Any], arguments: dict[str, Any]
    ) -> tuple[list[Any], list[str]]:
        """Return the inputs of a call, and their roles."""
        class_name = type(self).__name__
        kind = self._kind
        if takes_a_list(class_name, 2 if kind.IS_VARIADIC else 1):
            if len(inputs) != 1 or not isinstance(inputs[0], list | tuple):
                raise ShapeError(
                    f"layer {self.name!r} ({class_name}) is called on a list of inputs, such as "
                    f"{self.name}([x, y])"
                )
            found = list(inputs[0])
        else:
            found = list(inputs)
            for name in kind.INPUT_NAMES[len(found) :]:
                if arguments.get(name) is not None:
                    found.append(arguments.pop(name))
                arguments.pop(name, None)
        most = None if kind.IS_VARIADIC else len(kind.INPUT_NAMES)
        if len(found) < kind.MIN_INPUTS or (most is not None and len(found) > most):
            wanted = "1 or more" if most is None else f"{kind.MIN_INPUTS}"
            wanted += f" to {most}" if most not in (None, kind.MIN_INPUTS) else ""
            raise ShapeError(
                f"layer {self.name!r} ({class_name}) takes {wanted} inputs, but {len(found)} are "
                "given; weights are given by name: weights=[...]"
            )
        return found, ["input"] * len(found)

    def _settings_of(
        self, arguments: dict[str, Any], operands: list[Any], roles: list[str]
    ) -> tuple[tuple[str, bool], ...]:
        """Return settings that are on; add the masks to the operands."""
        settings = []
        for name, value in arguments.items():
            if name in self.TENSORS:
                is_listed = isinstance(value, list | tuple)
                for number, mask in enumerate(value if is_listed else [value]):
                    if mask is not None:
                        operands.append(mask)
                        roles.append(f"mask:{name}" + (f":{number}" if is_listed else ""))
            elif name == "training" or name in self.SETTINGS:
                if value not in (None, True, False):
                    raise TypeError(f"{name} must be true or false, not {value!r}")
                if value:
                    settings.append((name, True))
            else:
                raise TypeError(f"{type(self).__name__} takes no argument {name!r} in a call")
        return tuple(settings)

    def _expression(
        self, operands: list[Any], roles: list[str], settings: tuple[tuple[str, bool], ...]
    ) -> Any:
        n_outputs = 2 if ("return_attention_scores", True) in settings else 1
        found = [
            apply(*operands, layer=self._layer, roles=tuple(roles), settings=settings, output=n)
            for n in range(n_outputs)
        ]
        return found[0] if n_outputs == 1 else tuple(found)

    def _computed(
        self, operands: list[Any], roles: list[str], settings: tuple[tuple[str, bool], ...]
    ) -> Any:
        arrays = [as_numpy(operand) for operand in operands]
        batch = arrays[0].shape[:1]
        shapes = tuple(
            ("B", *array.shape[1:]) if role == "input" and array.shape[:1] == batch else array.shape
            for array, role in zip(arrays, roles, strict=True)
        )
        dtypes = tuple(array.dtype for array in arrays)
        key = (shapes, dtypes, tuple(roles), settings)
        programs = self._programs
        function = programs.get(key)
        if function is None:
            function = keep(programs, key, self._compiled(shapes, dtypes, roles, settings), _KEPT)
        result = function(*arrays)
        wrap = wrapper_for(operands, as_tensor)
        return tuple(map(wrap, result)) if isinstance(result, tuple) else wrap(result)

    def _compiled(
        self,
        shapes: Sequence[Any],
        dtypes: Sequence[Any],
        roles: Sequence[str],
        settings: tuple[tuple[str, bool], ...],
    ) -> CompiledFunction:
        names = [role.replace("/", "_").replace(":", "_") for role in roles]
        inputs = tuple(
            spec(shape, dtype=dtype, name=f"{name}_{number}")
            for number, (shape, dtype, name) in enumerate(zip(shapes, dtypes, names, strict=True))
        )
        operands, whole = list(inputs), list(roles)
        if not any(role.startswith("weight:") for role in roles):
            kept = zip(self.weight_names, self._weights or (), strict=True)
            for name, array in kept:
                operands.append(constant(array, f"{self.name}/{name}"))
                whole.append(f"weight:{name}")
        outputs = applied(operands, self._layer, tuple(whole), settings)
        return CompiledFunction(outputs[0] if len(outputs) == 1 else outputs, inputs=inputs)

    # --- configuration ---------------------------------------------------------------------------

    def compute_output_shape(self, *input_shapes: Any) -> tuple[int | None, ...]:
        """Return the result's shape; None stands for an extent that is open.

        Args:
            input_shapes: one for each input, or a list of them.

        Raises:
            ShapeError: the layer cannot take such inputs.
        """
        shapes = list(input_shapes)
        if len(shapes) == 1 and shapes[0] and isinstance(shapes[0][0], list | tuple):
            shapes = list(shapes[0])
        found = self._kind.output_shape(
            *(tuple(map(_extent, shape, itertools.count())) for shape in shapes)
        )
        return tuple(extent if isinstance(extent, int) else None for extent in found)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {"name": self.name, "dtype": self.dtype, **self._config}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """Return the layer that :meth:`get_config` describes."""
        return cls(**config)

    def __repr__(self) -> str:
        """Print as ``<Dense units=64 activation='relu' use_bias=True>``."""
        parts = "".join(f" {name}={value!r}" for name, value in self._config.items())
        return f"<{type(self).__name__}{parts}>"


def _next_name(class_name: str) -> str:
    base = snake_case(class_name)
    number = next(_numbers.setdefault(base, itertools.count()))
    return f"{base}_{number}" if number else base


def _extent(extent: Any, axis: int) -> Extent:
    if extent is None:
        return symbol(f"open_{axis}" if axis else "B")
    return parse_extent(extent)


def arguments(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a constructor's ``locals()`` hold of its layer's own arguments."""
    return {
        key: value for key, value in scope.items() if key not in ("self", "options", "__class__")
    }


def _plain(class_name: str, name: str, value: Any) -> Any:
    """Return an argument as JSON has it: arrays as lists, functions and layers as Keras names them.

    Raises:
        UnsupportedError: it is something else.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(class_name, name, item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Layer) and type(value).__name__ in LAYER_FUNCTIONS:
        return {"class_name": type(value).__name__, "config": value.get_config()}
    if isinstance(value, Mapping):
        return {str(key): _plain(class_name, name, item) for key, item in value.items()}
    home = str(getattr(value, "__module__", "")).partition(".")[0]
    known = getattr(value, "__name__", None)
    if callable(value) and home in ("keras", "einloom") and known in FUNCTIONS:
        return known
    raise UnsupportedError(
        f"{class_name}: {name}={value!r} is neither a number, a list, nor one of Keras's "
        "activations; name the activation, such as 'relu', or apply the function to the result"
    )
