"""Ranges, division and extremes of a kernel's int64 in few instructions, for :mod:`.raw_ir`.

Numba writes its objects to the stack and reads them back, calls a function for each ``min`` and
branches where a divisor could be zero or a step negative: 90 instructions for a loop, 25 and six
branches for a division. LLVM undoes that, which was a third of the time it took for a packed
product. Here are the same values without the stack, and without branches; a range whose step is no
constant is left to Numba.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

#: Emits an operation: ``(builder, operands, loc) -> value``.
Lowering = Callable[..., Any]
#: The fields of Numba's range objects, and of their iterators.
_START, _STOP, _STEP = range(3)
_NEXT, _COUNT = 0, 3


def lowering(
    context: Any, function: Any, operands: tuple[Any, ...], of_numba: Lowering
) -> Lowering:
    """Return what lowers a built-in function on operands of these types: ours, or Numba's."""
    types = import_module("numba.core.types")
    called = getattr(function, "typing_key", function)
    layout = context.get_value_type
    if called is range and set(operands) == {types.int64}:
        return partial(_range, layout(types.range_state64_type))
    if called == "getiter" and operands == (types.range_state64_type,):
        return partial(_iterate, layout(types.range_iter64_type), of_numba)
    if called == "iternext" and operands == (types.range_iter64_type,):
        return partial(_advance, layout(types.Pair(types.int64, types.boolean)))
    if called in _COMPARISONS and len(operands) == 1 and isinstance(operands[0], types.UniTuple):
        if operands[0].dtype == types.int64:
            return partial(_extreme, _COMPARISONS[called], operands[0].count)
    elif (
        operands == (types.int64, types.int64) and not context.error_model.raise_on_fp_zero_division
    ):
        return _DIVISIONS.get(called, of_numba)
    return of_numba


def _range(layout: Any, builder: Any, operands: Any, loc: Any = None) -> Any:
    del loc
    number = layout.elements[_START]
    start, stop = operands[:2] if len(operands) > 1 else (number(0), *operands)
    step = operands[_STEP] if len(operands) > _STEP else number(1)
    return _struct(builder, layout, {_START: start, _STOP: stop, _STEP: step})


def _iterate(layout: Any, of_numba: Lowering, builder: Any, operands: Any, loc: Any = None) -> Any:
    """Return the iterator of a range."""
    start, stop, step = (field(builder, operands[0], number) for number in (_START, _STOP, _STEP))
    if not _is_constant(step) or step.constant == 0:
        return of_numba(builder, operands, loc)
    count = distance = builder.sub(stop, start)
    zero = distance.type(0)
    if step.constant != 1:
        left = builder.srem(distance, step)
        is_more = builder.icmp_signed("<" if step.constant < 0 else ">", left, zero)
        count = builder.add(builder.sdiv(distance, step), builder.zext(is_more, left.type))
    # A negative count would do for an empty range, too. But then LLVM finds it cheap to know, and
    # unrolls loops that the printer has unrolled as far as it pays.
    has_any = builder.icmp_signed("<" if step.constant < 0 else ">", distance, zero)
    count = builder.select(has_any, count, zero)
    fields = {_NEXT: _on_stack(builder, start), _STEP: step, _COUNT: _on_stack(builder, count)}
    return _struct(builder, layout, fields)


def _advance(pair: Any, builder: Any, operands: Any, loc: Any = None) -> Any:
    """Return the next number of an iterator and whether there is one, and take a step."""
    del loc
    following, count, step = (field(builder, operands[0], n) for n in (_NEXT, _COUNT, _STEP))
    left, value = builder.load(count), builder.load(following)
    builder.store(builder.sub(left, left.type(1), flags=["nsw"]), count)
    builder.store(builder.add(value, step), following)
    is_valid = builder.icmp_signed(">", left, left.type(0))
    return _struct(builder, pair, {0: value, 1: is_valid})


def _quotient(builder: Any, operands: Any, loc: Any = None) -> Any:
    """Return the quotient rounded down; 0 for a divisor of 0 and where it overflows, as Numba."""
    del loc
    number, divisor, has_none = _divisible(builder, *operands)
    quotient = builder.sdiv(number, divisor)
    is_rounded_up = _has_other_sign(builder, builder.srem(number, divisor), divisor)
    down = builder.sub(quotient, builder.zext(is_rounded_up, quotient.type))
    return down if has_none is None else builder.select(has_none, down.type(0), down)


def _remainder(builder: Any, operands: Any, loc: Any = None) -> Any:
    """Return the remainder, of the divisor's sign; 0 where there is no quotient."""
    del loc
    number, divisor, has_none = _divisible(builder, *operands)
    left = builder.srem(number, divisor)
    is_other = _has_other_sign(builder, left, divisor)
    result = builder.add(left, builder.select(is_other, divisor, left.type(0)))
    return result if has_none is None else builder.select(has_none, left.type(0), result)


def _extreme(sign: str, count: int, builder: Any, operands: Any, loc: Any = None) -> Any:
    """Return the least or the greatest of a tuple of numbers."""
    del loc
    result, *others = (field(builder, operands[0], n) for n in range(count))
    for other in others:
        result = builder.select(builder.icmp_signed(sign, other, result), other, result)
    return result


_COMPARISONS: Mapping[Any, str] = {min: "<", max: ">"}
_DIVISIONS: Mapping[Any, Lowering] = {operator.floordiv: _quotient, operator.mod: _remainder}


def _divisible(builder: Any, number: Any, divisor: Any) -> tuple[Any, Any, Any]:
    """Return operands that the CPU divides, and a flag for those it would trap on.

    These are a divisor of 0, and the least number by -1; there is no flag for a divisor that is
    known to be neither.
    """
    kind = number.type
    if _is_constant(divisor) and divisor.constant not in (0, -1):
        return number, divisor, None
    least = builder.icmp_unsigned("==", number, kind(-(1 << (kind.width - 1))))
    overflows = builder.and_(least, builder.icmp_unsigned("==", divisor, kind(-1)))
    has_none = builder.or_(builder.icmp_unsigned("==", divisor, kind(0)), overflows)
    return number, builder.select(has_none, kind(1), divisor), has_none


def _has_other_sign(builder: Any, left: Any, divisor: Any) -> Any:
    """Say whether a remainder is not 0 and of another sign than the divisor."""
    zero = left.type(0)
    if _is_constant(divisor):
        return builder.icmp_signed("<" if divisor.constant > 0 else ">", left, zero)
    differs = builder.icmp_signed("<", builder.xor(left, divisor), zero)
    return builder.and_(builder.icmp_unsigned("!=", left, zero), differs)


def _is_constant(value: Any) -> bool:
    return isinstance(getattr(value, "constant", None), int)


def _on_stack(builder: Any, value: Any) -> Any:
    """Return a place that holds a value; the entry block makes room for it."""
    with builder.goto_entry_block():
        place = builder.alloca(value.type)
    builder.store(value, place)
    return place


def _struct(builder: Any, layout: Any, fields: Mapping[int, Any]) -> Any:
    from llvmlite import ir

    value = ir.Constant(layout, ir.Undefined)
    for number, field in fields.items():
        value = builder.insert_value(value, field, number)
    return value


def field(builder: Any, value: Any, number: int) -> Any:
    """Return a field of a struct: what was put there, where that is known."""
    from llvmlite.ir.instructions import InsertValue

    inner = value
    while isinstance(inner, InsertValue):
        if inner.indices == [number]:
            return inner.operands[1]
        inner = inner.operands[0]
    return builder.extract_value(value, number)
