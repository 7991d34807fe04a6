"""The tiled family: its schedules, and results on every rung for several targets."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einloom_compiler.codegen import jit, objects
from einloom_compiler.codegen.target import named_target
from einloom_compiler.errors import InternalCompilerError
from einloom_compiler.families import FAMILIES, Problem
from einloom_compiler.families.base import Bound
from einloom_compiler.families.tiled import FAMILY
from einloom_compiler.ir.maps import Map
from einloom_compiler.ir.printer import letters_of
from einloom_compiler.ir.scalar import Value, chain, combined
from einloom_compiler.ir.tiled import Rows, TiledNest, pieces, print_tiled
from einloom_compiler.ir.verify_tiled import verify_tiled
from einloom_compiler.language import expand, parse_string
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.iteration import IterationSpace, iteration_space
from einloom_compiler.lowering.nest import Arithmetics
from einloom_compiler.schedule import tiled as policy
from einloom_compiler.schedule.machine import Machine
from einloom_compiler.schedule.tiled_blocks import numbered
from einloom_compiler.schedule.tiled_cost import Costs, seconds
from einloom_compiler.schedule.tiled_schedule import schedule_of

pytestmark = pytest.mark.thinned(3)

Array = npt.NDArray[Any]
Close = Callable[..., None]
Golden = Callable[[str, str], None]

AVX512 = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
NEON = Machine(cores=2, simd_bits=128, n_registers=32, l1_bytes=64 << 10, l2_bytes=512 << 10)


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def _space(subscripts: str, operands: list[Array], out: Array) -> IterationSpace:
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    shapes = [operand.shape for operand in operands]
    strides = [_strides(operand) for operand in operands]
    return iteration_space(expr, shapes, strides, _strides(out), letters_of(expr))


def _problem(
    subscripts: str,
    operands: list[Array],
    out: Array,
    *,
    conjugated: tuple[bool, ...] | None = None,
    epilogue: tuple[Map, ...] = (),
    machine: Machine = AVX512,
) -> Problem:
    n = len(operands)
    dtypes = tuple(operand.dtype.name for operand in operands)
    arithmetics = Arithmetics(
        dtypes, out.dtype.name, out.dtype.name, conjugated or (False,) * n, chain(epilogue)
    )
    return Problem(_space(subscripts, operands, out), arithmetics, machine)


def _bound(problem: Problem, *, is_static: bool = True) -> Bound:
    chosen = policy.choose(problem.space, problem.arithmetics, problem.machine, is_static=is_static)
    assert chosen is not None
    return FAMILY.bind(problem, schedule_of(chosen[0]), None)


def _run(bound: Bound, operands: list[Array], out: Array, rung: str) -> None:
    given = [operands[n] for n in bound.operands]
    if rung == "python":
        bound.kernel.run_python([*given, out], bound.numbers, total=bound.total)
        return
    addresses = [array.__array_interface__["data"][0] for array in (*given, out)]
    block = np.array([*addresses, *bound.numbers, 0], np.int64)
    cuts = {"native": [0, bound.total], "ranges": sorted({0, bound.total // 3, bound.total})}[rung]
    for lo, hi in pairwise(cuts):
        jit.serial(bound.kernel.entry)(block.ctypes.data, 0, lo, hi)


def _values(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if dtype.startswith("complex"):
        made: Array = (rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)).astype(dtype)
        return made
    if dtype.startswith("float"):
        return rng.uniform(-1, 1, shape).astype(dtype)
    return rng.integers(0, 1 << 30, shape).astype(dtype)


def _operands(subscripts: str, extents: dict[str, int], dtype: str) -> tuple[list[Array], Array]:
    left, right = subscripts.split("->")
    operands = [
        _values(tuple(extents[letter] for letter in term), dtype, number)
        for number, term in enumerate(left.split(","))
    ]
    return operands, np.zeros(tuple(extents[letter] for letter in right), dtype)


def _expected(subscripts: str, operands: list[Array], dtype: str) -> Array:
    wide = {"f": "float64", "c": "complex128"}.get(np.dtype(dtype).kind, dtype)
    result: Array = np.einsum(subscripts, *(x.astype(wide) for x in operands))
    return result


#: Equations and extents: each lane mode, one and two row indices, run-time and static extents.
PRODUCTS = [
    ("bij,bjk->bik", {"b": 3, "i": 4, "j": 5, "k": 8}),
    ("bij,bjk->bik", {"b": 3, "i": 9, "j": 9, "k": 9}),
    ("bij,bjk->bik", {"b": 2, "i": 23, "j": 13, "k": 23}),
    ("bij,bjk->bik", {"b": 2, "i": 35, "j": 33, "k": 37}),
    ("ij,jk->ik", {"i": 50, "j": 7, "k": 16}),
    ("ij,kj->ik", {"i": 6, "j": 20, "k": 7}),
    ("ij,kj->ik", {"i": 37, "j": 41, "k": 35}),
    ("ia,eabc->eibc", {"e": 2, "i": 5, "a": 6, "b": 7, "c": 5}),
    ("i,ij->j", {"i": 37, "j": 203}),
    ("ij,j->i", {"i": 37, "j": 203}),
    ("bij,bj->bi", {"b": 9, "i": 3, "j": 3}),
    ("bij,bj->bi", {"b": 9, "i": 5, "j": 17}),
    ("bi,bi->b", {"b": 11, "i": 64}),
    ("bhd,bkhd->bhk", {"b": 2, "h": 3, "k": 13, "d": 33}),
    ("ab,xby->xay", {"a": 2, "b": 2, "x": 3, "y": 41}),
    ("bi,bif->bif", {"b": 5, "i": 4, "f": 3}),
    ("abcr,ijrk->abcijk", {"a": 1, "b": 2, "c": 3, "r": 4, "i": 8, "j": 7, "k": 5}),
    ("ijk,jk->i", {"i": 5, "j": 6, "k": 40}),
    ("ij,jk,kl->il", {"i": 3, "j": 4, "k": 5, "l": 6}),
    ("ij->j", {"i": 9, "j": 19}),
]


@pytest.mark.thinned(5)
@pytest.mark.parametrize("rung", ["python", "native", "ranges"])
@pytest.mark.parametrize(("subscripts", "extents"), PRODUCTS)
def test_products_agree_with_numpy_on_every_rung(
    subscripts: str, extents: dict[str, int], rung: str, assert_close: Close
) -> None:
    operands, out = _operands(subscripts, extents, "float64")
    _run(_bound(_problem(subscripts, operands, out)), operands, out, rung)
    assert_close(out, _expected(subscripts, operands, "float64"), 200)


@pytest.mark.thinned(5)
@pytest.mark.parametrize("machine", [AVX512, AVX2, NEON])
@pytest.mark.parametrize("dtype", ["float32", "int64", "complex64"])
@pytest.mark.parametrize("is_static", [True, False])
def test_every_target_gives_the_same(
    machine: Machine, dtype: str, is_static: bool, assert_close: Close
) -> None:
    for subscripts, extents in PRODUCTS:
        operands, out = _operands(subscripts, extents, dtype)
        problem = _problem(subscripts, operands, out, machine=machine)
        if policy.choose(problem.space, problem.arithmetics, machine) is None:
            assert dtype == "complex64"
            assert len(operands) > 2
            continue
        _run(_bound(problem, is_static=is_static), operands, out, "python")
        assert_close(out, _expected(subscripts, operands, dtype), 250)


@pytest.mark.parametrize(
    "dtype", ["float32", "int32", "uint32", "int64", "uint64", "complex64", "complex128"]
)
def test_every_dtype_compiles_to_the_same(dtype: str, assert_close: Close) -> None:
    for subscripts in ("bij,bjk->bik", "bij,bj->bi"):
        operands, out = _operands(subscripts, {"b": 3, "i": 5, "j": 19, "k": 11}, dtype)
        _run(_bound(_problem(subscripts, operands, out)), operands, out, "native")
        assert_close(out, _expected(subscripts, operands, dtype), 20)


@pytest.mark.parametrize("conjugated", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("subscripts", ["bij,bjk->bik", "bij,bj->bi", "bi,bi->bi"])
def test_factors_are_conjugated(
    subscripts: str, conjugated: tuple[bool, bool], assert_close: Close
) -> None:
    operands, out = _operands(subscripts, {"b": 3, "i": 4, "j": 13, "k": 9}, "complex128")
    seen = [x.conj() if flag else x for x, flag in zip(operands, conjugated, strict=True)]
    for rung in ("python", "native"):
        out[...] = np.nan
        _run(
            _bound(_problem(subscripts, operands, out, conjugated=conjugated)), operands, out, rung
        )
        assert_close(out, _expected(subscripts, seen, "complex128"), 13)


def test_a_conjugated_sum_is_the_sum_of_conjugates(assert_close: Close) -> None:
    operands, out = _operands("ij->j", {"i": 5, "j": 9}, "complex64")
    _run(_bound(_problem("ij->j", operands, out, conjugated=(True,))), operands, out, "native")
    assert_close(out, operands[0].conj().sum(0), 5)


@pytest.mark.parametrize("subscripts", ["bij,bjk->bik", "bi,bi->b", "bij,bj->bi"])
def test_maps_follow_the_sum(subscripts: str, assert_close: Close) -> None:
    operands, out = _operands(subscripts, {"b": 4, "i": 3, "j": 3, "k": 21}, "float64")
    operands = [np.abs(x) for x in operands]
    operands[0][0] = 0
    maps = (Map("sqrt"), Map("maximum", (0.5,)), Map("reciprocal"), Map("tanh"))
    expected = np.tanh(1 / np.maximum(np.sqrt(_expected(subscripts, operands, "float64")), 0.5))
    for rung in ("python", "native"):
        _run(_bound(_problem(subscripts, operands, out, epilogue=maps)), operands, out, rung)
        assert_close(out, expected, 30)


def test_a_third_factor_and_an_operand_of_the_epilogue_have_names_of_their_own(
    assert_close: Close,
) -> None:
    subscripts = "bkj,bk,j->bj"
    operands, out = _operands(subscripts, {"b": 4, "k": 3, "j": 5}, "float64")
    factor = _values(out.shape, "float64", 3)
    plain = _problem(subscripts, operands, out)
    expr = expand(parse_string(subscripts), [operand.ndim for operand in operands])
    shapes, strides = [x.shape for x in operands], [*map(_strides, operands)]
    extras = [(expr.output, _strides(factor))]
    letters = letters_of(expr)
    space = iteration_space(expr, shapes, strides, _strides(out), letters, extras)
    body = combined("multiply", Value(0), Value(1))
    arithmetics = replace(plain.arithmetics, epilogue=body, extras=("float64",))
    for rung in ("python", "native"):
        bound = _bound(Problem(space, arithmetics, AVX2))
        _run(bound, [*operands, factor], out, rung)
        assert_close(out, _expected(subscripts, operands, "float64") * factor, 6)


def test_a_maximum_keeps_nan() -> None:
    x, out = np.array([[np.nan, -1.0, 2.0]] * 2), np.zeros((2, 3))
    bound = _bound(_problem("bi->bi", [x], out, epilogue=(Map("maximum", (0.0,)),)))
    for rung in ("python", "native"):
        _run(bound, [x], out, rung)
        np.testing.assert_array_equal(out[0], [np.nan, 0.0, 2.0])


@settings(max_examples=40, deadline=None)
@given(
    i=st.sampled_from([1, 2, 7, 8, 9, 11, 12, 13, 23, 33]),
    k=st.sampled_from([1, 3, 7, 8, 9, 15, 16, 17, 31, 47, 48, 49]),
    j=st.sampled_from([1, 2, 3, 15, 16, 17, 33]),
    layout=st.sampled_from(["bij,bjk->bik", "bij,bkj->bik", "bji,bjk->bik", "bij,bjk->bki"]),
    step=st.sampled_from([1, -1, 2, -3, 0]),
)
def test_any_extents_and_strides_at_block_edges(
    i: int, j: int, k: int, layout: str, step: int, assert_close: Close
) -> None:
    extents = {"b": 2, "i": i, "j": j, "k": k}
    operands, out = _operands(layout, extents, "float32")
    if step == 0:
        operands = [np.broadcast_to(x[..., :1], x.shape) for x in operands]
    else:
        operands = [np.repeat(x, abs(step), axis=-1)[..., ::step] for x in operands]
        operands = [x[::-1] if step < 0 else x for x in operands]
    for machine in (AVX512, AVX2):
        out[...] = np.nan
        bound = _bound(_problem(layout, operands, out, machine=machine))
        _run(bound, operands, out, "python")
        assert_close(out, _expected(layout, operands, "float32"), j)


@settings(max_examples=settings().max_examples // 3, deadline=None)
@given(
    i=st.sampled_from([2, 11, 12, 13, 25]),
    k=st.sampled_from([1, 15, 16, 17, 31, 32, 33, 49, 97]),
    j=st.sampled_from([1, 2, 33, 64, 101]),
    layout=st.sampled_from(["ij,jk->ik", "ij,kj->ik"]),
)
def test_guarded_memory_is_neither_read_nor_written(
    i: int, j: int, k: int, layout: str, assert_close: Close
) -> None:
    """Every array ends where a NaN or a sentinel begins; a load beyond it would poison a sum."""
    extents = {"i": i, "j": j, "k": k}
    operands, out = _operands(layout, extents, "float64")
    padded = [np.full(x.size + 64, np.nan) for x in (*operands, out)]
    views = [
        p[32 : 32 + x.size].reshape(x.shape) for p, x in zip(padded, [*operands, out], strict=True)
    ]
    for view, x in zip(views, operands, strict=False):
        view[...] = x
    bound = _bound(_problem(layout, views[:2], views[2]), is_static=False)
    _run(bound, views[:2], views[2], "native")
    assert_close(views[2], _expected(layout, operands, "float64"), j)
    assert np.isnan(padded[2][:32]).all()
    assert np.isnan(padded[2][-32:]).all()


def test_a_strided_output_is_scattered(assert_close: Close) -> None:
    """Lanes lie along the output's contiguous index even where an input is strided along it."""
    x, y = _values((4, 6, 40), "float64", 1), _values((4, 6, 40), "float64", 2)
    out = np.zeros((4, 40, 6)).transpose(0, 2, 1)
    bound = _bound(_problem("bij,bij->bij", [x, y], out))
    for rung in ("python", "native"):
        out[...] = np.nan
        _run(bound, [x, y], out, rung)
        assert_close(out, x * y, 1)


