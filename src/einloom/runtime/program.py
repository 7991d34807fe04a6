"""Run a settled expression graph on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.contractor import Contractor, kernel_ready
from einloom_compiler.dtypes import AnyDType, has_kernel
from einloom_compiler.errors import InternalCompilerError, ShapeError, UnsupportedError
from einloom_compiler.extents import evaluate, free_names, is_known, text
from einloom_compiler.ir.graph import (
    Constant,
    Contraction,
    Input,
    Node,
    Reshape,
    dtype_of,
    inputs_of,
)
from einloom_compiler.ir.shapes import guards
from einloom_compiler.ir.verify import verify_graph
from einloom_compiler.order.search import Optimize

Array = npt.NDArray[Any]


class Program:
    """A graph whose dtypes are settled, ready to run at any sizes its guards allow.

    Attributes:
        node: the graph.
        inputs: its inputs, in the order arrays are given.
        names: what messages call each input.
    """

    def __init__(self, node: Node, names: Mapping[str, str], optimize: Optimize) -> None:
        """Verify the graph; nothing is compiled yet.

        Raises:
            UnsupportedError: a dtype has no generated kernel.
        """
        verify_graph(node, "graph")
        self.node = node
        self.inputs = inputs_of(node)
        self.names = tuple(names[operand.name] for operand in self.inputs)
        self.guards = guards(node)
        self.contractors: dict[Contraction, Contractor] = {}
        self._checked: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}
        self._collect(node, optimize)

    def _collect(self, node: Node, optimize: Optimize) -> None:
        match node:
            case Reshape():
                self._collect(node.operand, optimize)
            case Contraction():
                for operand in node.operands:
                    self._collect(operand, optimize)
                for dtype in (node.dtype, *(dtype_of(operand) for operand in node.operands)):
                    _require_kernel(dtype)
                self.contractors[node] = Contractor(
                    node.einsum,
                    _settled(node.dtype),
                    node.conjugated,
                    node.epilogue,
                    optimize,
                    broadcasts=any(node.broadcast),
                )
            case _:
                _require_kernel(node.dtype)

    def run(self, arrays: Sequence[Array], out: Array | None, threads: int | None) -> Array:
        """Return the graph's value, written to ``out`` where given.

        ``out`` has the result's shape and dtype and overlaps no operand.
        """
        sizes = self.check([array.shape for array in arrays])
        values: dict[Node, Array] = {
            node: kernel_ready(array) for node, array in zip(self.inputs, arrays, strict=True)
        }
        result = self._value(self.node, values, sizes, out, threads)
        if out is not None and result is not out:
            out[...] = result
            return out
        if any(result is array or result.base is not None for array in arrays):
            return _owned(result, arrays)
        return result

    def check(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """Return the value of every symbol for operands of these shapes.

        Raises:
            ShapeError: a rank or extent is not the declared one, or a guard does not hold.
        """
        key = tuple(shapes)
        found = self._checked.get(key)
        if found is None:
            found = self._bind_symbols(key)
            if len(self._checked) > 1024:
                self._checked.clear()
            self._checked[key] = found
        return found

    def _bind_symbols(self, shapes: tuple[tuple[int, ...], ...]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        origin: dict[str, str] = {}
        declared = list(zip(self.inputs, self.names, shapes, strict=True))
        for operand, name, shape in declared:
            if len(shape) != len(operand.shape):
                wanted = ", ".join(map(text, operand.shape))
                raise ShapeError(
                    f"operand '{name}' has rank {len(shape)} (shape {shape}) but was declared "
                    f"with rank {len(operand.shape)}: ({wanted})"
                )
            for axis, (extent, given) in enumerate(zip(operand.shape, shape, strict=True)):
                if is_known(extent) or not getattr(extent, "is_Symbol", False):
                    continue
                symbol = str(extent)
                if sizes.setdefault(symbol, given) != given:
                    raise ShapeError(
                        f"extent {text(extent)} is {sizes[symbol]} in {origin[symbol]} but {given} "
                        f"in axis {axis} of operand '{name}' (shape {shape}); it must be the same"
                    )
                origin.setdefault(symbol, f"axis {axis} of operand '{name}' (shape {shape})")
        for operand, name, shape in declared:
            for axis, (extent, given) in enumerate(zip(operand.shape, shape, strict=True)):
                wanted = evaluate(extent, sizes) if free_names(extent) <= set(sizes) else given
                if wanted != given:
                    raise ShapeError(
                        f"axis {axis} of operand '{name}' has extent {given} (shape {shape}) but "
                        f"was declared with {text(extent)}; compile for a symbolic extent to allow "
                        "others"
                    )
        for guard in self.guards:
            left, right = evaluate(guard.left, sizes), evaluate(guard.right, sizes)
            if left != right:
                raise ShapeError(
                    f"the guard {text(guard.left)} == {text(guard.right)} does not hold: "
                    f"{left} != {right} ({guard.reason})"
                )
        return sizes

    def _value(
        self,
        node: Node,
        values: dict[Node, Array],
        sizes: Mapping[str, int],
        out: Array | None,
        threads: int | None,
    ) -> Array:
        if node in values:
            return values[node]
        match node:
            case Constant(array=array):
                value = kernel_ready(array)
            case Reshape(operand=operand, shape=shape):
                concrete = tuple(evaluate(extent, sizes) for extent in shape)
                target = None
                if out is not None and out.flags.c_contiguous and isinstance(operand, Contraction):
                    inner = self.contractors[operand]
                    shapes = [
                        self._value(o, values, sizes, None, threads).shape for o in operand.operands
                    ]
                    target = out.reshape(inner.output_shape(shapes))
                value = self._value(operand, values, sizes, target, threads).reshape(concrete)
                return out if target is not None and out is not None else value
            case Contraction():
                arrays = [self._value(o, values, sizes, None, threads) for o in node.operands]
                contractor = self.contractors[node]
                if out is None:
                    shape = contractor.output_shape([array.shape for array in arrays])
                    out = np.empty(shape, contractor.dtype)
                contractor(arrays, out, threads)
                value = out
            case Input():
                raise InternalCompilerError("run", f"input {node.name} has no array")
        values[node] = value
        return value


def _owned(result: Array, arrays: Sequence[Array]) -> Array:
    """Return ``result``, or a copy where it is a view of an operand."""
    return result.copy() if any(np.may_share_memory(result, a) for a in arrays) else result


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
