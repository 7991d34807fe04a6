"""Run a settled expression graph on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.choices import Choices, split_schedules
from einloom.runtime.contractor import Contractor, kernel_ready
from einloom.runtime.signature import Signature
from einloom_compiler.dtypes import AnyDType, has_kernel
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
from einloom_compiler.ir.shapes import extents_at, representative_sizes
from einloom_compiler.ir.verify import verify_graph
from einloom_compiler.order.search import Optimize
from einloom_compiler.order.select import orders_of, tree_at
from einloom_compiler.pipeline import Bound

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Contract:
    """Contract the values in these slots."""

    contractor: Contractor
    operands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Reshape:
    """View or copy the value in a slot under another shape."""

    operand: int
    shape: Shape


class Program:
    """A graph whose dtypes are settled, ready to run at any sizes its guards allow.

    The graph is flattened once: inputs, constants and results have numbered slots, and operations
    fill them in order, so that a call neither walks nor hashes it.

    Attributes:
        node: the graph.
        signature: its inputs and guards.
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
        verify_graph(node, "graph")
        self.node = node
        self._choices = choices = choices or Choices()
        self.signature = Signature(node, names, choices.ranges)
        self._schedules = _schedules(node, optimize, choices)
        self._operations: list[_Contract | _Reshape] = []
        constants = [part for part in nodes_of(node) if isinstance(part, Constant)]
        leaves: list[Node] = [*self.signature.inputs, *constants]
        slots = {leaf: slot for slot, leaf in enumerate(leaves)}
        for leaf in leaves:
            _require_kernel(dtype_of(leaf))
        self._constants = [kernel_ready(constant.array) for constant in constants]
        self._result = self._flatten(node, slots, optimize)

    def _flatten(self, node: Node, slots: dict[Node, int], optimize: Optimize) -> int:
        """Append the operations that compute ``node``; return its slot."""
        if node in slots:
            return slots[node]
        match node:
            case Reshape(operand=operand, shape=shape):
                operation: _Contract | _Reshape = _Reshape(
                    self._flatten(operand, slots, optimize), shape
                )
            case Contraction():
                operands = tuple(self._flatten(o, slots, optimize) for o in node.operands)
                _require_kernel(node.dtype)
                contractor = Contractor(
                    node.einsum,
                    _settled(node.dtype),
                    node.conjugated,
                    node.epilogue,
                    optimize,
                    broadcasts=any(node.broadcast),
                    orders=orders_of(node, optimize, self._choices.ranges),
                    schedules=self._schedules.get(node, ()),
                    is_tuned=self._choices.is_tuned,
                )
                operation = _Contract(contractor, operands)
            case _:
                raise InternalCompilerError("run", f"{node} has no slot")
        self._operations.append(operation)
        return slots.setdefault(node, len(slots))

    def run(self, arrays: Sequence[Array], out: Array | None, threads: int | None) -> Array:
        """Return the graph's value, written to ``out`` where given.

        ``out`` has the result's shape and dtype and overlaps no operand.
        """
        sizes = self.signature.check([array.shape for array in arrays])
        values = [*map(kernel_ready, arrays), *self._constants]
        n_leaves, last = len(values), len(self._operations) - 1
        for number, operation in enumerate(self._operations):
            if isinstance(operation, _Contract):
                operands = [values[slot] for slot in operation.operands]
                contractor = operation.contractor
                target = out if number == last else None
                if target is None:
                    shape = contractor.output_shape([operand.shape for operand in operands])
                    target = np.empty(shape, contractor.dtype)
                contractor(operands, target, threads)
                values.append(target)
            else:
                concrete = tuple(evaluate(extent, sizes) for extent in operation.shape)
                values.append(values[operation.operand].reshape(concrete))
        result = values[self._result]
        if out is not None and result is not out:
            out[...] = result
            return out
        is_computed = bool(self._operations) and isinstance(self._operations[-1], _Contract)
        return result if is_computed else _owned(result, values[:n_leaves])

    def single_bound(self, arrays: Sequence[Array], result: Array) -> Bound | None:
        """Return the one kernel that computed ``result`` from ``arrays``, None if it took more."""
        match self._operations:
            case [_Contract(contractor, operands)] if operands == tuple(range(len(arrays))):
                return contractor.single_bound(arrays, result)
            case _:
                return None


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


def _owned(result: Array, leaves: Sequence[Array]) -> Array:
    """Return ``result``, or a copy where it is a view of an operand."""
    return result.copy() if any(np.may_share_memory(result, leaf) for leaf in leaves) else result


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
