"""The family of rows: softmax, norms and reductions on every rung, against NumPy in float64."""

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einloom.runtime.launch import launch
from einloom_compiler.codegen import objects
from einloom_compiler.codegen.target import named_target
from einloom_compiler.dtypes import as_dtype
from einloom_compiler.errors import DTypeError, InternalCompilerError, ScheduleError, ShapeError
from einloom_compiler.families import rows
from einloom_compiler.families.base import Bound
from einloom_compiler.families.rows import RowsProblem
from einloom_compiler.ir import builders
from einloom_compiler.ir.graph import Input, Node, Reduction, Rows
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.rows import RowsNest, print_rows, verify_rows
from einloom_compiler.ir.scalar import Mapped, Number, Value, combined
from einloom_compiler.ir.shapes import shape_of
from einloom_compiler.ir.traversal import dtype_of
from einloom_compiler.lowering.formula import Formula
from einloom_compiler.lowering.rows import RowsSchedule, rows_expr, rows_space
from einloom_compiler.pipeline import bind_rows
from einloom_compiler.schedule.machine import Machine

pytestmark = pytest.mark.thinned(3)

Array = npt.NDArray[Any]
Build = Callable[[Node, tuple[int, ...]], Node]

AVX512 = Machine(cores=2, simd_bits=512, n_registers=32, l1_bytes=48 << 10, l2_bytes=1 << 20)
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
MACHINES = (AVX512, AVX2)

#: What is built, by name, and whether it takes halves, integers, complex numbers and bools.
FLOATING: dict[str, Build] = {
    "softmax": builders.softmax,
    "log_softmax": builders.log_softmax,
    "logsumexp": builders.logsumexp,
    "layer_norm": builders.layer_norm,
    "rms_norm": builders.rms_norm,
    "l2_normalize": builders.l2_normalize,
    "variance": builders.variance,
    "mean": lambda node, axes: builders.reduce(node, "mean", axes),
}
ORDERED: dict[str, Build] = {
    "max": lambda node, axes: builders.reduce(node, "max", axes),
    "min": lambda node, axes: builders.reduce(node, "min", axes),
}
ANY: dict[str, Build] = {
    "sum": lambda node, axes: builders.reduce(node, "sum", axes),
    "prod": lambda node, axes: builders.reduce(node, "prod", axes),
}


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def _bind(node: Rows, arrays: list[Array], out: Array, machine: Machine = AVX512) -> Bound:
    shapes = [array.shape for array in arrays]
    return bind_rows(rows_expr(node), shapes, list(map(_strides, arrays)), _strides(out), machine)


def _run(bound: Bound, arrays: list[Array], out: Array, rung: str) -> None:
    if rung == "python":
        operands = [arrays[number] for number in bound.operands]
        bound.kernel.run_python([*operands, out], bound.numbers, total=bound.total)
    else:
        launch(bound, arrays, out, int(rung), "pool")


def _out(node: Node, order: list[int] | None = None) -> Array:
    """Return an array for the node's value whose axes lie in memory in this order."""
    shape = [int(str(extent)) for extent in shape_of(node)]
    order = list(range(len(shape))) if order is None else order
    made = np.full([shape[axis] for axis in order], 77).astype(dtype_of(node))
    return made.transpose(np.argsort(order))


def _check(
    node: Node,
    arrays: dict[str, Array],
    rung: str,
    machine: Machine = AVX512,
    order: list[int] | None = None,
) -> Bound:
    assert isinstance(node, Rows)
    operands = [arrays[operand.name] for operand in node.operands if isinstance(operand, Input)]
    out = _out(node, order)
    bound = _bind(node, operands, out, machine)
    _run(bound, operands, out, rung)
    expected = evaluate_graph(node, arrays, widened=True)
    if np.asarray(expected).dtype.kind in "fc":
        extents = dict(zip(node.terms[0], operands[0].shape, strict=True))
        n = prod(extents.get(index, 1) for index in node.reduced)
        name = out.dtype.name
        eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(name) or np.finfo(name).eps
        # Norms of rows that are nearly constant enlarge their rounding by 1 / sqrt(epsilon).
        with np.errstate(all="ignore"):
            found = out.astype(expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=eps * (n + 16), atol=eps * (n + 16) * 8)
    else:
        np.testing.assert_array_equal(out, expected)
    return bound


