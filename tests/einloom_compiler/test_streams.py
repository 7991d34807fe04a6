"""Sums that read a large operand as several streams: where they do, and that they are right."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import einloom as el
from einloom.runtime import contractor
from einloom_compiler.families.direct import DirectSchedule
from einloom_compiler.ir.loops import LoopNest
from einloom_compiler.ir.printer import letters_of, print_nest
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.formula import open_symbol
from einloom_compiler.lowering.iteration import IterationSpace, c_strides
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.lowering.partial import split_sum
from einloom_compiler.pipeline import Stages, bind
from einloom_compiler.schedule.machine import Machine, host
from einloom_compiler.schedule.steps import Unroll

Close = Callable[..., None]
_AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)


def _bound(equation: str, *shapes: tuple[int, ...]) -> Stages:
    expr = expand(parse_string(equation), [len(shape) for shape in shapes])
    letters = letters_of(expr)
    extents = {
        letters[index]: extent
        for term, shape in zip(expr.terms, shapes, strict=True)
        for index, extent in zip(term, shape, strict=True)
    }
    output = c_strides([extents[letters[index]] for index in expr.output])
    n = len(shapes)
    arithmetics = Arithmetics(("float32",) * n, "float32", "float32", (False,) * n)
    return bind(expr, shapes, [c_strides(s) for s in shapes], output, arithmetics, _AVX2)


def _unrolled(stages: Stages) -> list[Unroll]:
    schedule = stages.stages[0].bound.schedule
    assert isinstance(schedule, DirectSchedule)
    return [step for step in schedule.steps if isinstance(step, Unroll)]


@pytest.mark.parametrize(
    ("equation", "shapes", "step"),
    [
        # Rows that a result's row is the sum of: neighbours are 1 kB from each other.
        ("abc->ac", [(256, 256, 256)], Unroll("b", 4, apart=True)),
        ("jk,ijkl->il", [(40, 40), (20, 40, 40, 160)], Unroll("k", 4, apart=True)),
        # Here they are 16 kB from each other.
        ("ij->j", [(4096, 4096)], Unroll("i", 4)),
        ("ij->j", [(8192, 2048)], Unroll("i", 4, apart=True)),
        # Sums along rows of any length, and along chunks.
        ("ij->i", [(65536, 256)], Unroll("i", 4, apart=True)),
        ("ij->i", [(64, 65536)], Unroll("i", 4, apart=True)),
        ("ij->", [(2048, 2048)], Unroll("a", 4, apart=True)),
        ("ij,ij->", [(2048, 2048)] * 2, Unroll("a", 4, apart=True)),
        ("ij,j->i", [(65536, 256), (256,)], Unroll("i", 4, apart=True)),
        # Element by element.
        ("bii->b", [(20_000, 24, 24)], Unroll("b", 8, apart=True)),
    ],
)
def test_points_of_large_sums_lie_apart(
    equation: str, shapes: list[tuple[int, ...]], step: Unroll
) -> None:
    assert _unrolled(_bound(equation, *shapes)) == [step]


def test_rows_of_large_operands_are_walked_through_whole() -> None:
    def size(equation: str, *shape: int) -> tuple[int, int]:
        bound = _bound(equation, shape).stages[0].bound
        return bound.schedule.steps[0].size, bound.total

    # As chunks of rows, or for each of another index; in narrower tiles where there are few rows.
    assert size("ij->j", 4096, 4096) == (4096, 8)
    assert size("aij->aj", 64, 60, 4096) == (4096, 64)
    assert size("ij->j", 60, 40_000) == (1024, 40)
    assert size("ij->j", 30, 4000) == (1024, 4)


def test_no_row_is_read_again_for_parts_that_are_shorter() -> None:
    assert _unrolled(_bound("ij->i", (13, 1 << 20))) == []
    assert _unrolled(_bound("ij,j->i", (5001, 300), (300,))) == [Unroll("i", 4, apart=True)]


def test_what_a_cache_holds_is_one_stream() -> None:
    assert _unrolled(_bound("ij->i", (300, 300))) == []
    assert _unrolled(_bound("ij->i", (1000, 1000))) == []
    assert _unrolled(_bound("abc->ac", (10, 10, 1000))) == [Unroll("b", 4)]


def test_a_sum_around_its_result_is_formed_in_the_order_of_memory() -> None:
    stages = _bound("abc->b", (64, 64, 512))
    assert stages.shape == (64, 64)
    assert stages.stages[0].bound.total == 64 * 64 // 4
    # Not where the partial result is not small, runs are long, or a cache holds all.
    assert _bound("abc->b", (64, 4096, 4)).shape == ()
    assert _bound("abc->b", (64, 64, 8192)).shape == ()
    assert _bound("abc->b", (16, 16, 256)).shape == ()


def test_an_index_of_any_extent_has_a_chunk_for_each_point() -> None:
    a = open_symbol(64, "A", 0)
    space = IterationSpace((64, a, 256), 1, ((256, 64 * 256, 1), (1, None, None)), ("b", "a", "c"))
    split = split_sum(space, Arithmetics(("int8",), "int8", "int8", (False,)), 1, a)
    assert split.rest is None
    assert split.shape == (a, 64)
    assert split.chunks.extents == (a * 64, 256)


def test_chunks_of_one_sum_are_streams() -> None:
    stages = _bound("ij->", (2048, 2048))
    assert stages.shape == (32,)
    assert stages.stages[0].bound.total == 8


def test_the_nest_says_that_points_lie_apart() -> None:
    nest = _bound("abc->ac", (256, 256, 256)).stages[0].bound.nest
    assert isinstance(nest, LoopNest)
    assert "range k unrolled by 4 apart" in print_nest(nest)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64", "int64"])
@pytest.mark.parametrize(
    ("equation", "extents", "cut"),
    [
        ("abc->ac", {"a": 3, "b": 13, "c": 1201}, "b"),
        ("ba->b", {"b": 14, "a": 2403}, "b"),
        ("abc->b", {"a": 7, "b": 9, "c": 601}, "b"),
        ("ba,ba->b", {"b": 14, "a": 2403}, "b"),
        ("ba,a->b", {"b": 39, "a": 601}, "b"),
    ],
)
def test_parts_of_unequal_length(
    equation: str,
    extents: dict[str, int],
    cut: str,
    dtype: str,
    assert_close: Close,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contractor, "host", lambda: replace(host(), l2_bytes=1 << 9))
    rng = np.random.default_rng(5)
    terms = equation.split("->")[0].split(",")
    f = el.compile(equation, *(el.spec(*term.upper(), dtype=dtype) for term in terms))
    for short in range(4):
        sizes = extents | {cut: extents[cut] - short}
        operands = []
        for term in terms:
            parts = rng.uniform(-9, 9, (2, *(sizes[letter] for letter in term)))
            values = parts[0] + 1j * parts[1] if dtype[0] == "c" else parts[0]
            operands.append(values.astype(dtype))
        wide = [x.astype(np.float64) if dtype == "float16" else x for x in operands]
        serial = f(*operands, threads=1)
        assert_close(serial, np.einsum(equation, *wide), operands[0].size)
        np.testing.assert_array_equal(serial, f(*operands, threads=3))
