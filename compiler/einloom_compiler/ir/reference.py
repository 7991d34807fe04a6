"""Evaluate a graph with NumPy: what every kernel and every pass of the optimizer is held against.

Slow and plain on purpose: each node is one NumPy expression of its definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from einloom_compiler.dtypes import arithmetic, dtype_name
from einloom_compiler.extents import evaluate
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import (
    Attention,
    Constant,
    Contraction,
    Elementwise,
    Input,
    Iota,
    Join,
    Node,
    Pad,
    Reshape,
    Rows,
    Strided,
    Take,
)
from einloom_compiler.ir.scalar import evaluate_scalar
from einloom_compiler.ir.traversal import dtype_of, nodes_of, operands_of

Array = npt.NDArray[Any]

_REDUCE: dict[str, Any] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
}
_SCAN: dict[str, Any] = {"sum": np.cumsum, "prod": np.cumprod}


def evaluate_graph(
    node: Node,
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int] | None = None,
    *,
    widened: bool = False,
) -> Array:
    """Return the node's value.

    Args:
        node: the graph; its dtypes are settled.
        arrays: by input name.
        sizes: of the symbols in reshapes, views and pads.
        widened: compute floats in float64 and complex numbers in complex128, and leave the result
            so: the reference for error bounds.
    """
    evaluator = _Evaluator(arrays, sizes or {}, widened)
    values: dict[Node, Array] = {}
    for part in nodes_of(node):
        values[part] = evaluator.evaluate(part, [values[operand] for operand in operands_of(part)])
    return values[node]


class _Evaluator:
    def __init__(
        self, arrays: Mapping[str, Array], sizes: Mapping[str, int], widened: bool
    ) -> None:
        self.arrays, self.sizes, self.widened = arrays, sizes, widened

    def compute(self, dtype: Any) -> np.dtype[Any]:
        """Return the dtype to compute in for nodes of ``dtype``."""
        if dtype.kind == "b":
            return np.dtype(bool)
        own = np.dtype(arithmetic(dtype_name(dtype)).compute)
        return np.dtype({"f": "float64", "c": "complex128"}[own.kind]) if self._widens(own) else own

    def _widens(self, dtype: np.dtype[Any]) -> bool:
        return self.widened and dtype.kind in "fc"

    def stored(self, array: Any, dtype: Any) -> Array:
        """Return the array as the node's result, wide where asked for."""
        is_float = np.asarray(array).dtype.kind in "fc" and self.widened
        kept = is_float and (dtype.kind in "fc" or dtype.name == "bfloat16")
        return np.asarray(array) if kept else np.asarray(array).astype(dtype)

    def evaluate(self, node: Node, values: Sequence[Array]) -> Array:
        """Return the node's value from its operands'."""
        with np.errstate(all="ignore"):
            return self._evaluate(node, values)

    def _evaluate(self, node: Node, values: Sequence[Array]) -> Array:
        match node:
            case Input(name=name):
                return np.asarray(self.arrays[name])
            case Constant(array=array):
                return array
            case Iota(extent=extent, dtype=dtype):
                return np.arange(evaluate(extent, self.sizes)).astype(dtype)
            case Contraction():
                return self._contraction(node, values)
            case Elementwise():
                return self._elementwise(node, values)
            case Rows():
                return self._rows(node, values)
            case Attention():
                return self._attention(node, values)
            case Reshape(shape=shape):
                return values[0].reshape([evaluate(extent, self.sizes) for extent in shape])
            case Strided():
                return self._view(node, values[0])
            case Pad(before=before, after=after, value=value):
                widths = [
                    (evaluate(a, self.sizes), evaluate(b, self.sizes))
                    for a, b in zip(before, after, strict=True)
                ]
                filling = np.asarray(value).astype(values[0].dtype)
                return np.pad(values[0], widths, constant_values=filling)
            case Join(axis=axis):
                return np.concatenate(values, axis)
            case Take():
                return values[0][values[1]]

    def _contraction(self, node: Contraction, values: Sequence[Array]) -> Array:
        dtype = self.compute(node.dtype)
        n, numbers = len(node.operands), _numbers(node.einsum.indices)
        args: list[Any] = []
        given = zip(values[:n], node.einsum.terms, node.broadcast, node.conjugated, strict=True)
        extents: dict[Index, int] = {}
        for value, term, axes, is_conjugated in given:
            kept = [axis for axis in range(len(term)) if axis not in axes]
            array = value.astype(dtype)
            array = np.conj(array) if is_conjugated else array
            args += [
                array.reshape([array.shape[a] for a in kept]),
                [numbers[term[a]] for a in kept],
            ]
            for axis, index in enumerate(term):
                extents[index] = max(extents.get(index, 0), value.shape[axis])
        for index in node.einsum.indices:  # those that every operand broadcasts
            args += [np.ones(extents[index], dtype), [numbers[index]]]
        total = np.einsum(*args, [numbers[index] for index in node.einsum.output])
        epilogue = node.epilogue
        further = [
            in_frame(value.astype(dtype), term, node.einsum.output)
            for value, term in zip(values[n:], epilogue.terms, strict=True)
        ]
        result = evaluate_scalar(epilogue.body, [np.asarray(total), *further])
        result = np.broadcast_to(result, np.shape(total))
        return self.stored(result, epilogue.dtype or node.dtype)

    def _elementwise(self, node: Elementwise, values: Sequence[Array]) -> Array:
        dtype = self.compute(node.dtype)
        aligned = [
            in_frame(value.astype(dtype), term, node.output)
            for value, term in zip(values, node.terms, strict=True)
        ]
        shape = np.broadcast_shapes(*(array.shape for array in aligned))
        result = np.broadcast_to(evaluate_scalar(node.body, aligned), shape)
        return self.stored(result, dtype_of(node))

    def _rows(self, node: Rows, values: Sequence[Array]) -> Array:
        dtype = self.compute(node.dtype)
        kept = tuple(index for index in node.output if index not in node.reduced)
        frame = (*kept, *node.reduced)
        known = [
            in_frame(value.astype(dtype), term, frame)
            for value, term in zip(values, node.terms, strict=True)
        ]
        axes = tuple(range(len(kept), len(frame)))
        shape = np.broadcast_shapes(*(array.shape for array in known))
        for reduction in node.reductions:
            points = np.broadcast_to(evaluate_scalar(reduction.body, known), shape)
            if reduction.is_running:
                found = _SCAN[reduction.kind](points, axis=axes[0])
            else:
                found = _REDUCE[reduction.kind](points, axis=axes, keepdims=True)
            known.append(np.asarray(found).astype(dtype))
        result = evaluate_scalar(node.body, known)
        if set(node.reduced) <= set(node.output):
            result = np.broadcast_to(result, shape)
            result = result.transpose([frame.index(index) for index in node.output])
        else:
            result = np.broadcast_to(result, (*shape[: len(kept)], *(1 for _ in axes)))
            result = result.reshape(shape[: len(kept)])
        return self.stored(result, dtype_of(node))

    def _attention(self, node: Attention, values: Sequence[Array]) -> Array:
        dtype = self.compute(node.dtype)
        query, key, value, *masks = (array.astype(dtype) for array in values)
        q_term, k_term, v_term = node.terms
        position = node.key_position
        kept = [i for i in dict.fromkeys((*q_term, *k_term)) if i in node.output or i == position]
        frame = (*(index for index in kept if index != position), position)
        numbers = _numbers((*q_term, *k_term, *v_term, *node.output))
        scores = np.einsum(
            query,
            [numbers[i] for i in q_term],
            key,
            [numbers[i] for i in k_term],
            [numbers[i] for i in frame],
        )
        aligned = [
            in_frame(mask, term, frame) for mask, term in zip(masks, node.mask_terms, strict=True)
        ]
        scores = np.broadcast_to(evaluate_scalar(node.score, [scores, *aligned]), scores.shape)
        if node.is_causal:
            (rows,) = (
                i for i in q_term if i in node.output and i not in k_term and i not in v_term
            )
            axis = frame.index(rows)
            row = np.arange(scores.shape[axis]).reshape(
                [-1 if a == axis else 1 for a in range(scores.ndim)]
            )
            scores = np.where(np.arange(scores.shape[-1]) <= row, scores, -np.inf)
        top = scores.max(-1, keepdims=True, initial=-np.inf)
        weights = np.exp(scores - top)
        weights = weights / weights.sum(-1, keepdims=True)
        result = np.einsum(
            weights.astype(dtype),
            [numbers[i] for i in frame],
            value,
            [numbers[i] for i in v_term],
            [numbers[i] for i in node.output],
        )
        return self.stored(result, node.dtype)

    def _view(self, node: Strided, value: Array) -> Array:
        shape = [evaluate(axis.extent, self.sizes) for axis in node.axes]
        starts = [evaluate(start, self.sizes) for start in node.starts]
        positions = [np.full([1] * len(shape), start) for start in starts]
        for number, axis in enumerate(node.axes):
            if axis.source is not None:
                along = axis.step * np.arange(shape[number])
                around = [-1 if other == number else 1 for other in range(len(shape))]
                positions[axis.source] = positions[axis.source] + along.reshape(around)
        picked = value[tuple(positions)] if positions else value
        view: Array = np.broadcast_to(picked, shape)
        return view


def _numbers(indices: Sequence[Index]) -> dict[Index, int]:
    return {index: number for number, index in enumerate(dict.fromkeys(indices))}


def in_frame(array: Array, term: Term, frame: Sequence[Index]) -> Array:
    """Return the array with one axis an index of ``frame``, of extent 1 where it lacks it."""
    numbers = _numbers((*frame, *term))
    own = [index for index in frame if index in term]
    diagonal: Array = np.einsum(array, [numbers[i] for i in term], [numbers[i] for i in own])
    sizes = dict(zip(own, diagonal.shape, strict=True))
    return diagonal.reshape([sizes.get(index, 1) for index in frame])
