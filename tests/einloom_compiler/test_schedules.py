"""Schedules as data: text that reads back, errors that name the field, results that stay."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from einloom_compiler import families
from einloom_compiler.errors import ScheduleError
from einloom_compiler.families import Bound, Problem
from einloom_compiler.families.direct import FAMILY as DIRECT
from einloom_compiler.families.direct import DirectSchedule
from einloom_compiler.families.packed import PackedSchedule
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.iteration import c_strides, iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.pipeline import bind
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.steps import Parallelize, Sink, Tile, Transpose, Unroll, Vectorize
from einloom_compiler.schedule.text import parse_schedule, schedule_text
from einloom_compiler.schedule.tiled_schedule import TiledSchedule

_MACHINE = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)
_PACKED = PackedSchedule(8, 48, 384, 96, 480)
_DIRECT = DirectSchedule("ikj", (Unroll("i", 4), Tile("k", 256), Sink("k"), Parallelize(2)))


def _problem(
    subscripts: str, shapes: Sequence[tuple[int, ...]], dtype: str = "float32"
) -> tuple[Problem, Callable[[Any], Bound]]:
    expr = expand(parse_string(subscripts), [len(shape) for shape in shapes])
    extents = {
        i: n
        for term, s in zip(expr.terms, shapes, strict=True)
        for i, n in zip(term, s, strict=True)
    }
    strides = [c_strides(shape) for shape in shapes]
    output = c_strides([extents[index] for index in expr.output])
    arithmetics = Arithmetics((dtype,) * len(shapes), dtype, dtype, (False,) * len(shapes))
    space = iteration_space(expr, shapes, strides, output, letters_of(expr))

    def bound(schedule: Any) -> Bound:
        found = bind(expr, shapes, strides, output, arithmetics, _MACHINE, schedule=schedule)
        return found.stages[0].bound

    return Problem(space, arithmetics, _MACHINE), bound


def _matmul(m: int = 64, k: int = 64, n: int = 64, dtype: str = "float32") -> Problem:
    return _problem("ij,jk->ik", [(m, k), (k, n)], dtype)[0]


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", [(64, 64), (64, 64)]),
        ("ij,jk->ik", [(5, 7), (7, 9)]),
        ("ab->ba", [(50, 60)]),
        ("abc->", [(3, 4, 5)]),
        ("abij,abjk->abik", [(3, 4, 5, 6), (3, 4, 6, 7)]),
        (",->", [(), ()]),
    ],
)
def test_every_proposal_reads_back_and_is_legal(
    subscripts: str, shapes: list[tuple[int, ...]]
) -> None:
    problem, bound_by = _problem(subscripts, shapes)
    for family in families.FAMILIES:
        for schedule in family.propose(problem):
            assert families.parse(str(schedule)) == schedule
            family.check(problem, schedule)
            again = bound_by(schedule)
            assert again.schedule == schedule


def test_text_is_a_call_with_named_or_positional_fields() -> None:
    assert str(_PACKED) == "Packed(mr=8, nr=48, kc=384, mc=96, nc=480)"
    assert families.parse("Packed(8, 48, kc=384, mc=96, nc=480)") == _PACKED
    text = "Direct('ikj', [Unroll('i', 4), Tile(index='k', size=256), Sink('k'), Parallelize(2)])"
    assert families.parse(text) == _DIRECT
    assert families.parse(" None ") is None


@given(
    st.builds(
        DirectSchedule,
        st.text("abcdef", max_size=6),
        st.lists(
            st.one_of(
                st.builds(Tile, st.sampled_from("abc"), st.integers(-5, 999)),
                st.builds(Transpose, st.integers(0, 16)),
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_printing_and_parsing_are_inverse(schedule: DirectSchedule) -> None:
    types = (DirectSchedule, Tile, Transpose)
    assert parse_schedule(schedule_text(schedule), types) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Packed(", "is not a schedule"),
        ("__import__('os')", "__import__ is no schedule; known are"),
        ("Packed(mr=1+1, nr=16, kc=1, mc=1, nc=16)", "neither a call nor an integer"),
        ("Packed(mr=8)", "has the fields mr, nr, kc, mc, nc"),
        ("Packed(8, 48, 384, 96, 480, '', 7)", "at most 6 fields"),
        ("Packed(8, mr=8)", "'mr' of Packed is twice"),
        ("Packed(depth=3)", "'depth' of Packed is unknown; it has mr"),
        ("Tile('j', 4)", "is no schedule"),
        ("3", "is no schedule"),
    ],
)
def test_malformed_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        families.parse(text)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (PackedSchedule(0, 48, 384, 96, 480), "mr=0 is not allowed; give an integer from 1 to"),
        (
            PackedSchedule(8, 64, 384, 96, 480),
            "nr=64 is not allowed; give an integer from 16",
        ),
        (PackedSchedule(8, 40, 384, 96, 480), "nr=40 must be a multiple of 16"),
        (PackedSchedule(8, 48, 384, 100, 480), "mc=100 must be a multiple of 8"),
        (PackedSchedule(8, 48, 384, 96, 16), "nc=16 is not allowed; give an integer from 48"),
        (PackedSchedule(8, 48, "384", 96, 480), "kc='384' is not allowed"),  # type: ignore[arg-type]
        (PackedSchedule(8, 48, True, 96, 480), "kc=True is not allowed"),
        (DirectSchedule("ij", ()), "order='ij' misses k"),
        (DirectSchedule("iijk", ()), "must name each index once"),
        (DirectSchedule("jik", ()), "has a contracted index before an output's"),
        (DirectSchedule("ikj", (Tile("k", 0),)), "Tile: size=0 is not allowed"),
        (DirectSchedule("ikj", (Unroll("i", 99),)), "Unroll: factor=99 is not allowed"),
        (DirectSchedule("ikj", (Unroll("i", 4, 1),)), "apart=1 is not allowed"),  # type: ignore[arg-type]
        (DirectSchedule("ikj", (Unroll("i", 1, apart=True),)), "i has no parts"),
        (DirectSchedule("ikj", (Tile("z", 4),)), "index='z' must be one letter of order"),
        (DirectSchedule("ikj", (Sink("k"),)), "finds no within"),
        (DirectSchedule("ikj", (Tile("k", 4), Sink("k"), Parallelize(3))), "races"),
        (DirectSchedule("ikj", (Transpose(16, True),)), "a transpose needs tiles"),
        (
            DirectSchedule("ikj", (Tile("k", 64), Sink("k"), Parallelize(2), Vectorize(4))),
            "give lanes=16",
        ),
        (TiledSchedule("ik", 16, 1), "must be one letter, or none"),
        (TiledSchedule("i", 16, 1), "lanes='i' is not contiguous where vectors need it; give"),
        (TiledSchedule("k", 3, 1), "width=3 is not allowed; give one of 4, 8, 16"),
        (TiledSchedule("k", 16, 0), "vectors=0 is not allowed; give an integer from 1"),
        (TiledSchedule("k", 16, 2, "i", ()), "must have one number for each of rows='i'"),
        (TiledSchedule("k", 16, 4, "i", (8,)), "need 32 accumulators; at most 24 fit"),
        (TiledSchedule("k", 16, 1, "j", (4,)), "is not legal here"),
        (TiledSchedule("k", 16, 1, "i", (4,), "k"), "index of extent 64"),
        (DirectSchedule("ikj", ("Tile",)), "'Tile' is no step"),  # type: ignore[arg-type]
    ],
)
def test_illegal_values_are_named(schedule: object, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        families.choose(_matmul(), schedule)


def test_a_schedule_for_another_kind_of_problem_is_refused() -> None:
    with pytest.raises(ScheduleError, match="is for matrix products"):
        families.choose(_problem("ij->ji", [(4, 5)])[0], _PACKED)
    with pytest.raises(ScheduleError, match="is no schedule"):
        families.choose(_matmul(), 3)
    copy, _ = _problem("ab->ba", [(50, 60)])
    (proposed,) = DIRECT.propose(copy)
    others = tuple(
        replace(step, lanes=8) if isinstance(step, Transpose) else step for step in proposed.steps
    )
    assert others != proposed.steps
    with pytest.raises(ScheduleError, match="taken as the policy makes them"):
        families.choose(copy, DirectSchedule(proposed.order, others))


def test_fused_and_unit_indices_keep_their_place_in_a_schedule() -> None:
    schedule = DirectSchedule("abij", (Tile("j", 4), Unroll("a", 2), Parallelize(1)))
    fused, _ = _problem("abij->abij", [(2, 3, 4, 5)])
    families.choose(fused, DirectSchedule("abij", (Tile("j", 4), Parallelize(1))))
    unit, _ = _problem("abij->abij", [(1, 3, 4, 5)])
    families.choose(unit, DirectSchedule("abij", (Unroll("a", 2), Parallelize(1))))
    transposed, _ = _problem("baij->abij", [(3, 2, 4, 5)])
    families.choose(transposed, schedule)


def _evaluate(bound: Bound, operands: list[np.ndarray], out: np.ndarray) -> np.ndarray:
    given = [operands[position] for position in bound.operands]
    bound.kernel.run_python([*given, out, *bound.tables], bound.numbers, total=bound.total)
    return out


def _assert_computes_the_same(
    schedule: object, subscripts: str, shapes: Sequence[tuple[int, ...]], seed: int
) -> None:
    """Fail if the schedule is legal for the product and its source gives another result."""
    problem, bound_by = _problem(subscripts, shapes, "float64")
    try:
        families.choose(problem, schedule)
    except ScheduleError:
        assume(False)
    generator = np.random.default_rng(seed)
    x, y = (generator.integers(-4, 5, shape).astype(np.float64) for shape in shapes)
    expected = np.einsum(subscripts, x, y)
    out = _evaluate(bound_by(schedule), [x, y], np.full(expected.shape, np.nan))
    np.testing.assert_array_equal(out, expected)


@st.composite
def _direct_schedules(draw: st.DrawFn) -> DirectSchedule:
    outputs, summed = draw(st.permutations("bik")), draw(st.permutations("jl"))
    steps: list[object] = []
    if draw(st.booleans()):
        factor, is_apart = draw(st.integers(2, 4)), draw(st.booleans())
        steps.append(Unroll(draw(st.sampled_from("bik")), factor, is_apart))
    for index in draw(st.permutations("bikjl"))[: draw(st.integers(0, 2))]:
        steps.append(Tile(index, draw(st.integers(1, 5))))
        if draw(st.booleans()):
            steps.append(Sink(index))
    steps.append(Parallelize(draw(st.integers(0, 3))))
    return DirectSchedule("".join([*outputs, *summed]), tuple(steps))  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@example(DirectSchedule("bikjl", (Unroll("i", 2), Parallelize(0))), (1, 2, 1, 1, 1), 0)
@given(_direct_schedules(), st.tuples(*[st.integers(1, 5)] * 5), st.integers(0, 99))
def test_every_legal_direct_schedule_computes_the_same(
    schedule: DirectSchedule, extents: tuple[int, ...], seed: int
) -> None:
    b, i, k, j, n = extents
    shapes = [(b, i, j, n), (n, b, j, k)]
    _assert_computes_the_same(schedule, "bijl,lbjk->bik", shapes, seed)


@st.composite
def _tiled_schedules(draw: st.DrawFn) -> TiledSchedule:
    lanes = draw(st.sampled_from(["k", "l", ""]))
    rows = "".join(draw(st.permutations("bik"))[: draw(st.integers(0, 2))])
    return TiledSchedule(
        lanes=lanes,
        width=draw(st.sampled_from([2, 4, 8])),
        vectors=draw(st.integers(1, 3)),
        rows=rows,
        counts=tuple(draw(st.integers(1, 5)) for _ in rows),
        static="".join(letter for letter in "bikjl" if draw(st.booleans())),
    )


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(_tiled_schedules(), st.tuples(*[st.integers(1, 11)] * 5), st.integers(0, 99))
def test_every_legal_tiled_schedule_computes_the_same(
    schedule: TiledSchedule, extents: tuple[int, ...], seed: int
) -> None:
    b, i, k, j, n = extents
    shapes = [(b, i, j, n), (b, j, n, k)]
    _assert_computes_the_same(schedule, "bijl,bjlk->bik", shapes, seed)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6),
    st.sampled_from([(1, 16), (2, 8), (3, 24), (8, 8)]),
    st.integers(1, 30),
    st.integers(1, 3),
    st.tuples(*[st.integers(2, 20)] * 3),
)
def test_every_legal_packed_schedule_computes_the_same(
    kc: int, block: tuple[int, int], nc: int, panels: int, extents: tuple[int, int, int]
) -> None:
    mr, nr = block
    m, k, n = extents
    schedule = PackedSchedule(mr, nr, kc, panels * mr, nr + nc)
    problem, bound_by = _problem("ij,jk->ik", [(m, k), (k, n)], "float64")
    families.choose(problem, schedule)
    generator = np.random.default_rng(m * k * n)
    x, y = (generator.integers(-4, 5, s).astype(np.float64) for s in ((m, k), (k, n)))
    bound = bound_by(schedule)
    out = _evaluate(bound, [x, y], np.full((m, n), np.nan))
    np.testing.assert_array_equal(out, x @ y)


def test_neighbours_are_other_schedules_of_the_family() -> None:
    problem = _matmul()
    for family in families.FAMILIES:
        for schedule in family.propose(problem):
            near = family.neighbours(problem, schedule)
            legal = []
            for other in near:
                assert isinstance(other, family.schedule_type)
                try:
                    family.check(problem, other)
                except ScheduleError:
                    continue
                legal.append(other)
            assert [other for other in legal if other != schedule]
