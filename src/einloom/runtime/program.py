"""Run a settled expression graph on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.choices import Choices, split_schedules
from einloom.runtime.contractor import Contractor, c_layout
from einloom.runtime.prepared import Evaluation
from einloom.runtime.recipe import (
    Builder,
    Copy,
    Layout,
    PackedConstants,
    Recipe,
    kernel_ready,
    layout,
)
from einloom.runtime.signature import Signature
from einloom.runtime.threads import Backend
from einloom_compiler.dtypes import AnyDType, dtype_name, has_kernel
from einloom_compiler.errors import InternalCompilerError, UnsupportedError
from einloom_compiler.extents import evaluate
from einloom_compiler.families import Schedule
from einloom_compiler.ir.graph import (
    Constant,
    Contraction,
    Node,
    Reshape,
    Shape,
    contractions_of,
    dtype_of,
    nodes_of,
)
from einloom_compiler.ir.maps import check_map
from einloom_compiler.ir.shapes import extents_at, representative_sizes, shape_of
from einloom_compiler.ir.verify_graph import verify_graph
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import orders_of, tree_at

Array = npt.NDArray[Any]

#: Recipes kept for one program; the oldest is dropped first.
_KEPT_RECIPES = 1024


@dataclass(frozen=True, slots=True)
class _Contract:
    """Contract the values in these slots."""

    contractor: Contractor
    operands: tuple[int, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class _Reshape:
    """View or copy the value in a slot under another shape."""

    operands: tuple[int]
    shape: Shape


class Program:
    """A graph whose dtypes are settled, ready to run at any sizes its guards allow.

    The graph is flattened once: inputs, constants and results have numbered slots, and operations
    fill them in order, so that a call neither walks nor hashes it. What that means for arrays of
    one layout is a recipe, which is kept.

    Attributes:
        node: the graph.
        signature: its inputs and guards.
        shape: the result's.
        dtype: the result's.
    """

    def __init__(
        self,
        node: Node,
        names: Mapping[str, str],
        optimize: Optimize,
        choices: Choices | None = None,
    ) -> None:
        """Verify the graph; nothing is compiled yet.

        Args:
            node: the graph.
            names: what messages call each input.
            optimize: how orders are chosen.
            choices: what else was settled about kernels.

        Raises:
            UnsupportedError: a dtype has no generated kernel.
            ScheduleError: there are more or fewer schedules than steps.
        """
        verify_graph(node, stage="graph")
        self.node = node
        self._choices = choices = choices or Choices()
        self.signature = Signature(node, names, choices.ranges)
        self._schedules = _schedules(node, optimize, choices)
        self.shape = shape_of(node)
        self.dtype = _settled(dtype_of(node))
        self._operations: list[_Contract | _Reshape] = []
        self._recipes: dict[tuple[Layout, ...], Recipe] = {}
        constants = [part for part in nodes_of(node) if isinstance(part, Constant)]
        leaves: list[Node] = [*self.signature.inputs, *constants]
        slots = {leaf: slot for slot, leaf in enumerate(leaves)}
        for leaf in leaves:
            _require_kernel(dtype_of(leaf))
        self._constants = [kernel_ready(constant.array) for constant in constants]
        self._packed: PackedConstants = {}
        self._result = self._flatten(node, slots, optimize)

    def _flatten(self, node: Node, slots: dict[Node, int], optimize: Optimize) -> int:
        """Append the operations that compute ``node``; return its slot."""
        if node in slots:
            return slots[node]
        match node:
            case Reshape(operand=operand, shape=shape):
                operation: _Contract | _Reshape = _Reshape(
                    (self._flatten(operand, slots, optimize),), shape
                )
            case Contraction():
                operands = tuple(self._flatten(o, slots, optimize) for o in node.operands)
                _require_kernel(node.dtype)
                maps = node.epilogue.maps
                if maps is None:
                    raise UnsupportedError("an epilogue with operands has no kernel yet")
                for step in maps:
                    check_map(step, dtype_name(_settled(node.dtype)))
                contractor = Contractor(
                    node.einsum,
                    _settled(node.dtype),
                    node.conjugated,
                    maps,
                    optimize,
                    broadcasts=any(node.broadcast),
                    orders=orders_of(node, optimize, self._choices.ranges),
                    schedules=self._schedules.get(node, ()),
                    is_tuned=self._choices.is_tuned,
                )
                operation = _Contract(contractor, operands, shape_of(node))
            case _:
                raise InternalCompilerError("run", f"{node} has no slot")
        self._operations.append(operation)
        return slots.setdefault(node, len(slots))

    def output_shape(self, arrays: Sequence[Array]) -> tuple[int, ...]:
        """Return the result's shape for these arrays.

        Raises:
            ShapeError: the shapes do not fit the declared ones.
        """
        sizes = self.signature.check([array.shape for array in arrays])
        return _evaluated(self.shape, sizes)

    def run(
        self,
        arrays: Sequence[Array],
        out: Array | None,
        threads: int | None,
        backend: Backend,
    ) -> Array:
        """Return the graph's value, written to ``out`` where given.

        ``out`` has the result's shape and dtype and overlaps no operand.
        """
        shape = self.output_shape(arrays)
        if out is None:
            out = np.empty(shape, self.dtype)
        ready = list(map(kernel_ready, arrays))
        target = kernel_ready(out)
        self.recipe_for(ready, target).run(ready, target, threads, backend)
        if target is not out:
            out[...] = target
        return out

    def recipe_for(self, arrays: Sequence[Array], out: Array) -> Recipe:
        """Return the recipe for arrays and a result of these layouts, ready for kernels."""
        key = tuple(layout(array) for array in (*arrays, out))
        found = self._recipes.get(key)
        if found is None:
            found = self._recipe(arrays, layout(out))
            if len(self._recipes) >= _KEPT_RECIPES:
                self._recipes.pop(next(iter(self._recipes)), None)
            self._recipes[key] = found
        return found

    def evaluation(self, arrays: Sequence[Array], result: Array) -> Evaluation:
        """Return how ``result`` was computed from ``arrays``."""
        *ready, target = map(kernel_ready, (*arrays, result))
        return Evaluation(self.recipe_for(ready, target), ready, target)

    def recipe_at(self, sizes: Mapping[str, int], *, packs: bool = True) -> Recipe:
        """Return the recipe for operands and a result in C order at these values of symbols.

        Values may be open formulas: the recipe then holds wherever its guards do. Kernels may want
        constants packed where ``packs``.
        """
        shapes = [_evaluated(operand.shape, sizes) for operand in self.signature.inputs]
        dtypes = [_settled(operand.dtype) for operand in self.signature.inputs]
        layouts = map(c_layout, shapes, dtypes)
        values = [_Value(slot, of_slot) for slot, of_slot in enumerate(layouts)]
        output = c_layout(_evaluated(self.shape, sizes), self.dtype)
        return self._recipe_of(values, sizes, output, packs=packs)

    def _recipe(self, arrays: Sequence[Array], output: Layout) -> Recipe:
        sizes = self.signature.check([array.shape for array in arrays])
        values = [_Value(slot, layout(array), array) for slot, array in enumerate(arrays)]
        return self._recipe_of(values, sizes, output)

    def _recipe_of(
        self,
        values: list[_Value],
        sizes: Mapping[str, int],
        output: Layout,
        *,
        packs: bool = True,
    ) -> Recipe:
        builder = Builder(len(values), self._constants, self._packed, packs=packs)
        values += [
            _Value(-1 - number, layout(array), array)
            for number, array in enumerate(self._constants)
        ]
        last = self._last_contraction(output)
        for number, operation in enumerate(self._operations):
            operands = [values[slot] for slot in operation.operands]
            shape = _evaluated(operation.shape, sizes)
            if isinstance(operation, _Reshape):
                values.append(operands[0].reshaped(shape, builder))
                continue
            dtype = operation.contractor.dtype
            slot = builder.result if number == last else builder.buffer(shape, dtype)
            # The result's own layout where it is not reshaped after.
            is_result = number == last and shape == output[0]
            value = _Value(slot, output if is_result else c_layout(shape, dtype))
            operation.contractor.append_to(
                builder, [(o.slot, o.layout) for o in operands], (slot, value.layout)
            )
            values.append(value)
        result = values[self._result]
        if result.slot != builder.result:
            builder.add(Copy(result.slot, builder.result))
        return builder.recipe()

    def _last_contraction(self, output: Layout) -> int | None:
        """Return which operation can write the result itself, None if none can.

        It is the one whose value the result is, reshaped perhaps: then ``output`` must be in C
        order.
        """
        slot, n_leaves = self._result, len(self.signature.inputs) + len(self._constants)
        is_reshaped = False
        while slot >= n_leaves:
            operation = self._operations[slot - n_leaves]
            if isinstance(operation, _Contract):
                is_fit = not is_reshaped or output == c_layout(output[0], output[2])
                return slot - n_leaves if is_fit else None
            is_reshaped = True
            (slot,) = operation.operands
        return None


@dataclass(frozen=True, slots=True)
class _Value:
    """A value while a recipe is made: its slot and layout, and its array where it has one yet."""

    slot: int
    layout: Layout
    array: Array | None = None

    def reshaped(self, shape: tuple[int, ...], builder: Builder) -> _Value:
        """Return the value of another shape: a view, or a copy where NumPy needs one."""
        dtype = self.layout[2]
        if self.array is None:  # in C order
            return _Value(self.slot, c_layout(shape, dtype))
        try:
            view = self.array.reshape(shape, copy=False)
        except ValueError:
            slot = builder.buffer(shape, dtype)
            builder.add(Copy(self.slot, slot))
            return _Value(slot, c_layout(shape, dtype))
        return _Value(self.slot, layout(view), view)


def _schedules(
    node: Node, optimize: Optimize, choices: Choices
) -> dict[Contraction, tuple[Schedule | None, ...]]:
    """Return the schedules given for each contraction's steps; none where the policy chooses."""
    if not choices.schedules:
        return {}
    nodes = contractions_of(node)
    sizes = representative_sizes(node)
    trees = [tree_at(part, extents_at(part, sizes), optimize, choices.ranges) for part in nodes]
    return dict(zip(nodes, split_schedules(choices.schedules, trees), strict=True))


def _evaluated(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(extent, sizes) for extent in shape)


def _settled(dtype: AnyDType | None) -> AnyDType:
    if dtype is None:
        raise InternalCompilerError("graph", "a dtype is not settled")
    return dtype


def _require_kernel(dtype: AnyDType | None) -> None:
    if dtype is not None and not has_kernel(dtype):
        raise UnsupportedError(
            f"no kernel is generated for dtype {dtype}; cast the operands to float64, complex128 "
            "or an integer dtype (einloom.einsum lets NumPy evaluate object and long double)"
        )
