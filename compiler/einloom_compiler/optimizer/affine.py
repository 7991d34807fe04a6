"""A multiple and an offset of a product with weights go into the weights and into one bias.

Batch normalisation behind a convolution is ``sum * scale + shift`` with a number of either for each
channel: the weights' columns are scaled once, instead of every sum. What is known is computed in
float64 and rounded to the weights' dtype, so that a result moves by its rounding only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from einloom_compiler.dtypes import dtype_name
from einloom_compiler.ir.einsum import Term
from einloom_compiler.ir.graph import Constant, Contraction, Node
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.scalar import (
    SUM,
    Combined,
    Mapped,
    Number,
    Scalar,
    Value,
    combined,
    evaluate_scalar,
    parts_of,
    positions_of,
    rebuilt,
)
from einloom_compiler.optimizer.constants import is_fixed
from einloom_compiler.optimizer.driver import Uses
from einloom_compiler.optimizer.terms import has_repeats, slots_of

Array = npt.NDArray[Any]

#: Dtypes whose weights may be scaled ahead: others would round twice, or wrap around.
SCALED = ("float32", "float64")

_ONE, _ZERO = Number(1.0), Number(0.0)

#: What became of each weight, by what was computed with it, so that optimizing a graph again gives
#: the same constants; None where a product is not finite.
_folded: WeakKeyDictionary[Constant, dict[Any, Constant | None]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Affine:
    """A part of an epilogue's body: ``sum * scale + shift``, of constant operands.

    Attributes:
        part: the part.
        scale, shift: what it is made of, without the sum.
    """

    part: Scalar
    scale: Scalar
    shift: Scalar


def fold_affine(node: Node, uses: Uses) -> Node | None:
    """Fold a scale along a weight's axes, and all offsets, into the weight and one operand.

    Rewrite: ``(x @ w + b) * s + t`` is ``x @ (w * s) + (b * s + t)``. It is left alone where no
    operand of the epilogue goes, where something else reads the weight, which would then be held
    twice, and where a product is not finite.
    """
    if not isinstance(node, Contraction) or node.dtype is None or is_fixed(node):
        return None
    if dtype_name(node.dtype) not in SCALED or len(node.epilogue.operands) == 0:
        return None
    for number in _weights(node, uses):
        found = _largest(node, number)
        read = positions_of(found.scale) | positions_of(found.shift)
        if len(read) <= bool(positions_of(found.shift)):
            continue
        made = _folded_into(node, number, found)
        if made is not None:
            return made
    return None


def _weights(node: Contraction, uses: Uses) -> Iterable[int]:
    """Return the positions of the constants that may be scaled, the smallest first."""
    found = [
        (operand.array.size, number)
        for number, operand in enumerate(node.operands)
        if isinstance(operand, Constant)
        and operand.array.dtype == node.dtype
        and uses.is_single(operand)
        and not node.broadcast[number]
        and not has_repeats(node.einsum.terms[number])
    ]
    return [number for _, number in sorted(found)]


def _largest(node: Contraction, number: int) -> _Affine:
    """Return the largest part of the body that can be folded into this operand."""
    found = _Affine(SUM, _ONE, _ZERO)
    body = node.epilogue.body
    parts = parts_of(body)
    while found.part is not body:
        users = [part for part in parts if found.part in _arguments(part)]
        further = _extended(found, users[0]) if len(users) == 1 else None
        if further is None or not _is_foldable(node, number, further):
            break
        found = further
    return found


def _arguments(part: Scalar) -> tuple[Scalar, ...]:
    match part:
        case Mapped(argument=argument):
            return (argument,)
        case Combined(arguments=arguments):
            return arguments
        case _:
            return ()


def _extended(inner: _Affine, user: Scalar) -> _Affine | None:
    """Return what computes further from a part as such a part, if it is one."""
    scale, shift = inner.scale, inner.shift
    match user:
        case Mapped(map=step) if step.function == "add":
            return _Affine(user, scale, Mapped(step, shift))
        case Mapped(map=step) if step.function in ("multiply", "negative"):
            return _Affine(user, Mapped(step, scale), Mapped(step, shift))
        case Combined(function=function, arguments=(a, b)) if a is not b:
            other = b if a is inner.part else a
            if 0 in positions_of(other):
                return None
            match function:
                case "add":
                    return _Affine(user, scale, _sum(shift, other))
                case "subtract" if other is b:
                    return _Affine(user, scale, combined("subtract", shift, other))
                case "subtract":
                    negative = make_map("negative")
                    return _Affine(
                        user, Mapped(negative, scale), _sum(other, Mapped(negative, shift))
                    )
                case "multiply" | "divide" if function == "multiply" or other is b:
                    if shift is not _ZERO:
                        shift = combined(function, shift, other)
                    return _Affine(user, combined(function, scale, other), shift)
    return None


def _sum(a: Scalar, b: Scalar) -> Scalar:
    return b if a is _ZERO else combined("add", a, b)


def _is_foldable(node: Contraction, number: int, affine: _Affine) -> bool:
    """Say whether scale and shift are known, the one along the weight, the other no larger."""
    slots = slots_of(node)
    read = [slots[p - 1] for p in positions_of(affine.scale) | positions_of(affine.shift)]
    if not all(isinstance(operand, Constant) and operand.array.size for operand, _ in read):
        return False
    along = _indices(node, affine.scale)
    whole = set(_indices(node, affine.shift))
    return set(along) <= set(node.einsum.terms[number]) and (
        not whole or any(set(term) == whole for _, term in read)
    )


def _indices(node: Contraction, scalar: Scalar) -> Term:
    """Return the indices of the operands that an expression reads, in the output's order."""
    terms = node.epilogue.terms
    read = {index for position in positions_of(scalar) for index in terms[position - 1]}
    return tuple(index for index in node.einsum.output if index in read)


