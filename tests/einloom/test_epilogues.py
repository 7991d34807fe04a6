"""Epilogues with operands and any body, and elementwise functions: against NumPy, everywhere."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import einloom as el
from einloom.expression import Expression
from einloom_compiler.codegen.numba_source import NUMBA_IMPORT
from einloom_compiler.dtypes import as_dtype, dtype_name
from einloom_compiler.ir.einsum import EinsumExpr, Index, Term
from einloom_compiler.ir.graph import Contraction, Epilogue, Input
from einloom_compiler.ir.maps import make_map
from einloom_compiler.ir.reference import evaluate_graph
from einloom_compiler.ir.scalar import SUM, Mapped, Number, Scalar, Value, combined

pytestmark = pytest.mark.thinned(3)

Array = npt.NDArray[Any]

_INDEX = {letter: Index(letter) for letter in "abcdijkl"}
E0, E1 = Value(1), Value(2)
RELU = make_map("relu")


def _term(letters: str) -> Term:
    return tuple(_INDEX[letter] for letter in letters)


def _contraction(
    equation: str,
    extras: list[str],
    body: Scalar,
    extents: dict[str, int],
    dtype: str,
    *,
    extra_dtypes: list[str] | None = None,
    result: str | None = None,
) -> Contraction:
    given, output = equation.split("->")
    terms = given.split(",")
    settled = as_dtype(dtype)

    def source(name: str, letters: str, of: str) -> Input:
        return Input(name, tuple(extents[letter] for letter in letters), as_dtype(of))

    operands = tuple(source(f"x{n}", letters, dtype) for n, letters in enumerate(terms))
    dtypes = extra_dtypes or [dtype] * len(extras)
    further = tuple(
        source(f"e{n}", letters, of)
        for n, (letters, of) in enumerate(zip(extras, dtypes, strict=True))
    )
    epilogue = Epilogue(
        body, further, tuple(map(_term, extras)), None if result is None else as_dtype(result)
    )
    return Contraction(
        EinsumExpr(tuple(map(_term, terms)), _term(output)),
        operands,
        settled,
        (False,) * len(operands),
        (frozenset(),) * len(operands),
        epilogue,
    )


def _array(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, layout: str) -> Array:
    """Return an array of small values: in C order, reversed, every second element, or repeated."""
    if layout == "repeated":
        return np.broadcast_to(_array(rng, (1,) * len(shape), dtype, "c"), shape)
    wide = tuple(2 * n for n in shape) if layout == "spread" else shape
    found = rng.integers(-3, 4, wide) if dtype.kind in "iub" else rng.uniform(-1, 1, wide)
    if dtype.kind == "c":
        found = found + 1j * rng.uniform(-1, 1, wide)
    array = found.astype(dtype)
    if layout == "spread":
        return array[tuple(slice(None, None, 2) for _ in shape)]
    if layout == "reversed":
        return array[tuple(slice(None, None, -1) for _ in shape)]
    return array.T.copy().T if layout == "f" else array


LAYOUTS = ("c", "f", "reversed", "spread", "repeated")


def _arrays(node: Contraction, layout: str = "c", extra_layout: str = "c") -> dict[str, Array]:
    rng = np.random.default_rng(11)
    found = {}
    layouts = ((node.operands, layout), (node.epilogue.operands, extra_layout))
    for operands, layout_of in layouts:
        for x in operands:
            assert isinstance(x, Input)
            assert x.dtype is not None
            found[x.name] = _array(rng, x.shape, x.dtype, layout_of)
    return found


def _check(got: Array, node: Contraction, arrays: dict[str, Array], n_terms: int) -> None:
    expected = evaluate_graph(node, arrays, widened=True)
    result = node.epilogue.dtype or node.dtype
    assert result is not None
    assert node.dtype is not None
    assert got.dtype == result
    assert got.shape == expected.shape
    if node.dtype.kind in "iub":
        np.testing.assert_array_equal(got, expected)
        return
    precisions = {"float16": 2**-10, "bfloat16": 2**-7, "float64": 2**-52, "complex128": 2**-52}
    names = (dtype_name(node.dtype), dtype_name(result))
    eps = max(precisions.get(name, 2**-23) for name in names if name not in ("bool", "int32"))
    error = 4 * eps * (n_terms + 8)
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(got.astype(wide), expected, rtol=error, atol=error)


def _un_jitted(node: Contraction) -> Any:
    namespace: dict[str, Any] = {
        "njit": lambda *_, **__: lambda function: function,
        "prange": range,
    }
    source = Expression(node).compile().source
    exec(source.replace(NUMBA_IMPORT, ""), namespace)
    return namespace["run"]


BIAS = combined("add", SUM, E0)
BODIES: dict[str, tuple[list[str], Scalar]] = {
    "bias": (["j"], BIAS),
    "bias_relu": (["j"], Mapped(RELU, BIAS)),
    "row_scale": (["i"], combined("multiply", SUM, E0)),
    "scalar": ([""], combined("subtract", SUM, E0)),
    "residual": (["ij"], combined("add", SUM, E0)),
    "turned_residual": (["ji"], combined("add", SUM, E0)),
    "norm": (["j", "j"], combined("add", combined("multiply", SUM, E0), E1)),
    "gate": (["ij"], combined("multiply", SUM, Mapped(make_map("sigmoid"), E0))),
    "mask": (["ij", "i"], combined("where", combined("less", E0, E1), SUM, Number(-1.0))),
    "unused": (["i", "j"], Mapped(make_map("tanh"), SUM)),
    "constant": (["i"], E0),
}
SHAPES = [
    ("ik,kj->ij", {"i": 37, "k": 45, "j": 53}),
    ("ik,kj->ij", {"i": 96, "k": 700, "j": 80}),
    ("ki,jk->ij", {"i": 33, "k": 64, "j": 48}),
    ("ik,kj->ji", {"i": 70, "k": 33, "j": 41}),
    ("ik,kj->ij", {"i": 5, "k": 6, "j": 7}),
    ("ik,kj->ij", {"i": 1, "k": 257, "j": 130}),
    ("ik,kj->ij", {"i": 190, "k": 140, "j": 1}),
    ("aik,akj->aij", {"a": 5, "i": 19, "k": 24, "j": 40}),
    ("aik,akj->iaj", {"a": 3, "i": 40, "k": 50, "j": 64}),
    ("i,j->ij", {"i": 35, "j": 70}),
    ("ikj->ij", {"i": 20, "k": 90, "j": 31}),
    ("ij->ij", {"i": 20, "j": 31}),
    ("ik,kl,lj->ij", {"i": 20, "k": 30, "l": 40, "j": 50}),
]


def _terms(equation: str, extents: dict[str, int]) -> int:
    given, output = equation.split("->")
    summed = {letter for letter in given if letter.isalpha()} - set(output)
    return int(np.prod([extents[letter] for letter in summed])) if summed else 1


@pytest.mark.thinned(5)
@pytest.mark.parametrize(
    ("name", "equation", "extents"),
    [
        pytest.param(name, *shape, marks=[pytest.mark.slow] if (body + number) % 3 else [])
        for number, shape in enumerate(SHAPES)
        for body, name in enumerate(BODIES)
    ],
)
def test_epilogues_of_every_shape(name: str, equation: str, extents: dict[str, int]) -> None:
    extras, body = BODIES[name]
    node = _contraction(equation, extras, body, extents, "float32")
    arrays = _arrays(node)
    f = Expression(node).compile()
    _check(f(*arrays.values(), threads=1), node, arrays, _terms(equation, extents))


#: One of each way to compute a product, for what is not about shapes.
PRODUCTS = SHAPES[:2] + SHAPES[4:8]


@pytest.mark.thinned(8)
@pytest.mark.parametrize(("equation", "extents"), PRODUCTS)
@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "bfloat16",
        "int32",
        *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("float16", "int8", "uint64")),
    ],
)
@pytest.mark.parametrize("name", ["bias_relu", "mask", "turned_residual", "scalar", "norm"])
def test_epilogues_of_every_dtype(
    name: str, dtype: str, equation: str, extents: dict[str, int]
) -> None:
    extras, body = BODIES[name]
    if name == "mask" and dtype.startswith("uint"):
        body = combined("where", combined("less", E0, E1), SUM, Number(7.0))
    node = _contraction(equation, extras, body, extents, dtype)
    arrays = _arrays(node)
    got = Expression(node).compile()(*arrays.values(), threads=2)
    _check(got, node, arrays, _terms(equation, extents))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_epilogues_are_arithmetic(dtype: str) -> None:
    body = combined("divide", combined("add", SUM, E0), combined("add", E1, Number(3.0)))
    for equation, extents in SHAPES[:1] + SHAPES[4:8]:
        node = _contraction(equation, ["j", "ij"], body, extents, dtype)
        arrays = _arrays(node)
        got = Expression(node).compile()(*arrays.values())
        _check(got, node, arrays, 4 * _terms(equation, extents))


@pytest.mark.thinned(4)
@pytest.mark.parametrize(("equation", "extents"), PRODUCTS)
@pytest.mark.parametrize(
    ("dtype", "extra", "result"),
    [
        ("float32", "float16", None),
        ("float32", "int32", "float64"),
        ("float32", "float32", "float16"),
        ("bfloat16", "float32", "float32"),
        ("float64", "float32", None),
        ("int32", "int32", "float64"),
    ],
)
def test_operands_and_results_of_other_dtypes(
    dtype: str, extra: str, result: str | None, equation: str, extents: dict[str, int]
) -> None:
    node = _contraction(equation, ["j"], BIAS, extents, dtype, extra_dtypes=[extra], result=result)
    arrays = _arrays(node)
    got = Expression(node).compile()(*arrays.values())
    _check(got, node, arrays, _terms(equation, extents))


def test_a_condition_can_be_stored_as_bool() -> None:
    body = combined("less", E0, SUM)
    for equation, extents in SHAPES[:1] + SHAPES[4:8]:
        node = _contraction(equation, ["j"], body, extents, "float64", result="bool")
        arrays = _arrays(node)
        got = Expression(node).compile()(*arrays.values())
        np.testing.assert_array_equal(got, evaluate_graph(node, arrays))


@settings(max_examples=settings().max_examples // 3, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(sorted(BODIES)),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.sampled_from([1, 2]),
)
def test_epilogues_of_any_layout(
    shape: tuple[str, dict[str, int]], name: str, layout: str, extra_layout: str, threads: int
) -> None:
    equation, extents = shape
    extras, body = BODIES[name]
    node = _contraction(equation, extras, body, extents, "float32")
    arrays = _arrays(node, layout, extra_layout)
    got = Expression(node).compile()(*arrays.values(), threads=threads)
    _check(got, node, arrays, _terms(equation, extents))


@pytest.mark.parametrize("name", ["bias_relu", "residual", "mask"])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4], SHAPES[5], SHAPES[7], SHAPES[10]])
def test_the_source_runs_un_jitted(name: str, shape: tuple[str, dict[str, int]]) -> None:
    equation, extents = shape
    extents = {letter: min(n, 20) for letter, n in extents.items()}
    extras, body = BODIES[name]
    node = _contraction(equation, extras, body, extents, "float32")
    arrays = _arrays(node)
    with np.errstate(all="ignore"):
        got = _un_jitted(node)(*arrays.values())
    _check(got, node, arrays, _terms(equation, extents))


def test_a_packed_product_gathers_a_residual_in_another_order() -> None:
    equation, extents = SHAPES[1]
    extras, body = BODIES["turned_residual"]
    node = _contraction(equation, extras, body, extents, "int32")
    arrays = _arrays(node)
    f = Expression(node).compile()
    _check(f(*arrays.values()), node, arrays, _terms(equation, extents))
    assert f.schedule.startswith("Packed(")
    assert re.search(r"vgather\d+\(e0,", f.source)


def test_a_sum_in_two_stages_has_its_epilogue_at_the_end() -> None:
    extents = {"k": 3_000_001, "j": 2}
    node = _contraction("kj->j", ["j"], Mapped(RELU, BIAS), extents, "float64")
    arrays = _arrays(node)
    got = Expression(node).compile()(*arrays.values(), threads=2)
    _check(got, node, arrays, extents["k"])


def test_a_packed_product_with_many_operands_of_its_epilogue() -> None:
    """A convolution's bias, its normalisation and a residual: a call of over 30 arguments."""
    rng = np.random.default_rng(5)
    x, weights = rng.standard_normal((2, 256, 256))
    row, residual = rng.standard_normal(256), rng.standard_normal((300, 256))
    specs = el.spec("B", 256, name="x"), el.spec("B", 256, name="residual")
    made = el.einsum("bi,ij->bj", specs[0], weights)
    for number in range(4):
        made = made * (row + number) + row
    f = el.compile(made + specs[1])
    x = rng.standard_normal((300, 256))
    expected = x @ weights
    for number in range(4):
        expected = expected * (row + number) + row
    found = f(x, residual)
    (launch,) = f.evaluation([x, residual], found).recipe.launches
    assert launch.bound.schedule.prepacked == "columns"
    np.testing.assert_allclose(found, expected + residual, rtol=1e-9, atol=1e-9)


def test_empty_sums_and_empty_results() -> None:
    for extents in ({"i": 3, "k": 0, "j": 4}, {"i": 0, "k": 3, "j": 4}):
        node = _contraction("ik,kj->ij", ["j"], BIAS, extents, "float32")
        arrays = _arrays(node)
        _check(Expression(node).compile()(*arrays.values()), node, arrays, 1)


def test_a_body_without_meaning_in_the_dtype_is_refused() -> None:
    node = _contraction("ik,kj->ij", ["j"], combined("maximum", SUM, E0), SHAPES[0][1], "complex64")
    f = Expression(node).compile()
    with pytest.raises(el.DTypeError, match="'maximum' is not defined for complex64"):
        f(*_arrays(node).values())
