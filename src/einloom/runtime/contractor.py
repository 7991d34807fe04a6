"""Evaluate one contraction on arrays, keeping what was planned for layouts it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.launch import launch
from einloom_compiler.dtypes import AnyDType, as_dtype, dtype_name
from einloom_compiler.ir.contraction import ContractionTree
from einloom_compiler.ir.einsum import EinsumExpr, Index, without_axes
from einloom_compiler.ir.graph import Map
from einloom_compiler.ir.shapes import bind_extents
from einloom_compiler.lowering.iteration import c_strides
from einloom_compiler.lowering.nest import Arithmetics, step_arithmetics
from einloom_compiler.order.search import Optimize
from einloom_compiler.pipeline import Bound, Stages, bind_stages, plan
from einloom_compiler.schedule.machine import host

Array = npt.NDArray[Any]
#: Shape, strides in bytes, dtype.
Layout = tuple[tuple[int, ...], tuple[int, ...], AnyDType]

#: Layouts kept for one contraction; the oldest is dropped first.
_KEPT_LAYOUTS = 256


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan: operands by number, its kernels, its result's shape and dtype."""

    positions: tuple[int, ...]
    stages: Stages
    shape: tuple[int, ...]
    dtype: AnyDType

    def run(self, operands: Sequence[Array], target: Array, threads: int | None) -> None:
        """Write the step's result to ``target``."""
        partial = target
        if self.stages.shape:
            partial = np.empty(self.stages.shape, as_dtype(self.stages.dtype))
        for stage in self.stages.stages:
            given = [partial] if stage.reads_partial else operands
            launch(stage.bound, given, partial if stage.writes_partial else target, threads)


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a contraction for operands of one layout."""

    tree: ContractionTree
    extents: dict[Index, int]
    steps: tuple[PlannedStep, ...]


@dataclass(eq=False)
class Contractor:
    """A contraction of fixed structure and dtype that serves every size and layout.

    Attributes:
        expr: the einsum expression.
        dtype: dtype operands are cast to, and of the result.
        conjugated: whether each operand is conjugated on load.
        epilogue: maps applied to each finished sum.
        optimize: how the order of three and more operands is chosen.
        broadcasts: whether an axis of extent 1 stands for a longer extent of its index.
    """

    expr: EinsumExpr
    dtype: AnyDType
    conjugated: tuple[bool, ...]
    epilogue: tuple[Map, ...] = ()
    optimize: Optimize = True
    broadcasts: bool = False
    _plans: dict[tuple[Layout, ...], Plan] = field(default_factory=dict, repr=False)
    _shapes: dict[tuple[tuple[int, ...], ...], tuple[int, ...]] = field(
        default_factory=dict, repr=False
    )

    def output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the result's shape for operands of these shapes.

        Raises:
            ShapeError: extents of one index differ.
        """
        key = tuple(shapes)
        found = self._shapes.get(key)
        if found is None:
            extents, _ = bind_extents(self.expr, shapes, broadcasts=self.broadcasts)
            found = tuple(extents[index] for index in self.expr.output)
            _keep(self._shapes, key, found)
        return found

    def __call__(self, arrays: Sequence[Array], out: Array, threads: int | None = None) -> None:
        """Write the contraction of ``arrays`` to ``out``, which overlaps none of them.

        Arrays may have any strides that are multiples of the itemsize, are aligned, and are in
        native byte order.
        """
        plan = self.plan_for([layout(array) for array in (*arrays, out)])
        if out.size == 0:
            return
        results = list(arrays)
        last = len(plan.steps) - 1
        for number, step in enumerate(plan.steps):
            target = out if number == last else np.empty(step.shape, step.dtype)
            step.run([results[p] for p in step.positions], target, threads)
            results.append(target)

    def single_bound(self, arrays: Sequence[Array], result: Array) -> Bound | None:
        """Return the one kernel that computes ``result`` from ``arrays``, None if it takes more."""
        if not result.size or any(kernel_ready(array) is not array for array in arrays):
            return None
        steps = self.plan_for([layout(array) for array in (*arrays, result)]).steps
        if len(steps) > 1 or len(steps[0].stages.stages) > 1:
            return None
        return steps[0].stages.stages[0].bound

    def plan_for(self, layouts: Sequence[Layout]) -> Plan:
        """Return the plan for operands and, last, the result of these layouts."""
        key = tuple(layouts)
        found = self._plans.get(key)
        if found is None:
            found = self._plan(key)
            _keep(self._plans, key, found)
        return found

    def _plan(self, layouts: tuple[Layout, ...]) -> Plan:
        *given, output = layouts
        shapes = [shape for shape, _, _ in given]
        extents, broadcast = bind_extents(self.expr, shapes, broadcasts=self.broadcasts)
        kept = [
            [axis for axis in range(len(shape)) if axis not in axes]
            for shape, axes in zip(shapes, broadcast, strict=True)
        ]
        expr = without_axes(self.expr, broadcast)
        tree = plan(expr, extents, self.optimize, self.dtype.itemsize)
        known: list[Layout] = [
            (tuple(shape[a] for a in axes), tuple(strides[a] for a in axes), dtype)
            for (shape, strides, dtype), axes in zip(given, kept, strict=True)
        ]
        whole = Arithmetics(
            inputs=tuple(dtype_name(dtype) for _, _, dtype in given),
            output=dtype_name(output[2]),
            compute=dtype_name(self.dtype),
            conjugated=self.conjugated,
            epilogue=self.epilogue,
        )
        steps: list[PlannedStep] = []
        for step, arithmetics in zip(tree.steps, step_arithmetics(tree, whole), strict=True):
            shape = tuple(extents[index] for index in step.expr.output)
            is_last = len(steps) == len(tree.steps) - 1
            result = output if is_last else _c_layout(shape, as_dtype(arithmetics.output))
            operands = [known[position] for position in step.positions]
            stages = bind_stages(
                step.expr,
                [shape for shape, _, _ in operands],
                [_in_elements(operand) for operand in operands],
                _in_elements(result),
                arithmetics,
                host(),
            )
            steps.append(PlannedStep(step.positions, stages, shape, result[2]))
            known.append(result)
        return Plan(tree, extents, tuple(steps))


def layout(array: Array) -> Layout:
    """Return what a plan depends on: shape, strides in bytes, and dtype of an array."""
    return array.shape, array.strides, array.dtype


def _in_elements(layout: Layout) -> tuple[int, ...]:
    _, strides, dtype = layout
    return tuple(stride // dtype.itemsize for stride in strides)


def _c_layout(shape: tuple[int, ...], dtype: AnyDType) -> Layout:
    return shape, tuple(stride * dtype.itemsize for stride in c_strides(shape)), dtype


def _keep(kept: dict[Any, Any], key: object, value: object) -> None:
    """Remember ``value``, dropping the oldest entry of a full store."""
    if len(kept) >= _KEPT_LAYOUTS:
        kept.pop(next(iter(kept)), None)
    kept[key] = value


def kernel_ready(array: Array) -> Array:
    """Return ``array``, or a copy where its bytes cannot be addressed element by element.

    Copies are made of arrays in foreign byte order, unaligned ones, and ones whose strides are no
    multiples of the itemsize.
    """
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    if not array.flags.aligned or any(stride % array.itemsize for stride in array.strides):
        return array.copy()
    return array
