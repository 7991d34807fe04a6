"""Blocks of vectors: the SIMD primitives of the packed family, and their plain-Python twins.

A block is a tuple of rows, a row a tuple of vectors (:mod:`.simd`), so a whole register block is
one variable of generated source. ``R`` rows of ``V`` vectors are constants where they are named::

    c = bzero16(R, V, np.float32(0))        every lane is that value
    c = bouter16(c, x, a, y, b)             c[r][v] + x[a + r] * (lanes y[b + 16 * v])
    c = bouter16_strided(c, x, a, step, y, b)
                                            the same with row r's element x[a + r * step]
    c = bouter16_complex(c, x, a, y, b)     the same for c = (real block, imaginary block); the
                                            imaginary parts follow the R or V * 16 real ones
    c = bouter4_halves(c, x, a, y, b)       the same in 64-bit integers, c = (products of the lower
                                            32 bits, sums of the mixed products' lower 32 bits in
                                            the halves of each lane)
    c = bwhole(low, mixed)                  the sum of both: low + (mixed's halves << 32)
    c = bload16(R, V, x, at, step)          row r from x[at + r * step]
    c = bload16_masked(R, V, x, at, step, n_rows, n)
                                            lanes of a row from n on are 0; rows from n_rows on
                                            repeat an earlier one
    bstore16(x, at, step, c)                and bstore16_masked(x, at, step, c, n_rows, n), which
                                            leaves other rows and lanes alone
    btranspose16(x, to, pitch, c, n)        x[to + lane * pitch + r] = c[r][0] for lanes below n
    bprefetch16(R, V, x, at, step)          bring rows near; no effect on values; bprefetch_far16
                                            brings them as near as L2
    bfree16()                               no effect on values: those in vector registers go to
                                            memory, so that a block finds all registers free
    badd(c, d)  bneg(c)
    bcast(c, value)                         lanes in the dtype of value
    bfrom_float16(c)  bto_float16(c)        between float32 and uint16 bits; bfloat16 too
    breal(c)  bimag(c)  bjoin(re, im)       a row of interleaved pairs apart, and together

``bouter`` rounds once (fused multiply-add) in floating point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

#: Numbers of lanes that have primitives, as in :mod:`.simd`.
WIDTHS = (2, 4, 8, 16)


def _lanes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` of vectors as one of blocks."""

    def mapped(*blocks: Any) -> Any:
        return tuple(
            tuple(function(*vectors) for vectors in zip(*rows, strict=True))
            for rows in zip(*blocks, strict=True)
        )

    return mapped


def bcast(c: Any, value: Any) -> Any:
    """Return the lanes in the dtype of ``value``."""
    return _lanes(lambda lanes: lanes.astype(type(value)))(c)


def bfrom_bfloat16(c: Any) -> Any:
    """Return the float32 whose upper halves are these uint16."""
    return _lanes(lambda lanes: (lanes.astype(np.uint32) << np.uint32(16)).view(np.float32))(c)


