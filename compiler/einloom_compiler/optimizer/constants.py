"""What is known is folded: views of constants, small results of constants, single numbers.

Views share the constant's memory. Larger computations of constants are left to the program, which
does them once when it is made.
"""

from __future__ import annotations

from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from einloom_compiler.extents import is_known
from einloom_compiler.ir.graph import (
    Constant,
    Contraction,
    Elementwise,
    Input,
    Node,
    Reshape,
    Rows,
    Strided,
)
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.scalar import Number, Scalar, Value
from einloom_compiler.ir.shapes import Indexed, index_extents, shape_of
from einloom_compiler.ir.traversal import dtype_of, operands_of, with_operands
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.terms import slots_of, with_slots

#: Elements of a result, and points of its loops, up to which it is computed here.
SMALL, SMALL_WORK = 1 << 14, 1 << 18

#: What became of each constant, by what was computed from it and which others: folding a graph
#: again gives the same constant. Nothing in a value keeps its key alive.
_folded: WeakKeyDictionary[Constant, dict[Any, Constant]] = WeakKeyDictionary()


#: Nodes asked for, and whether they depend on constants alone.
_fixed: WeakKeyDictionary[Node, bool] = WeakKeyDictionary()


def is_fixed(node: Node) -> bool:
    """Say whether a node depends on constants alone, and so is computed before any call.

    Such a node is never fused with one that is not: what is computed once would be repeated.
    """
    pending = [node]
    while pending:
        part = pending[-1]
        unknown = [operand for operand in operands_of(part) if operand not in _fixed]
        if unknown:
            pending += unknown
            continue
        operands = operands_of(part)
        _fixed[part] = isinstance(part, Constant) or (
            bool(operands) and all(_fixed[operand] for operand in operands)
        )
        pending.pop()
    return _fixed[node]


def fold_constant(node: Node, uses: Uses) -> Node | None:
    """Return the constant that a node of constants is, where it is a view or small."""
    first, *others = (*operands_of(node), None)
    if not isinstance(first, Constant):
        return None
    if not all(isinstance(other, Constant) for other in others[:-1]):
        return None
    known = _folded.setdefault(first, {})
    stand_ins = tuple(
        Input(str(n), shape_of(operand), dtype_of(operand))
        for n, operand in enumerate(operands_of(node))
    )
    key = with_operands(node, stand_ins), tuple(None if o is first else o for o in others)
    if key not in known:
        array = _value(node)
        if array is None:
            return None
        known[key] = Constant(array, first.name)
    return known[key]


def _value(node: Node) -> npt.NDArray[Any] | None:
    shape = shape_of(node)
    if not all(map(is_known, shape)):
        return None
    extents = tuple(int(extent) for extent in shape)
    is_small = prod(extents) <= SMALL
    if isinstance(node, Reshape):
        assert isinstance(node.operand, Constant)
        reshaped = node.operand.array.reshape(extents)
        return reshaped if is_small or np.may_share_memory(reshaped, node.operand.array) else None
    if isinstance(node, Strided):
        return _view(node, extents)
    if not is_small or dtype_of(node) is None:
        return None
    if isinstance(node, Indexed):
        points = [extent for extent in index_extents(node).values() if isinstance(extent, int)]
        if prod(points) > SMALL_WORK:
            return None
    return evaluate_graph(node, {})


def _view(node: Strided, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    assert isinstance(node.operand, Constant)
    if not all(map(is_known, node.starts)):
        return None
    array = node.operand.array
    if 0 in shape or array.size == 0:
        return np.empty(shape, array.dtype)
    first = array[tuple(slice(int(start), None) for start in node.starts)]
    strides = tuple(
        0 if axis.source is None else axis.step * array.strides[axis.source] for axis in node.axes
    )
    return np.lib.stride_tricks.as_strided(first, shape, strides, writeable=False)


def fold_number(node: Node, uses: Uses) -> Node | None:
    """Write constants of one element into the bodies that use them.

    Rewrite: ``x * constant(0.5)`` is the body ``x * 0.5``.
    """
    if not isinstance(node, Contraction | Elementwise | Rows) or node.dtype is None:
        return None
    slots = slots_of(node)
    for number, (operand, term) in enumerate(slots):
        if not isinstance(operand, Constant) or operand.array.size != 1:
            continue
        others = {i for n, (_, other) in enumerate(slots) if n != number for i in other}
        if not isinstance(node, Contraction) and (len(slots) == 1 or not set(term) <= others):
            continue
        value = _number(operand.array, node.dtype)
        if value is None:
            continue
        kept = [slot for n, slot in enumerate(slots) if n != number]
        values: dict[int, Scalar] = {
            n: Value(n if n < number else n - 1) for n in range(len(slots))
        }
        values[number] = Number(value)
        return with_slots(node, kept, values)
    return None


def _number(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> float | None:
    """Return the element as a float that every dtype reads as the same value, or None."""
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        return None
    value = float(array.reshape(()).astype(np.float64))
    if array.dtype.kind in "iu" and int(array.reshape(())) != value:
        return None
    if dtype.kind in "iub":
        return value if value.is_integer() and array.dtype.kind in "iub" else None
    return value


#: All of them.
RULES = (fold_constant, fold_number)
