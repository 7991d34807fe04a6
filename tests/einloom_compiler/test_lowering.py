"""Iteration spaces, loop nests and schedules."""

from dataclasses import replace

import pytest

from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.ir.loops import Level, LoopNest
from einloom_compiler.ir.printer import letters_of, print_nest
from einloom_compiler.ir.verify import verify_nest
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.iteration import IterationSpace, iteration_space
from einloom_compiler.lowering.nest import Arithmetics, NamedNest, lower
from einloom_compiler.schedule import policy, steps
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.steps import Parallelize, Sink, Tile, Transpose, Unroll, Vectorize

AVX512 = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def _space(subscripts: str, *shapes: tuple[int, ...]) -> IterationSpace:
    expr = expand(parse_string(subscripts), [len(shape) for shape in shapes])
    extents = {
        i: n for t, s in zip(expr.terms, shapes, strict=True) for i, n in zip(t, s, strict=True)
    }
    output = _c_strides(tuple(extents[index] for index in expr.output))
    return iteration_space(expr, shapes, [_c_strides(s) for s in shapes], output, letters_of(expr))


def _named(subscripts: str, *shapes: tuple[int, ...]) -> tuple[NamedNest, IterationSpace]:
    space = _space(subscripts, *shapes)
    n = len(shapes)
    arithmetics = Arithmetics(("float32",) * n, "float32", "float32", (False,) * n)
    return lower(space, policy.loop_order(space), arithmetics), space


def _nest(subscripts: str, *shapes: tuple[int, ...]) -> LoopNest:
    return _named(subscripts, *shapes)[0].nest


def test_extents_of_one_are_squeezed() -> None:
    assert _space("abc->abc", (2, 1, 3)).labels == ("ac",)


def test_indices_that_all_accesses_step_through_as_one_are_fused() -> None:
    space = _space("abij,abjk->abik", (10, 12, 4, 5), (10, 12, 5, 8))
    assert space.labels == ("ab", "i", "k", "j")
    assert space.extents == (120, 4, 8, 5)


def test_a_transposed_pair_is_not_fused() -> None:
    assert _space("ab->ba", (3, 4)).labels == ("b", "a")


def test_summed_and_kept_indices_are_never_fused() -> None:
    assert _space("ab->a", (3, 4)).labels == ("a", "b")


def test_strides_of_a_diagonal_add_up() -> None:
    space = _space("ii->i", (4, 4))
    assert space.strides == ((5,), (1,))


def test_operand_order_does_not_make_another_nest() -> None:
    assert _nest("ij,jk->ik", (5, 6), (6, 7)) == _nest("jk,ij->ik", (6, 7), (5, 6))


