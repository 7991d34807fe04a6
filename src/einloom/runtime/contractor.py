"""Plan one contraction for arrays of any layout, keeping recipes for those it has seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from einloom.runtime.builder import Builder
from einloom.runtime.recipe import Contracted, Recipe
from einloom.runtime.stores import keep
from einloom.runtime.values import Layout, Value
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import Schedule
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term, without_axes
from einloom_compiler.ir.scalar import SUM, Scalar
from einloom_compiler.ir.shapes import bind_extents
from einloom_compiler.lowering.nest import Arithmetics, step_arithmetics
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import Orders
from einloom_compiler.pipeline import Chooser, bind, plan
from einloom_compiler.schedule.machine import host

Array = npt.NDArray[Any]

#: Layouts kept for one contraction; the oldest is dropped first.
_KEPT_LAYOUTS = 256


@dataclass(eq=False)
class Contractor:
    """A contraction of fixed structure and dtype that serves every size and layout.

    Attributes:
        expr: the einsum expression.
        dtype: dtype operands are cast to, and of the result.
        conjugated: whether each operand is conjugated on load.
        epilogue: what is computed from each finished sum.
        extras: indices of its further operands' axes; those follow the contraction's operands.
        optimize: how the order of three and more operands is chosen.
        broadcasts: whether an axis of extent 1 stands for a longer extent of its index.
        orders: for symbolic extents, the orders to pick from at each new layout.
        schedules: those given by hand, one a step; empty where the policy chooses.
        is_tuned: whether schedules are chosen by measuring.
        open_indices: those of symbolic extent, for which no kernels are made.
    """

    expr: EinsumExpr
    dtype: AnyDType
    conjugated: tuple[bool, ...]
    epilogue: Scalar = SUM
    extras: tuple[Term, ...] = ()
    optimize: Optimize = True
    broadcasts: bool = False
    orders: Orders | None = None
    schedules: tuple[Schedule | None, ...] = ()
    is_tuned: bool = False
    open_indices: frozenset[Index] = frozenset()
    _recipes: dict[tuple[Layout, ...], Recipe] = field(default_factory=dict, repr=False)
    _shapes: dict[tuple[tuple[int, ...], ...], tuple[int, ...]] = field(
        default_factory=dict, repr=False
    )

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the result's shape for operands of these shapes.

        Raises:
            ShapeError: extents of one index differ.
        """
        key = tuple(shapes[: len(self.expr.terms)])
        found = self._shapes.get(key)
        if found is None:
            extents, _ = bind_extents(self.expr, key, broadcasts=self.broadcasts)
            found = tuple(extents[index] for index in self.expr.output)
            keep(self._shapes, key, found, _KEPT_LAYOUTS)
        return found

    def recipe_for(self, layouts: Sequence[Layout]) -> Recipe:
        """Return the recipe for operands and, last, the result of these layouts.

        Operands may have any strides that are multiples of the itemsize, are aligned, and are in
        native byte order.
        """
        key = tuple(layouts)
        found = self._recipes.get(key)
        if found is None:
            builder = Builder(len(key) - 1)
            operands = [Value(slot, layout) for slot, layout in enumerate(key[:-1])]
            self.append_to(builder, operands, Value(builder.result, key[-1]))
            found = builder.recipe()
            keep(self._recipes, key, found, _KEPT_LAYOUTS)
        return found

    def append_to(self, builder: Builder, operands: Sequence[Value], target: Value) -> None:
        """Append the launches that contract ``operands``, the epilogue's last, to ``target``."""
        further = operands[len(self.expr.terms) :]
        operands = operands[: len(self.expr.terms)]
        shapes = [operand.shape for operand in operands]
        extents, broadcast = bind_extents(self.expr, shapes, broadcasts=self.broadcasts)
        if 0 in target.shape:
            return
        sizes = {index: int(extent) for index, extent in extents.items()}
        how = self.optimize if self.orders is None else self.orders.pick(sizes)
        tree = plan(without_axes(self.expr, broadcast), sizes, how, dtype_name(self.dtype))
        known = [
            _without_axes(operand, axes) for operand, axes in zip(operands, broadcast, strict=True)
        ]
        is_constant = [builder.is_constant(operand) for operand in operands]
        start = builder.n_steps
        self._append_steps(builder, tree, extents, known, is_constant, further, target)
        builder.contracted(
            Contracted(
                steps=range(start, builder.n_steps),
                expr=self.expr,
                dtype=self.dtype,
                conjugated=self.conjugated,
                epilogue=self.epilogue,
                extras=self.extras,
                operands=(*operands, *further),
                target=target,
            )
        )

    def _append_steps(
        self,
        builder: Builder,
        tree: ContractionTree,
        extents: Mapping[Index, int],
        operands: Sequence[Value],
        is_constant: Sequence[bool],
        further: Sequence[Value],
        target: Value,
    ) -> None:
        """Append the launches of a tree's steps; the last has the epilogue and its operands.

        Args:
            builder: takes the launches.
            tree: the order; its expression lacks the axes that are broadcast.
            extents: of every index.
            operands: the contraction's, without those axes.
            is_constant: whether kernels may want each of them packed.
            further: the operands of the epilogue.
            target: the result.
        """
        whole = Arithmetics(
            inputs=tuple(dtype_name(operand.dtype) for operand in operands),
            output=dtype_name(target.dtype),
            compute=dtype_name(self.dtype),
            conjugated=self.conjugated,
            epilogue=self.epilogue,
            extras=tuple(dtype_name(value.dtype) for value in further),
        )
        extras = [(term, value.steps) for term, value in zip(self.extras, further, strict=True)]
        known, n_given = list(operands), len(operands)
        arithmetics = step_arithmetics(tree, whole)
        for number, (step, of_step) in enumerate(zip(tree.steps, arithmetics, strict=True)):
            is_last = number == len(tree.steps) - 1
            if is_last:
                result = target
            else:
                shape = tuple(extents[index] for index in step.expr.output)
                result = builder.buffer(shape, as_dtype(of_step.output))
            known.append(result)
            if 0 in result.shape:
                builder.scheduled(None)
                continue
            inputs = [known[position] for position in step.positions]
            bound = bind(
                step.expr,
                [value.shape for value in inputs],
                [value.steps for value in inputs],
                result.steps,
                of_step,
                host(),
                schedule=self._schedule(number, len(tree.steps)),
                constant=[p < n_given and is_constant[p] for p in step.positions],
                extras=extras if is_last else (),
                open_indices=self.open_indices,
            )
            builder.stages(bound, inputs, result, further if is_last else ())
            (first, *others) = bound.stages
            builder.scheduled(None if others else first.bound.schedule)

    def _schedule(self, number: int, n_steps: int) -> Schedule | Chooser | None:
        """Return the schedule of a step, or what chooses it."""
        if self.schedules:
            if len(self.schedules) != n_steps:
                raise ScheduleError(
                    f"{len(self.schedules)} schedules given, but the order has {n_steps} steps at "
                    "these sizes; fix the order with optimize="
                )
            return self.schedules[number]
        if self.is_tuned:
            from einloom.runtime.tuning import tuned

            return tuned
        return None


def _without_axes(value: Value, axes: Collection[int]) -> Value:
    """Return the first elements along these axes."""
    kept = [axis for axis in range(len(value.shape)) if axis not in axes]
    return value.viewed((0,) * len(value.shape), [(value.shape[axis], axis, 1) for axis in kept])
