"""Run a settled expression graph on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom.runtime.contractor import Contractor, kernel_ready
from einloom.runtime.signature import Signature
from einloom_compiler.dtypes import AnyDType, has_kernel
from einloom_compiler.errors import InternalCompilerError, UnsupportedError
from einloom_compiler.extents import evaluate
from einloom_compiler.ir.graph import (
    Constant,
    Contraction,
    Input,
    Node,
    Reshape,
    dtype_of,
)
from einloom_compiler.ir.verify import verify_graph
from einloom_compiler.order.search import Optimize

Array = npt.NDArray[Any]


class Program:
    """A graph whose dtypes are settled, ready to run at any sizes its guards allow.

    Attributes:
        node: the graph.
        signature: its inputs and guards.
    """

    def __init__(self, node: Node, names: Mapping[str, str], optimize: Optimize) -> None:
        """Verify the graph; nothing is compiled yet.

        Raises:
            UnsupportedError: a dtype has no generated kernel.
        """
        verify_graph(node, "graph")
        self.node = node
        self.signature = Signature(node, names)
        self.contractors: dict[Contraction, Contractor] = {}
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
        sizes = self.signature.check([array.shape for array in arrays])
        values: dict[Node, Array] = {
            node: kernel_ready(array)
            for node, array in zip(self.signature.inputs, arrays, strict=True)
        }
        result = self._value(self.node, values, sizes, out, threads)
        if out is not None and result is not out:
            out[...] = result
            return out
        return _owned(result, arrays)

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