def _values(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    if dtype.kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[Array, list[int], tuple[int, ...], list[int]]:
    """Draw what makes a view of a C array: padded shape, axes in order, reduced axes, signs."""
    rank = draw(st.integers(1, 3))
    extents = st.sampled_from([1, 2, 3, 7, 15, 16, 17, 33])
    shape = [draw(extents) for _ in range(rank)]
    steps = [draw(st.sampled_from([1, 1, 2, -1, -2, 0])) for _ in range(rank)]
    order = draw(st.permutations(range(rank)))
    base = np.arange(prod(n * max(1, abs(s)) for n, s in zip(shape, steps, strict=True)))
    base = base.reshape([n * max(1, abs(s)) for n, s in zip(shape, steps, strict=True)])
    view = base[tuple(slice(None, None, step or 1) for step in steps)]
    for axis, step in enumerate(steps):
        if step == 0:
            first = view[tuple(slice(0, 1) if a == axis else slice(None) for a in range(rank))]
            view = np.broadcast_to(first, shape)
    reduced = draw(st.sets(st.integers(0, rank - 1), min_size=1))
    out_order = draw(st.permutations(range(rank)))
    return view.transpose(order), list(order), tuple(sorted(reduced)), list(out_order)


def _laid_out(view: Array, values: Array) -> Array:
    """Return values that lie in memory as the numbers in ``view`` do."""
    strides = tuple(stride // view.itemsize * values.itemsize for stride in view.strides)
    origin = view.reshape(-1)[0] if view.size else 0
    made: Array = np.lib.stride_tricks.as_strided(values[int(origin) :], view.shape, strides)
    return made


@given(
    _layouts(),
    st.sampled_from(sorted(FLOATING | ORDERED | ANY)),
    st.sampled_from(["float32", "float64", "float16", "bfloat16"]),
    st.sampled_from(MACHINES),
)
@settings(max_examples=80)
def test_any_layout_as_plain_python(
    layout: tuple[Array, list[int], tuple[int, ...], list[int]],
    what: str,
    dtype: str,
    machine: Machine,
) -> None:
    view, _, reduced, out_order = layout
    x = _laid_out(view, _values((view.size * 64,), as_dtype(dtype)))
    node = (FLOATING | ORDERED | ANY)[what](Input("x", x.shape, x.dtype), reduced)
    is_whole = len(shape_of(node)) == view.ndim
    _check(node, {"x": x}, "python", machine, out_order if is_whole else None)


SIZES = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 1000]))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("what", ["softmax", "logsumexp", "layer_norm", "max"])
@given(SIZES, SIZES, st.sampled_from(["1", "2"]))
@settings(max_examples=settings().max_examples // 4)
def test_compiled_rows_of_any_extent(what: str, axis: int, n: int, m: int, rung: str) -> None:
    x = _values((n, m), as_dtype("float32"), n + m)
    node = (FLOATING | ORDERED)[what](Input("x", x.shape, x.dtype), (axis,))
    _check(node, {"x": x}, rung)


@pytest.mark.thinned(6)
@pytest.mark.parametrize("shape", [(3, 40), (40, 3), (17, 17)])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize(
    "dtype", ["float64", pytest.param("float16", marks=pytest.mark.slow), "bfloat16"]
)
def test_compiled_floats(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str) -> None:
    x = _values(shape, as_dtype(dtype))
    node = Input("x", shape, x.dtype)
    for what in ("softmax", "rms_norm", "max", "sum"):
        _check((FLOATING | ORDERED | ANY)[what](node, axes), {"x": x}, "2")


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int32", "int64", "uint16", "bool", "complex64"]
)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("rung", ["python", "2"])
def test_other_dtypes(dtype: str, axes: tuple[int, ...], rung: str) -> None:
    x = _values((19, 37), np.dtype(dtype))
    node = Input("x", x.shape, x.dtype)
    known = ANY if x.dtype.kind == "c" else ANY | ORDERED
    for build in known.values():
        _check(build(node, axes), {"x": x}, rung)