@pytest.mark.parametrize(
    ("n_lanes", "is_cut", "widths"),
    [
        (23, False, [16, 8]),
        (9, False, [16]),
        (17, False, [16, 1]),
        (3, False, [4]),
        (23, True, [16, 4, 2, 1]),
        (3, True, [2, 1]),
    ],
)
def test_short_extents_are_held_by_the_narrowest_vectors(
    n_lanes: int, is_cut: bool, widths: list[int]
) -> None:
    found = pieces(n_lanes, 16, 4, is_cut)
    assert [piece.width for piece in found] == widths
    assert sum(piece.valid for piece in found) == n_lanes


def test_extents_that_are_formulas_are_arguments() -> None:
    operands, out = _operands("bij,bjk->bik", {"b": 3, "i": 4, "j": 5, "k": 8}, "float32")
    problem = _problem("bij,bjk->bik", operands, out)
    assert _bound(problem).nest != _bound(problem, is_static=False).nest
    space = replace(
        problem.space,
        extents=tuple(Formula(n, f"n_{p}") for p, n in enumerate(problem.space.extents)),
    )
    chosen = policy.choose(space, problem.arithmetics, AVX512)
    assert chosen is not None
    assert numbered(chosen[0]).nest.static == ()


def test_many_extents_of_one_structure_end_in_one_kernel() -> None:
    """The number of kernels for short extents is bounded; later ones take extents as arguments."""
    for n in range(2, 33):
        operands, out = _operands("bij,bjk->bik", {"b": 3, "i": n, "j": n, "k": n}, "uint32")
        (schedule,) = FAMILY.propose(_problem("bij,bjk->bik", operands, out))
        if not schedule.static:
            break
    else:
        pytest.fail("every extent got a kernel of its own")
    assert n > 8
    operands, out = _operands("bij,bjk->bik", {"b": 3, "i": 2, "j": 2, "k": 2}, "uint32")
    (again,) = FAMILY.propose(_problem("bij,bjk->bik", operands, out))
    assert again.static


