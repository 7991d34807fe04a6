"""Lower the primitives of :mod:`.blocks` that make, load and store blocks of vectors."""

from __future__ import annotations

from functools import partial
from typing import Any

from einloom_compiler.codegen.blocks import PRIMITIVES
from einloom_compiler.codegen.vector_ir import (
    Declare,
    Types,
    address_of,
    interleaved,
    itemsize,
    load,
    mask,
    masked,
    moved,
    pack,
    shuffle,
    splat,
    unpack,
    wide,
)


def register_making(made: Types, declare: Declare, width: int) -> None:
    """Register what makes blocks: of one value, and from memory."""
    types = made.types
    integer = types.Integer

    @declare(
        PRIMITIVES[f"bzero{width}"],
        lambda n_rows, n_vectors, value: made.block(value, width, n_rows, n_vectors),
        *(integer, integer, types.Number),
    )
    def lower_zero(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        vector = splat(builder, values[2], context.get_value_type(kind.dtype.dtype))
        return pack(context, builder, kind, [[vector] * kind.dtype.count] * kind.count)

    def loaded(n_rows: Any, n_vectors: Any, x: Any, at: Any, step: Any) -> Any:
        del at, step
        return made.block(x.dtype, width, n_rows, n_vectors)

    @declare(
        PRIMITIVES[f"bload{width}"], loaded, *(integer, integer, types.CPointer, integer, integer)
    )
    def lower_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        at, step = wide(context, builder, signature, values, 3, 4)
        rows = []
        for r in range(kind.count):
            base = moved(builder, values[2], at, step, r)
            rows.append([load(context, builder, base, kind, v) for v in range(kind.dtype.count)])
        return pack(context, builder, kind, rows)

    @declare(
        PRIMITIVES[f"bload{width}_masked"],
        lambda n_rows, n_vectors, x, at, step, n_valid, n: loaded(n_rows, n_vectors, x, at, step),
        *(integer, integer, types.CPointer, integer, integer, integer, integer),
    )
    def lower_masked_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        kind = signature.return_type
        vector = context.get_value_type(kind.dtype.dtype)
        at, step, n_valid, n = wide(context, builder, signature, values, 3, 4, 5, 6)
        masks = [mask(builder, n, width, v) for v in range(kind.dtype.count)]
        last = builder.sub(n_valid, ir.Constant(n_valid.type, 1))
        rows = []
        for r in range(kind.count):
            row = ir.Constant(last.type, r)
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            base = builder.gep(values[2], [builder.add(at, builder.mul(step, row))])
            rows.append(
                [
                    masked(
                        builder,
                        "load",
                        vector,
                        [address_of(builder, base, vector, v), mask, ir.Constant(vector, None)],
                        kind,
                    )
                    for v, mask in enumerate(masks)
                ]
            )
        return pack(context, builder, kind, rows)


#: Every vector register of every target, as LLVM's assembly clobbers; it skips another target's.
_EVERY_REGISTER = ",".join(f"~{{{kind}{number}}}" for kind in ("xmm", "v") for number in range(32))


def register_memory(made: Types, declare: Declare, width: int) -> None:
    """Register what stores blocks, and prefetching."""
    types = made.types
    numbers = (types.CPointer, types.Integer, types.Integer)

    @declare(
        PRIMITIVES[f"bstore{width}"], lambda x, at, step, c: types.void, *numbers, types.UniTuple
    )
    def lower_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[3]
        at, step = wide(context, builder, signature, values, 1, 2)
        for r, row in enumerate(unpack(builder, values[3], kind)):
            base = moved(builder, values[0], at, step, r)
            for v, vector in enumerate(row):
                store = builder.store(vector, address_of(builder, base, vector.type, v))
                store.align = itemsize(kind)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"bstore{width}_masked"],
        lambda x, at, step, c, n_rows, n: types.void,
        *(*numbers, types.UniTuple, types.Integer, types.Integer),
    )
    def lower_masked_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        kind = signature.args[3]
        at, step, n_rows, n = wide(context, builder, signature, values, 1, 2, 4, 5)
        masks = [mask(builder, n, width, v) for v in range(kind.dtype.count)]
        for r, row in enumerate(unpack(builder, values[3], kind)):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(n_rows.type, r), n_rows)):
                base = moved(builder, values[0], at, step, r)
                for v, vector in enumerate(row):
                    address = address_of(builder, base, vector.type, v)
                    masked(builder, "store", vector.type, [vector, address, masks[v]], kind)
        return context.get_dummy_value()

    def prefetch(context: Any, builder: Any, signature: Any, values: Any, locality: int) -> Any:
        from llvmlite import ir
        from numba.core import cgutils

        insert: Any = cgutils.get_or_insert_function
        at, step = wide(context, builder, signature, values, 3, 4)
        i32, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        n_rows, n_vectors = (signature.args[position].literal_value for position in (0, 1))
        for r in range(n_rows):
            base = moved(builder, values[2], at, step, r)
            for v in range(n_vectors):
                address = builder.gep(base, [ir.Constant(at.type, v * width)])
                flags = [ir.Constant(i32, flag) for flag in (0, locality, 1)]
                builder.call(function, [builder.bitcast(address, byte), *flags])
        return context.get_dummy_value()

    for name, locality in (("bprefetch", 3), ("bprefetch_far", 2)):
        declare(
            PRIMITIVES[f"{name}{width}"],
            lambda n_rows, n_vectors, x, at, step: (
                types.void if made.is_literal(n_rows) and made.is_literal(n_vectors) else None
            ),
            *(types.Integer, types.Integer, *numbers),
        )(partial(prefetch, locality=locality))

    @declare(PRIMITIVES[f"bfree{width}"], lambda: types.void)
    def lower_free(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """Say in an empty assembly that it overwrites every vector register.

        Without it, constants such as the lanes' numbers of masks stay in registers across a
        microkernel that needs all 16, and a sum goes through memory at every point instead:
        ``dfae,cebf->dcba`` reached 28 GFLOP/s that way, 58 this way (one AVX2 core, 2026-11).
        """
        from llvmlite import ir

        del signature, values
        empty = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.InlineAsm(empty, "", _EVERY_REGISTER, side_effect=True), [])
        return context.get_dummy_value()


