"""Lowering of conversions between 16-bit floats and float32, of scalars and of vectors.

Where the target has instructions for IEEE halves (F16C on x86, every aarch64), they are used;
elsewhere the same conversion is done in integers, so that no run-time library is called. Rounding
is to nearest, ties to even (IEEE 754, section 4.3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from einloom_compiler.codegen.simd import PRIMITIVES
from einloom_compiler.codegen.simd_lowering import declare, overload

_Conversion = Callable[[Any, Any, bool], Any]
_USABLE: ContextVar[bool] = ContextVar("are halves' instructions usable", default=False)


def register(types: Any, vector: Any) -> None:
    """Register the conversions."""
    conversions: dict[str, tuple[Any, _Conversion]] = {
        "float32_from_float16": (types.float32, _float32_from_float16),
        "float16_from_float32": (types.uint16, _float16_from_float32),
        "float32_from_bfloat16": (types.float32, _float32_from_bfloat16),
        "bfloat16_from_float32": (types.uint16, _bfloat16_from_float32),
    }
    for name, (result, convert) in conversions.items():
        _register_one(types, vector, name, result, convert)


def _register_one(types: Any, vector: Any, name: str, result: Any, convert: _Conversion) -> None:
    source = types.uint16 if result == types.float32 else types.float32

    def returned(value: Any) -> Any:
        return vector(result, value.width) if isinstance(value, vector) else result

    @declare(PRIMITIVES[name], returned, types.Number)
    def lower_scalar(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        value = context.cast(builder, values[0], signature.args[0], source)
        return convert(builder, value, _USABLE.get())

    @overload(PRIMITIVES[name], vector)
    def lower_vector(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del signature
        return convert(builder, values[0], _USABLE.get())


@contextmanager
def instructions(are_usable: bool) -> Iterator[None]:
    """Say whether the target of what is lowered inside has instructions for halves."""
    token = _USABLE.set(are_usable)
    try:
        yield
    finally:
        _USABLE.reset(token)


def are_instructions_used() -> bool:
    """Say whether what is lowered now may use instructions for halves."""
    return _USABLE.get()


def _like(value: Any, element: Any) -> Any:
    """Return the type of ``element``, a vector of as many as ``value`` has where it is one."""
    from llvmlite import ir

    is_vector = isinstance(value.type, ir.VectorType)
    return ir.VectorType(element, value.type.count) if is_vector else element


class _Words:
    """Integer arithmetic on values of one shape."""

    def __init__(self, builder: Any, like: Any) -> None:
        from llvmlite import ir

        self.builder = builder
        self.half = _like(like, ir.IntType(16))
        self.word = _like(like, ir.IntType(32))
        self.float = _like(like, ir.FloatType())

    def constant(self, shape: Any, value: float) -> Any:
        from llvmlite import ir

        is_vector = isinstance(shape, ir.VectorType)
        return ir.Constant(shape, [value] * shape.count if is_vector else value)

    def int(self, value: int) -> Any:
        return self.constant(self.word, value)


def _float32_from_float16(builder: Any, bits: Any, has_halves: bool) -> Any:
    """Rebias the exponent by a multiplication, which also makes subnormals right."""
    from llvmlite import ir

    w = _Words(builder, bits)
    if has_halves:
        half = builder.bitcast(bits, _like(bits, ir.HalfType()))
        return builder.fpext(half, w.float)
    wide = builder.zext(bits, w.word)
    magnitude = builder.shl(builder.and_(wide, w.int(0x7FFF)), w.int(13))
    scaled = builder.fmul(builder.bitcast(magnitude, w.float), w.constant(w.float, 2.0**112))
    is_special = builder.icmp_unsigned(">=", magnitude, w.int(0x0F800000))
    special = builder.or_(magnitude, w.int(0x7F800000))
    magnitude = builder.select(is_special, special, builder.bitcast(scaled, w.word))
    sign = builder.shl(builder.and_(wide, w.int(0x8000)), w.int(16))
    return builder.bitcast(builder.or_(magnitude, sign), w.float)


def _float16_from_float32(builder: Any, value: Any, has_halves: bool) -> Any:
    from llvmlite import ir

    w = _Words(builder, value)
    if has_halves:
        half = builder.fptrunc(value, _like(value, ir.HalfType()))
        return builder.bitcast(half, w.half)
    bits = builder.bitcast(value, w.word)
    sign = builder.and_(builder.lshr(bits, w.int(16)), w.int(0x8000))
    bits = builder.and_(bits, w.int(0x7FFFFFFF))
    odd = builder.and_(builder.lshr(bits, w.int(13)), w.int(1))
    rebiased = builder.add(builder.sub(bits, w.int(0x38000000)), w.int(0xFFF))
    normal = builder.lshr(builder.add(rebiased, odd), w.int(13))
    # Adding one half leaves a subnormal's bits at the end of the mantissa, rounded.
    shifted = builder.fadd(builder.bitcast(bits, w.float), w.constant(w.float, 0.5))
    subnormal = builder.sub(builder.bitcast(shifted, w.word), w.int(0x3F000000))
    found = builder.select(builder.icmp_unsigned("<", bits, w.int(0x38800000)), subnormal, normal)
    is_huge = builder.icmp_unsigned(">=", bits, w.int(0x477FF000))
    found = builder.select(is_huge, w.int(0x7C00), found)
    is_nan = builder.icmp_unsigned(">", bits, w.int(0x7F800000))
    found = builder.select(is_nan, w.int(0x7E00), found)
    return builder.trunc(builder.or_(sign, found), w.half)


def _float32_from_bfloat16(builder: Any, bits: Any, has_halves: bool) -> Any:
    del has_halves
    w = _Words(builder, bits)
    return builder.bitcast(builder.shl(builder.zext(bits, w.word), w.int(16)), w.float)


def _bfloat16_from_float32(builder: Any, value: Any, has_halves: bool) -> Any:
    del has_halves
    w = _Words(builder, value)
    bits = builder.bitcast(value, w.word)
    odd = builder.and_(builder.lshr(bits, w.int(16)), w.int(1))
    rounded = builder.add(builder.add(bits, w.int(0x7FFF)), odd)
    magnitude = builder.and_(bits, w.int(0x7FFFFFFF))
    is_nan = builder.icmp_unsigned(">", magnitude, w.int(0x7F800000))
    found = builder.select(is_nan, builder.or_(bits, w.int(0x400000)), rounded)
    return builder.trunc(builder.lshr(found, w.int(16)), w.half)
