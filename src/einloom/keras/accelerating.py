"""``einloom.keras.accelerate``: covered layers of a live model run compiled at inference."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from einloom.expression import spec
from einloom.frontends.arrays import as_numpy
from einloom.keras.compiling import compile as compile_keras
from einloom.runtime.stores import keep
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
    values, ``training`` is not true, and no gradient is being recorded; with padding and attention
    masks, too. In all other calls (inside ``tf.function``, ``predict``, ``jax.jit``, under a
    gradient tape, on PyTorch without ``torch.no_grad()``) the layer does what Keras does. The
    functions are compiled at the first call of each shape, whatever the batch; they follow
    ``variable.assign`` and ``set_weights``. A layer that is called with ``training=True`` is
    Keras's again for good.

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


@dataclass(frozen=True, slots=True)
class _Given:
    """What a call gives a layer.

    Attributes:
        arrays: its inputs.
        masks: of positions or pairs of them, by the argument's name.
        settings: other arguments.
        query_mask: what an attention hands on to its output.
    """

    arrays: list[Any]
    masks: dict[str, Any]
    settings: dict[str, bool]
    query_mask: Any = None

    @property
    def key(self) -> Hashable:
        """All that a compiled function depends on."""
        inputs = tuple((array.shape[1:], array.dtype) for array in self.arrays)
        masks = ((n, len(m) == 1, m.shape[1:], m.dtype) for n, m in self.masks.items())
        return inputs, tuple(masks), tuple(sorted(self.settings.items()))


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
        given = None if self._is_recording() else self._given(args, kwargs)
        function = None if given is None else self._function(given)
        if given is None or function is None:
            return self.own(*args, **kwargs)
        self.n_calls += 1
        result = function(*args, *given.masks.values())
        if isinstance(self.layer, self.keras.layers.MultiHeadAttention):
            self._hand_on(args, given.query_mask, result)
        return result

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Given | None:
        """Return what a call gives; None where Keras must compute it."""
        if not args or any(value is None for value in args):
            return None
        names = {k: v for k, v in kwargs.items() if v is not None and k != "training"}
        settings = {name: value for name, value in names.items() if isinstance(value, bool)}
        if any(name not in settings and not name.endswith("_mask") for name in names):
            return None
        try:
            arrays = [as_numpy(value) for value in args]
            masks = {n: as_numpy(value) for n, value in names.items() if n not in settings}
            if not isinstance(self.layer, self.keras.layers.MultiHeadAttention):
                return _Given(arrays, masks, settings)
            # Reads the query's mask off the tensor alone.
            masks.pop("query_mask", None)
            query_mask = self.keras.src.backend.get_keras_mask(args[0])
            if query_mask is not None:
                rows = as_numpy(query_mask).astype(bool)[..., None]
                pairs = masks.get("attention_mask", rows)
                if pairs.ndim != rows.ndim or arrays[0].ndim != rows.ndim:
                    return None
                masks["attention_mask"] = pairs.astype(bool) & rows
        except (UnsupportedError, DTypeError):  # symbolic, traced or watched
            return None
        return _Given(arrays, masks, settings, query_mask)

    def _function(self, given: _Given) -> Any:
        """Return the compiled function for such calls; None where Keras must compute them."""
        key = given.key
        if key not in self._functions:
            return keep(self._functions, key, self._compiled(given), _KEPT)
        return self._functions[key]

    def _compiled(self, given: _Given) -> Any:
        specs = [
            spec("B", *array.shape[1:], dtype=array.dtype, name=f"x{number}")
            for number, array in enumerate(given.arrays)
        ]
        further: dict[str, Any] = dict(given.settings)
        further |= {
            name: spec(1 if len(mask) == 1 else "B", *mask.shape[1:], dtype=mask.dtype, name=name)
            for name, mask in given.masks.items()
        }
        try:
            return compile_keras(self.layer, *specs, **further)
        except (UnsupportedError, ShapeError):  # Keras takes what is not covered, or says so
            return None

    def _hand_on(self, args: tuple[Any, ...], mask: Any, result: Any) -> None:
        """Take the masks off an attention's inputs and hand the query's on, as Keras does."""
        backend = self.keras.src.backend
        for value in args:
            backend.set_keras_mask(value, None)
        if mask is not None:
            backend.set_keras_mask(result[0] if isinstance(result, tuple) else result, mask)

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
