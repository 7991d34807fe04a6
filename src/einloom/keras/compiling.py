"""``einloom.keras.compile``: inference of Keras layers and models as compiled functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from einloom.expression import Expression
from einloom.keras.lowering.target import Lowered, NodeStructure, lowered
from einloom.keras.model_function import ModelFunction
from einloom_compiler.errors import SpecError
from einloom_compiler.ir.graph import Node
from einloom_compiler.ir.traversal import inputs_of

if TYPE_CHECKING:
    from einloom.keras.pieces.joined import JoinedModel


def compile(
    target: Any,
    *specs: Any,
    threads: int | None = None,
    cut: bool | Mapping[str, Any] = False,
    **call_kwargs: Any,
) -> ModelFunction | KerasFunction | JoinedModel:
    """Return the inference of a Keras layer or model as a function of arrays.

    Weights are constants of the function: later training does not change it. Extents that are not
    known stay symbolic, and need no new compile when they change.

    Args:
        target: a live layer or model of Keras 3 (on any backend), the path of a ``.keras`` or
            ``.h5`` file, or a :class:`~einloom.keras.models.ModelRecord`. Files are read without
            Keras.
        specs: operands or shapes of the inputs, in Keras's order; where none is given, those that
            the model or the built layer has, its batch as ``B``. One operand given twice (query and
            value) is one input of the function.
        threads: threads of each call; all available ones for large work where None.
        cut: whether to cut a model at layers that are not covered, and compile the pieces between
            them. Of a live model Keras computes the others; for a file's ``join`` takes functions.
            In place of true, the shapes of what such layers give that the file does not state:
            ``{"memory": ("B", 16)}``.
        call_kwargs: arguments of a layer's call: ``use_causal_mask=True``, or an operand, which
            becomes a further input: ``attention_mask=el.spec("B", "T", "S", dtype="bool")``.

    Returns:
        A :class:`~einloom.keras.model_function.ModelFunction`, a compiled function of the inputs in
        Keras's order, where there is one output; else a :class:`KerasFunction`, which gives what
        the model does. With ``cut`` a :class:`~einloom.keras.pieces.joined.JoinedModel`. Arrays of
        other dtypes are cast to the inputs', as Keras casts them, but where a spec declares one.

    Raises:
        ModelFileError: the file is none, or broken.
        ShapeError, SpecError: the inputs or arguments do not fit.
        UnsupportedError: a layer is not covered; the message names it and offers to cut there.

    Example::

        f = el.keras.compile(keras.layers.Dense(8, "relu"), el.spec("B", 16))
        f(x)                                      # x: (B, 16) float32
    """
    if cut is not False:
        from einloom.keras.pieces.joined import joined_model

        if call_kwargs:
            raise SpecError(f"a model that is cut takes no argument {next(iter(call_kwargs))!r}")
        return joined_model(target, specs, cut, threads)
    found = lowered(target, *specs, **call_kwargs)
    given = [spec for spec in (*specs, *call_kwargs.values()) if isinstance(spec, Expression)]
    settled = {n for n in inputs_of(*(spec.node for spec in given)) if n.dtype is not None}
    declared = frozenset(node.name for node in found.inputs if node in settled)
    if isinstance(found.outputs, Mapping | tuple):
        return KerasFunction(found, threads, declared)
    return compiled(found, threads, declared)


def compiled(
    found: Lowered, threads: int | None = None, declared: frozenset[str] = frozenset()
) -> ModelFunction:
    """Return the compiled function of a graph: of its inputs, to all its outputs in a row.

    Args:
        found: the graph.
        threads: threads of each call.
        declared: names of inputs that take no other dtype than theirs.
    """
    is_single = not isinstance(found.outputs, Mapping | tuple)
    outputs = tuple(Expression(root) for root in found.roots)
    inputs = tuple(Expression(node) for node in found.inputs)
    return ModelFunction(
        outputs[0] if is_single else outputs,
        name=found.name,
        declared=declared,
        threads=threads,
        inputs=inputs,
    )


class KerasFunction:
    """A compiled model whose outputs are structured as Keras structures them.

    Attributes:
        name: the model's name.
        input_names: as Keras names the inputs, in its order.
        function: of the inputs in that order, to the outputs as a tuple.
        lowered: the graph it was compiled from.
    """

    def __init__(
        self,
        lowered_model: Lowered,
        threads: int | None = None,
        declared: frozenset[str] = frozenset(),
    ) -> None:
        """Take the graph; kernels are compiled when first needed."""
        self.name = lowered_model.name
        self.input_names = tuple(node.name for node in lowered_model.inputs)
        self.lowered = lowered_model
        self.function = compiled(lowered_model, threads, declared)
        self._threads = threads

    def __call__(self, *arrays: Any, threads: int | None = None) -> Any:
        """Return the outputs.

        Args:
            arrays: one an input, in Keras's order; or one list of them, or a mapping by name.
            threads: threads of this call.

        Raises:
            SpecError: there are more or fewer arrays than inputs, or names do not fit.
            ShapeError, DTypeError: an array does not fit its input.
        """
        results = self.function(*arrays, threads=threads)
        return _filled(self.lowered.outputs, dict(zip(self.lowered.roots, results, strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the graph it was compiled from."""
        return KerasFunction, (self.lowered, self._threads, self.function.declared)

    def __repr__(self) -> str:
        """Print as ``<einloom model of (a, b)>``."""
        return f"<einloom {self.name} of ({', '.join(self.input_names)})>"


def _filled(structure: NodeStructure, results: Mapping[Node, Any]) -> Any:
    if isinstance(structure, Mapping):
        return {name: _filled(item, results) for name, item in structure.items()}
    if isinstance(structure, tuple):
        return [_filled(item, results) for item in structure]
    return results[structure]
