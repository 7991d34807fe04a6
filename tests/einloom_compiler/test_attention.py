"""Attention: roles of indices, and results on every rung against the NumPy reference."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from einloom.runtime.launch import launch
from einloom_compiler.codegen.printing import print_functions
from einloom_compiler.dtypes import arithmetic, as_dtype, dtype_name
from einloom_compiler.errors import InternalCompilerError, UnsupportedError
from einloom_compiler.ir.attention import Mask, PanelSchedule, print_attention, verify_attention
from einloom_compiler.ir.einsum import Index, Term
from einloom_compiler.ir.graph import Attention, Input
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.scalar import Number, Scalar, Value, combined
from einloom_compiler.ir.verify_graph import verify_graph
from einloom_compiler.lowering.attention import form_of
from einloom_compiler.lowering.formula import Formula, formula_text, open_symbol
from einloom_compiler.pipeline import Bound, bind_attention
from einloom_compiler.schedule.machine import Machine, host

pytestmark = pytest.mark.thinned(3)

Array = npt.NDArray[Any]

B, H, G, T, S, D, C, E = (Index(name) for name in "bhgtsdce")
AVX2 = Machine(cores=2, simd_bits=256, n_registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
NEON = Machine(cores=2, simd_bits=128, n_registers=32, l1_bytes=64 << 10, l2_bytes=512 << 10)


def _scaled(scale: float, *masks: Scalar) -> Scalar:
    score = combined("multiply", Value(0), Number(scale))
    for mask in masks:
        score = combined("add", score, mask)
    return score


@dataclass
class Case:
    """Operands of an attention node and what is computed from them."""

    query: Array
    key: Array
    value: Array
    terms: tuple[Term, ...]
    output: Term
    score: Scalar = field(default_factory=lambda: _scaled(0.25))
    masks: tuple[Array, ...] = ()
    mask_terms: tuple[Term, ...] = ()
    is_causal: bool = False
    dtype: Any = None
    out_order: Literal["C", "F"] = "C"
    machine: Machine | None = None

    @property
    def operands(self) -> list[Array]:
        return [self.query, self.key, self.value, *self.masks]

    def node(self) -> Attention:
        inputs = [Input(f"x{n}", x.shape, x.dtype) for n, x in enumerate(self.operands)]
        node = Attention(
            inputs[0],
            inputs[1],
            inputs[2],
            (self.terms[0], self.terms[1], self.terms[2]),
            self.output,
            self.score,
            tuple(inputs[3:]),
            self.mask_terms,
            self.is_causal,
            self.dtype or self.query.dtype,
        )
        verify_graph(node, stage="test")
        return node

    def bind(self, out: Array) -> Bound:
        operands = self.operands
        return bind_attention(
            form_of(self.node()),
            [x.shape for x in operands],
            [_strides(x) for x in operands],
            _strides(out),
            self.machine or host(),
        )

    def run(self, rung: str = "serial") -> Array:
        extents: dict[Index, int] = {}
        for term, x in zip((*self.terms, *self.mask_terms), self.operands, strict=True):
            extents |= dict(zip(term, x.shape, strict=True))
        dtype = self.dtype or self.query.dtype
        shape = [extents[index] for index in self.output]
        out: Array = np.asarray(np.full(shape, 77.0), dtype, order=self.out_order)
        bound = self.bind(out)
        if rung == "python":
            bound.kernel.run_python([*self.operands, out], bound.numbers, total=bound.total)
        else:
            launch(bound, self.operands, out, {"serial": 1, "threads": 3}[rung], "pool")
        return out

    def expected(self) -> Array:
        arrays = {f"x{n}": x for n, x in enumerate(self.operands)}
        found: Array = evaluate_graph(self.node(), arrays, widened=True)
        return found

    def check(self, rung: str = "serial") -> None:
        found, expected = self.run(rung), self.expected()
        dtype = self.dtype or self.query.dtype
        compute = arithmetic(dtype_name(dtype)).compute
        depth = self.query.shape[-1] + self.key.shape[-2] + 8
        scale = max(1.0, float(np.nanmax(np.abs(self.value), initial=0, where=_finite(self.value))))
        bound = 4 * depth * scale * float(np.finfo(compute).eps)
        if arithmetic(dtype_name(dtype)).is_half:
            bound += scale * 2.0 ** (-10 if dtype == np.float16 else -7)
        np.testing.assert_allclose(found.astype("float64"), expected, rtol=0, atol=bound)


def _finite(x: Array) -> Any:
    return np.isfinite(x.astype("float64"))


def _strides(x: Array) -> tuple[int, ...]:
    return tuple(step // x.itemsize for step in x.strides)


def _random(*shape: int, dtype: Any = "float32", seed: int = 0) -> Array:
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape).astype(as_dtype(dtype))


def _heads(
    b: int, h: int, t: int, s: int, d: int, e: int, *, is_split: bool = False, **more: Any
) -> Case:
    """Return usual attention; ``is_split``: heads are cut from a layer's last axis."""
    dtype = more.pop("given", "float32")

    def made(n: int, width: int, seed: int) -> Array:
        if is_split:
            return _random(b, n, h, width, dtype=dtype, seed=seed).transpose(0, 2, 1, 3)
        return _random(b, h, n, width, dtype=dtype, seed=seed)

    terms = ((B, H, T, D), (B, H, S, D), (B, H, S, E))
    return Case(made(t, d, 1), made(s, d, 2), made(s, e, 3), terms, (B, H, T, E), **more)


