"""``einloom.keras.accelerate``: covered layers of a live model run compiled at inference."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

from einloom.expression import spec
from einloom.frontends.arrays import as_numpy
from einloom.keras.compiling import compile as compile_keras
from einloom_compiler.errors import DTypeError, ShapeError, UnsupportedError

#: Layers with enough arithmetic that leaving the framework pays.
_CLASSES = (
    *("Dense", "EinsumDense", "MultiHeadAttention", "GroupQueryAttention", "LayerNormalization"),
    *("RMSNormalization", "Conv1D", "Conv2D"),
)
#: Functions kept for one layer, one for each shape beside the batch; the oldest goes first.
_KEPT = 64


def accelerate(model: Any) -> Acceleration:
    """Let a live model's covered layers compute with compiled functions, until it is undone.

    A layer's ``call`` is replaced on the object. It runs compiled where it is called with eager
    values, ``training`` is not true, no padding mask is attached or given, and no gradient is being
    recorded. In all other calls (inside ``tf.function``, ``predict``, ``jax.jit``, under a gradient
    tape, on PyTorch without ``torch.no_grad()``) the layer does what Keras does. The functions are
    compiled at the first call of each shape, whatever the batch; they follow ``variable.assign``
    and ``set_weights``. A layer that is called with ``training=True`` is Keras's again for good.

    Args:
        model: a live Keras 3 model or layer, on any backend.

    Returns:
        What was replaced; ``undo()``, or the end of a ``with`` block, restores it.

    Raises:
        UnsupportedError: ``model`` is no live Keras 3 object.

    Example::

        with el.keras.accelerate(model):
            model(x)
    """
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.layers.Layer):
        raise UnsupportedError(f"a {type(model).__name__} is no live layer or model of Keras 3")
    layers = list(_covered(keras, model))
    if getattr(model, "train_function", None) is not None:
        model.train_function = None  # traced before, it would not tell that training begins
    return Acceleration(keras, layers)


def _covered(keras: Any, layer: Any) -> Iterator[Any]:
    """Yield the outermost layers that are replaced: no projections within an attention."""
    classes = tuple(getattr(keras.layers, name) for name in _CLASSES)
    if type(layer) in classes:
        yield layer
        return
    seen: set[int] = set()
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        for found in _covered(keras, inner):
            if id(found) not in seen:
                seen.add(id(found))
                yield found


class Acceleration:
    """Layers whose calls are replaced.

    Attributes:
        layers: their names.
    """

    def __init__(self, keras: Any, layers: list[Any]) -> None:
        """Replace the calls of these layers."""
        self.layers = tuple(layer.name for layer in layers)
        self._replaced = [_Replaced(keras, layer) for layer in layers]

    def undo(self) -> None:
        """Give every layer its own call back."""
        for replaced in self._replaced:
            replaced.undo()

    @property
    def n_compiled_calls(self) -> Mapping[str, int]:
        """How many calls of each layer ran compiled."""
        return {each.layer.name: each.n_calls for each in self._replaced}

    def __enter__(self) -> Acceleration:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Undo it."""
        self.undo()


class _Replaced:
    def __init__(self, keras: Any, layer: Any) -> None:
        self.keras, self.layer = keras, layer
        self.n_calls = 0
        self.own: Callable[..., Any] = layer.call
        self._functions: dict[Any, Any] = {}
        self._assigns: list[Any] = []

        @functools.wraps(self.own)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(args, kwargs)

        object.__setattr__(layer, "call", call)
        for variable in layer.variables:
            self._watch(variable)

    def undo(self) -> None:
        for holder in (self.layer, *self._assigns):
            name = "call" if holder is self.layer else "assign"
            if name in vars(holder):
                object.__delattr__(holder, name)
        self._assigns = []

    def _watch(self, variable: Any) -> None:
        """Forget what was compiled when a weight changes."""
        own = variable.assign

        @functools.wraps(own)
        def assign(*args: Any, **kwargs: Any) -> Any:
            self._functions.clear()
            return own(*args, **kwargs)

        object.__setattr__(variable, "assign", assign)
        self._assigns.append(variable)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("training") or self._is_training():
            self.undo()
            return self.own(*args, **kwargs)
        function = self._function(args, kwargs)
        if function is None:
            return self.own(*args, **kwargs)
        self.n_calls += 1
        return function(*args)

    def _function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the compiled function for this call; None where Keras must compute it."""
        settings = tuple(
            sorted((k, v) for k, v in kwargs.items() if v is not None and k != "training")
            if all(v is None or isinstance(v, bool) for v in kwargs.values())
            else [("", True)]
        )
        if ("", True) in settings or not args or self._is_recording():
            return None
        get_mask = self.keras.src.backend.get_keras_mask
        if any(get_mask(value) is not None for value in args):
            return None
        try:
            arrays = [as_numpy(value) for value in args]
        except (UnsupportedError, DTypeError):  # symbolic, traced or watched: Keras's to compute
            return None
        key = (settings, tuple((a.shape[1:], a.dtype) for a in arrays))
        if key not in self._functions:
            if len(self._functions) >= _KEPT:
                self._functions.pop(next(iter(self._functions)))
            self._functions[key] = self._compiled(arrays, dict(settings))
        return self._functions[key]

    def _compiled(self, arrays: list[Any], settings: dict[str, Any]) -> Any:
        specs = [
            spec("B", *array.shape[1:], dtype=array.dtype, name=f"x{number}")
            for number, array in enumerate(arrays)
        ]
        try:
            return compile_keras(self.layer, *specs, **settings)
        except (UnsupportedError, ShapeError):  # Keras takes what is not covered, or says so
            return None

    def _is_training(self) -> bool:
        """Say whether a training step calls the layer: not every ``call`` has the argument."""
        state = self.keras.src.backend.common.global_state
        context = state.get_global_attribute("current_call_ctx")
        return bool(getattr(context, "training", False))

    def _is_recording(self) -> bool:
        """Say whether gradients with respect to weights may be recorded."""
        if self.keras.src.backend.common.stateless_scope.in_stateless_scope():
            return True
        match self.keras.backend.backend():
            case "tensorflow":
                from tensorflow.python.eager import record

                return bool(record.could_possibly_record())
            case "torch":
                weights = self.layer.trainable_variables
                return bool(weights) and sys.modules["torch"].is_grad_enabled()
        return False
