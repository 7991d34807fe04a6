"""Run settled expression graphs on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.builder import Builder, PackedConstants
from einloom.runtime.choices import Choices, split_schedules, step_names
from einloom.runtime.folding import fold
from einloom.runtime.memory import kernel_ready
from einloom.runtime.moving import copy
from einloom.runtime.operations import Concatenate, Extend, Operation, operation_of, required
from einloom.runtime.optimizing import optimized
from einloom.runtime.prepared import Evaluation
from einloom.runtime.recipe import Recipe
from einloom.runtime.signature import Signature
from einloom.runtime.stores import keep
from einloom.runtime.threads import Backend
from einloom.runtime.values import Layout, Value, c_layout, layout
from einloom.runtime.views import evaluated, reshaped, seen_through, strided
from einloom_compiler.dtypes import AnyDType
from einloom_compiler.families import Schedule
from einloom_compiler.ir.graph import (
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Input,
    Node,
    Reshape,
    Rows,
    Shape,
    Strided,
)
from einloom_compiler.ir.shapes import extents_at, representative_sizes, shape_of
from einloom_compiler.ir.traversal import dtype_of, nodes_of, operands_of
from einloom_compiler.ir.verify_graph import verify_graph
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import tree_at

Array = npt.NDArray[Any]
Sizes = Mapping[str, int]

#: Recipes kept for one program; the oldest is dropped first.
_KEPT_RECIPES = 1024


@dataclass(frozen=True, slots=True)
class _Part:
    """A node, with what its recipes need to know.

    Attributes:
        node: the node.
        operands: positions of the parts it is computed from.
        operation: what computes it; None for leaves and views.
        shape: its extents.
        dtype: its dtype.
    """

    node: Node
    operands: tuple[int, ...]
    operation: Operation | None
    shape: Shape
    dtype: AnyDType


class Program:
    """Graphs whose dtypes are settled, ready to run together at any sizes their guards allow.

    The graphs are flattened once, operands before what uses them. What they mean for arrays of one
    layout is a recipe, which is kept.

    Attributes:
        roots: the graphs, one a result.
        signature: their inputs and guards.
        shapes: the results'.
        dtypes: the results'.
    """

    def __init__(
        self,
        roots: Node | tuple[Node, ...],
        names: Mapping[str, str],
        optimize: Optimize,
        choices: Choices | None = None,
        *,
        optimizes: bool = True,
        folds: bool = True,
        inputs: tuple[Input, ...] | None = None,
    ) -> None:
        """Verify the graphs; nothing is compiled yet but what constants need.

        Args:
            roots: one graph a result.
            names: what messages call each input.
            optimize: how orders are chosen.
            choices: what else was settled about kernels.
            optimizes: whether nodes are merged and fused before.
            folds: whether parts that depend on no input are computed now.
            inputs: in the order of a call's arrays; in order of first use where None.

        Raises:
            UnsupportedError: a dtype or a node has no generated kernel.
            ScheduleError: there are more or fewer schedules than steps.
        """
        self.roots = roots if isinstance(roots, tuple) else (roots,)
        verify_graph(*self.roots, stage="graph")
        self._choices = choices = choices or Choices()
        self.signature = Signature(self.roots, names, choices.ranges, inputs)
        self.shapes = tuple(map(shape_of, self.roots))
        self.dtypes = tuple(required(dtype_of(root)) for root in self.roots)
        for leaf in self.signature.inputs:
            required(leaf.dtype)
        given = optimized(self.roots, optimize) if optimizes else self.roots
        # Of contractions alone, schedules are given for all, those of constants too.
        if folds and not (choices.schedules and _is_contracting(given)):
            given = fold(given, lambda node: _value_of(node, optimize))
        self._constants: list[Array] = []
        self._packed: PackedConstants = {}
        self._recipes: dict[tuple[Layout, ...], Recipe] = {}
        schedules = _schedules(given, optimize, choices)
        self._parts: list[_Part] = []
        positions: dict[Node, int] = {}
        for node in nodes_of(*given):
            is_leaf = isinstance(node, Input | Constant | Reshape | Strided)
            if isinstance(node, Constant):
                self._constants.append(kernel_ready(node.array))
            part = _Part(
                node,
                tuple(positions[operand] for operand in operands_of(node)),
                None if is_leaf else operation_of(node, optimize, choices, schedules.get(node, ())),
                shape_of(node),
                required(dtype_of(node)),
            )
            positions[node] = len(self._parts)
            self._parts.append(part)
        self._results = tuple(positions[root] for root in given)

    @property
    def shape(self) -> Shape:
        """The first result's shape."""
        return self.shapes[0]

    @property
    def dtype(self) -> AnyDType:
        """The first result's dtype."""
        return self.dtypes[0]

    def output_shapes(self, arrays: Sequence[Array]) -> tuple[tuple[int, ...], ...]:
        """Return the results' shapes for these arrays.

        Raises:
            ShapeError: the shapes do not fit the declared ones.
        """
        sizes = self.signature.check([array.shape for array in arrays])
        return tuple(evaluated(shape, sizes) for shape in self.shapes)

    def output_shape(self, arrays: Sequence[Array]) -> tuple[int, ...]:
        """Return the first result's shape for these arrays.

        Raises:
            ShapeError: the shapes do not fit the declared ones.
        """
        return self.output_shapes(arrays)[0]

    def run(
        self,
        arrays: Sequence[Array],
        out: Array | None,
        threads: int | None,
        backend: Backend,
    ) -> Array:
        """Return the first result, written to ``out`` where given; see :meth:`run_all`."""
        outs = (out, *(None for _ in self.roots[1:]))
        return self.run_all(arrays, outs, threads, backend)[0]

    def run_all(
        self,
        arrays: Sequence[Array],
        outs: Sequence[Array | None],
        threads: int | None,
        backend: Backend,
    ) -> tuple[Array, ...]:
        """Return the results, written to those of ``outs`` that are given.

        They have the results' shapes and dtypes and overlap no operand.
        """
        shapes = self.output_shapes(arrays)
        results = tuple(
            np.empty(shape, dtype) if out is None else out
            for out, shape, dtype in zip(outs, shapes, self.dtypes, strict=True)
        )
        ready, targets = [*map(kernel_ready, arrays)], [*map(kernel_ready, results)]
        self.recipe_for(ready, *targets).run_into(ready, targets, threads, backend)
        for result, target in zip(results, targets, strict=True):
            if target is not result:
                result[...] = target
        return results

    def recipe_for(self, arrays: Sequence[Array], *outs: Array) -> Recipe:
        """Return the recipe for arrays and results of these layouts, ready for kernels."""
        key = tuple(layout(array) for array in (*arrays, *outs))
        found = self._recipes.get(key)
        if found is None:
            sizes = self.signature.check([array.shape for array in arrays])
            found = self._recipe(key[: len(arrays)], key[len(arrays) :], sizes)
            keep(self._recipes, key, found, _KEPT_RECIPES)
        return found

    def evaluation(self, arrays: Sequence[Array], *results: Array) -> Evaluation:
        """Return how the results were computed from ``arrays``."""
        ready, targets = [*map(kernel_ready, arrays)], tuple(map(kernel_ready, results))
        return Evaluation(self.recipe_for(ready, *targets), ready, targets)

    def recipe_at(self, sizes: Sizes, *, is_shipped: bool = False) -> Recipe:
        """Return the recipe for operands and results in C order at these values of symbols.

        Values may be open formulas: the recipe then holds wherever its guards do. Where it
        ``is_shipped``, lookups are of arrays in C order and packed constants are named, not made.
        """
        inputs = [
            c_layout(evaluated(operand.shape, sizes), required(operand.dtype))
            for operand in self.signature.inputs
        ]
        outputs = [
            c_layout(evaluated(shape, sizes), dtype)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]
        return self._recipe(inputs, outputs, sizes, is_shipped=is_shipped)

    def _recipe(
        self,
        inputs: Sequence[Layout],
        outputs: Sequence[Layout],
        sizes: Sizes,
        *,
        is_shipped: bool = False,
    ) -> Recipe:
        builder = Builder(
            len(inputs),
            self._constants,
            self._packed,
            len(outputs),
            is_shipped=is_shipped,
        )
        results = [Value(builder.result + number, out) for number, out in enumerate(outputs)]
        targets = self._targets(results, builder, sizes)
        slots = {node.name: slot for slot, node in enumerate(self.signature.inputs)}
        values: list[Value] = []
        n_constants = 0
        for number, part in enumerate(self._parts):
            operands = [values[position] for position in part.operands]
            match part.node:
                case Input(name=name):
                    values.append(Value(slots[name], inputs[slots[name]]))
                case Constant():
                    array = self._constants[n_constants]
                    n_constants += 1
                    values.append(Value(-n_constants, layout(array)))
                case Strided():
                    values.append(strided(part.node, operands[0], sizes))
                case Reshape():
                    shape = evaluated(part.shape, sizes)
                    values.append(reshaped(operands[0], shape, builder))
                case _:
                    target = targets.get(number)
                    if target is None:
                        target = builder.buffer(evaluated(part.shape, sizes), part.dtype)
                    assert part.operation is not None
                    part.operation.append(builder, operands, target, sizes)
                    values.append(target)
        for position, result in zip(self._results, results, strict=True):
            if not values[position].is_at(result):
                copy(builder, values[position], result)
        return builder.recipe()

    def _targets(
        self, results: Sequence[Value], builder: Builder, sizes: Sizes
    ) -> dict[int, Value]:
        """Return where parts are best computed: in results, or in parts joined from them."""
        found: dict[int, Value] = {}

        def place(number: int, value: Value) -> None:
            part = self._parts[number]
            match part.node:
                case Reshape():
                    (operand,) = part.operands
                    shape = evaluated(self._parts[operand].shape, sizes)
                    if (inner := value.reshaped(shape)) is not None:
                        place(operand, inner)
                case Strided():
                    if (inner := seen_through(part.node, value)) is not None:
                        place(part.operands[0], inner)
                case _ if part.operation is not None:
                    found.setdefault(number, value)

        for position, result in zip(self._results, results, strict=True):
            place(position, result)
        for number in reversed(range(len(self._parts))):
            part = self._parts[number]
            if isinstance(part.operation, Concatenate | Extend):
                if number not in found:
                    found[number] = builder.buffer(evaluated(part.shape, sizes), part.dtype)
                shapes = [evaluated(self._parts[o].shape, sizes) for o in part.operands]
                places = part.operation.places(found[number], shapes, sizes)
                for operand, value in zip(part.operands, places, strict=True):
                    place(operand, value)
        return found


def _value_of(node: Node, optimize: Optimize) -> Array:
    """Return the value of a node that depends on no input."""
    program = Program(node, {}, optimize, optimizes=False, folds=False)
    return program.run((), None, None, "pool")


def _is_contracting(roots: tuple[Node, ...]) -> bool:
    kinds = Contraction | Input | Constant | Reshape
    return len(roots) == 1 and all(isinstance(node, kinds) for node in nodes_of(*roots))


def _schedules(
    roots: tuple[Node, ...], optimize: Optimize, choices: Choices
) -> dict[Node, tuple[Schedule | None, ...]]:
    """Return the schedules given for each node's steps; none where the policy chooses."""
    if not choices.schedules:
        return {}
    nodes = [
        node
        for node in nodes_of(*roots)
        if isinstance(node, Contraction | Elementwise | Rows | Attention)
    ]
    sizes = representative_sizes(*roots)

    def names(node: Node) -> list[str]:
        if not isinstance(node, Contraction):
            return [type(node).__name__.lower()]
        return step_names(tree_at(node, extents_at(node, sizes), optimize, choices.ranges))

    shares = split_schedules(choices.schedules, [*map(names, nodes)])
    return dict(zip(nodes, shares, strict=True))