def _to_bfloat16(lanes: Any) -> Any:
    word = lanes.view(np.uint32)
    odd = (word >> np.uint32(16)) & np.uint32(1)
    rounded = (word + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    quiet = (word >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(lanes), quiet, rounded).astype(np.uint16)


def bjoin(re: Any, im: Any) -> Any:
    """Return rows of twice the vectors: real and imaginary lanes in turn."""

    def join(row: Any, other: Any) -> Any:
        pairs = np.stack([np.concatenate(row), np.concatenate(other)], -1).reshape(-1)
        return tuple(np.split(pairs, 2 * len(row)))

    return tuple(join(row, other) for row, other in zip(re, im, strict=True))


def _part(offset: int) -> Callable[[Any], Any]:
    def take(c: Any) -> Any:
        return tuple(tuple(np.split(np.concatenate(row)[offset::2], len(row) // 2)) for row in c)

    return take


def _make_zero(width: int) -> Any:
    def bzero(n_rows: int, n_vectors: int, value: Any) -> Any:
        return ((np.full(width, value),) * n_vectors,) * n_rows

    return bzero


def _vector(x: Any, at: int, width: int) -> Any:
    return np.array([x[at + lane] for lane in range(width)])


def _make_outer(width: int) -> Any:
    def bouter(c: Any, x: Any, a: int, y: Any, b: int) -> Any:
        columns = [_vector(y, b + width * v, width) for v in range(len(c[0]))]
        return tuple(
            tuple(x[a + r] * b_v + c_v for c_v, b_v in zip(row, columns, strict=True))
            for r, row in enumerate(c)
        )

    return bouter


def _make_outer_strided(width: int) -> Any:
    def bouter_strided(c: Any, x: Any, a: int, step: int, y: Any, b: int) -> Any:
        columns = [_vector(y, b + width * v, width) for v in range(len(c[0]))]
        return tuple(
            tuple(x[a + r * step] * b_v + c_v for c_v, b_v in zip(row, columns, strict=True))
            for r, row in enumerate(c)
        )

    return bouter_strided


def _make_outer_complex(width: int) -> Any:
    outer = _make_outer(width)

    def bouter_complex(c: Any, x: Any, a: int, y: Any, b: int) -> Any:
        (re, im), b_im = c, b + width * len(c[0][0])
        a_im = a + len(c[0])
        minus = bneg(outer(bneg(outer(re, x, a, y, b)), x, a_im, y, b_im))
        return minus, outer(outer(im, x, a, y, b_im), x, a_im, y, b)

    return bouter_complex


def _make_outer_halves(width: int) -> Any:
    def bouter_halves(c: Any, x: Any, a: int, y: Any, b: int) -> Any:
        low, mixed = ([list(row) for row in part] for part in c)
        for v in range(len(low[0])):
            column = _vector(y, b + width * v, width)
            swapped = column.view(np.uint32).reshape(-1, 2)[:, ::-1].reshape(-1)
            for r in range(len(low)):
                element = np.full(width, x[a + r])
                low[r][v] = low[r][v] + _lower(element) * _lower(column)
                halves = element.view(np.uint32) * swapped + mixed[r][v].view(np.uint32)
                mixed[r][v] = halves.view(column.dtype)
        return tuple(map(tuple, low)), tuple(map(tuple, mixed))

    return bouter_halves


def _lower(lanes: Any) -> Any:
    return lanes & type(lanes[0])(0xFFFFFFFF)


def _whole(low: Any, mixed: Any) -> Any:
    halves = mixed.view(np.uint32).reshape(-1, 2)
    upper = (halves[:, 0] + halves[:, 1]).astype(np.uint64) << np.uint64(32)
    return low + upper.view(low.dtype)


def _make_load(width: int) -> Any:
    def bload(n_rows: int, n_vectors: int, x: Any, at: int, step: int) -> Any:
        return tuple(
            tuple(_vector(x, at + r * step + v * width, width) for v in range(n_vectors))
            for r in range(n_rows)
        )

    return bload


def _make_load_masked(width: int) -> Any:
    def bload_masked(
        n_rows: int, n_vectors: int, x: Any, at: int, step: int, n_valid: int, n: int
    ) -> Any:
        def row(start: int) -> Any:
            lanes = np.zeros(width * n_vectors, type(x[start]))
            for lane in range(min(n, width * n_vectors)):
                lanes[lane] = x[start + lane]
            return tuple(np.split(lanes, n_vectors))

        return tuple(row(at + min(r, n_valid - 1) * step) for r in range(n_rows))

    return bload_masked


def _make_store(width: int) -> Any:
    def bstore(x: Any, at: int, step: int, c: Any) -> None:
        masked(x, at, step, c, len(c), width * len(c[0]))

    masked = _make_store_masked(width)
    return bstore


def _make_store_masked(width: int) -> Any:
    def bstore_masked(x: Any, at: int, step: int, c: Any, n_rows: int, n: int) -> None:
        for r, row in enumerate(c[:n_rows]):
            for lane in range(min(n, width * len(row))):
                x[at + r * step + lane] = row[lane // width][lane % width]

    return bstore_masked


def _make_transpose(width: int) -> Any:
    def btranspose(x: Any, to: int, pitch: int, c: Any, n: int) -> None:
        for lane in range(min(n, width)):
            for r, (vector,) in enumerate(c):
                x[to + lane * pitch + r] = vector[lane]

    return btranspose


def _make_prefetch(_: int) -> Any:
    def bprefetch(n_rows: int, n_vectors: int, x: Any, at: int, step: int) -> None:
        del n_rows, n_vectors, x, at, step

    return bprefetch


def _make_free(_: int) -> Any:
    def bfree() -> None:
        return None

    return bfree


badd = _lanes(np.add)
bneg = _lanes(np.negative)

#: Every primitive by name.
PRIMITIVES: dict[str, Any] = {
    "badd": badd,
    "bneg": bneg,
    "bcast": bcast,
    "bfrom_float16": _lanes(lambda lanes: lanes.view(np.float16).astype(np.float32)),
    "bto_float16": _lanes(lambda lanes: lanes.astype(np.float16).view(np.uint16)),
    "bfrom_bfloat16": bfrom_bfloat16,
    "bto_bfloat16": _lanes(_to_bfloat16),
    "breal": _part(0),
    "bimag": _part(1),
    "bjoin": bjoin,
    "bwhole": _lanes(_whole),
}
for _width in WIDTHS:
    PRIMITIVES |= {
        f"bzero{_width}": _make_zero(_width),
        f"bouter{_width}": _make_outer(_width),
        f"bouter{_width}_strided": _make_outer_strided(_width),
        f"bouter{_width}_complex": _make_outer_complex(_width),
        f"bouter{_width}_halves": _make_outer_halves(_width),
        f"bload{_width}": _make_load(_width),
        f"bload{_width}_masked": _make_load_masked(_width),
        f"bstore{_width}": _make_store(_width),
        f"bstore{_width}_masked": _make_store_masked(_width),
        f"btranspose{_width}": _make_transpose(_width),
        f"bprefetch{_width}": _make_prefetch(_width),
        f"bprefetch_far{_width}": _make_prefetch(_width),
        f"bfree{_width}": _make_free(_width),
    }
for _name, _function in PRIMITIVES.items():
    _function.__name__ = _function.__qualname__ = _name
