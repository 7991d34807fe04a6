"""``einloom.keras.compile``: inference of Keras layers and models as compiled functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einloom.compiled import CompiledFunction, compile_expression
from einloom.expression import Expression
from einloom.keras.lowering.target import Lowered, NodeStructure, lowered
from einloom_compiler.errors import SpecError
from einloom_compiler.ir.graph import Node, inputs_of


def compile(
    target: Any, *specs: Any, threads: int | None = None, **call_kwargs: Any
) -> CompiledFunction | KerasFunction:
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
        call_kwargs: arguments of a layer's call: ``use_causal_mask=True``, or an operand, which
            becomes a further input: ``attention_mask=el.spec("B", "T", "S", dtype="bool")``.

    Returns:
        A :class:`~einloom.compiled.CompiledFunction` where there is one output and its inputs come
        in Keras's order; else a :class:`KerasFunction`, which takes and gives what the model does.

    Raises:
        ModelFileError: the file is none, or broken.
        ShapeError, SpecError: the inputs or arguments do not fit.
        UnsupportedError: a layer is not covered; the message names it and says where to cut.

    Example::

        f = el.keras.compile(keras.layers.Dense(8, "relu"), el.spec("B", 16))
        f(x)                                      # x: (B, 16) float32
    """
    found = lowered(target, *specs, **call_kwargs)
    if isinstance(found.outputs, Mapping | tuple):
        return KerasFunction(found, threads)
    if inputs_of(found.outputs) == found.inputs:
        return compile_expression(Expression(found.outputs), threads=threads)
    return KerasFunction(found, threads)


class KerasFunction:
    """A compiled model whose inputs and outputs are structured as Keras structures them.

    Attributes:
        name: the model's name.
        input_names: as Keras names the inputs, in its order.
    """

    def __init__(self, lowered_model: Lowered, threads: int | None = None) -> None:
        """Take the graph; kernels are compiled when first needed."""
        self.name = lowered_model.name
        self.input_names = tuple(node.name for node in lowered_model.inputs)
        self._lowered = lowered_model
        self._threads = threads
        self._functions: dict[Node, CompiledFunction] = {}
        for root in lowered_model.roots:
            if root not in self._functions:
                expression = Expression(root)
                self._functions[root] = compile_expression(expression, threads=threads)

    @property
    def functions(self) -> tuple[CompiledFunction, ...]:
        """The compiled function of each output, in order."""
        return tuple(self._functions[root] for root in self._lowered.roots)

    def __call__(self, *arrays: Any) -> Any:
        """Return the outputs.

        Args:
            arrays: one an input, in Keras's order; or one list of them, or a mapping by name.

        Raises:
            SpecError: there are more or fewer arrays than inputs, or names do not fit.
            ShapeError, DTypeError: an array does not fit its input.
        """
        given = self._by_name(arrays)
        results = {
            root: function(*(given[node.name] for node in inputs_of(root)))
            for root, function in self._functions.items()
        }
        return _filled(self._lowered.outputs, results)

    def _by_name(self, arrays: Sequence[Any]) -> Mapping[str, Any]:
        names = self.input_names
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            if set(arrays[0]) != set(names):
                raise SpecError(
                    f"{self.name!r} takes inputs {', '.join(names)}, but {', '.join(arrays[0])} "
                    "are given"
                )
            return arrays[0]
        if len(arrays) == 1 and isinstance(arrays[0], list | tuple):
            arrays = arrays[0]
        if len(arrays) != len(names):
            raise SpecError(
                f"{self.name!r} takes {len(names)} arrays ({', '.join(names)}), but {len(arrays)} "
                "are given"
            )
        return dict(zip(names, arrays, strict=True))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the graph it was compiled from."""
        return KerasFunction, (self._lowered, self._threads)

    def __repr__(self) -> str:
        """Print as ``<einloom model of (a, b)>``."""
        return f"<einloom {self.name} of ({', '.join(self.input_names)})>"


def _filled(structure: NodeStructure, results: Mapping[Node, Any]) -> Any:
    if isinstance(structure, Mapping):
        return {name: _filled(item, results) for name, item in structure.items()}
    if isinstance(structure, tuple):
        return [_filled(item, results) for item in structure]
    return results[structure]
