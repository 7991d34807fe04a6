"""One library serves every size: 0, 1, primes, block edges, in whole numbers that are exact."""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import einloom as el
from einloom.aot.building import Built
from einloom_compiler.errors import ShapeError, UnsupportedError

pytestmark = pytest.mark.thinned(2)


class Case(NamedTuple):
    call: str
    dtype: str
    cpu: str
    sizes: dict[str, tuple[int, ...]]
    #: Few kernels serve a range; those of any size are fifty for several orders.
    ranges: dict[str, tuple[int, int]] | None = None


SEVERAL = "np.einsum('ij,jk,kl->il', x[A,16], y[16,C], z[C,24])"
CASES = {
    "halves through scratch": Case(
        "np.einsum('bi,ij->bj', x[B,400], w[400,16])",
        "float16",
        "x86-64-v2",
        {"B": (0, 1, 2, 7, 33, 129)},
    ),
    "a sum in two stages": Case(
        "np.einsum('ab->b', x[A,130])",
        "int32",
        "x86-64-v2",
        {"A": (0, 1, 2, 3, 1000, 4099, 5003, 20011)},
    ),
    "several orders": Case(
        SEVERAL,
        "float64",
        "x86-64-v3",
        {"A": (0, 1, 2, 40, 301), "C": (33, 47, 300)},
        {"A": (0, 400), "C": (33, 300)},
    ),
    "several orders of any size": Case(
        SEVERAL, "float64", "x86-64-v3", {"A": (0, 1, 2, 40, 301), "C": (0, 1, 2, 17, 300)}
    ),
    "complex products": Case(
        "np.einsum('bk,bkm->bm', x[B,K], y[B,K,24])",
        "complex64",
        "x86-64-v4",
        {"B": (0, 1, 2, 17), "K": (0, 1, 2, 9, 40, 900)},
    ),
    "a transposed copy": Case(
        "np.einsum('abc->cab', x[A,5,C])",
        "int8",
        "x86-64-v3",
        {"A": (0, 1, 2, 33), "C": (0, 1, 3, 65)},
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow if case.endswith("any size") else [])
        for case in CASES
    ],
)
def test_every_size_is_exact(case: str, tmp_path: Path) -> None:
    call, dtype, cpu, sizes, ranges = CASES[case]
    folder = tmp_path / "f"
    el.aot.build(call, folder, dtype=dtype, cpu=cpu, ranges=ranges)
    try:
        f = el.aot.load(folder)
    except OSError as error:
        pytest.skip(str(error))
    expression = el.parse(call, dtype)
    rng = np.random.default_rng(0)
    for values in itertools.product(*sizes.values()):
        named = dict(zip(sizes, values, strict=True))
        arrays = []
        for operand in expression.inputs:
            shape = [named.get(str(extent), extent) for extent in operand.shape]
            array = rng.integers(-3, 4, shape).astype(dtype)
            if array.dtype.kind == "c":
                array = array + 1j * rng.integers(-3, 4, shape).astype(array.real.dtype)
            arrays.append(array.astype(dtype))
        kind = arrays[0].dtype.kind
        wide = {"f": np.dtype(float), "c": np.dtype(complex)}.get(kind, arrays[0].dtype)
        expected = np.einsum(
            expression.equation, *[array.astype(wide) for array in arrays], optimize=True
        )
        for threads in (1, 3):
            got = f(*arrays, threads=threads)
            np.testing.assert_array_equal(got, expected.astype(dtype), err_msg=str(named))


def test_a_guard_lets_one_symbol_stand_for_another(tmp_path: Path) -> None:
    built = el.aot.build(
        "kk->k",
        tmp_path / "diagonal",
        el.spec("M", "N", name="x"),
        dtype="float64",
        cpu="x86-64-v3",
    )
    assert isinstance(built, Built)
    f = el.aot.load(built.folder)
    for n in (0, 1, 2, 5, 40):
        a = np.arange(n * n, dtype=float).reshape(n, n)
        np.testing.assert_array_equal(f(a), np.diagonal(a))
    with pytest.raises(ShapeError, match="guard M == N"):
        f(np.ones((3, 4)))


def test_an_extent_no_call_shows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no input has the axis B alone, only 2\\*B"):
        el.aot.build("np.einsum('a->', x[2*B])", tmp_path / "f", dtype="float32")


def test_an_extent_that_is_computed_must_be_positive(tmp_path: Path) -> None:
    x = el.spec("B", 3, dtype="float64", name="x")
    y = el.spec("B - 2", 3, dtype="float64", name="y")
    el.aot.build("bk,ck->bc", tmp_path / "f", x, y, cpu="x86-64-v3")
    f = el.aot.load(tmp_path / "f")
    for n in (3, 4, 9, 70):
        a, b = np.ones((n, 3)), np.arange(3.0 * (n - 2)).reshape(n - 2, 3)
        np.testing.assert_array_equal(f(a, b), a @ b.T)
    with pytest.raises(ShapeError, match="B - 2 is at least 1"):
        f(np.ones((2, 3)), np.ones((0, 3)))
    with pytest.raises(ShapeError, match="axis 0 of operand 'y' has extent 3"):
        f(np.ones((9, 3)), np.ones((3, 3)))
