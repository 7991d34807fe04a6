"""What lowerings of blocks of vectors share: block types, and LLVM instructions on vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: Bytes of the vectors whose first words are stored by one masked instruction.
MASKED_BYTES = 64
#: Vectors of a block, row by row.
Vectors = list[list[Any]]
Lowering = Callable[..., Any]
Declare = Callable[..., Callable[[Lowering], Lowering]]


class Types:
    """Block types, and values of them taken apart and put together."""

    def __init__(self, vector: Any) -> None:
        from numba import types

        self.types: Any = types
        self.vector: Any = vector

    def block(self, dtype: Any, width: int, n_rows: Any, n_vectors: Any) -> Any:
        """Return a block's type; None where a number is no literal (yet)."""
        if not (self.is_literal(n_rows) and self.is_literal(n_vectors)):
            return None
        row = self.types.UniTuple(self.vector(dtype, width), n_vectors.literal_value)
        return self.types.UniTuple(row, n_rows.literal_value)

    def is_literal(self, number: Any) -> bool:
        """Say whether a number is a constant that is known while types are found."""
        return isinstance(number, self.types.IntegerLiteral)

    def with_dtype(self, kind: Any, dtype: Any) -> Any:
        """Return a block's type with lanes of another dtype."""
        row = self.types.UniTuple(self.vector(dtype, kind.dtype.dtype.width), kind.dtype.count)
        return self.types.UniTuple(row, kind.count)

    def with_vectors(self, kind: Any, n_vectors: int) -> Any:
        """Return a block's type with rows of so many vectors."""
        return self.types.UniTuple(self.types.UniTuple(kind.dtype.dtype, n_vectors), kind.count)

    def is_float(self, kind: Any) -> bool:
        """Say whether a block's lanes are floating-point numbers."""
        return isinstance(kind.dtype.dtype.dtype, self.types.Float)


def unpack(builder: Any, value: Any, kind: Any) -> Vectors:
    """Return a block's vectors, row by row."""
    return [
        [builder.extract_value(value, [r, v]) for v in range(kind.dtype.count)]
        for r in range(kind.count)
    ]


def pack(context: Any, builder: Any, kind: Any, rows: Vectors) -> Any:
    """Return the block of these vectors."""
    from llvmlite import ir

    value = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for r, row in enumerate(rows):
        for v, vector in enumerate(row):
            value = builder.insert_value(value, vector, [r, v])
    return value


def pack_parts(context: Any, builder: Any, kind: Any, parts: Sequence[Vectors]) -> Any:
    """Return the tuple of the blocks of these vectors."""
    from llvmlite import ir

    value = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for number, rows in enumerate(parts):
        value = builder.insert_value(value, pack(context, builder, kind.dtype, rows), number)
    return value


def wide(context: Any, builder: Any, signature: Any, values: Any, *positions: int) -> Sequence[Any]:
    """Return integer arguments as words."""
    from numba import types

    return [
        context.cast(builder, values[position], signature.args[position], types.intp)
        for position in positions
    ]


def moved(builder: Any, base: Any, at: Any, step: Any, row: int) -> Any:
    """Return the address of row ``row``: so many steps beyond offset ``at``."""
    from llvmlite import ir

    return builder.gep(base, [builder.add(at, builder.mul(step, ir.Constant(step.type, row)))])


def address_of(builder: Any, base: Any, vector: Any, number: int) -> Any:
    """Return the address of the ``number``-th vector from ``base``."""
    from llvmlite import ir

    moved = builder.gep(base, [ir.Constant(ir.IntType(64), number * vector.count)])
    return builder.bitcast(moved, vector.as_pointer())


def itemsize(kind: Any) -> int:
    """Return the bytes of an element of a block."""
    size: int = kind.dtype.dtype.dtype.bitwidth // 8
    return size


def load(context: Any, builder: Any, base: Any, kind: Any, number: int) -> Any:
    """Return the ``number``-th vector from ``base``, at the alignment of one element."""
    vector = context.get_value_type(kind.dtype.dtype)
    load = builder.load(address_of(builder, base, vector, number))
    load.align = itemsize(kind)
    return load


