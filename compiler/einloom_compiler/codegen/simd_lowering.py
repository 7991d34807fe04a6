"""Teach Numba the SIMD primitives: a vector type, and LLVM instructions for each primitive.

Together with its neighbours :mod:`.simd_blocks`, :mod:`.simd_halves` and
:mod:`.simd_elementwise_lowering`, and with :mod:`.raw_ir`, this is all that touches Numba's
internals. Loads and stores assume the alignment of one element only, as operands have any offset. A
vector of complex lanes is an LLVM vector of twice as many words: real and imaginary parts in turn,
as in memory. Source of the intrinsics: the LLVM language reference (``llvm.fma``,
``llvm.masked.load``, ``llvm.masked.store``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from einloom_compiler.codegen import blocks_lowering, simd_elementwise_lowering
from einloom_compiler.codegen.masked_ir import lane_mask, masked_load, masked_store
from einloom_compiler.codegen.simd import PRIMITIVES, WIDTHS
from einloom_compiler.codegen.simd_lanes import register_lanes, register_strided
from einloom_compiler.codegen.vector_ir import call, shuffle, splat

_Lowering = TypeVar("_Lowering", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def register() -> None:
    """Register vector type and primitives with Numba; does nothing after the first call."""
    from numba import types
    from numba.core.datamodel import models
    from numba.extending import register_model

    from einloom_compiler.codegen import simd_blocks, simd_halves

    kind = vector_type()

    class VectorModel(models.PrimitiveModel):
        def __init__(self, manager: Any, fe_type: Any) -> None:
            from llvmlite import ir

            element = manager.lookup(getattr(fe_type.dtype, "underlying_float", fe_type.dtype))
            initialise: Any = super().__init__
            shape = ir.VectorType(element.get_value_type(), fe_type.width * n_words(fe_type.dtype))
            initialise(manager, fe_type, shape)

    register: Any = register_model(kind)
    register(VectorModel)
    _register_arithmetic(types, kind)
    _register_complex(types, kind)
    register_lanes(declare, types, kind)
    simd_elementwise_lowering.register(kind)
    for width in WIDTHS:
        _register_memory(types, kind, width)
        _register_set(types, kind, width)
        simd_blocks.register_transpose(types, width)
        register_strided(declare, types, kind, width)
    blocks_lowering.register(kind, declare)
    simd_blocks.register_streams(types)
    simd_halves.register(types, kind)


@lru_cache(maxsize=1)
def vector_type() -> Any:
    """Return Numba's type of vectors: ``Vector(dtype, width)``."""
    from numba import types

    class Vector(types.Type):
        """A SIMD vector of ``width`` lanes of ``dtype``."""

        def __init__(self, dtype: Any, width: int) -> None:
            self.dtype = dtype
            self.width = width
            super().__init__(name=f"Vector({dtype}, {width})")

    return Vector


def declare(function: Any, returns: Any, *arguments: Any) -> Callable[[_Lowering], _Lowering]:
    """Give ``function`` its result type; return the decorator for its lowering."""
    from numba import extending

    numba: Any = extending

    def typer(context: Any) -> Any:
        del context
        return returns

    numba.type_callable(function)(typer)
    return overload(function, *arguments)


def overload(function: Any, *arguments: Any) -> Callable[[_Lowering], _Lowering]:
    """Return the decorator for one more lowering of a declared function."""
    from numba import extending

    numba: Any = extending
    lower = numba.lower_builtin(function, *arguments)

    def decorate(lowering: _Lowering) -> _Lowering:
        lower(lowering)
        return lowering

    return decorate


def n_words(dtype: Any) -> int:
    """Return how many words of a vector one lane takes: 2 for complex numbers."""
    return 2 if hasattr(dtype, "underlying_float") else 1


