"""A cut model as a function: pieces compiled just in time, the rest Keras's or the caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from einloom.compiled import CompiledFunction
from einloom.frontends.arrays import as_numpy, wrapper_for
from einloom.keras.compiling import compiled
from einloom.keras.pieces.described import description, told
from einloom.keras.pieces.joining import Joined
from einloom.keras.pieces.plan import Plan
from einloom.keras.pieces.target import Cut, cut_plan
from einloom_compiler.errors import SpecError


def joined_model(
    target: Any, specs: Sequence[Any], cut: Cut, threads: int | None = None
) -> JoinedModel:
    """Return a cut model with its pieces compiled, and the layers of a live one between them.

    Args:
        target: as for :func:`einloom.keras.compile`.
        specs: as for it.
        cut: as for it.
        threads: threads of each call; all available ones for large work where None.
    """
    plan, functions = cut_plan(target, specs, cut)
    return JoinedModel(
        plan, tuple(compiled(piece.lowered, threads) for piece in plan.pieces), functions
    )


class JoinedModel:
    """A model of which some layers are compiled, in pieces, and others are functions.

    Attributes:
        plan: which step takes and gives which values.
        pieces: the compiled functions, in order of running.
    """

    def __init__(
        self,
        plan: Plan,
        pieces: tuple[CompiledFunction, ...],
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        """Take the plan, a function a piece, and functions of other layers by their paths."""
        self.plan, self.pieces = plan, pieces
        names = [piece.lowered.name for piece in plan.pieces]
        self._joined = Joined(
            description(plan, names), dict(zip(names, pieces, strict=True)), functions
        )

    @property
    def outside(self) -> tuple[str, ...]:
        """The paths of the layers that are not compiled."""
        return self._joined.outside

    @property
    def description(self) -> Mapping[str, Any]:
        """The plan as JSON, of the form that :mod:`einloom.keras.pieces.described` says."""
        return self._joined.description

    def explain(self) -> str:
        """Return which step takes and gives what, for people."""
        return told(self.description)

    def join(self, functions: Mapping[str, Callable[..., Any]]) -> JoinedModel:
        """Return the model with functions for layers that are not compiled.

        Args:
            functions: by the layer's path. Each is called as Keras calls the layer, with NumPy
                arrays in place of tensors, and returns what the layer does.

        Raises:
            SpecError: one is for a layer that is compiled, or is none.
        """
        unknown = sorted(set(functions) - set(self.outside))
        if unknown:
            listed = ", ".join(self.outside) or "there are none"
            raise SpecError(f"{unknown[0]!r} is none of the layers that are left out: {listed}")
        return JoinedModel(self.plan, self.pieces, {**self._joined.functions, **functions})

    def __call__(self, *arrays: Any, threads: int | None = None) -> Any:
        """Return the outputs, structured as Keras structures them.

        Args:
            arrays: one an input, in Keras's order; or one list of them, or a mapping by name.
            threads: threads of each piece.

        Raises:
            SpecError: inputs are missing, or a layer has no function.
            ShapeError, DTypeError: an array does not fit its input.
        """
        try:
            ordered = self._joined.in_order(arrays)
            self._joined.check_functions()
        except TypeError as error:
            raise SpecError(str(error)) from None
        results = self._joined(*map(as_numpy, ordered), threads=threads)
        return _wrapped(results, wrapper_for(ordered))

    def __repr__(self) -> str:
        """Print as ``<einloom model in 2 pieces around memory>``."""
        return repr(self._joined).replace("<", "<einloom ", 1)


def _wrapped(structure: Any, wrap: Callable[[Any], Any]) -> Any:
    if isinstance(structure, Mapping):
        return {name: _wrapped(item, wrap) for name, item in structure.items()}
    if isinstance(structure, list):
        return [_wrapped(item, wrap) for item in structure]
    return wrap(structure)
