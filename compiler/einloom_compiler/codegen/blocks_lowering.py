"""Teach Numba the blocks of vectors of :mod:`.blocks`: LLVM instructions for each primitive.

A block is Numba's tuple of tuples of vectors, an LLVM array of arrays, which LLVM takes apart into
registers. Numbers of rows and vectors are literals where a primitive makes a block, and known from
the type elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from einloom_compiler.codegen.blocks import PRIMITIVES, WIDTHS

#: Vectors of a block, row by row.
_Vectors = list[list[Any]]
_Lowering = Callable[..., Any]
_Declare = Callable[..., Callable[[_Lowering], _Lowering]]


def register(vector_type: Any, declare: _Declare) -> None:
    """Register the primitives with Numba.

    Args:
        vector_type: Numba's type of vectors, made from dtype and width.
        declare: gives a function a typer and lowers it, see :mod:`.simd_lowering`.
    """
    made = _Types(vector_type)
    _register_lanes(made, declare)
    _register_pairs(made, declare)
    for width in WIDTHS:
        _register_making(made, declare, width)
        _register_outer(made, declare, width)
        _register_memory(made, declare, width)
        _register_transpose(made, declare, width)


class _Types:
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
        return isinstance(number, self.types.IntegerLiteral)

    def with_dtype(self, kind: Any, dtype: Any) -> Any:
        """Return a block's type with lanes of another dtype."""
        row = self.types.UniTuple(self.vector(dtype, kind.dtype.dtype.width), kind.dtype.count)
        return self.types.UniTuple(row, kind.count)

    def with_vectors(self, kind: Any, n_vectors: int) -> Any:
        """Return a block's type with rows of so many vectors."""
        return self.types.UniTuple(self.types.UniTuple(kind.dtype.dtype, n_vectors), kind.count)

    def is_float(self, kind: Any) -> bool:
        return isinstance(kind.dtype.dtype.dtype, self.types.Float)


def _unpack(builder: Any, value: Any, kind: Any) -> _Vectors:
    return [
        [builder.extract_value(value, [r, v]) for v in range(kind.dtype.count)]
        for r in range(kind.count)
    ]


def _pack(context: Any, builder: Any, kind: Any, rows: _Vectors) -> Any:
    from llvmlite import ir

    value = ir.Constant(context.get_value_type(kind), ir.Undefined)
    for r, row in enumerate(rows):
        for v, vector in enumerate(row):
            value = builder.insert_value(value, vector, [r, v])
    return value


