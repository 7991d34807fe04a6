"""Lowering of the primitives that move blocks: transposition in registers, streamed copies.

Elements are moved as words of bits, whatever their dtype: 1 to 8 bytes, or two words of 8 bytes
for complex128. Source of the streamed stores: the LLVM language reference (``!nontemporal``); they
need a fence before other threads may rely on them (Intel SDM, volume 1, 10.4.6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einloom_compiler.codegen.masked_ir import lane_mask, masked_load, store_words
from einloom_compiler.codegen.simd import PRIMITIVES
from einloom_compiler.codegen.simd_lowering import declare
from einloom_compiler.codegen.vector_ir import intrinsic, shuffle

#: Bytes of a cache line, which streamed stores fill.
LINE = 64
_WORD = 8


def register_transpose(types: Any, width: int) -> None:
    """Register the transposition of a block of ``width`` rows and columns, whole and masked."""
    from llvmlite import ir

    pointer, integer = types.CPointer, types.Integer
    block = (pointer, integer, integer, pointer, integer, integer)

    def moved(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, source = values[0], values[3]
        numbers = _integers(context, builder, signature, values)
        to, pitch, at, stride, *limits = numbers
        word, words = _word_of(signature.args[3].dtype)
        shape = ir.VectorType(ir.IntType(8 * word), width * words)

        def address(base: Any, offset: Any, step: Any, number: Any) -> Any:
            element = builder.add(offset, builder.mul(step, number))
            return builder.bitcast(builder.gep(base, [element]), shape.as_pointer())

        def move_whole() -> None:
            rows = []
            for row in range(width):
                rows.append(
                    builder.load(address(source, at, stride, ir.Constant(stride.type, row)))
                )
                rows[-1].align = word
            for row, vector in enumerate(_transposed(builder, rows, words)):
                place = address(target, to, pitch, ir.Constant(pitch.type, row))
                builder.store(vector, place).align = word

        def move_partly(n_c: Any, n_k: Any) -> None:
            # Rows beyond the last are loaded as it is, none of it where there is no row.
            zero = ir.Constant(n_c.type, 0)
            last = builder.sub(n_c, ir.Constant(n_c.type, 1))
            last = builder.select(builder.icmp_signed(">", last, zero), last, zero)
            n_lanes = builder.select(builder.icmp_signed(">", n_c, zero), n_k, zero)
            mask = lane_mask(builder, n_lanes, width, words)
            rows = []
            for row in range(width):
                number = ir.Constant(stride.type, row)
                number = builder.select(builder.icmp_signed("<", number, last), number, last)
                place = address(source, at, stride, number)
                rows.append(masked_load(builder, place, word, mask, ir.Constant(shape, None)))
            for row, vector in enumerate(_transposed(builder, rows, words)):
                number = ir.Constant(pitch.type, row)
                place = address(target, to, pitch, number)
                with builder.if_then(builder.icmp_signed("<", number, n_k)):
                    store_words(builder, vector, place, word, n_c, words)

        if not limits:
            move_whole()
            return context.get_dummy_value()
        # Whole blocks, nearly all there are, take no masks and one branch.
        least = builder.select(builder.icmp_signed("<", *limits), *limits)
        is_whole = builder.icmp_signed(">=", least, ir.Constant(least.type, width))
        with builder.if_else(is_whole, likely=True) as (whole, partial):
            with whole:
                move_whole()
            with partial:
                move_partly(*limits)
        return context.get_dummy_value()

    @declare(
        PRIMITIVES[f"vtranspose{width}"],
        lambda target, to, pitch, source, at, stride: types.void,
        *block,
    )
    def lower_transpose(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return moved(context, builder, signature, values)

    @declare(
        PRIMITIVES[f"vtranspose{width}_masked"],
        lambda target, to, pitch, source, at, stride, n_c, n_k: types.void,
        *(*block, integer, integer),
    )
    def lower_masked_transpose(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return moved(context, builder, signature, values)


def _transposed(builder: Any, rows: list[Any], words: int) -> list[Any]:
    """Transpose by rounds of perfect shuffles: each interleaves the halves of the block."""
    width = len(rows)
    half = width // 2
    low = [lane // 2 + (lane % 2) * width for lane in range(width)]
    picks = (low, [lane + half for lane in low])
    for _ in range(width.bit_length() - 1):
        rows = [
            shuffle(builder, rows[pair], rows[pair + half], _words_of(picked, words))
            for pair in range(half)
            for picked in picks
        ]
    return rows


def _words_of(lanes: Sequence[int], words: int) -> list[int]:
    return [lane * words + word for lane in lanes for word in range(words)]


def register_streams(types: Any) -> None:
    """Register streamed copies, their fence, and the phase of a pointer in its cache line."""
    from llvmlite import ir

    pointer, integer = types.CPointer, types.Integer

    @declare(
        PRIMITIVES["vstream"],
        lambda target, to, source, at, n: types.void,
        *(pointer, integer, pointer, integer, integer),
    )
    def lower_stream(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dtype = signature.args[0].dtype
        to, at, n = _integers(context, builder, signature, values)
        words = LINE * 8 // dtype.bitwidth
        _stream(
            builder,
            builder.gep(values[0], [to]),
            builder.gep(values[2], [at]),
            n,
            _word_of(dtype),
            words,
        )
        return context.get_dummy_value()

    @declare(PRIMITIVES["vfence"], lambda: types.void)
    def lower_fence(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del signature, values
        if builder.module.triple.startswith(("x86", "i686")):
            fence = ir.FunctionType(ir.VoidType(), [])
            builder.call(intrinsic(builder, fence, "llvm.x86.sse.sfence"), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    @declare(PRIMITIVES["vphase"], lambda p: types.int64, pointer)
    def lower_phase(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        del context
        word = ir.IntType(64)
        address = builder.ptrtoint(values[0], word)
        past = builder.and_(address, ir.Constant(word, LINE - 1))
        return builder.udiv(past, ir.Constant(word, signature.args[0].dtype.bitwidth // 8))


def _stream(builder: Any, target: Any, source: Any, n: Any, word: Any, per_line: int) -> None:
    """Copy ``n`` elements: up to a line's start, whole lines streamed, the rest."""
    from llvmlite import ir
    from numba.core import cgutils

    size, words = word
    number = ir.IntType(64)
    line = ir.VectorType(ir.IntType(8 * size), per_line * words)

    def constant(value: int) -> Any:
        return ir.Constant(number, value)

    def vectors(base: Any, at: Any) -> Any:
        return builder.bitcast(builder.gep(base, [at]), line.as_pointer())

    def copy_part(at: Any, count: Any) -> None:
        """Copy fewer elements than a line has."""
        part = per_line // 2
        while part:
            with builder.if_then(
                builder.icmp_signed("!=", builder.and_(count, constant(part)), constant(0))
            ):
                place = builder.add(at, builder.and_(count, constant(-2 * part)))
                kind = ir.VectorType(line.element, part * words).as_pointer()
                load = builder.load(builder.bitcast(builder.gep(source, [place]), kind))
                load.align = size
                to = builder.bitcast(builder.gep(target, [place]), kind)
                builder.store(load, to).align = size
            part //= 2

    address = builder.ptrtoint(target, number)
    missing = builder.and_(builder.neg(address), constant(LINE - 1))
    head = builder.udiv(missing, constant(size * words))
    # A target whose elements straddle lines never reaches the start of one.
    is_odd = builder.urem(missing, constant(size * words))
    head = builder.select(builder.icmp_signed("==", is_odd, constant(0)), head, n)
    head = builder.select(builder.icmp_signed("<", head, n), head, n)
    is_short = builder.icmp_signed("<", head, constant(per_line))
    copied = builder.select(is_short, head, constant(0))
    copy_part(constant(0), copied)
    rest = builder.sub(n, copied)
    n_lines = builder.sdiv(rest, constant(per_line))
    hint = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
    with builder.if_else(is_short) as (aligned, unaligned):
        for branch, is_streamed in ((aligned, True), (unaligned, False)):
            with branch, cgutils.for_range(builder, n_lines) as loop:
                place = builder.add(copied, builder.mul(loop.index, constant(per_line)))
                value = builder.load(vectors(source, place))
                value.align = size
                store = builder.store(value, vectors(target, place))
                store.align = LINE if is_streamed else size
                if is_streamed:
                    store.set_metadata("nontemporal", hint)
    done = builder.add(copied, builder.mul(n_lines, constant(per_line)))
    copy_part(done, builder.sub(n, done))


def _word_of(dtype: Any) -> tuple[int, int]:
    """Return bytes of a word and words of an element: an element is one word or some of 8 bytes."""
    size = dtype.bitwidth // 8
    return min(size, _WORD), max(1, size // _WORD)


def _integers(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    """Return the integers among the arguments as int64."""
    from numba import types

    return [
        context.cast(builder, value, kind, types.int64)
        for value, kind in zip(values, signature.args, strict=True)
        if isinstance(kind, types.Integer)
    ]
