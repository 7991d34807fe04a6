"""The ladder of references: NumPy, the source as plain Python, JIT serial, JIT parallel.

One list of equations goes through every rung; the lowest rung that fails names the guilty stage.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import einloom as el
from einloom.runtime.prepared import unprepared

pytestmark = pytest.mark.thinned(2)

Array = npt.NDArray[Any]
Close = Callable[..., None]

SIZES = dict(zip("abcdijkl", (2, 3, 1, 4, 5, 6, 7, 3), strict=True))

EQUATIONS = [
    "ij->ij",
    "ij->ji",
    "ijk->kji",
    "i->",
    "ij->",
    "ij->i",
    "ij->j",
    "ii->i",
    "ii->",
    "bii->b",
    "i,i->",
    "i,i->i",
    "i,j->ij",
    "ij,j->i",
    "ij,i->j",
    "ij,jk->ik",
    "ij,kj->ik",
    "ji,jk->ki",
    "aij,ajk->aik",
    "abij,abjk->abik",
    "bi,bi->b",
    "ij,kl->ik",
    ",ij->ij",
    "->",
    "ij,jk,kl->il",
    "i,ij,j->",
    "aab,bcc->ac",
]
PARALLEL = ["ij->ji", "ij->i", "i,j->ij", "ij,jk->ik", "abij,abjk->abik"]
DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "bfloat16"),
]


def _dtype(name: str) -> Any:
    if name == "bfloat16":
        return pytest.importorskip("ml_dtypes").bfloat16
    return name


def _operands(equation: str, dtype: str = "float64", seed: int = 1) -> list[Array]:
    rng = np.random.default_rng(seed)
    operands = []
    for term in equation.split("->")[0].split(","):
        shape = tuple(SIZES[letter] for letter in term)
        if dtype.startswith(("float", "bfloat", "complex")):
            values = rng.uniform(-1, 1, shape)
            if dtype.startswith("complex"):
                values = values + 1j * rng.uniform(-1, 1, shape)
        else:
            values = np.asarray(rng.integers(0, 120, shape), np.float64)
        operands.append(np.asarray(values).astype(_dtype(dtype)))
    return operands


def _n_terms(equation: str) -> int:
    inputs, output = equation.split("->")
    return int(np.prod([SIZES[x] for x in set(inputs) - set(output) - {","}], initial=1))


def _expected(equation: str, operands: list[Array]) -> Array:
    if operands[0].dtype.name in ("float16", "bfloat16"):
        return np.asarray(np.einsum(equation, *(x.astype(np.float64) for x in operands)))
    return np.asarray(np.einsum(equation, *operands))


def _specs(operands: list[Array]) -> list[Any]:
    return [el.spec(x.shape, dtype=x.dtype) for x in operands]


@contextmanager
def _no_jit() -> Iterator[None]:
    settings = vars(numba.config)
    before = settings["DISABLE_JIT"]
    settings["DISABLE_JIT"] = 1
    try:
        with unprepared():
            yield
    finally:
        settings["DISABLE_JIT"] = before


def _run_printed_source(source: str, operands: list[Array]) -> Array:
    """Run the program's text on its own, un-jitted: all it needs is NumPy."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    for name, value in list(namespace.items()):
        namespace[name] = getattr(value, "py_func", value)
    with np.errstate(over="ignore"):
        return np.asarray(namespace["run"](*operands))


@pytest.mark.parametrize("equation", EQUATIONS)
def test_every_rung_gives_the_same(equation: str, assert_close: Close) -> None:
    operands = _operands(equation)
    expected, n = _expected(equation, operands), _n_terms(equation)
    f = el.compile(equation, *_specs(operands))
    assert_close(_run_printed_source(f.source, operands), expected, n)
    with _no_jit():
        assert_close(f(*operands), expected, n)
    assert_close(f(*operands, threads=1), expected, n)


