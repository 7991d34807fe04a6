"""Check a cut model: each piece by itself, and all joined against the model that Keras runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from einloom.aot.checking import (
    Checked,
    CheckError,
    difference,
    random_array,
    tolerance,
)
from einloom.aot.keras_targets import arrays_of, called
from einloom.aot.pieces import BuiltPieces
from einloom.commands.build import small_sizes
from einloom.keras.models.record import ModelRecord
from einloom.keras.pieces.live import function_of, layer_at
from einloom.keras.pieces.plan import symbols_of
from einloom.runtime.choices import read_ranges
from einloom_compiler.extents import evaluate
from einloom_compiler.ir.graph import Input


@dataclass(frozen=True, slots=True)
class CheckedPieces:
    """What a check found.

    Attributes:
        pieces: one finding each.
        joined: largest difference of the joined model from Keras's, relative to the largest value
            of its output; None where they could not be compared.
        reason: why they could not be.
    """

    pieces: tuple[Checked, ...]
    joined: float | None
    reason: str = ""


def check_pieces(built: BuiltPieces) -> CheckedPieces:
    """Compare every piece with its graph in a fresh process, and all joined with Keras.

    Raises:
        CheckError: results differ, or a process fails.
    """
    pieces = tuple(piece.check() for piece in built.pieces)
    model = _live(built.target)
    if isinstance(model, str):
        return CheckedPieces(pieces, None, model)
    functions = {path: function_of(layer_at(model, path)) for path in _paths(built)}
    joined = built.load().join(functions)
    inputs = [value.node for value in built.plan.inputs]
    ranges = read_ranges(built.ranges, symbols_of(built.plan))
    nodes = [node for node in inputs if isinstance(node, Input)]
    sizes = small_sizes([node.shape for node in nodes], (), built.name, ranges)
    generator = np.random.default_rng(0)
    arrays = [
        random_array(generator, [evaluate(n, sizes) for n in node.shape], str(node.dtype))
        for node in nodes
    ]
    wanted, found = map(arrays_of, (called(model, arrays), joined(*arrays)))
    most = max(tolerance(root) for piece in built.pieces for root in piece.source.roots)
    worst = 0.0
    for number, (result, expected) in enumerate(zip(found, wanted, strict=True)):
        error = difference(result, expected)
        worst = max(worst, error)
        if error > most:
            raise CheckError(
                f"{built.name}: output {number} of the joined pieces differs from Keras by "
                f"{error:.1e} of its largest value"
            )
    return CheckedPieces(pieces, worst)


def _paths(built: BuiltPieces) -> Sequence[str]:
    return list(dict.fromkeys(step.path for step in built.plan.outside))


def _live(target: Any) -> Any:
    """Return the live model, or why there is none."""
    if isinstance(target, ModelRecord):
        return "there is no Keras model to compare with"
    if not isinstance(target, str | os.PathLike):
        return target
    if find_spec("keras") is None:
        return "Keras is not installed"
    import keras

    try:
        return keras.saving.load_model(os.fspath(target), compile=False)
    except (TypeError, ValueError, NotImplementedError) as error:
        said = str(error).strip().splitlines()[0].partition(". ")[0].rstrip(".")
        return f"Keras cannot load the model without its own code: {said}"
