"""What a call that is not compiled gives: shapes, dtypes, and whether it hands a padding mask on.

Shapes are, in this order, those the caller says, those that follow from a recurrent layer's
configuration, and those that the model's record states (files of Keras 3 and live models do).

Source: ``compute_output_shape`` and ``compute_mask`` in ``keras/src/layers/rnn`` of Keras 3.15.1,
and ``Layer.__call__`` (what gets a ``mask``, and where it goes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einloom.keras.lowering.layer_call import Tensor, compute_dtype
from einloom.keras.lowering.model import UncoveredCall
from einloom.keras.lowering.target import open_extent
from einloom.keras.models.limits import MAX_EXTENT
from einloom.keras.models.record import TensorRef
from einloom_compiler.dtypes import AnyDType, as_dtype
from einloom_compiler.errors import DTypeError, ShapeError, SpecError, UnsupportedError
from einloom_compiler.extents import Extent, parse_extent
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.shapes import shape_of

Shape = tuple[Extent, ...]
#: Shapes of what layers give, by path: ``{"encoder/memory": ("B", 16)}``; a list of them for
#: several outputs.
Given = Mapping[str, Any]
#: Whether a live layer's call takes a mask, and whether the layer hands its input's on, by path.
Masking = Callable[[str], tuple[bool, bool]]

#: The states that recurrent layers give with ``return_state``.
_STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
_RECURRENT = (*_STATES, "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional")
#: Keras's other layers that hand a mask on, and whether their call takes it.
_PASSING = {"GroupNormalization": False, "Normalization": False, "TimeDistributed": True}


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a call.

    Attributes:
        shape: None where it is not known.
        dtype: its dtype.
        mask: the padding mask that Keras attaches to it.
    """

    shape: Shape | None
    dtype: AnyDType
    mask: Node | None


def outputs_of(
    call: UncoveredCall, n_outputs: int, given: Given, masking: Masking | None
) -> tuple[Output, ...]:
    """Return what a call gives.

    Args:
        call: the call.
        n_outputs: how many of its outputs are read.
        given: shapes that the caller says.
        masking: of live layers, None where there is only a file.

    Raises:
        SpecError, ShapeError: what the caller says is no shape, or too few are said.
        UnsupportedError: whether a padding mask is handed on cannot be told.
    """
    path = "/".join(call.path)
    first = _first_extents(call)
    if path in given:
        shapes: Sequence[Shape | None] = _said(given[path], path, first)
        if len(shapes) < n_outputs:
            raise ShapeError(
                f"{n_outputs} outputs of layer {path!r} are read, but cut= says {len(shapes)} "
                "shapes; give a list of them"
            )
    else:
        shapes = _recurrent_shapes(call, first)
    masks = _masks(call, path, masking)
    found = []
    for number in range(n_outputs):
        shape = shapes[number] if number < len(shapes) else None
        stated = call.model.stated.get(TensorRef(call.layer.name, call.number, number))
        dtype = stated.dtype if stated is not None else _policy(call)
        if shape is None and stated is not None:
            shape = _settled(stated.shape, path, number, first)
        mask = masks[number] if number < len(masks) else None
        found.append(Output(shape, _numbers(dtype, path), mask))
    return tuple(found)


def mask_given_to(call: UncoveredCall, masking: Masking | None) -> Node | None:
    """Return the padding mask that Keras gives the call as ``mask``, None where it gives none."""
    tensors = tensors_in((call.args, call.kwargs))
    n_arguments = sum(1 for item in (*call.args, *call.kwargs.values()) if tensors_in(item))
    if not tensors or tensors[0].mask is None or n_arguments > 1 or call.kwargs.get("mask"):
        return None
    takes_mask, _ = _masking(call, "/".join(call.path), masking)
    return tensors[0].mask if takes_mask else None


def tensors_in(structure: Any) -> tuple[Tensor, ...]:
    """Return the tensors in a structure of arguments, in order."""
    if isinstance(structure, Tensor):
        return (structure,)
    if isinstance(structure, Mapping):
        return tuple(tensor for item in structure.values() for tensor in tensors_in(item))
    if isinstance(structure, tuple):
        return tuple(tensor for item in structure for tensor in tensors_in(item))
    return ()


def _first_extents(call: UncoveredCall) -> Shape:
    """Return the shape of the call's first tensor, as far as it is known."""
    tensors = tensors_in((call.args, call.kwargs))
    return shape_of(tensors[0].node) if tensors and tensors[0].has_shape else ()