@pytest.mark.parametrize("equation", PARALLEL)
def test_parallel_gives_the_same_bits_as_serial(equation: str) -> None:
    operands = _operands(equation)
    f = el.compile(equation, *_specs(operands))
    np.testing.assert_array_equal(f(*operands, threads=2), f(*operands, threads=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij->i", "ij->ji"])
def test_every_dtype_on_every_rung(equation: str, dtype: str, assert_close: Close) -> None:
    operands = _operands(equation, dtype)
    expected, n = _expected(equation, operands), _n_terms(equation)
    f = el.compile(equation, *_specs(operands))
    with _no_jit():
        assert_close(f(*operands), expected, n)
    got = f(*operands)
    assert got.dtype == operands[0].dtype
    assert_close(got, expected, n)
    if dtype != "bfloat16":
        assert_close(_run_printed_source(f.source, operands), expected, n)


@pytest.mark.parametrize(
    ("dtype", "other"),
    [
        ("int8", "float32"),
        ("bool", "int64"),
        ("float32", "complex64"),
        ("float16", "float64"),
        ("uint64", "int64"),
        ("int32", "float16"),
    ],
)
def test_mixed_dtypes_promote_as_numpys(dtype: str, other: str, assert_close: Close) -> None:
    x = _operands("ij,jk->ik", dtype)[0]
    y = _operands("ij,jk->ik", other, seed=2)[1]
    expected = np.einsum("ij,jk->ik", x, y)
    got = el.einsum("ij,jk->ik", x, y)
    assert got.dtype == expected.dtype
    assert_close(got, expected, SIZES["j"])


def _relaid(x: Array, axes: list[int], steps: list[int]) -> Array:
    """Return an array equal to ``x`` whose memory has these axis order, signs and gaps."""
    axes = [axis for axis in axes if axis < x.ndim]
    padded = np.zeros([x.shape[a] * abs(steps[a]) for a in axes], x.dtype)
    view = padded[tuple(slice(None, None, steps[a]) for a in axes)].transpose(np.argsort(axes))
    view[...] = x
    assert view.strides != x.strides or x.size <= 1 or steps[: x.ndim] == [1] * x.ndim
    return view


@settings(max_examples=settings().max_examples // 2)
@given(
    equation=st.sampled_from(["ij,jk->ik", "ij->ji", "bi,bi->b", "aij,ajk->aik"]),
    axes=st.permutations([0, 1, 2]),
    steps=st.lists(st.sampled_from([1, 2, -1, -3]), min_size=3, max_size=3),
)
@example(equation="ij,jk->ik", axes=[1, 0, 2], steps=[-1, -1, 1])
def test_any_strides_give_the_same(
    equation: str, axes: list[int], steps: list[int], assert_close: Close
) -> None:
    operands = _operands(equation)
    views = [_relaid(x, axes, steps) for x in operands]
    expected = _expected(equation, operands)
    assert_close(el.einsum(equation, *views), expected, _n_terms(equation))
    with _no_jit():
        assert_close(el.einsum(equation, *views), expected, _n_terms(equation))


#: Extents around the schedule's block edges: rows of 4, tiles of 32 and 256, blocks of 4096.
EDGES = [0, 1, 2, 3, 4, 5, 7, 31, 32, 33, 255, 256, 257, 4095, 4096, 4097]


@settings(max_examples=settings().max_examples // 2)
@given(m=st.sampled_from(EDGES[:10]), n=st.sampled_from(EDGES[:13]), k=st.sampled_from(EDGES[:10]))
def test_matrix_products_at_block_edges(m: int, n: int, k: int, assert_close: Close) -> None:
    rng = np.random.default_rng(m * 1000 + n * 10 + k)
    x, y = rng.uniform(-1, 1, (m, k)), rng.uniform(-1, 1, (k, n))
    assert_close(el.einsum("ij,jk->ik", x, y), x @ y, k)
    assert_close(el.einsum("ij,kj->ik", x, y.T.copy()), x @ y, k)


@pytest.mark.parametrize("n", EDGES)
def test_sums_and_transposes_at_block_edges(n: int, assert_close: Close) -> None:
    rng = np.random.default_rng(n)
    x = rng.uniform(-1, 1, (3, n))
    assert_close(el.einsum("ij->i", x), x.sum(1), n)
    assert_close(el.einsum("ij,ij->", x, x), (x * x).sum(), 3 * n)
    out = np.empty((n, 3))
    assert_close(el.einsum("ij->ji", x, out=out), x.T)


def test_overlapping_window_views_and_zero_strides(assert_close: Close) -> None:
    x = np.arange(20.0)
    windows = np.lib.stride_tricks.sliding_window_view(x, 5)
    assert_close(el.einsum("ij,ij->i", windows, windows), (windows * windows).sum(1), 5)
    row = np.broadcast_to(np.arange(5.0), (4, 5))
    assert_close(el.einsum("ij,ij->j", row, row), (row * row).sum(0), 4)


def test_nan_and_infinity_propagate() -> None:
    x = np.array([[np.nan, 1.0], [np.inf, 0.0], [np.inf, -np.inf]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(el.einsum("ij->i", x), x.sum(1))
        np.testing.assert_array_equal(el.einsum("ij,j->i", x, np.zeros(2)), [np.nan] * 3)


def test_foreign_byte_order_and_unaligned_operands(assert_close: Close) -> None:
    x = np.arange(12.0).reshape(3, 4)
    packed = np.zeros(3, [("pad", "i1"), ("row", "f8", 4)])
    packed["row"] = x
    assert not packed["row"].flags.aligned
    assert_close(el.einsum("ij,kj->ik", x.astype(">f8"), packed["row"]), x @ x.T, 4)