_EDGES = st.sampled_from([0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65])
_KEYS = st.sampled_from([0, 1, 5, 7, 8, 9, 20, 127, 128, 129, 136, 137, 257])


@settings(max_examples=settings().max_examples // 6)
@given(_EDGES, _KEYS, _EDGES, _EDGES, st.booleans(), st.booleans())
@example(33, 257, 65, 65, True, True)
@example(0, 3, 4, 5, False, False)
@example(3, 0, 4, 5, False, False)
@example(3, 4, 0, 5, False, True)
def test_every_extent_gives_the_reference(
    t: int, s: int, d: int, e: int, is_split: bool, is_causal: bool
) -> None:
    case = _heads(2, 2, t, s, d, e, is_split=is_split, is_causal=is_causal)
    case.check()
    if is_split:
        case.check("threads")


@pytest.mark.parametrize("shape", [(40, 300, 300, 300), (17, 130, 513, 9), (3, 5, 257, 257)])
def test_points_and_columns_beyond_a_block_are_summed_in_pieces(
    shape: tuple[int, int, int, int],
) -> None:
    _heads(1, 2, *shape, is_causal=True).check("threads")


@pytest.mark.parametrize(
    ("machine", "is_causal"), [(None, False), (None, True), (AVX2, True), (NEON, False)]
)
def test_source_runs_as_python(machine: Machine | None, is_causal: bool) -> None:
    mask = _random(9, 11)
    score = _scaled(0.5, Value(1))
    case = _heads(1, 2, 9, 11, 3, 10, is_causal=is_causal, score=score, machine=machine)
    case = replace(case, masks=(mask,), mask_terms=((T, S),))
    case.check("python")
    if machine is not None:
        case.check("serial")


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes(dtype: str) -> None:
    for shape in ((35, 140, 20, 24), (17, 33, 64, 9), (40, 257, 3, 64)):  # of one kernel
        _heads(1, 3, *shape, given=dtype, is_split=True, is_causal=True).check()


@pytest.mark.parametrize(
    "dtypes",
    [
        ("float64", "int32", "float16"),
        ("float16", "float64", "int32"),
        ("int32", "float16", "float64"),
        ("float32", "float32", "int32"),
    ],
)
def test_operands_are_cast_on_load(dtypes: tuple[str, str, str]) -> None:
    case = _heads(2, 1, 20, 30, 10, 12, dtype=as_dtype("float32"))
    given = (case.query, case.key, case.value)
    query, key, value = ((x * 3).astype(of) for x, of in zip(given, dtypes, strict=True))
    replace(case, query=query, key=key, value=value).check()


_MASKS = {
    "keys of a batch": (B, S),
    "pairs": (T, S),
    "pairs of a head": (B, H, T, S),
    "queries": (H, T),
    "one": (),
    "transposed": (S, T),
}


@pytest.mark.thinned(4)
@pytest.mark.parametrize("n_queries", [pytest.param(1, marks=pytest.mark.slow), 37])
@pytest.mark.parametrize("name", _MASKS)
def test_masks_of_any_layout(name: str, n_queries: int) -> None:
    extents = {B: 2, H: 3, T: n_queries, S: 150}
    term = _MASKS[name]
    dtypes = ("float32", "bool", "float64") if name in ("pairs", "transposed") else ("float32",)
    for dtype in dtypes:
        values = _random(*(extents[index] for index in term))
        mask = np.asarray(values > -0.5 if dtype == "bool" else values.astype(dtype))
        score = _scaled(0.3, Value(1))
        if dtype == "bool":
            score = combined("where", Value(1), _scaled(0.3), Number(-np.inf))
        case = _heads(2, 3, n_queries, 150, 16, 16, score=score)
        is_causal = n_queries > 1 and dtype == "float32"
        replace(case, masks=(mask,), mask_terms=(term,), is_causal=is_causal).check()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_single_queries_are_computed_by_vectors_of_keys(dtype: str) -> None:
    for shape in ((1, 257, 64, 64), (2, 600, 9, 100), (1, 3, 300, 300), (2, 5, 4, 7)):
        for is_causal in (False, True):
            case = _heads(2, 2, *shape, given=dtype, is_split=True, is_causal=is_causal)
            out = np.empty((2, 2, shape[0], shape[3]), dtype)
            nest: Any = case.bind(out).kernel.nest
            assert nest.is_single
            case.check("threads")
    _heads(1, 2, 1, 21, 7, 11, given=dtype, machine=AVX2).check("python")
    _heads(1, 2, 2, 21, 20, 70, given=dtype, machine=NEON).check("serial")


def test_a_single_query_sees_infinities_as_many_do() -> None:
    score = combined("where", Value(1), _scaled(0.3), Number(-np.inf))
    for kept in (slice(0, 0), slice(0, 3), slice(590, 600)):
        mask = np.zeros((1, 600), bool)
        mask[:, kept] = True
        case = replace(_heads(1, 2, 1, 600, 8, 8, score=score), masks=(mask,), mask_terms=((T, S),))
        assert np.isnan(case.run()).all() == (not mask.any())
        case.check()
    case = _heads(1, 1, 1, 600, 8, 8)
    case.key[0, 0, 5] = np.nan
    assert np.isnan(case.run()).all()


def test_several_masks_and_strides_of_any_sign() -> None:
    case = _heads(2, 3, 20, 40, 12, 10, score=_scaled(0.3, Value(1), Value(2)))
    flipped = _random(20, 80)[::-1, ::-2]
    spread = np.broadcast_to(_random(2, 1, 40), (2, 20, 40))
    case = replace(case, masks=(flipped, spread), mask_terms=((T, S), (B, T, S)))
    case = replace(case, key=case.key[:, :, ::-1, ::-1], value=case.value[..., ::-1])
    replace(case, query=np.asfortranarray(case.query), out_order="F").check()


def test_rows_without_keys_are_nan_and_blocks_without_keys_are_not() -> None:
    score = combined("where", Value(1), _scaled(0.3), Number(-np.inf))
    mask = np.ones((40, 300), bool)
    mask[3] = False
    mask[5, :290] = False  # the maximum is -inf for whole blocks
    mask[7, 10:] = False
    case = replace(_heads(1, 2, 40, 300, 8, 8, score=score), masks=(mask,), mask_terms=((T, S),))
    found = case.run()
    assert np.isnan(found[:, :, 3]).all()
    assert not np.isnan(np.delete(found, 3, 2)).any()
    case.check()


def test_nan_and_infinity_propagate() -> None:
    case = _heads(1, 1, 20, 200, 8, 8)
    case.query[0, 0, 2] = np.nan
    case.value[0, 0, 150, 3] = np.inf
    found, expected = case.run(), case.expected()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


def test_large_scores_do_not_overflow() -> None:
    case = _heads(1, 1, 20, 200, 8, 8, score=_scaled(300.0))
    found, expected = case.run(), case.expected()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_query_heads_share_keys() -> None:
    """Grouped heads: neither key nor value has the index of a head in its group."""
    query = _random(2, 3, 4, 20, 8)
    key, value = _random(2, 3, 30, 8), _random(2, 3, 30, 6)
    terms = ((B, H, G, T, D), (B, H, S, D), (B, H, S, E))
    Case(query, key, value, terms, (B, H, G, T, E)).check("threads")
    terms = ((B, H, T, G, D), (B, H, S, D), (B, H, S, E))
    Case(query.swapaxes(2, 3), key, value, terms, (B, H, G, T, E)).check()


def test_indices_may_be_missing_or_several() -> None:
    # One query, no batch, no columns of the values.
    Case(_random(8), _random(30, 8), _random(30), ((D,), (S, D), (S,)), ()).check()
    # Two contracted indices that cannot be fused, columns that come in two indices.
    query, key = _random(5, 4, 6).transpose(1, 0, 2), _random(6, 30, 5)
    terms: tuple[Term, ...] = ((T, D, C), (C, S, D), (S, E, G))
    Case(query, key, _random(30, 3, 7), terms, (G, T, E)).check()
    # A diagonal, and an index of the key and the output only.
    terms = ((T, D), (B, B, S, D), (S, E))
    Case(_random(4, 5), _random(3, 3, 9, 5), _random(9, 2), terms, (B, T, E)).check()
    # Without contracted points a score is an empty sum.
    terms = ((T, D, C), (C, S, D), (S, E))
    Case(_random(4, 0, 6), _random(6, 9, 0), _random(9, 2), terms, (T, E)).check()


def test_scratch_does_not_depend_on_extents() -> None:
    small, large = _heads(1, 1, 40, 40, 64, 64), _heads(1, 2, 4096, 3000, 64, 64)
    kernels = []
    for case in (small, large):
        t, e = case.query.shape[2], case.value.shape[3]
        kernels.append(case.bind(np.empty((*case.query.shape[:2], t, e), "float32")).kernel)
    assert kernels[0].scratch_bytes < 1 << 19
    assert kernels[0].scratch_bytes == kernels[1].scratch_bytes


def test_one_kernel_serves_all_sizes() -> None:
    sizes = [(2, 2, 40, 50, 8, 9), (3, 4, 50, 70, 20, 30)]
    kernels = []
    for size in sizes:
        case = _heads(*size, is_split=True)
        b, h, t, _, _, e = size
        kernels.append(case.bind(np.empty((b, h, t, e), "float32")).kernel)
    assert kernels[0] is kernels[1]


def test_formulas_pass_through() -> None:
    case = _heads(2, 2, 40, 50, 8, 8)
    t, s = open_symbol(40, "T", 0), open_symbol(50, "S", 1)
    shapes = [(2, 2, t, 8), (2, 2, s, 8), (2, 2, s, 8)]
    strides = [(2 * n * 8, n * 8, 8, 1) for n in (t, s, s)]
    bound = bind_attention(form_of(case.node()), shapes, strides, (2 * t * 8, t * 8, 8, 1), host())
    texts = {formula_text(number) for number in bound.numbers}
    assert {"T", "S"} <= texts
    assert isinstance(bound.total, Formula)
    plain = case.bind(np.empty((2, 2, 40, 8), "float32"))
    assert bound.kernel is plain.kernel
    assert [int(n) for n in bound.numbers] == list(plain.numbers)
    assert int(bound.total) == plain.total


def test_an_open_number_of_queries_is_no_single_one() -> None:
    case = _heads(1, 1, 1, 50, 8, 8)
    t = open_symbol(1, "T", 0)
    shapes = [(1, 1, t, 8), (1, 1, 50, 8), (1, 1, 50, 8)]
    strides = [(t * 8, t * 8, 8, 1), (400, 400, 8, 1), (400, 400, 8, 1)]
    bound = bind_attention(form_of(case.node()), shapes, strides, (t * 8, t * 8, 8, 1), host())
    many = _heads(1, 1, 40, 50, 8, 8).bind(np.empty((1, 1, 40, 8), "float32"))
    assert bound.kernel is many.kernel


def test_prints_what_is_computed() -> None:
    case = replace(
        _heads(1, 2, 40, 50, 8, 8, score=_scaled(0.5, Value(1)), is_causal=True),
        masks=(np.empty((40, 50), bool),),
        mask_terms=((T, S),),
        machine=AVX2,
    )
    nest = case.bind(np.empty((1, 2, 40, 8), "float32")).kernel.nest
    assert print_attention(nest) == (  # type: ignore[arg-type]
        "attention q: float32, k: float32, v: float32, mask0: bool converted -> float32\n"
        "  parallel 1 batch indices, panels of 16 queries, 64 columns\n"
        "    blocks of 128 keys that up to 32 panels share\n"
        "      s = sum of 1 indices, 6 x 16 in registers\n"
        "      s = ((s * 0.5) + mask0) where key <= query, else -inf\n"
        "      m, l = max and sum of exp(s - m), in float32\n"
        "      sums += exp(s - m) * v, 6 x 16 in registers\n"
        "    out = sums / l"
    )


def test_functions_of_a_program_bear_the_kernels_number() -> None:
    mask = np.empty((40, 50), bool)
    case = replace(_heads(1, 2, 40, 50, 8, 8, is_causal=True), masks=(mask,), mask_terms=((T, S),))
    nest = case.bind(np.empty((1, 2, 40, 8), "float32")).kernel.nest
    plain, numbered = print_functions(nest, "kernel"), print_functions(nest, "kernel3")
    defined = re.findall(r"def (\w+)\(", "".join(plain))
    assert re.findall(r"def (\w+)\(", "".join(numbered)) == [f"{name}3" for name in defined]
    for name in defined:
        assert not re.search(rf"\b{name}\(", "".join(numbered))


def test_broken_nests_are_refused() -> None:
    nest: Any = _heads(1, 2, 40, 50, 8, 8).bind(np.empty((1, 2, 40, 8), "float32")).kernel.nest
    verify_attention(nest, "test")
    for change in (
        {"compute": "int32"},
        {"score": Value(3)},
        {"block": PanelSchedule(3, 2, 8)},
        {"block": PanelSchedule(16, 2, 8, keys=4)},
        {"masks": (Mask("bool", "transposed"),)},
    ):
        with pytest.raises(InternalCompilerError, match="test: "):
            verify_attention(replace(nest, **change), "test")


def test_other_dtypes_are_refused() -> None:
    case = _heads(1, 1, 4, 5, 3, 2, given="int32")
    with pytest.raises(UnsupportedError, match="not in int32; cast"):
        case.bind(np.empty((1, 1, 4, 2), "int32"))