@pytest.mark.parametrize("rung", ["python", "2"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["max", "min"])
def test_maxima_keep_nan_and_infinities(kind: Any, axis: int, rung: str) -> None:
    x = _values((90, 90), np.dtype("f4"))
    x[::7, ::5] = np.nan
    x[3] = -np.inf
    x[:, 4] = np.inf
    _check(builders.reduce(Input("x", x.shape, x.dtype), kind, axis), {"x": x}, rung)


@pytest.mark.parametrize("rung", ["python", "1"])
def test_softmax_of_extremes(rung: str) -> None:
    x = np.array([[1e4, 1e4, -1e4], [-np.inf, 0, 1], [-np.inf] * 3, [np.nan, 0, 1]], "f4")
    x = np.concatenate([x, np.full((4, 20), -np.inf, "f4")], 1)
    _check(builders.softmax(Input("x", x.shape, x.dtype)), {"x": x}, rung)
    _check(builders.logsumexp(Input("x", x.shape, x.dtype), 1), {"x": x}, rung)


@pytest.mark.parametrize("rung", ["python", "2"])
@pytest.mark.parametrize("axes", [(1,), (2, 0), (1, 2)])
def test_norms_scale_and_shift(axes: tuple[int, ...], rung: str) -> None:
    arrays = {"x": _values((5, 6, 35), np.dtype("f4"))}
    shape = tuple(arrays["x"].shape[axis] for axis in axes)
    arrays |= {n: _values(shape, np.dtype("f4"), 3) for n in ("gamma", "beta")}
    x, gamma, beta = (Input(n, a.shape, a.dtype) for n, a in arrays.items())
    _check(builders.layer_norm(x, axes, 1e-3, gamma, beta), arrays, rung)
    _check(builders.rms_norm(x, axes, 1e-6, gamma), arrays, rung)


def test_variance_does_not_cancel() -> None:
    x = _values((4, 1000), np.dtype("f4")) + np.float32(1e4)
    out = np.empty(4, "f4")
    node = builders.variance(Input("x", x.shape, x.dtype), 1)
    assert isinstance(node, Rows)
    _run(_bind(node, [x], out), [x], out, "1")
    np.testing.assert_allclose(out, x.astype("f8").var(1), rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_long_sums_round_little(axis: int) -> None:
    n = 1 << 20
    x = np.random.default_rng(1).random((n, 3) if axis == 0 else (3, n)).astype("f4")
    out = np.empty(3, "f4")
    node = builders.reduce(Input("x", x.shape, x.dtype), "sum", axis)
    assert isinstance(node, Rows)
    _run(_bind(node, [x], out), [x], out, "1")
    # At most 8192 blocks of 128 steps: their roundings mostly cancel.
    np.testing.assert_allclose(out, x.astype("f8").sum(axis), rtol=2e-5)


@pytest.mark.parametrize("rung", ["python", "1"])
def test_operands_are_cast_and_results_too(rung: str) -> None:
    f8 = as_dtype("float64")
    ids, x = (_values((6, 21), np.dtype(d)) for d in ("i4", "f4"))
    term = builders.softmax(Input("x", x.shape, x.dtype)).terms[0]
    weighted = Reduction("sum", combined("multiply", Value(0), Value(1)))
    node = Rows(
        (Input("ids", ids.shape, ids.dtype), Input("x", x.shape, x.dtype)),
        (term, term),
        term[:1],
        term[1:],
        (weighted,),
        combined("divide", Value(2), Number(3.0)),
        f8,
        as_dtype("float32"),
    )
    _check(node, {"ids": ids, "x": x}, rung)


def test_results_without_any_reduction_used() -> None:
    x = _values((6, 21), np.dtype("f4"))
    term = builders.softmax(Input("x", x.shape, x.dtype)).terms[0]
    body = combined("add", Value(0), Number(1.0))
    node = Rows((Input("x", x.shape, x.dtype),), (term,), term, term[1:], (), body, x.dtype)
    _check(node, {"x": x}, "python")
    _check(replace(node, body=Number(2.0)), {"x": x}, "python")
    counted = replace(node, reductions=(Reduction("sum", Number(1.0)),), body=Value(1))
    _check(counted, {"x": x}, "python")
    _check(counted, {"x": x}, "1")


@pytest.mark.parametrize("rung", ["python", "2"])
def test_empty_extents(rung: str) -> None:
    none = {"x": np.empty((3, 0), "f4")}
    x = Input("x", (3, 0), np.dtype("f4"))
    for build in ANY.values():
        _check(build(x, (1,)), none, rung)
    with pytest.warns(RuntimeWarning, match="empty slice"):
        _check(FLOATING["mean"](x, (1,)), none, rung)
    softmax, out = builders.softmax(x), np.empty((3, 0), "f4")
    _run(_bind(softmax, [none["x"]], out), [none["x"]], out, rung)
    assert _check(ANY["sum"](x, (0,)), none, rung).total == 0
    assert _check(ORDERED["max"](x, (0,)), none, rung).total == 0


def test_mistakes_are_refused_when_bound() -> None:
    x = np.empty((3, 0), "f4")
    node = builders.reduce(Input("x", x.shape, x.dtype), "max", 1)
    assert isinstance(node, Rows)
    with pytest.raises(ShapeError, match=r"axis 1 of operand 0 \(shape \(3, 0\)\) has extent 0"):
        _bind(node, [x], np.empty(3, "f4"))
    y = np.ones((3, 4), "i4")
    mean = replace(node, operands=(Input("y", y.shape, y.dtype),), dtype=y.dtype)
    mean = replace(mean, reductions=(Reduction("mean", Value(0)),))
    with pytest.raises(DTypeError, match="a mean in int32 would be cut to an integer; cast"):
        _bind(mean, [y], np.empty(3, "i4"))
    flags = np.ones((3, 4), bool)
    both = replace(node, operands=(Input("flags", flags.shape, flags.dtype),), dtype=flags.dtype)
    both = replace(both, body=combined("add", Value(1), Value(1)))
    with pytest.raises(DTypeError, match=r"cast the operands of .* to a number first"):
        _bind(both, [flags], np.empty(3, bool))
    roots = replace(mean, reductions=(Reduction("sum", Mapped(make_map("exp"), Value(0))),))
    with pytest.raises(DTypeError, match="map 'exp'"):
        _bind(roots, [y], np.empty(3, "i4"))


def _nest(node: Node, shape: tuple[int, ...]) -> RowsNest:
    assert isinstance(node, Rows)
    x = np.ones(shape, "f4")
    nest = _bind(node, [x], _out(node)).nest
    assert isinstance(nest, RowsNest)
    return nest


def test_extents_and_strides_are_numbers_of_one_kernel() -> None:
    def kernel(*shape: int) -> Any:
        node = builders.softmax(Input("x", shape, np.dtype("f4")))
        return _bind(node, [np.ones(shape, "f4")], np.ones(shape, "f4")).kernel

    assert kernel(3, 400) is kernel(70, 512)


def test_formulas_pass_through() -> None:
    n, m = Formula(300, "n"), Formula(512, "m")
    node = builders.softmax(Input("x", (300, 512), np.dtype("f4")), 0)
    bound = bind_rows(rows_expr(node), [(n, m)], [(m, 1)], (m, 1), AVX512)
    texts = [getattr(number, "text", number) for number in (*bound.numbers, bound.total)]
    assert texts == ["m", "n", "m", "m", "-(-m // 128)"]


def test_print_and_verify() -> None:
    nest = _nest(builders.softmax(Input("x", (9, 300), np.dtype("f4"))), (9, 300))
    assert print_rows(nest) == "\n".join(
        (
            "rows in float32, over i",
            "  vectors of 16 along j, along the row, 2 at once",
            "  pass along j",
            "    r0 = max x0[i, j:1]:float32",
            "  pass along j",
            "    r1 = sum exp((x0[i, j:1]:float32 - r0))",
            "    out holds exp((x0[i, j:1]:float32 - r0))",
            "  pass along j",
            "  out[i, j:1]:float32 = (exp((x0[i, j:1]:float32 - r0)) / r1)",
        )
    )
    for broken, reason in (
        (replace(nest, kept=("i", "i")), "an index is there twice"),
        (replace(nest, reduced=("k",)), "has a foreign index"),
        (replace(nest, body=Value(3)), "the body uses an unknown value"),
        (replace(nest, reductions=nest.reductions[::-1]), "a reduction uses a later value"),
        (replace(nest, vector=None), "vectors have an index and lanes"),
        (replace(nest, vector="z"), "vectors run along no index"),
        (replace(nest, output=replace(nest.output, indices=("i",), unit=None)), "a row's result"),
        (replace(nest, output=replace(nest.output, indices=("j",))), "lacks a kept index"),
    ):
        with pytest.raises(InternalCompilerError, match=reason):
            verify_rows(broken, "test")


@pytest.mark.parametrize("axis", [0, 1])
def test_inner_loops_are_vectors_of_full_width(axis: int) -> None:
    shape = (300, 400)
    node = builders.softmax(Input("x", shape, np.dtype("f4")), axis)
    out = np.ones(shape, "f4")
    bound = _bind(node, [np.ones(shape, "f4")], out)
    asm = objects.print_assembly(bound.kernel.text, "kernel", named_target("x86-64-v4"))
    blocks = re.split(r"\n\.LBB\S+:", asm)
    # The polynomial of exp in the loop that sums: two vectors at a time, nothing spilled.
    sums = [block for block in blocks if block.count("vfmadd") + block.count("vfnmadd") >= 12]
    assert sums
    main = max(sums, key=lambda block: block.count("vmovups"))
    assert "zmm" in main and "ymm" not in main and "xmm" not in main
    assert not re.search(r"vmovups\s+%zmm\d+, -?\d*\(%rsp", main)


#: A kernel whose accumulators lie in scratch, in blocks of 32 rows.
IN_SCRATCH = RowsSchedule((0, 1), 0, 16, 4, row=32)
#: What is computed by such kernels: one pass, several, and stored points.
SCRATCH = ("max", "min", "sum", "prod", "mean", "variance", "softmax", "layer_norm", "logsumexp")


def _in_scratch(node: Node, x: Array, rung: str, schedule: RowsSchedule) -> Bound:
    """Bind a node to a kernel of this schedule and check what it computes."""
    assert isinstance(node, Rows)
    out = _out(node)
    bound = bind_rows(
        rows_expr(node), [x.shape], [_strides(x)], _strides(out), AVX512, schedule=schedule
    )
    _run(bound, [x], out, rung)
    expected = evaluate_graph(node, {"x": x}, widened=True)
    eps = {"float16": 2.0**-10}.get(out.dtype.name) or (
        np.finfo(out.dtype).eps if out.dtype.kind in "fc" else 0
    )
    bound_of = eps * (x.shape[0] + 16)
    with np.errstate(all="ignore"):
        found = out.astype(expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=bound_of, atol=8 * bound_of)
    return bound


@given(
    st.sampled_from(SCRATCH),
    st.integers(2, 70),
    st.integers(2, 70),
    st.sampled_from([1, 3, 4]),
    st.booleans(),
    st.sampled_from(["float32", "float16"]),
    st.sampled_from([1, 2, -1]),
)
@settings(max_examples=100)
def test_accumulators_in_scratch_as_plain_python(
    what: str, n: int, m: int, copies: int, apart: bool, dtype: str, step: int
) -> None:
    x = _values((n * abs(step), m), as_dtype(dtype), n + m)[::step]
    node = (FLOATING | ORDERED | ANY)[what](Input("x", x.shape, x.dtype), (0,))
    bound = _in_scratch(node, x, "python", replace(IN_SCRATCH, copies=copies, apart=apart))
    assert isinstance(bound.nest, RowsNest) and bound.nest.row == 32
    assert bound.total == -(-m // 32)


@pytest.mark.parametrize("what", ["max", "variance", "softmax"])
def test_accumulators_in_scratch_compiled(what: str) -> None:
    for n, m, rung in ((2, 2, "1"), (3, 33, "1"), (4, 32, "2"), (9, 47, "2"), (700, 100, "2")):
        x = _values((n, m), np.dtype("f4"), n)
        node = (FLOATING | ORDERED)[what](Input("x", x.shape, x.dtype), (0,))
        _in_scratch(node, x, rung, replace(IN_SCRATCH, apart=True))


@pytest.mark.parametrize("rung", ["python", "1"])
@pytest.mark.parametrize("dtype", ["bool", "int64", "complex64"])
def test_accumulators_in_scratch_are_scalars_where_there_are_no_vectors(
    dtype: str, rung: str
) -> None:
    x = _values((19, 37), np.dtype(dtype))
    node = ANY["prod"](Input("x", x.shape, x.dtype), (0,))
    lanes = 8 if dtype == "int64" else 1
    _in_scratch(node, x, rung, replace(IN_SCRATCH, vector=0 if lanes > 1 else None, lanes=lanes))


@pytest.mark.parametrize("rung", ["python", "2"])
def test_maxima_in_scratch_keep_nan_and_infinities(rung: str) -> None:
    x = np.zeros((23, 90), np.dtype("f4"))
    for row in range(23):  # a NaN in each of the points at once, before and after numbers
        x[row, row] = np.nan
    x[:, 30] = -np.inf
    x[5, 40:] = np.inf
    x[:, 50:60] = np.nan
    for what in ("max", "min"):
        node = ORDERED[what](Input("x", x.shape, x.dtype), (0,))
        _in_scratch(node, x, rung, IN_SCRATCH)
        _in_scratch(node, x, rung, replace(IN_SCRATCH, copies=3, apart=True))


def test_reductions_of_several_outer_indices_and_of_columns_in_scratch() -> None:
    x = np.asfortranarray(_values((6, 40), np.dtype("f4"))).reshape(6, 8, 5, order="F")
    node = builders.variance(Input("x", x.shape, x.dtype), (1, 2))
    assert isinstance(node, Rows)
    assert len(_bind(node, [x], _out(node)).numbers) == 3  # the reduced indices are one
    _check(node, {"x": x}, "python", AVX2)
    y = _values((7, 9, 11, 40), np.dtype("f4"))[:, :, ::2]
    for axes in ((0, 2), (2,), (0, 1)):
        node = builders.variance(Input("x", y.shape, y.dtype), axes)
        _check(node, {"x": y}, "python", AVX2)


def test_outer_reductions_take_accumulators_in_scratch() -> None:
    def schedule(*shape: int, axis: int = 0, what: str = "max") -> RowsSchedule:
        node = (FLOATING | ORDERED)[what](Input("x", shape, np.dtype("f4")), (axis,))
        assert isinstance(node, Rows)
        bound = _bind(node, [np.empty(shape, "f4")], _out(node), AVX2)
        assert isinstance(bound.schedule, RowsSchedule)
        return bound.schedule

    assert schedule(1000, 1000).row
    assert schedule(1000, 1000, what="softmax").row
    # Rows that are read one after another need none, and short ones are too little for it.
    assert not schedule(1000, 1000, axis=1).row
    assert not schedule(1000, 8, 8, axis=1).row
    # Few rows of several reductions, which are not made of chunks, are shared out among threads.
    assert schedule(4096, 512, what="variance").row == 128
    nest = _nest(ORDERED["max"](Input("x", (900, 3000), np.dtype("f4")), (0,)), (900, 3000))
    assert (
        "  4096 rows along i in scratch, 4 points at once, apart" in print_rows(nest).splitlines()
    )
    for broken, reason in (
        (replace(nest, row=1000), "no whole number of vectors"),
        (replace(nest, reductions=(), body=Value(0)), "a row's result|nothing is kept in scratch"),
    ):
        with pytest.raises(InternalCompilerError, match=reason):
            verify_rows(broken, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": 24}, "row must be a multiple of lanes=16"),
        ({"row": 1 << 20}, "row=1048576 is not allowed; give an integer from 0 to 65536"),
        ({"row": 0, "apart": True}, "give False, or True with row"),
        ({"copies": 17}, "copies=17 is not allowed"),
        ({"vector": 1}, "do not run along index 1 of these operands with row=32; vector may be 0"),
    ],
)
def test_schedules_in_scratch_that_cannot_be_are_refused(
    change: dict[str, Any], message: str
) -> None:
    x = np.ones((40, 50), "f4")
    node = builders.reduce(Input("x", x.shape, x.dtype), "max", 0)
    assert isinstance(node, Rows)
    schedule = replace(IN_SCRATCH, **change)
    with pytest.raises(ScheduleError, match=message):
        bind_rows(rows_expr(node), [x.shape], [(50, 1)], (1,), AVX512, schedule=schedule)


#: A kernel that reads four rows side by side.
STREAMED = RowsSchedule((0, 1), 1, 16, 1, streams=4)


def _streamed(node: Node, x: Array, rung: str) -> None:
    assert isinstance(node, Rows)
    out = _out(node)
    bound = bind_rows(
        rows_expr(node), [x.shape], [_strides(x)], _strides(out), AVX512, schedule=STREAMED
    )
    assert bound.total == -(-len(x) // 4)
    _run(bound, [x], out, rung)
    expected = evaluate_graph(node, {"x": x}, widened=True)
    eps = 2.0**-10 if out.dtype.name == "float16" else 2.0**-23
    np.testing.assert_allclose(
        out.astype(expected.dtype), expected, rtol=eps * (x.shape[1] + 16), atol=eps * x.shape[1]
    )


@given(
    st.sampled_from(("max", "min", "sum", "prod", "mean")),
    st.integers(2, 21),
    st.integers(2, 70),
    st.sampled_from(["float32", "float16", "int32"]),
    st.sampled_from([1, 2, -1]),
)
@settings(max_examples=60)
def test_rows_side_by_side_as_plain_python(
    what: str, n: int, m: int, dtype: str, step: int
) -> None:
    x = _values((n * abs(step), m), as_dtype("float32" if what == "mean" else dtype), n + m)[::step]
    if x.dtype.kind == "f":
        x[n // 2, m // 3] = np.nan
    _streamed((FLOATING | ORDERED | ANY)[what](Input("x", x.shape, x.dtype), (1,)), x, "python")


def test_rows_side_by_side_compiled() -> None:
    for n, m, rung in ((2, 2, "1"), (4, 16, "2"), (23, 2500, "2")):
        x = _values((n, m), np.dtype("f4"), n)
        x[0, -1], x[-1, 0] = np.nan, np.inf
        for what in ("max", "min", "mean"):
            _streamed((FLOATING | ORDERED)[what](Input("x", x.shape, x.dtype), (1,)), x, rung)


def test_rows_of_large_operands_are_read_side_by_side() -> None:
    shape = (4096, 4096)
    x = np.empty(shape, "f4")
    for node, n_streams in (
        (builders.reduce(Input("x", shape, x.dtype), "max", 1), 4),
        (builders.variance(Input("x", shape, x.dtype), 1), 1),  # two passes
        (builders.reduce(Input("x", (400, 512), x.dtype), "max", 1), 1),
    ):
        assert isinstance(node, Rows)
        operand = node.operands[0]
        assert isinstance(operand, Input)
        bound = _bind(node, [x[tuple(map(slice, map(int, shape_of(operand))))]], _out(node), AVX2)
        assert isinstance(bound.schedule, RowsSchedule) and bound.schedule.streams == n_streams
    nest = _nest(builders.reduce(Input("x", shape, x.dtype), "max", 1), shape)
    assert "  4 rows of i side by side, apart" in print_rows(nest).splitlines()
    two = builders.variance(Input("x", (8, 8), x.dtype), 1)
    assert isinstance(two, Rows)
    with pytest.raises(ScheduleError, match="streams=4 is not allowed; give an integer from 1"):
        bind_rows(rows_expr(two), [(8, 8)], [(8, 1)], (1,), AVX512, schedule=STREAMED)


@pytest.mark.parametrize(
    ("schedule", "axis"),
    [
        (IN_SCRATCH, 0),
        (replace(IN_SCRATCH, copies=16, row=1 << 16), 0),
        (STREAMED, 1),
        (replace(STREAMED, streams=2), 1),
        (replace(STREAMED, streams=1), 1),
    ],
)
def test_neighbours_are_legal(schedule: RowsSchedule, axis: int) -> None:
    x = np.ones((40, 50), "f4")
    node = builders.reduce(Input("x", x.shape, x.dtype), "max", axis)
    assert isinstance(node, Rows)
    expr = rows_expr(node)
    problem = RowsProblem(expr, rows_space(expr, [x.shape], [_strides(x)], (1,)), AVX512)
    near = rows.FAMILY.neighbours(problem, schedule)
    assert near and schedule not in near
    for each in near:
        rows.FAMILY.check(problem, each)
