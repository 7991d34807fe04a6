"""What can be cut: live models, files and records, as plans."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from einloom.keras.models.live import record_from_keras
from einloom.keras.models.reading import read_model
from einloom.keras.models.record import ModelRecord
from einloom.keras.pieces.live import function_of, layer_at, masking_of, with_shapes
from einloom.keras.pieces.plan import Plan
from einloom.keras.pieces.splitting import split
from einloom_compiler.errors import SpecError, UnsupportedError

#: What ``cut=`` may be: true, or shapes of what layers give that no file states.
Cut = bool | Mapping[str, Any]
Functions = Mapping[str, Callable[..., Any]]


def cut_plan(target: Any, specs: Sequence[Any], cut: Cut) -> tuple[Plan, Functions]:
    """Return a model's pieces, and functions for the other layers where they are live ones.

    Args:
        target: a live Keras 3 model, the path of a ``.keras`` or ``.h5`` file, or a record.
        specs: operands or shapes of the inputs, in Keras's order; as recorded where none is given.
        cut: true, or shapes of what layers give that are not covered, by path.

    Raises:
        ModelFileError: the file is none, or broken.
        ShapeError, SpecError: inputs or shapes do not fit, or the target is no model.
        UnsupportedError: the shape of what a layer gives is not known, or its padding mask.
    """
    given = cut if isinstance(cut, Mapping) else {}
    if isinstance(target, str | os.PathLike):
        target = read_model(target, leaves_out_code=True)
    if isinstance(target, ModelRecord):
        return split(target, specs, given), {}
    record = record_from_keras(target, *specs, leaves_out_code=True)
    if not _is_model(target):
        raise SpecError(f"{target.name!r} is a layer; only models can be cut")
    record = with_shapes(record, target)

    def masking(path: str) -> tuple[bool, bool]:
        try:
            return masking_of(layer_at(target, path))
        except NotImplementedError:
            raise UnsupportedError(
                f"layer {path!r} is given a padding mask and computes one of its own, which is not "
                "supported where a model is cut; compile the layers before and behind it apart"
            ) from None

    plan = split(record, specs, given, masking)
    return plan, {step.path: function_of(layer_at(target, step.path)) for step in plan.outside}


def _is_model(target: Any) -> bool:
    import sys

    return isinstance(target, sys.modules["keras"].Model)