def _folded_into(node: Contraction, number: int, affine: _Affine) -> Contraction | None:
    weight, term = node.operands[number], node.einsum.terms[number]
    assert isinstance(weight, Constant)
    epilogue = node.epilogue
    known = _folded.setdefault(weight, {})
    facts = (node.einsum.output, term, epilogue.operands, epilogue.terms)
    operands = list(node.operands)
    if affine.scale is not _ONE:
        key = "weight", facts, affine.scale
        if key not in known:
            known[key] = _scaled(weight, _evaluated(node, affine.scale, term))
        scaled = known[key]
        if scaled is None:
            return None
        operands[number] = scaled
    body: Scalar = SUM
    further, terms = epilogue.operands, epilogue.terms
    if positions_of(affine.shift):
        along = _indices(node, affine.shift)
        key = "shift", facts, affine.shift
        if key not in known:
            first = slots_of(node)[min(positions_of(affine.shift)) - 1][0]
            assert isinstance(first, Constant)
            known[key] = _rounded(node, _evaluated(node, affine.shift, along), first.name)
        shift = known[key]
        if shift is None:
            return None
        body = combined("add", SUM, Value(1 + len(further)))
        further, terms = (*further, shift), (*terms, along)
    else:
        offset = float(evaluate_scalar(affine.shift, ()))
        body = SUM if offset == 0 else combined("add", SUM, Number(offset))
    body = rebuilt(epilogue.body, {affine.part: body})
    folded = replace(epilogue, body=body, operands=further, terms=terms)
    return replace(node, operands=tuple(operands), epilogue=folded)


def _evaluated(node: Contraction, scalar: Scalar, along: Term) -> Array:
    """Return an expression's values in float64, an axis for each of these indices."""
    values: list[Any] = [np.float64(0)] * (1 + len(node.epilogue.operands))
    for position in positions_of(scalar):
        operand, term = slots_of(node)[position - 1]
        assert isinstance(operand, Constant)
        order = sorted(range(len(term)), key=lambda axis: along.index(term[axis]))
        shape = dict(zip(term, operand.array.shape, strict=True))
        array = operand.array.transpose(order).astype(np.float64)
        values[position] = array.reshape([shape.get(index, 1) for index in along])
    found: Array = np.asarray(evaluate_scalar(scalar, values))
    return found


def _scaled(weight: Constant, scale: Array) -> Constant | None:
    """Return the weight times the scale, in its own layout; None where that is not finite."""
    made = np.empty_like(weight.array)
    with np.errstate(all="ignore"):
        np.multiply(weight.array, scale, out=made, dtype=np.float64, casting="same_kind")
    return _constant(made, weight.name)


def _rounded(node: Contraction, array: Array, name: str) -> Constant | None:
    with np.errstate(all="ignore"):
        return _constant(array.astype(node.dtype), name)


def _constant(array: Array, name: str) -> Constant | None:
    array.flags.writeable = False
    return Constant(array, name) if np.isfinite(array).all() else None


#: All of them.
RULES = (fold_affine,)
