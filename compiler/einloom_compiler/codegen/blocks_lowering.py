"""Teach Numba the blocks of vectors of :mod:`.blocks`: LLVM instructions for each primitive.

A block is Numba's tuple of tuples of vectors, an LLVM array of arrays, which LLVM takes apart into
registers. Numbers of rows and vectors are literals where a primitive makes a block, and known from
the type elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einloom_compiler.codegen import blocks_memory
from einloom_compiler.codegen.blocks import PRIMITIVES, WIDTHS
from einloom_compiler.codegen.vector_ir import (
    Declare,
    Types,
    call,
    interleaved,
    load,
    moved,
    pack,
    pack_parts,
    shuffle,
    splat,
    unpack,
    wide,
)


def register(vector_type: Any, declare: Declare) -> None:
    """Register the primitives with Numba.

    Args:
        vector_type: Numba's type of vectors, made from dtype and width.
        declare: gives a function a typer and lowers it, see :mod:`.simd_lowering`.
    """
    made = Types(vector_type)
    _register_lanes(made, declare)
    _register_pairs(made, declare)
    _register_whole(made, declare)
    for width in WIDTHS:
        blocks_memory.register_making(made, declare, width)
        _register_outer(made, declare, width)
        _register_halves(made, declare, width)
        blocks_memory.register_memory(made, declare, width)
        blocks_memory.register_transpose(made, declare, width)


def _register_lanes(made: Types, declare: Declare) -> None:
    types = made.types
    block = types.UniTuple

    def lanewise(name: str, typer: Any, lane: Callable[..., Any], *arguments: Any) -> None:
        """Lower ``name`` to ``lane(context, builder, signature, vectors, values)`` per vector."""

        @declare(PRIMITIVES[name], typer, *arguments)
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kinds = [kind for kind in signature.args if isinstance(kind, types.UniTuple)]
            parts = [unpack(builder, v, k) for v, k in zip(values, kinds, strict=False)]
            rows = [
                [
                    lane(context, builder, signature, vectors, values)
                    for vectors in zip(*row, strict=True)
                ]
                for row in zip(*parts, strict=True)
            ]
            return pack(context, builder, signature.return_type, rows)

    def add(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, values
        is_float = made.is_float(signature.return_type)
        return (builder.fadd if is_float else builder.add)(*vectors)

    def negate(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, values
        is_float = made.is_float(signature.return_type)
        return (builder.fneg if is_float else builder.neg)(vectors[0])

    def cast(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del values
        source, target = signature.args[0].dtype.dtype, signature.return_type.dtype.dtype
        return _converted(context, builder, vectors[0], source, target)

    lanewise("badd", lambda c, d: c, add, block, block)
    lanewise("bneg", lambda c: c, negate, block)
    lanewise("bcast", lambda c, value: made.with_dtype(c, value), cast, block, types.Number)
    for name, bits in (("float16", 16), ("bfloat16", 16)):
        del bits
        lanewise(
            f"bfrom_{name}", lambda c: made.with_dtype(c, types.float32), _from_half(name), block
        )
        lanewise(f"bto_{name}", lambda c: made.with_dtype(c, types.uint16), _to_half(name), block)


def _from_half(name: str) -> Callable[..., Any]:
    from llvmlite import ir

    def widened(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, signature, values
        (bits,) = vectors
        wide = ir.VectorType(ir.FloatType(), bits.type.count)
        if name == "float16":
            return builder.fpext(builder.bitcast(bits, _of(ir.HalfType(), bits)), wide)
        word = _of(ir.IntType(32), bits)
        return builder.bitcast(builder.shl(builder.zext(bits, word), _every(word, 16)), wide)

    return widened


def _to_half(name: str) -> Callable[..., Any]:
    from llvmlite import ir

    def narrowed(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, signature, values
        (lanes,) = vectors
        half, word = _of(ir.IntType(16), lanes), _of(ir.IntType(32), lanes)
        if name == "float16":
            return builder.bitcast(builder.fptrunc(lanes, _of(ir.HalfType(), lanes)), half)
        bits = builder.bitcast(lanes, word)
        upper = builder.lshr(bits, _every(word, 16))
        odd = builder.and_(upper, _every(word, 1))
        rounded = builder.lshr(
            builder.add(builder.add(bits, _every(word, 0x7FFF)), odd), _every(word, 16)
        )
        is_nan = builder.fcmp_unordered("uno", lanes, lanes)
        quiet = builder.or_(upper, _every(word, 0x40))
        return builder.trunc(builder.select(is_nan, quiet, rounded), half)

    return narrowed


def _of(element: Any, vector: Any) -> Any:
    from llvmlite import ir

    return ir.VectorType(element, vector.type.count)


def _every(kind: Any, value: int) -> Any:
    from llvmlite import ir

    return ir.Constant(kind, [value] * kind.count)


def _converted(context: Any, builder: Any, lanes: Any, source: Any, target: Any) -> Any:
    """Return a vector in another dtype, as NumPy's ``astype`` converts."""
    from numba import types

    wanted = context.get_value_type(target)
    if source.dtype == target.dtype:
        return lanes
    was_float, is_float = (isinstance(k.dtype, types.Float) for k in (source, target))
    if was_float and is_float:
        is_wider = target.dtype.bitwidth > source.dtype.bitwidth
        return (builder.fpext if is_wider else builder.fptrunc)(lanes, wanted)
    if is_float:
        return (builder.sitofp if source.dtype.signed else builder.uitofp)(lanes, wanted)
    if was_float:
        return (builder.fptosi if target.dtype.signed else builder.fptoui)(lanes, wanted)
    if target.dtype.bitwidth == source.dtype.bitwidth:
        return lanes
    if target.dtype.bitwidth < source.dtype.bitwidth:
        return builder.trunc(lanes, wanted)
    return (builder.sext if source.dtype.signed else builder.zext)(lanes, wanted)