def _register_lanes(made: _Types, declare: _Declare) -> None:
    types = made.types
    block = types.UniTuple

    def lanewise(name: str, typer: Any, lane: Callable[..., Any], *arguments: Any) -> None:
        """Lower ``name`` to ``lane(context, builder, signature, vectors, values)`` per vector."""

        @declare(PRIMITIVES[name], typer, *arguments)
        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kinds = [kind for kind in signature.args if isinstance(kind, types.UniTuple)]
            parts = [_unpack(builder, v, k) for v, k in zip(values, kinds, strict=False)]
            rows = [
                [
                    lane(context, builder, signature, vectors, values)
                    for vectors in zip(*row, strict=True)
                ]
                for row in zip(*parts, strict=True)
            ]
            return _pack(context, builder, signature.return_type, rows)

    def add(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, values
        is_float = made.is_float(signature.return_type)
        return (builder.fadd if is_float else builder.add)(*vectors)

    def negate(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, values
        is_float = made.is_float(signature.return_type)
        return (builder.fneg if is_float else builder.neg)(vectors[0])

    def root(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, signature, values
        return _call(builder, "sqrt", vectors)

    def reciprocal(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del context, signature, values
        from llvmlite import ir

        kind = vectors[0].type
        return builder.fdiv(ir.Constant(kind, [1.0] * kind.count), vectors[0])

    def maximum(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        dtype = signature.return_type.dtype.dtype.dtype
        limit = context.cast(builder, values[1], signature.args[1], dtype)
        limits = _splat(builder, limit, vectors[0].type)
        if made.is_float(signature.return_type):
            is_larger = builder.fcmp_ordered(">", limits, vectors[0])
        else:
            compare = builder.icmp_signed if dtype.signed else builder.icmp_unsigned
            is_larger = compare(">", limits, vectors[0])
        return builder.select(is_larger, limits, vectors[0])

    def cast(context: Any, builder: Any, signature: Any, vectors: Any, values: Any) -> Any:
        del values
        source, target = signature.args[0].dtype.dtype, signature.return_type.dtype.dtype
        return _converted(context, builder, vectors[0], source, target)

    lanewise("badd", lambda c, d: c, add, block, block)
    lanewise("bneg", lambda c: c, negate, block)
    lanewise("bsqrt", lambda c: c, root, block)
    lanewise("breciprocal", lambda c: c, reciprocal, block)
    lanewise("bmaximum", lambda c, value: c, maximum, block, types.Number)
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


def _register_pairs(made: _Types, declare: _Declare) -> None:
    block = made.types.UniTuple

    for name, offset in (("breal", 0), ("bimag", 1)):

        def lower_part(
            context: Any, builder: Any, signature: Any, values: Any, offset: int = offset
        ) -> Any:
            kind = signature.args[0]
            width = kind.dtype.dtype.width
            lanes = [2 * lane + offset for lane in range(width)]
            rows = [
                [
                    _shuffle(builder, row[v], row[v + 1], lanes)
                    for v in range(0, kind.dtype.count, 2)
                ]
                for row in _unpack(builder, values[0], kind)
            ]
            return _pack(context, builder, signature.return_type, rows)

        declare(PRIMITIVES[name], lambda c: made.with_vectors(c, c.dtype.count // 2), block)(
            lower_part
        )

    @declare(
        PRIMITIVES["bjoin"], lambda re, im: made.with_vectors(re, 2 * re.dtype.count), block, block
    )
    def lower_join(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[0]
        parts = [_unpack(builder, value, kind) for value in values]
        low, high = _interleaved(kind.dtype.dtype.width)
        rows = [
            [
                _shuffle(builder, re, im, lanes)
                for re, im in zip(*pair, strict=True)
                for lanes in (low, high)
            ]
            for pair in zip(*parts, strict=True)
        ]
        return _pack(context, builder, signature.return_type, rows)


def _register_making(made: _Types, declare: _Declare, width: int) -> None:
    types = made.types
    integer = types.Integer

    @declare(
        PRIMITIVES[f"bzero{width}"],
        lambda n_rows, n_vectors, value: made.block(value, width, n_rows, n_vectors),
        *(integer, integer, types.Number),
    )
    def lower_zero(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        vector = _splat(builder, values[2], context.get_value_type(kind.dtype.dtype))
        return _pack(context, builder, kind, [[vector] * kind.dtype.count] * kind.count)

    def loaded(n_rows: Any, n_vectors: Any, x: Any, at: Any, step: Any) -> Any:
        del at, step
        return made.block(x.dtype, width, n_rows, n_vectors)

    @declare(
        PRIMITIVES[f"bload{width}"], loaded, *(integer, integer, types.CPointer, integer, integer)
    )
    def lower_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        at, step = _wide(context, builder, signature, values, 3, 4)
        rows = []
        for r in range(kind.count):
            base = _moved(builder, values[2], at, step, r)
            rows.append([_load(context, builder, base, kind, v) for v in range(kind.dtype.count)])
        return _pack(context, builder, kind, rows)

    @declare(
        PRIMITIVES[f"bload{width}_masked"],
        lambda n_rows, n_vectors, x, at, step, n_valid, n: loaded(n_rows, n_vectors, x, at, step),
        *(integer, integer, types.CPointer, integer, integer, integer, integer),
    )
    def lower_masked_load(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        kind = signature.return_type
        vector = context.get_value_type(kind.dtype.dtype)
        at, step, n_valid, n = _wide(context, builder, signature, values, 3, 4, 5, 6)
        masks = [_mask(builder, n, width, v) for v in range(kind.dtype.count)]
        last = builder.sub(n_valid, ir.Constant(n_valid.type, 1))
        rows = []
        for r in range(kind.count):
            row = ir.Constant(last.type, r)
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            base = builder.gep(values[2], [builder.add(at, builder.mul(step, row))])
            rows.append(
                [
                    _masked(
                        builder,
                        "load",
                        vector,
                        [_address(builder, base, vector, v), mask, ir.Constant(vector, None)],
                        kind,
                    )
                    for v, mask in enumerate(masks)
                ]
            )
        return _pack(context, builder, kind, rows)


def _register_outer(made: _Types, declare: _Declare, width: int) -> None:
    types = made.types
    numbers = (types.CPointer, types.Integer, types.Integer)

    class Panels:
        """The operands of one outer product: vectors from ``b``, elements from ``a``."""

        def __init__(self, context: Any, builder: Any, signature: Any, values: Any) -> None:
            self.context, self.builder, self.x = context, builder, values[1]
            self.a, self.b = _wide(context, builder, signature, values, 2, 3)

        def vectors(self, kind: Any, part: int) -> list[Any]:
            n_vectors = kind.dtype.count
            base = self.builder.gep(self.x, [self.b])
            return [
                _load(self.context, self.builder, base, kind, part * n_vectors + v)
                for v in range(n_vectors)
            ]

        def element(self, kind: Any, row: int) -> Any:
            from llvmlite import ir

            at = self.builder.add(self.a, ir.Constant(self.a.type, row))
            vector = self.context.get_value_type(kind.dtype.dtype)
            return _splat(self.builder, self.builder.load(self.builder.gep(self.x, [at])), vector)

    @declare(PRIMITIVES[f"bouter{width}"], lambda c, x, a, b: c, types.UniTuple, *numbers)
    def lower_outer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type
        panels = Panels(context, builder, signature, values)
        columns = panels.vectors(kind, 0)
        rows = _unpack(builder, values[0], kind)
        for r, row in enumerate(rows):
            element = panels.element(kind, r)
            for v, column in enumerate(columns):
                row[v] = _multiply_add(made, builder, kind, element, column, row[v])
        return _pack(context, builder, kind, rows)

    @declare(PRIMITIVES[f"bouter{width}_complex"], lambda c, x, a, b: c, types.UniTuple, *numbers)
    def lower_outer_complex(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.return_type.dtype
        panels = Panels(context, builder, signature, values)
        b_re, b_im = panels.vectors(kind, 0), panels.vectors(kind, 1)
        re, im = (_unpack(builder, builder.extract_value(values[0], part), kind) for part in (0, 1))
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
        from llvmlite import ir

        value = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for part, rows in enumerate((re, im)):
            value = builder.insert_value(value, _pack(context, builder, kind, rows), part)
        return value


def _multiply_add(made: _Types, builder: Any, kind: Any, a: Any, b: Any, c: Any) -> Any:
    if made.is_float(kind):
        return _call(builder, "fma", [a, b, c])
    return builder.add(builder.mul(a, b), c)


def _register_memory(made: _Types, declare: _Declare, width: int) -> None:
    types = made.types
    numbers = (types.CPointer, types.Integer, types.Integer)

    @declare(
        PRIMITIVES[f"bstore{width}"], lambda x, at, step, c: types.void, *numbers, types.UniTuple
    )
    def lower_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[3]
        at, step = _wide(context, builder, signature, values, 1, 2)
        for r, row in enumerate(_unpack(builder, values[3], kind)):
            base = _moved(builder, values[0], at, step, r)
            for v, vector in enumerate(row):
                store = builder.store(vector, _address(builder, base, vector.type, v))
                store.align = _itemsize(kind)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"bstore{width}_masked"],
        lambda x, at, step, c, n_rows, n: types.void,
        *(*numbers, types.UniTuple, types.Integer, types.Integer),
    )
    def lower_masked_store(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir

        kind = signature.args[3]
        at, step, n_rows, n = _wide(context, builder, signature, values, 1, 2, 4, 5)
        masks = [_mask(builder, n, width, v) for v in range(kind.dtype.count)]
        for r, row in enumerate(_unpack(builder, values[3], kind)):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(n_rows.type, r), n_rows)):
                base = _moved(builder, values[0], at, step, r)
                for v, vector in enumerate(row):
                    address = _address(builder, base, vector.type, v)
                    _masked(builder, "store", vector.type, [vector, address, masks[v]], kind)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"bprefetch{width}"],
        lambda n_rows, n_vectors, x, at, step: (
            types.void if made.is_literal(n_rows) and made.is_literal(n_vectors) else None
        ),
        *(types.Integer, types.Integer, *numbers),
    )
    def lower_prefetch(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        from llvmlite import ir
        from numba.core import cgutils

        insert: Any = cgutils.get_or_insert_function
        at, step = _wide(context, builder, signature, values, 3, 4)
        i32, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        n_rows, n_vectors = (signature.args[position].literal_value for position in (0, 1))
        for r in range(n_rows):
            base = _moved(builder, values[2], at, step, r)
            for v in range(n_vectors):
                address = builder.gep(base, [ir.Constant(at.type, v * width)])
                flags = [ir.Constant(i32, flag) for flag in (0, 3, 1)]
                builder.call(function, [builder.bitcast(address, byte), *flags])
        return context.get_dummy_value()


def _register_transpose(made: _Types, declare: _Declare, width: int) -> None:
    types = made.types

    @declare(
        PRIMITIVES[f"btranspose{width}"],
        lambda x, to, pitch, c, n: types.void,
        *(types.CPointer, types.Integer, types.Integer, types.UniTuple, types.Integer),
    )
    def lower_transpose(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        """Interleave the two halves of the rows, round by round; each group of R lanes is a k."""
        from llvmlite import ir

        kind = signature.args[3]
        to, pitch, n = _wide(context, builder, signature, values, 1, 2, 4)
        rows = [row[0] for row in _unpack(builder, values[3], kind)]
        n_rows = kind.count
        low, high = _interleaved(width)
        half = n_rows // 2
        for _ in range(n_rows.bit_length() - 1):
            rows = [
                _shuffle(builder, rows[pair], rows[pair + half], lanes)
                for pair in range(half)
                for lanes in (low, high)
            ]
        groups = width // n_rows

        def store(lane: int) -> None:
            part = rows[lane // groups]
            if groups > 1:
                first = lane % groups * n_rows
                part = _shuffle(builder, part, part, list(range(first, first + n_rows)))
            address = _address(builder, _moved(builder, values[0], to, pitch, lane), part.type, 0)
            builder.store(part, address).align = _itemsize(kind)

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


# --- instructions ---------------------------------------------------------------------------------


def _wide(
    context: Any, builder: Any, signature: Any, values: Any, *positions: int
) -> Sequence[Any]:
    """Return integer arguments as words."""
    from numba import types

    return [
        context.cast(builder, values[position], signature.args[position], types.intp)
        for position in positions
    ]


def _moved(builder: Any, base: Any, at: Any, step: Any, row: int) -> Any:
    from llvmlite import ir

    return builder.gep(base, [builder.add(at, builder.mul(step, ir.Constant(step.type, row)))])


def _address(builder: Any, base: Any, vector: Any, number: int) -> Any:
    """Return the address of the ``number``-th vector from ``base``."""
    from llvmlite import ir

    moved = builder.gep(base, [ir.Constant(ir.IntType(64), number * vector.count)])
    return builder.bitcast(moved, vector.as_pointer())


def _itemsize(kind: Any) -> int:
    size: int = kind.dtype.dtype.dtype.bitwidth // 8
    return size


def _load(context: Any, builder: Any, base: Any, kind: Any, number: int) -> Any:
    vector = context.get_value_type(kind.dtype.dtype)
    load = builder.load(_address(builder, base, vector, number))
    load.align = _itemsize(kind)
    return load


def _mask(builder: Any, n: Any, width: int, number: int) -> Any:
    """Return which lanes of a row's ``number``-th vector are below ``n``."""
    from llvmlite import ir

    i32 = ir.IntType(32)
    limit = ir.Constant(n.type, width * (number + 1))
    below = builder.select(builder.icmp_signed("<", n, limit), n, limit)
    lanes = ir.VectorType(i32, width)
    wide = _splat(builder, builder.trunc(below, i32), lanes)
    first = number * width
    return builder.icmp_signed("<", ir.Constant(lanes, list(range(first, first + width))), wide)


def _masked(builder: Any, verb: str, vector: Any, arguments: list[Any], kind: Any) -> Any:
    from llvmlite import ir

    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    bits = 8 * _itemsize(kind)
    align = ir.Constant(ir.IntType(32), _itemsize(kind))
    arguments.insert(1 if verb == "load" else 2, align)
    returns = vector if verb == "load" else ir.VoidType()
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    name = f"llvm.masked.{verb}.v{vector.count}{letter}{bits}.p0"
    return builder.call(_intrinsic(builder, function_type, name), arguments)


def _call(builder: Any, name: str, vectors: Sequence[Any]) -> Any:
    """Call the floating-point intrinsic ``name`` on vectors."""
    from llvmlite import ir

    kind = vectors[0].type
    bits = 64 if isinstance(kind.element, ir.DoubleType) else 32
    function_type = ir.FunctionType(kind, [kind] * len(vectors))
    return builder.call(
        _intrinsic(builder, function_type, f"llvm.{name}.v{kind.count}f{bits}"), list(vectors)
    )


def _intrinsic(builder: Any, function_type: Any, name: str) -> Any:
    from numba.core import cgutils

    insert: Any = cgutils.get_or_insert_function
    return insert(builder.module, function_type, name)


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    from llvmlite import ir

    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return _shuffle(builder, first, undefined, [0] * vector.count)


def _shuffle(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    from llvmlite import ir

    picked = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(left, right, picked)


def _interleaved(width: int) -> tuple[list[int], list[int]]:
    """Return the lanes of two vectors in turn: of their lower halves, of their upper ones."""
    low = [lane // 2 + (lane % 2) * width for lane in range(width)]
    return low, [lane + width // 2 for lane in low]
