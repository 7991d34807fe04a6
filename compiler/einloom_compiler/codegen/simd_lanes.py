"""LLVM for the SIMD primitives that rearrange, sum, gather and scatter lanes.

Part of :mod:`.simd_lowering`, which registers them. Source of the intrinsics: the LLVM language
reference (``llvm.masked.gather``, ``llvm.masked.scatter``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einloom_compiler.codegen.masked_ir import lane_mask
from einloom_compiler.codegen.simd import PRIMITIVES
from einloom_compiler.codegen.vector_ir import intrinsic, shuffle, splat

#: ``declare(function, typer, *argument types)`` returns the decorator for a lowering.
Declare = Callable[..., Callable[[Any], Any]]


def register_lanes(declare: Declare, types: Any, vector: Any) -> None:
    """Register the lane primitives whose width follows from their argument."""
    from llvmlite import ir

    def rearranged(name: str, lane: Callable[[int], int]) -> None:
        @declare(PRIMITIVES[name], lambda a: a, vector)
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            del context
            (a,) = values
            return shuffled(builder, a, [lane(n) for n in range(signature.return_type.width)])

    rearranged("vswap", lambda n: n ^ 1)
    rearranged("vdup_even", lambda n: n & ~1)
    rearranged("vdup_odd", lambda n: n | 1)

    def spread(name: str, lane: Callable[[int, int], int]) -> None:
        """Register a primitive whose lane ``l`` is ``lane(k * width + l, n)`` of the argument."""

        def typer(a: Any, n: Any, k: Any) -> Any:
            return a if all(isinstance(x, types.IntegerLiteral) for x in (n, k)) else None

        @declare(PRIMITIVES[name], typer, vector, types.Integer, types.Integer)
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            del context
            n, k = (argument.literal_value for argument in signature.args[1:])
            width = signature.return_type.width
            return shuffled(builder, values[0], [lane(k * width + i, n) for i in range(width)])

    spread("vrepeat", lambda at, n: at // n)
    spread("vcycle", lambda at, n: at % n)

    def summed(name: str, first: int, step: int) -> None:
        @declare(PRIMITIVES[name], lambda a: a.dtype, vector)
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            del context
            (a,) = values
            width = signature.args[0].width
            is_float = isinstance(signature.return_type, types.Float)
            add = builder.fadd if is_float else builder.add
            lanes = list(range(first, width, step))
            while len(lanes) > 1:
                half = len(lanes) // 2
                a = add(shuffled(builder, a, lanes[:half]), shuffled(builder, a, lanes[half:]))
                lanes = list(range(half))
            return builder.extract_element(a, ir.Constant(ir.IntType(32), lanes[0]))

    summed("vsum_even", 0, 2)
    summed("vsum_odd", 1, 2)


def register_strided(declare: Declare, types: Any, vector: Any, width: int) -> None:
    """Register the primitives of ``width`` lanes that gather, scatter, or repeat a pair.

    Args:
        declare: see :data:`Declare`.
        types: ``numba.types``.
        vector: the vector type.
        width: lanes.
    """
    from llvmlite import ir

    pointer, integer = types.CPointer, types.Integer

    def all_lanes() -> Any:
        return ir.Constant(ir.VectorType(ir.IntType(1), width), [1] * width)

    def gathered(pointer: Any, at: Any, stride: Any, n: Any = None) -> Any:
        del at, stride, n
        return vector(pointer.dtype, width)

    @declare(
        PRIMITIVES[f"vgather{width}"],
        lambda p, at, stride: gathered(p, at, stride),
        *(pointer, integer, integer),
    )
    def lower_gather(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _gathered(context, builder, signature, values, all_lanes())

    @declare(
        PRIMITIVES[f"vgather{width}_masked"],
        lambda p, at, stride, n: gathered(p, at, stride),
        *(pointer, integer, integer, integer),
    )
    def lower_masked_gather(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = context.cast(builder, values[3], signature.args[3], types.int64)
        where = lane_mask(builder, number, width)
        return _gathered(context, builder, signature, values, where)

    @declare(
        PRIMITIVES[f"vscatter{width}"],
        lambda p, at, stride, v: types.void,
        *(pointer, integer, integer, vector),
    )
    def lower_scatter(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _scatter(context, builder, signature, values, all_lanes())
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"vscatter{width}_masked"],
        lambda p, at, stride, v, n: types.void,
        *(pointer, integer, integer, vector, integer),
    )
    def lower_masked_scatter(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = context.cast(builder, values[4], signature.args[4], types.int64)
        where = lane_mask(builder, number, width)
        _scatter(context, builder, signature, values, where)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"vpair{width}"],
        lambda even, odd: vector(even, width),
        *(types.Number, types.Number),
    )
    def lower_pair(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        llvm_type = context.get_value_type(signature.return_type)
        undefined = ir.Constant(llvm_type, ir.Undefined)
        pair = undefined
        for n in (0, 1):
            pair = builder.insert_element(pair, values[n], ir.Constant(ir.IntType(32), n))
        return shuffled(builder, pair, [n % 2 for n in range(width)])


def _gathered(context: Any, builder: Any, signature: Any, values: Any, where: Any) -> Any:
    """Return the elements ``at``, ``at + stride``, ... in the lanes that are set in ``where``."""
    from llvmlite import ir

    kind = signature.return_type
    shape = context.get_value_type(kind)
    found = _addresses(context, builder, signature, values, kind)
    arguments = [found, _alignment(kind), where, ir.Constant(shape, None)]
    return _called(builder, "gather", kind, shape, arguments)


def _scatter(context: Any, builder: Any, signature: Any, values: Any, where: Any) -> None:
    """Store the lanes of ``values[3]`` that are set in ``where``."""
    from llvmlite import ir

    kind = signature.args[3]
    found = _addresses(context, builder, signature, values, kind)
    arguments = [values[3], found, _alignment(kind), where]
    _called(builder, "scatter", kind, ir.VoidType(), arguments)


def _addresses(context: Any, builder: Any, signature: Any, values: Any, kind: Any) -> Any:
    """Return a vector of pointers to the elements ``at``, ``at + stride``, ..."""
    from llvmlite import ir
    from numba import types

    word = ir.IntType(64)
    words = ir.VectorType(word, kind.width)
    at, stride = (context.cast(builder, values[n], signature.args[n], types.int64) for n in (1, 2))
    size = ir.Constant(word, kind.dtype.bitwidth // 8)
    start = builder.add(builder.ptrtoint(values[0], word), builder.mul(at, size))
    numbers = ir.Constant(words, list(range(kind.width)))
    steps = builder.mul(splat(builder, builder.mul(stride, size), words), numbers)
    element = context.get_value_type(kind.dtype)
    pointers = ir.VectorType(element.as_pointer(), kind.width)
    return builder.inttoptr(builder.add(splat(builder, start, words), steps), pointers)


def _alignment(kind: Any) -> Any:
    """Return the alignment of one element as a constant."""
    from llvmlite import ir

    return ir.Constant(ir.IntType(32), kind.dtype.bitwidth // 8)


def _called(builder: Any, verb: str, kind: Any, returns: Any, arguments: list[Any]) -> Any:
    """Call the masked ``gather`` or ``scatter`` of vectors of this type."""
    from llvmlite import ir
    from numba import types

    letter = "f" if isinstance(kind.dtype, types.Float) else "i"
    name = f"llvm.masked.{verb}.v{kind.width}{letter}{kind.dtype.bitwidth}.v{kind.width}p0"
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    return builder.call(intrinsic(builder, function_type, name), arguments)


def shuffled(builder: Any, value: Any, lanes: list[int]) -> Any:
    """Return a vector of these lanes of ``value``."""
    from llvmlite import ir

    return shuffle(builder, value, ir.Constant(value.type, ir.Undefined), lanes)