def mask(builder: Any, n: Any, width: int, number: int) -> Any:
    """Return which lanes of a row's ``number``-th vector are below ``n``."""
    from llvmlite import ir

    i32 = ir.IntType(32)
    limit = ir.Constant(n.type, width * (number + 1))
    below = builder.select(builder.icmp_signed("<", n, limit), n, limit)
    lanes = ir.VectorType(i32, width)
    wide = splat(builder, builder.trunc(below, i32), lanes)
    first = number * width
    return builder.icmp_signed("<", ir.Constant(lanes, list(range(first, first + width))), wide)


def masked(builder: Any, verb: str, vector: Any, arguments: list[Any], kind: Any) -> Any:
    """Call the masked ``load`` or ``store`` on a vector; alignment is that of one element."""
    from llvmlite import ir

    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    bits = 8 * itemsize(kind)
    align = ir.Constant(ir.IntType(32), itemsize(kind))
    arguments.insert(1 if verb == "load" else 2, align)
    returns = vector if verb == "load" else ir.VoidType()
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    name = f"llvm.masked.{verb}.v{vector.count}{letter}{bits}.p0"
    return builder.call(intrinsic(builder, function_type, name), arguments)


def store_first(
    builder: Any, vector: Any, address: Any, align: int, n: Any, masked: Callable[[], Any]
) -> None:
    """Store the first ``n`` words of a vector, none where it is negative, all where it is more.

    Vectors as long as AVX-512's are stored by ``masked``; narrower ones whole, or as parts of
    decreasing powers of two. Measured 2026-11 on Zen 3: ``vmaskmovps`` to memory takes 12 cycles.
    """
    from llvmlite import ir

    count, kind = vector.type.count, n.type
    if count * align >= MASKED_BYTES:
        masked()
        return
    zero = ir.Constant(kind, 0)
    is_whole = builder.icmp_signed(">=", n, ir.Constant(kind, count))
    with builder.if_else(is_whole) as (whole, part):
        with whole:
            builder.store(vector, address).align = align
        with part:
            n = builder.select(builder.icmp_signed(">", n, zero), n, zero)
            base = builder.bitcast(address, vector.type.element.as_pointer())
            while (size := vector.type.count // 2) > 0:
                low, high = (
                    shuffle(builder, vector, vector, list(range(first, first + size)))
                    for first in (0, size)
                )
                is_stored = builder.icmp_signed(
                    "!=", builder.and_(n, ir.Constant(kind, size)), zero
                )
                with builder.if_then(is_stored):
                    # Larger parts lie before it.
                    at = builder.and_(n, ir.Constant(kind, -2 * size))
                    place = builder.bitcast(builder.gep(base, [at]), low.type.as_pointer())
                    builder.store(low, place).align = align
                vector = builder.select(is_stored, high, low)


def call(builder: Any, name: str, vectors: Sequence[Any]) -> Any:
    """Call the floating-point intrinsic ``name`` on vectors."""
    from llvmlite import ir

    kind = vectors[0].type
    bits = 64 if isinstance(kind.element, ir.DoubleType) else 32
    function_type = ir.FunctionType(kind, [kind] * len(vectors))
    return builder.call(
        intrinsic(builder, function_type, f"llvm.{name}.v{kind.count}f{bits}"), list(vectors)
    )


def intrinsic(builder: Any, function_type: Any, name: str) -> Any:
    """Return an LLVM intrinsic, declared where it was not yet."""
    from numba.core import cgutils

    insert: Any = cgutils.get_or_insert_function
    return insert(builder.module, function_type, name)


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """Return the vector whose lanes are all ``value``."""
    from llvmlite import ir

    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return shuffle(builder, first, undefined, [0] * vector.count)


def shuffle(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    """Return these lanes of two vectors."""
    from llvmlite import ir

    picked = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(left, right, picked)


def interleaved(width: int) -> tuple[list[int], list[int]]:
    """Return the lanes of two vectors in turn: of their lower halves, of their upper ones."""
    low = [lane // 2 + (lane % 2) * width for lane in range(width)]
    return low, [lane + width // 2 for lane in low]