@pytest.mark.parametrize(
    ("dtype", "epilogue"),
    [("float16", ()), ("int8", ()), ("bool", ()), ("complex64", (Map("sqrt"),))],
)
def test_what_the_family_lacks_is_left_to_others(dtype: str, epilogue: tuple[Map, ...]) -> None:
    operands = [np.zeros((4, 5), dtype), np.zeros((5, 6), dtype)]
    out = np.zeros((4, 6), dtype)
    problem = _problem("ij,jk->ik", operands, out, epilogue=epilogue)
    assert FAMILY.propose(problem) == ()


def test_empty_problems_and_scalars_are_left_to_others() -> None:
    assert FAMILY.propose(_problem("ij,j->i", [np.zeros((4, 0)), np.zeros(0)], np.zeros(4))) == ()
    assert FAMILY.propose(_problem("i,i->", [np.zeros(4), np.zeros(4)], np.zeros(()))) == ()


def test_the_family_is_chosen_for_small_batches_and_thin_products() -> None:
    for subscripts, extents in (
        ("bij,bjk->bik", {"b": 1000, "i": 9, "j": 9, "k": 9}),
        ("ij,jk->ik", {"i": 10000, "j": 16, "k": 16}),
    ):
        operands, out = _operands(subscripts, extents, "float32")
        problem = _problem(subscripts, operands, out)
        proposed = [(f, s) for f in FAMILIES for s in f.propose(problem)]
        family, _ = min(proposed, key=lambda pair: pair[0].seconds(problem, pair[1]))
        assert family.name == "tiled"