def _settled(
    shape: Sequence[int | None], path: str, number: int, first: Shape
) -> tuple[Extent, ...]:
    """Return a stated shape with symbols for open extents, the batch as that of the input."""
    stem = f"{path}.{number}" if number else path
    return tuple(
        extent
        if extent is not None
        else first[0]
        if axis == 0 and first
        else open_extent(stem, axis)
        for axis, extent in enumerate(shape)
    )


def _said(value: Any, path: str, first: Shape) -> list[Shape]:
    """Return the shapes that the caller says a layer gives."""
    several = list(value) if isinstance(value, list) else [value]
    found = []
    for number, shape in enumerate(several):
        if isinstance(shape, str) or not isinstance(shape, tuple):
            raise SpecError(
                f"cut={{{path!r}: {value!r}}} is no shape; write a tuple of extents, such as "
                "('B', 16), or a list of tuples for several outputs"
            )
        open_ones = _settled([None] * len(shape), path, number, first)
        found.append(
            tuple(
                opened if extent is None else parse_extent(extent)
                for extent, opened in zip(shape, open_ones, strict=True)
            )
        )
    return found


def _policy(call: UncoveredCall) -> str:
    """Return the dtype that the layer's policy computes in; a quantized one names its floats."""
    return call.layer.dtype_policy.rpartition("_from_")[2].removeprefix("mixed_")


def _numbers(name: str, path: str) -> AnyDType:
    try:
        return compute_dtype(name) if name != "bool" else as_dtype("bool")
    except DTypeError:
        raise UnsupportedError(f"layer {path!r} gives {name!r}, which is no dtype") from None


def _recurrent_shapes(call: UncoveredCall, first: Shape) -> tuple[Shape, ...]:
    """Return the shapes of LSTM, GRU, SimpleRNN and what is Bidirectional of them, else none."""
    layer, (kind, config) = call.layer, _recurrence(call)
    is_both, merge = layer.class_name == "Bidirectional", layer.config.get("merge_mode", "concat")
    units = config.get("units")
    if (
        layer.origin != "layer"
        or kind not in _STATES
        or len(first) != 3
        or config.get("time_major")
    ):
        return ()
    if not isinstance(units, int) or isinstance(units, bool) or not 0 < units <= MAX_EXTENT:
        return ()
    lead = first[:2] if config.get("return_sequences") is True else first[:1]
    states = _STATES[kind] if config.get("return_state") is True else 0
    if not is_both:
        return ((*lead, units), *[(first[0], units)] * states)
    joined: list[Shape] = [(*lead, units)] * 2
    if merge is not None:
        joined = [(*lead, 2 * units if merge == "concat" else units)]
    return (*joined, *[(first[0], units)] * (2 * states))


def _masking(call: UncoveredCall, path: str, masking: Masking | None) -> tuple[bool, bool]:
    """Return whether a call takes its input's mask, and whether its outputs may carry it.

    Raises:
        UnsupportedError: it cannot be told.
    """
    name = call.layer.class_name
    if call.layer.origin == "operation":
        return False, False
    if call.layer.origin == "layer" and name in _RECURRENT:
        return True, True
    if call.layer.origin == "layer" and name in _PASSING:
        return _PASSING[name], True
    if masking is not None:
        return masking(path)
    if call.layer.origin == "layer":
        return False, False
    raise UnsupportedError(
        f"layer {path!r} ({name}) is given a padding mask, and its file does not say whether it "
        "takes and gives one; load the model with Keras and pass it instead of the file"
    )


def _masks(call: UncoveredCall, path: str, masking: Masking | None) -> tuple[Node | None, ...]:
    tensors = tensors_in((call.args, call.kwargs))
    mask = tensors[0].mask if tensors else None
    if mask is None or not _masking(call, path, masking)[1]:
        return ()
    layer = call.layer
    if layer.origin != "layer" or layer.class_name not in _RECURRENT:
        return (mask,)
    if _recurrence(call)[1].get("return_sequences") is not True:
        return ()
    is_both = layer.class_name == "Bidirectional"
    return (mask, mask) if is_both and layer.config.get("merge_mode", "") is None else (mask,)


def _recurrence(call: UncoveredCall) -> tuple[str, Mapping[str, Any]]:
    """Return class and configuration of a recurrent layer, of the one within a Bidirectional."""
    layer = call.layer
    if layer.class_name != "Bidirectional":
        return layer.class_name, layer.config
    inner = layer.config.get("layer")
    if not isinstance(inner, Mapping) or not isinstance(inner.get("config"), Mapping):
        return "", {}
    return str(inner.get("class_name")), inner["config"]
