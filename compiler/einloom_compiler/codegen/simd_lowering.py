"""Teach Numba the SIMD primitives: a vector type, and LLVM instructions for each primitive.

Together with :mod:`.simd_elementwise_lowering` and :mod:`.raw_ir` this is all that touches Numba's
internals. Loads and stores assume the alignment of one element only, as operands have any offset.
Source of the intrinsics: the LLVM language reference (``llvm.fma``, ``llvm.masked.load``,
``llvm.masked.store``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from einloom_compiler.codegen import blocks_lowering, simd_elementwise_lowering
from einloom_compiler.codegen.simd import PRIMITIVES, WIDTHS
from einloom_compiler.codegen.simd_lanes import register_lanes, register_strided

_Lowering = TypeVar("_Lowering", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def register() -> None:
    """Register vector type and primitives with Numba; does nothing after the first call."""
    from numba import types
    from numba.core.datamodel import models
    from numba.extending import register_model

    vector_type = _vector_type()

    class VectorModel(models.PrimitiveModel):
        def __init__(self, manager: Any, fe_type: Any) -> None:
            from llvmlite import ir

            element = manager.lookup(fe_type.dtype).get_value_type()
            initialise: Any = super().__init__
            initialise(manager, fe_type, ir.VectorType(element, fe_type.width))

    register: Any = register_model(vector_type)
    register(VectorModel)
    _register_arithmetic(types, vector_type)
    register_lanes(_declare, types, vector_type)
    simd_elementwise_lowering.register(vector_type)
    for width in WIDTHS:
        _register_memory(types, vector_type, width)
        _register_set(types, vector_type, width)
        _register_transpose(types, width)
        register_strided(_declare, types, vector_type, width, _mask)
    blocks_lowering.register(vector_type, _declare)


@lru_cache(maxsize=1)
def _vector_type() -> Any:
    from numba import types

    class Vector(types.Type):
        """A SIMD vector of ``width`` lanes of ``dtype``."""

        def __init__(self, dtype: Any, width: int) -> None:
            self.dtype = dtype
            self.width = width
            super().__init__(name=f"Vector({dtype}, {width})")

    return Vector


def _declare(function: Any, returns: Any, *arguments: Any) -> Callable[[_Lowering], _Lowering]:
    """Give ``function`` its result type; return the decorator for its lowering."""
    from numba import extending

    numba: Any = extending

    def typer(context: Any) -> Any:
        del context
        return returns

    numba.type_callable(function)(typer)
    lower = numba.lower_builtin(function, *arguments)

    def decorate(lowering: _Lowering) -> _Lowering:
        lower(lowering)
        return lowering

    return decorate


def _register_arithmetic(types: Any, vector: Any) -> None:
    from llvmlite import ir

    @_declare(PRIMITIVES["vfma"], lambda a, b, c: a, vector, vector, vector)
    def lower_fma(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        if not isinstance(kind.dtype, types.Float):
            return builder.add(builder.mul(values[0], values[1]), values[2])
        llvm_type = context.get_value_type(kind)
        name = f"llvm.fma.v{kind.width}f{kind.dtype.bitwidth}"
        function_type = ir.FunctionType(llvm_type, [llvm_type] * 3)
        return builder.call(_intrinsic(builder, function_type, name), values)

    @_declare(PRIMITIVES["vadd"], lambda a, b: a, vector, vector)
    def lower_add(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context
        is_float = isinstance(signature.return_type.dtype, types.Float)
        return (builder.fadd if is_float else builder.add)(*values)


def _register_memory(types: Any, vector: Any, width: int) -> None:
    from llvmlite import ir

    pointer, integer = types.CPointer, types.Integer

    def loaded(pointer: Any, at: Any, n: Any = None) -> Any:
        del at, n
        return vector(pointer.dtype, width)

    @_declare(PRIMITIVES[f"vload{width}"], lambda p, at: loaded(p, at), pointer, integer)
    def lower_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = _address(context, builder, signature, values, signature.return_type)
        load = builder.load(address)
        load.align = signature.return_type.dtype.bitwidth // 8
        return load

    @_declare(
        PRIMITIVES[f"vload{width}_masked"],
        lambda p, at, n: loaded(p, at),
        pointer,
        integer,
        integer,
    )
    def lower_masked_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        llvm_type = context.get_value_type(kind)
        address = _address(context, builder, signature, values, kind)
        mask = _mask(context, builder, signature.args[2], values[2], width)
        zero = ir.Constant(llvm_type, None)
        arguments = [address, _alignment(kind), mask, zero]
        return _masked(builder, "load", kind, llvm_type, arguments)

    @_declare(PRIMITIVES[f"vstore{width}"], lambda p, at, v: types.void, pointer, integer, vector)
    def lower_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[2]
        store = builder.store(values[2], _address(context, builder, signature, values, kind))
        store.align = kind.dtype.bitwidth // 8
        return context.get_dummy_value()

    @_declare(
        PRIMITIVES[f"vstore{width}_masked"],
        lambda p, at, v, n: types.void,
        *(pointer, integer, vector, integer),
    )
    def lower_masked_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[2]
        address = _address(context, builder, signature, values, kind)
        mask = _mask(context, builder, signature.args[3], values[3], width)
        arguments = [values[2], address, _alignment(kind), mask]
        _masked(builder, "store", kind, ir.VoidType(), arguments)
        return context.get_dummy_value()


def _address(context: Any, builder: Any, signature: Any, values: Any, kind: Any) -> Any:
    """Return the address of element ``values[1]`` as a pointer to a vector."""
    from numba import types

    at = context.cast(builder, values[1], signature.args[1], types.intp)
    element = builder.gep(values[0], [at], inbounds=True)
    return builder.bitcast(element, context.get_value_type(kind).as_pointer())


def _alignment(kind: Any) -> Any:
    from llvmlite import ir

    return ir.Constant(ir.IntType(32), kind.dtype.bitwidth // 8)


def _mask(context: Any, builder: Any, number_type: Any, number: Any, width: int) -> Any:
    """Return a vector of bits, set in the lanes below ``number``."""
    from llvmlite import ir
    from numba import types

    lane = ir.IntType(64)
    lanes = ir.VectorType(lane, width)
    wide = _splat(builder, context.cast(builder, number, number_type, types.int64), lanes)
    return builder.icmp_signed("<", ir.Constant(lanes, list(range(width))), wide)


def _splat(builder: Any, value: Any, llvm_type: Any) -> Any:
    from llvmlite import ir

    i32 = ir.IntType(32)
    undefined = ir.Constant(llvm_type, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(i32, 0))
    zeros = ir.Constant(ir.VectorType(i32, llvm_type.count), [0] * llvm_type.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _masked(builder: Any, verb: str, kind: Any, returns: Any, arguments: list[Any]) -> Any:
    from llvmlite import ir
    from numba import types

    letter = "f" if isinstance(kind.dtype, types.Float) else "i"
    name = f"llvm.masked.{verb}.v{kind.width}{letter}{kind.dtype.bitwidth}.p0"
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    return builder.call(_intrinsic(builder, function_type, name), arguments)


def _intrinsic(builder: Any, function_type: Any, name: str) -> Any:
    from numba.core import cgutils

    insert: Any = cgutils.get_or_insert_function
    return insert(builder.module, function_type, name)


def _register_set(types: Any, vector: Any, width: int) -> None:
    @_declare(PRIMITIVES[f"vset{width}"], lambda value: vector(value, width), types.Number)
    def lower_set(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _splat(builder, values[0], context.get_value_type(signature.return_type))


def _register_transpose(types: Any, width: int) -> None:
    from llvmlite import ir

    pointer, integer = types.CPointer, types.Integer

    @_declare(
        PRIMITIVES[f"vtranspose{width}"],
        lambda target, to, pitch, source, at, stride: types.void,
        *(pointer, integer, integer, pointer, integer, integer),
    )
    def lower_transpose(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """Transpose by rounds of perfect shuffles: each interleaves the halves of the block."""
        target, to, pitch, source, at, stride = values
        wide = [
            context.cast(builder, value, kind, types.intp)
            for value, kind in zip((to, pitch, at, stride), _integers(signature), strict=True)
        ]
        to, pitch, at, stride = wide
        dtype = signature.args[3].dtype
        block = ir.VectorType(context.get_value_type(dtype), width)

        def address(base: Any, offset: Any, step: Any, row: int) -> Any:
            moved = builder.add(offset, builder.mul(step, ir.Constant(step.type, row)))
            return builder.bitcast(builder.gep(base, [moved]), block.as_pointer())

        rows = []
        for row in range(width):
            load = builder.load(address(source, at, stride, row))
            load.align = dtype.bitwidth // 8
            rows.append(load)
        low = [lane // 2 + (lane % 2) * width for lane in range(width)]
        high = [lane + width // 2 for lane in low]
        for _ in range(width.bit_length() - 1):
            half = width // 2
            rows = [
                builder.shuffle_vector(rows[pair], rows[pair + half], _lanes(picked))
                for pair in range(half)
                for picked in (low, high)
            ]
        for row in range(width):
            store = builder.store(rows[row], address(target, to, pitch, row))
            store.align = dtype.bitwidth // 8
        return context.get_dummy_value()


def _integers(signature: Any) -> list[Any]:
    return [signature.args[position] for position in (1, 2, 4, 5)]


def _lanes(numbers: list[int]) -> Any:
    from llvmlite import ir

    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)