@given(
    st.sampled_from(["bij,bjk->bik", "ij,jk->ki", "ji,jk->ik", "ij,j->i", "ij->ji", "bi,bj->bij"]),
    st.lists(st.sampled_from([1, 2, 5, 8, 13, 33, 64, 200]), min_size=4, max_size=4),
    st.sampled_from(["float32", "complex64", "int64"]),
    st.sampled_from([AVX512, AVX2]),
)
def test_no_block_that_is_left_out_is_faster(
    subscripts: str, sizes: list[int], dtype: str, machine: Machine
) -> None:
    """What a block takes at least is no more than what it takes; the fastest is always priced."""
    terms, output = subscripts.split("->")
    extents = dict(zip("bijk", sizes, strict=True))
    shapes = [tuple(extents[i] for i in term) for term in [*terms.split(","), output]]
    *operands, out = (np.empty(shape, dtype) for shape in shapes)
    problem = _problem(subscripts, operands, out, machine=machine)
    chosen = policy.choose(problem.space, problem.arithmetics, machine)
    if chosen is None:
        return
    block, time = chosen
    costs = Costs(block.outline)
    assert seconds(block) == time
    for (width, vectors, counts), rates in policy.blocks(costs.form):
        cycles = costs.cycles(counts, rates)
        priced = costs.seconds(width, vectors, counts, cycles)
        assert costs.least(cycles) <= priced * (1 + 1e-12)
        assert priced * 1.1 >= time  # a tenth: each accumulator must save its share
    same = policy.choose(problem.space, problem.arithmetics, machine, below=time)
    assert same is not None
    assert same[1] == time