def register_transpose(made: Types, declare: Declare, width: int) -> None:
    """Register the transposed store."""
    types = made.types

    @declare(
        PRIMITIVES[f"btranspose{width}"],
        lambda x, to, pitch, c, n: types.void,
        *(types.CPointer, types.Integer, types.Integer, types.UniTuple, types.Integer),
    )
    def lower_transpose(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """Interleave the two halves of the rows, round by round; each group of R lanes is a k.

        Rows are filled up to a power of two by ones that are not stored.
        """
        from llvmlite import ir

        kind = signature.args[3]
        to, pitch, n = wide(context, builder, signature, values, 1, 2, 4)
        rows = [row[0] for row in unpack(builder, values[3], kind)]
        n_rows = 1 << (kind.count - 1).bit_length()
        rows += rows[:1] * (n_rows - kind.count)
        low, high = interleaved(width)
        half = n_rows // 2
        for _ in range(n_rows.bit_length() - 1):
            rows = [
                shuffle(builder, rows[pair], rows[pair + half], lanes)
                for pair in range(half)
                for lanes in (low, high)
            ]
        groups = width // n_rows

        def store(lane: int) -> None:
            part = rows[lane // groups]
            if kind.count < width:
                first = lane % groups * n_rows
                part = shuffle(builder, part, part, list(range(first, first + kind.count)))
            address = address_of(builder, moved(builder, values[0], to, pitch, lane), part.type, 0)
            builder.store(part, address).align = itemsize(kind)

        is_full = builder.icmp_signed(">=", n, ir.Constant(n.type, width))
        with builder.if_else(is_full, likely=True) as (full, partial):
            with full:
                for lane in range(width):
                    store(lane)
            with partial:
                for lane in range(width - 1):
                    with builder.if_then(builder.icmp_signed("<", ir.Constant(n.type, lane), n)):
                        store(lane)
        return context.get_dummy_value()