def _register_pairs(made: Types, declare: Declare) -> None:
    block = made.types.UniTuple

    for name, offset in (("breal", 0), ("bimag", 1)):

        def lower_part(
            context: Any, builder: Any, signature: Any, values: Any, offset: int = offset
        ) -> Any:
            kind = signature.args[0]
            width = kind.dtype.dtype.width
            lanes = [2 * lane + offset for lane in range(width)]
            rows = [
                [shuffle(builder, row[v], row[v + 1], lanes) for v in range(0, kind.dtype.count, 2)]
                for row in unpack(builder, values[0], kind)
            ]
            return pack(context, builder, signature.return_type, rows)

        declare(PRIMITIVES[name], lambda c: made.with_vectors(c, c.dtype.count // 2), block)(
            lower_part
        )

    @declare(
        PRIMITIVES["bjoin"], lambda re, im: made.with_vectors(re, 2 * re.dtype.count), block, block
    )
    def lower_join(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[0]
        parts = [unpack(builder, value, kind) for value in values]
        low, high = interleaved(kind.dtype.dtype.width)
        rows = [
            [
                shuffle(builder, re, im, lanes)
                for re, im in zip(*pair, strict=True)
                for lanes in (low, high)
            ]
            for pair in zip(*parts, strict=True)
        ]
        return pack(context, builder, signature.return_type, rows)


class _Panels:
    """The operands of one outer product: elements of ``x``, vectors of ``y``."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any) -> None:
        self.context, self.builder = context, builder
        self.x, self.y = values[1], values[3]
        self.a, self.b = wide(context, builder, signature, values, 2, 4)

    def vectors(self, kind: Any, part: int) -> list[Any]:
        n_vectors = kind.dtype.count
        base = self.builder.gep(self.y, [self.b])
        return [
            load(self.context, self.builder, base, kind, part * n_vectors + v)
            for v in range(n_vectors)
        ]

    def element(self, kind: Any, row: int) -> Any:
        from llvmlite import ir

        at = self.builder.add(self.a, ir.Constant(self.a.type, row))
        vector = self.context.get_value_type(kind.dtype.dtype)
        return splat(self.builder, self.builder.load(self.builder.gep(self.x, [at])), vector)


def _register_outer(made: Types, declare: Declare, width: int) -> None:
    types = made.types
    panels_of = (types.CPointer, types.Integer, types.CPointer, types.Integer)

    @declare(PRIMITIVES[f"bouter{width}"], lambda c, x, a, y, b: c, types.UniTuple, *panels_of)
    def lower_outer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        panels = _Panels(context, builder, signature, values)
        columns = panels.vectors(kind, 0)
        rows = unpack(builder, values[0], kind)
        for r, row in enumerate(rows):
            element = panels.element(kind, r)
            for v, column in enumerate(columns):
                row[v] = _multiply_add(made, builder, kind, element, column, row[v])
        return pack(context, builder, kind, rows)

    @declare(
        PRIMITIVES[f"bouter{width}_strided"],
        lambda c, x, a, step, y, b: c,
        *(types.UniTuple, types.CPointer, types.Integer, types.Integer),
        *(types.CPointer, types.Integer),
    )
    def lower_strided_outer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        a, step, b = wide(context, builder, signature, values, 2, 3, 5)
        base = builder.gep(values[4], [b])
        columns = [load(context, builder, base, kind, v) for v in range(kind.dtype.count)]
        vector = context.get_value_type(kind.dtype.dtype)
        rows = unpack(builder, values[0], kind)
        for r, row in enumerate(rows):
            element = splat(builder, builder.load(moved(builder, values[1], a, step, r)), vector)
            for v, column in enumerate(columns):
                row[v] = _multiply_add(made, builder, kind, element, column, row[v])
        return pack(context, builder, kind, rows)

    @declare(
        PRIMITIVES[f"bouter{width}_complex"], lambda c, x, a, y, b: c, types.UniTuple, *panels_of
    )
    def lower_outer_complex(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type.dtype
        panels = _Panels(context, builder, signature, values)
        b_re, b_im = panels.vectors(kind, 0), panels.vectors(kind, 1)
        re, im = (unpack(builder, builder.extract_value(values[0], part), kind) for part in (0, 1))
        for r in range(kind.count):
            a_re, a_im = panels.element(kind, r), panels.element(kind, kind.count + r)
            minus = (builder.fneg if made.is_float(kind) else builder.neg)(a_im)
            for v in range(kind.dtype.count):
                for target, element, column in (
                    (re, a_re, b_re),
                    (im, a_re, b_im),
                    (re, minus, b_im),
                    (im, a_im, b_re),
                ):
                    target[r][v] = _multiply_add(
                        made, builder, kind, element, column[v], target[r][v]
                    )
        return pack_parts(context, builder, signature.return_type, (re, im))


def _register_halves(made: Types, declare: Declare, width: int) -> None:
    types = made.types
    block = types.UniTuple

    @declare(
        PRIMITIVES[f"bouter{width}_halves"],
        lambda c, x, a, y, b: c,
        *(block, types.CPointer, types.Integer, types.CPointer, types.Integer),
    )
    def lower_outer_halves(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        kind = signature.return_type.dtype
        panels = _Panels(context, builder, signature, values)
        vector = context.get_value_type(kind.dtype.dtype)
        halves, lower = ir.VectorType(ir.IntType(32), 2 * width), _every(vector, 0xFFFFFFFF)
        swap = [lane ^ 1 for lane in range(2 * width)]
        columns = panels.vectors(kind, 0)
        lower_columns = [builder.and_(column, lower) for column in columns]
        as_halves = [builder.bitcast(column, halves) for column in columns]
        swapped = [shuffle(builder, column, column, swap) for column in as_halves]
        low, mixed = (
            unpack(builder, builder.extract_value(values[0], part), kind) for part in (0, 1)
        )
        for r in range(kind.count):
            element = panels.element(kind, r)
            lower_element = builder.and_(element, lower)
            element = builder.bitcast(element, halves)
            for v in range(kind.dtype.count):
                product = builder.mul(lower_element, lower_columns[v])
                low[r][v] = builder.add(product, low[r][v])
                sums = builder.bitcast(mixed[r][v], halves)
                sums = builder.add(builder.mul(element, swapped[v]), sums)
                mixed[r][v] = builder.bitcast(sums, vector)
        return pack_parts(context, builder, signature.return_type, (low, mixed))


def _register_whole(made: Types, declare: Declare) -> None:
    block = made.types.UniTuple

    @declare(PRIMITIVES["bwhole"], lambda low, mixed: low, block, block)
    def lower_whole(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        bits = _every(context.get_value_type(kind.dtype.dtype), 32)

        def whole(low: Any, mixed: Any) -> Any:
            both = builder.add(mixed, builder.lshr(mixed, bits))
            return builder.add(low, builder.shl(both, bits))

        pairs = zip(*(unpack(builder, value, kind) for value in values), strict=True)
        rows = [[whole(*both) for both in zip(*pair, strict=True)] for pair in pairs]
        return pack(context, builder, kind, rows)


def _multiply_add(made: Types, builder: Any, kind: Any, a: Any, b: Any, c: Any) -> Any:
    if made.is_float(kind):
        return call(builder, "fma", [a, b, c])
    return builder.add(builder.mul(a, b), c)