def test_rows_of_a_static_extent_come_in_whole_blocks_where_that_is_less_work() -> None:
    """Blocks of 6 rows, as many as registers hold, would compute 18 rows of 16."""
    operands, out = _operands("bij,bjk->bik", {"b": 900, "i": 16, "j": 16, "k": 16}, "float32")
    plain = Arithmetics(("float32",) * 2, "float32", "float32", (False, False))
    chosen = policy.choose(_space("bij,bjk->bik", operands, out), plain, AVX2)
    assert chosen is not None
    assert (chosen[0].vectors, chosen[0].counts) == (2, (4,))


@pytest.mark.parametrize("n_rows", range(24, 60))
def test_sums_and_the_vectors_they_share_fit_the_registers(n_rows: int) -> None:
    """Blocks of 3 rows by 4 vectors, of as many sums as 6 by 2, hold 17 vectors of 16."""
    operands, out = _operands("ij,jk->ik", {"i": n_rows, "j": 64, "k": 64}, "float32")
    plain = Arithmetics(("float32",) * 2, "float32", "float32", (False, False))
    chosen = policy.choose(_space("ij,jk->ik", operands, out), plain, AVX2, is_static=False)
    assert chosen is not None
    vectors, n_points = chosen[0].vectors, prod(chosen[0].counts)
    held = vectors if n_points > 1 else 1
    assert vectors * n_points + held + 1 <= 16


# --- the nest -------------------------------------------------------------------------------------


def _nest() -> TiledNest:
    operands, out = _operands("bij,bjk->bik", {"b": 3, "i": 9, "j": 5, "k": 40}, "float32")
    chosen = policy.choose(
        _space("bij,bjk->bik", operands, out),
        Arithmetics(("float32",) * 2, "float32", "float32", (False, False)),
        AVX512,
    )
    assert chosen is not None
    nest = numbered(chosen[0]).nest
    verify_tiled(nest, "test")
    return nest