def _register_arithmetic(types: Any, vector: Any) -> None:
    @declare(PRIMITIVES["vfma"], lambda a, b, c: a, vector, vector, vector)
    def lower_fma(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        if isinstance(kind.dtype, types.Complex):
            return _complex_fma(builder, *values)
        if not isinstance(kind.dtype, types.Float):
            return builder.add(builder.mul(values[0], values[1]), values[2])
        del context
        return call(builder, "fma", values)

    @declare(PRIMITIVES["vadd"], lambda a, b: a, vector, vector)
    def lower_add(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context
        is_integer = isinstance(signature.return_type.dtype, types.Integer)
        return (builder.add if is_integer else builder.fadd)(*values)

    @declare(PRIMITIVES["vmul"], lambda a, b: a, vector, vector)
    def lower_mul(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context
        if isinstance(signature.return_type.dtype, types.Complex):
            return _complex_fma(builder, values[0], values[1], None)
        is_integer = isinstance(signature.return_type.dtype, types.Integer)
        return (builder.mul if is_integer else builder.fmul)(*values)

    @declare(PRIMITIVES["vsum"], lambda v: v.dtype, vector)
    def lower_sum(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        (value,) = values
        dtype = signature.return_type
        add = builder.add if isinstance(dtype, types.Integer) else builder.fadd
        words = n_words(dtype)
        while (n := value.type.count) > words:
            low, high = (
                shuffle(builder, value, value, list(range(start, start + n // 2)))
                for start in (0, n // 2)
            )
            value = add(low, high)
        number = ir.IntType(32)
        parts = [builder.extract_element(value, ir.Constant(number, n)) for n in range(words)]
        return parts[0] if words == 1 else _make_complex(context, builder, dtype, parts)


def _register_complex(types: Any, vector: Any) -> None:
    @declare(PRIMITIVES["vconj"], lambda a: a, vector)
    def lower_conjugate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context
        if not isinstance(signature.return_type.dtype, types.Complex):
            return values[0]
        return builder.fmul(values[0], _signs(values[0].type, 1.0, -1.0))


def _complex_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` of complex lanes, ``a * b`` where ``c`` is None."""
    n = a.type.count

    def picked(value: Any, lanes: list[int]) -> Any:
        return shuffle(builder, value, value, lanes)

    real = picked(b, [lane - lane % 2 for lane in range(n)])
    imaginary = picked(b, [lane - lane % 2 + 1 for lane in range(n)])
    swapped = picked(a, [lane ^ 1 for lane in range(n)])
    first = builder.fmul(a, real) if c is None else call(builder, "fma", (a, real, c))
    turned = builder.fmul(imaginary, _signs(a.type, -1.0, 1.0))
    return call(builder, "fma", (swapped, turned, first))


def _signs(shape: Any, even: float, odd: float) -> Any:
    from llvmlite import ir

    return ir.Constant(shape, [even, odd] * (shape.count // 2))


def _make_complex(context: Any, builder: Any, dtype: Any, parts: list[Any]) -> Any:
    made = context.make_complex(builder, dtype)
    made.real, made.imag = parts
    return made._getvalue()


def _register_memory(types: Any, vector: Any, width: int) -> None:
    from llvmlite import ir

    pointer, integer = types.CPointer, types.Integer

    def loaded(pointer: Any, at: Any, n: Any = None) -> Any:
        del at, n
        return vector(pointer.dtype, width)

    @declare(PRIMITIVES[f"vload{width}"], lambda p, at: loaded(p, at), pointer, integer)
    def lower_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        load = builder.load(_address(context, builder, signature, values, kind))
        load.align = word_bytes(kind.dtype)
        return load

    @declare(
        PRIMITIVES[f"vload{width}_masked"],
        lambda p, at, n: loaded(p, at),
        pointer,
        integer,
        integer,
    )
    def lower_masked_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        address = _address(context, builder, signature, values, kind)
        number = context.cast(builder, values[2], signature.args[2], types.int64)
        mask = lane_mask(builder, number, width, n_words(kind.dtype))
        shape = context.get_value_type(kind)
        zero = ir.Constant(shape, None)
        return masked_load(builder, address, word_bytes(kind.dtype), mask, zero)

    @declare(PRIMITIVES[f"vstore{width}"], lambda p, at, v: types.void, pointer, integer, vector)
    def lower_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[2]
        store = builder.store(values[2], _address(context, builder, signature, values, kind))
        store.align = word_bytes(kind.dtype)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"vstore{width}_streamed"],
        lambda p, at, v: types.void,
        *(pointer, integer, vector),
    )
    def lower_streamed_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[2]
        store = builder.store(values[2], _address(context, builder, signature, values, kind))
        store.align = width * word_bytes(kind.dtype) * n_words(kind.dtype)
        hint = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        store.set_metadata("nontemporal", hint)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"vstore{width}_masked"],
        lambda p, at, v, n: types.void,
        *(pointer, integer, vector, integer),
    )
    def lower_masked_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[2]
        address = _address(context, builder, signature, values, kind)
        number = context.cast(builder, values[3], signature.args[3], types.int64)
        # One instruction where there is one: parts would take longer to compile, edge by edge.
        mask = lane_mask(builder, number, width, n_words(kind.dtype))
        masked_store(builder, values[2], address, word_bytes(kind.dtype), mask)
        return context.get_dummy_value()


def _address(context: Any, builder: Any, signature: Any, values: Any, kind: Any) -> Any:
    """Return the address of element ``values[1]`` as a pointer to a vector."""
    from numba import types

    at = context.cast(builder, values[1], signature.args[1], types.intp)
    element = builder.gep(values[0], [at], inbounds=True)
    return builder.bitcast(element, context.get_value_type(kind).as_pointer())


def word_bytes(dtype: Any) -> int:
    """Return the size of a dtype's word, to which its elements are aligned."""
    bits: int = dtype.bitwidth
    return bits // 8 // n_words(dtype)


def _register_set(types: Any, vector: Any, width: int) -> None:
    from llvmlite import ir

    def filled(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        shape = context.get_value_type(kind)
        if not isinstance(kind.dtype, types.Complex):
            return splat(builder, value, shape)
        number = context.make_complex(builder, kind.dtype, value)
        real, imaginary = (splat(builder, part, shape) for part in (number.real, number.imag))
        lanes = [lane + (lane % 2) * shape.count for lane in range(shape.count)]
        return shuffle(builder, real, imaginary, lanes)

    @declare(PRIMITIVES[f"vset{width}"], lambda value: vector(value, width), types.Number)
    def lower_set(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return filled(context, builder, signature.return_type, values[0])

    @declare(
        PRIMITIVES[f"vset{width}_masked"],
        lambda value, n: vector(value, width),
        *(types.Number, types.Integer),
    )
    def lower_masked_set(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        value = filled(context, builder, kind, values[0])
        number = context.cast(builder, values[1], signature.args[1], types.int64)
        mask = lane_mask(builder, number, width, n_words(kind.dtype))
        return builder.select(mask, value, ir.Constant(value.type, None))
