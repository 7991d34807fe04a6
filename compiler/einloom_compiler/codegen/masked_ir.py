"""LLVM instructions on some lanes of a vector: masks, and loads and stores under them."""

from __future__ import annotations

from typing import Any

from einloom_compiler.codegen.vector_ir import intrinsic, store_first


def lane_mask(builder: Any, number: Any, width: int, words: int = 1) -> Any:
    """Return a vector of bits, set in the words of the lanes below ``number``.

    It is made as an integer, which AVX-512 moves to a register for masks by one instruction.
    """
    from llvmlite import ir

    n_bits, word = width * words, ir.IntType(64)
    zero, one, most = (ir.Constant(word, value) for value in (0, 1, n_bits))
    bits = builder.mul(number, ir.Constant(word, words)) if words > 1 else number
    bits = builder.select(builder.icmp_signed(">", bits, zero), bits, zero)
    bits = builder.select(builder.icmp_signed("<", bits, most), bits, most)
    set_bits = builder.sub(builder.shl(one, bits), one)
    mask = ir.VectorType(ir.IntType(1), n_bits)
    return builder.bitcast(builder.trunc(set_bits, ir.IntType(n_bits)), mask)


def masked_load(builder: Any, address: Any, align: int, mask: Any, otherwise: Any) -> Any:
    """Return the lanes at ``address`` where ``mask`` is set, those of ``otherwise`` elsewhere."""
    from llvmlite import ir

    shape = otherwise.type
    arguments = [address, ir.Constant(ir.IntType(32), align), mask, otherwise]
    return _masked(builder, "load", shape, shape, arguments)


def masked_store(builder: Any, value: Any, address: Any, align: int, mask: Any) -> None:
    """Store the lanes of ``value`` where ``mask`` is set."""
    from llvmlite import ir

    _masked(
        builder,
        "store",
        value.type,
        ir.VoidType(),
        [value, address, ir.Constant(ir.IntType(32), align), mask],
    )


def store_words(
    builder: Any, value: Any, address: Any, align: int, number: Any, words: int = 1
) -> None:
    """Store the first ``number`` elements of a vector, each of so many words."""
    from llvmlite import ir

    def masked() -> None:
        mask = lane_mask(builder, number, value.type.count // words, words)
        masked_store(builder, value, address, align, mask)

    n = builder.mul(number, ir.Constant(number.type, words)) if words > 1 else number
    store_first(builder, value, address, align, n, masked)


def _masked(builder: Any, verb: str, shape: Any, returns: Any, arguments: list[Any]) -> Any:
    from llvmlite import ir

    element = shape.element
    if isinstance(element, ir.IntType):
        suffix = f"i{element.width}"
    else:
        suffix = "f32" if isinstance(element, ir.FloatType) else "f64"
    name = f"llvm.masked.{verb}.v{shape.count}{suffix}.p0"
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    return builder.call(intrinsic(builder, function_type, name), arguments)