@pytest.mark.parametrize(
    ("subscripts", "shapes", "innermost", "schedule"),
    [
        (
            "ij,jk->ik",
            ((5, 6), (6, 7)),
            "j",
            (Unroll("i", 4), Tile("j", 256), Sink("j"), Parallelize(2), Vectorize(16)),
        ),
        (
            "ij,kj->ik",
            ((5, 6), (7, 6)),
            "k",
            (Unroll("j", 4), Tile("k", 4096), Parallelize(2), Vectorize(16)),
        ),
        ("ij->i", ((5, 6),), "j", (Tile("j", 4096), Parallelize(1), Vectorize(16, 4))),
        (
            "ij->j",
            ((5, 6),),
            "i",
            (Tile("i", 1024), Sink("i"), Parallelize(1), Unroll("j", 4), Vectorize(16)),
        ),
        ("ij->", ((5, 6),), "i", (Tile("i", 4096), Parallelize(0), Vectorize(16, 4))),
        ("bii->b", ((500, 6, 6),), "j", (Tile("j", 4096), Parallelize(1))),
        (
            "abc->b",
            ((6, 7, 40),),
            "k",
            (Unroll("i", 4), Tile("k", 4096), Parallelize(1), Vectorize(16)),
        ),
        ("i,j->ij", ((5,), (6,)), "j", (Tile("j", 4096), Parallelize(2), Vectorize(16))),
        (
            "ij->ji",
            ((40, 48),),
            "j",
            (
                *(Tile("i", 32), Tile("j", 32), Sink("i"), Sink("j")),
                *(Transpose(16, is_masked=True), Parallelize(2)),
            ),
        ),
        (
            "ij->ji",
            ((1040, 1600),),
            "j",
            (
                *(Tile("j", 128, slack=15), Tile("i", 512)),
                *(Sink("i", "tile"), Sink("i"), Sink("j")),
                *(Transpose(16, is_masked=True, pitch=144, ahead=64), Parallelize(2)),
            ),
        ),
        (
            "abcd->dbca",
            ((40, 30, 20, 50),),
            "k",
            (
                *(Tile("k", 1024, slack=15, fused=("j",)), Tile("i", 64)),
                *(Sink("i", "tile"), Sink("i"), Sink("k")),
                *(Transpose(16, is_masked=True, pitch=1040, ahead=64), Parallelize(2)),
            ),
        ),
    ],
)
def test_the_policy_vectorises_along_contiguous_memory(
    subscripts: str,
    shapes: tuple[tuple[int, ...], ...],
    innermost: str,
    schedule: steps.Schedule,
) -> None:
    named, space = _named(subscripts, *shapes)
    assert policy.choose(named, space, AVX512) == schedule
    scheduled = steps.generalize(steps.apply(named.nest, schedule))
    verify_nest(scheduled, "test")
    assert scheduled.levels[-1].index == innermost


def test_rows_of_streamed_blocks_are_as_long_as_their_pitch() -> None:
    named, space = _named("ij->ji", (1040, 1600))
    nest = steps.apply(named.nest, policy.choose(named, space, AVX512))
    assert nest.transposition is not None
    verify_nest(nest, "test")
    short = replace(nest.transposition, pitch=64)
    with pytest.raises(InternalCompilerError, match="longer than its pitch"):
        verify_nest(replace(nest, transposition=short), "test")


def test_only_the_innermost_stride_is_compiled_in() -> None:
    nest = steps.apply(_nest("ij,jk->ik", (5, 6), (6, 7)), (Tile("j", 256), Sink("j")))
    assert [access.unit for access in nest.inputs] == ["k", "j"]
    assert [access.unit for access in steps.generalize(nest).inputs] == [None, "j"]


def _matmul() -> LoopNest:
    named, space = _named("ij,jk->ik", (5, 6), (6, 7))
    return steps.apply(named.nest, policy.choose(named, space, AVX512))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"levels": (Level("i"), Level("j"), Level("j"), Level("k"))}, "index j is bound by"),
        ({"levels": (Level("i"), Level("k"))}, "uses unbound"),
        ({"levels": (Level("k"), Level("i"), Level("j")), "n_parallel": 1}, "parallel sum over k"),
        ({"levels": (Level("i"), Level("k"), Level("j"))}, "accumulators are unbounded"),
        ({"levels": (Level("i"), Level("j"), Level("k", unroll=4))}, "cannot be unrolled"),
        ({"contracted": ("i", "k")}, "a sum index is in the output"),
        ({"contracted": ()}, "neither kept nor summed"),
    ],
)
def test_the_verifier_names_the_broken_invariant_and_dumps_the_nest(
    change: dict[str, object], reason: str
) -> None:
    broken = replace(_matmul(), **({"n_parallel": 0} | change))  # type: ignore[arg-type]
    with pytest.raises(InternalCompilerError, match=reason) as caught:
        verify_nest(broken, "test stage")
    assert caught.value.stage == "test stage"
    assert print_nest(broken) in str(caught.value)


def test_a_step_that_finds_no_level_refuses() -> None:
    with pytest.raises(InternalCompilerError, match="finds no range q"):
        steps.apply(_matmul(), (Tile("q", 8),))


def test_the_parallel_range_counts_tiles_and_unrolled_rows() -> None:
    assert _matmul().parallel_extent([9, 513, 7]) == 3 * 3