def test_a_nest_prints_in_one_line_and_as_loops() -> None:
    assert str(_nest()) == "Tiled(k=3, lanes j=3x16, tasks=ij, sums=l, k is 9, l is 5)"
    assert print_tiled(_nest()).splitlines() == [
        "parallel i:",
        "  parallel j by 48:",
        "    blocks k below 9 by 3:",
        "      sum l below 5:",
        "        out:float32[i, j*, k] += x0:float32[i, j*, l] * x1:float32[i, k, l*]  in float32",
    ]


BROKEN: list[tuple[str, Callable[[TiledNest], TiledNest]]] = [
    ("task index repeats", lambda n: replace(n, tasks=n.tasks * 2)),
    ("not the output's indices", lambda n: replace(n, tasks=n.tasks[1:])),
    ("no static extent", lambda n: replace(n, tasks=n.tasks[:-1])),
    ("not the output's indices", lambda n: replace(n, rows=())),
    ("a summed index is kept", lambda n: replace(n, contracted=(*n.contracted, n.tasks[0]))),
    ("bound by no loop", lambda n: replace(n, contracted=())),
    ("overrun", lambda n: replace(n, rows=(Rows(n.rows[0].index, 10),))),
    ("a row block is empty", lambda n: replace(n, rows=(Rows(n.rows[0].index, 0),))),
    ("would be cast", lambda n: replace(n, compute="float64")),
    ("unit is no index", lambda n: replace(n, output=replace(n.output, unit="z"))),
    ("a vector is empty", lambda n: replace(n, lanes=n.lanes and replace(n.lanes, vectors=0))),
    (
        "the lane index is a row",
        lambda n: replace(n, lanes=n.lanes and replace(n.lanes, index=n.rows[0].index)),
    ),
]


@pytest.mark.parametrize(("reason", "broken"), BROKEN)
def test_the_verifier_refuses(reason: str, broken: Callable[[TiledNest], TiledNest]) -> None:
    with pytest.raises(InternalCompilerError, match=reason):
        verify_tiled(broken(_nest()), "test")


# --- generated code -------------------------------------------------------------------------------


def test_printed_tiled_kernel_is_the_golden_one(golden: Golden) -> None:
    operands, out = _operands(
        "abij,abjk->abik", {"a": 2, "b": 3, "i": 4, "j": 5, "k": 8}, "float32"
    )
    golden("source/tiled.py.txt", _bound(_problem("abij,abjk->abik", operands, out)).kernel.source)
    operands, out = _operands("ij,j->i", {"i": 100, "j": 100}, "complex64")
    bound = _bound(_problem("ij,j->i", operands, out, machine=AVX2))
    golden("source/tiled_dot.py.txt", bound.kernel.source)


SHAPES: list[tuple[str, str, dict[str, int]]] = [
    ("bij,bjk->bik", "float64", {"b": 5, "i": 23, "j": 23, "k": 23}),
    ("ij,jk->ik", "float32", {"i": 100, "j": 100, "k": 96}),
    ("ij,j->i", "float32", {"i": 300, "j": 300}),
    ("ij,jk->ik", "complex64", {"i": 100, "j": 100, "k": 96}),
]


@pytest.mark.parametrize(
    ("level", "machine", "register"),
    [("x86-64-v4", AVX512, "zmm"), ("x86-64-v3", AVX2, "ymm")],
)
@pytest.mark.parametrize(("subscripts", "dtype", "extents"), SHAPES)
def test_sums_stay_in_registers(
    level: str,
    machine: Machine,
    register: str,
    subscripts: str,
    dtype: str,
    extents: dict[str, int],
) -> None:
    operands, out = _operands(subscripts, extents, dtype)
    bound = _bound(_problem(subscripts, operands, out, machine=machine))
    nest = bound.nest
    assert isinstance(nest, TiledNest)
    asm = objects.print_assembly(bound.kernel.text, "kernel", named_target(level))
    loops = re.split(r"\n\.LBB\S+:", asm)
    loop = max(loops, key=lambda text: len(re.findall(r"vfmadd\d+p", text))).splitlines()
    multiply_adds = [line for line in loop if re.search(r"vfmadd\d+p", line)]
    assert len(multiply_adds) >= prod(rows.count for rows in nest.rows) * len(nest.pieces)
    assert all(register in line for line in multiply_adds)
    assert [line for line in loop if "rsp" in line and register in line] == []
