from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import einloom as el
from einloom.linalg import LinAlgError
from einloom_compiler.errors import ShapeError


def integers(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).integers(-3, 4, shape).astype(float)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3), (3, 4)],
        [(2, 3), (3, 4), (4, 5)],
        [(3,), (3, 4), (4, 5)],
        [(2, 3), (3, 4), (4,)],
        [(3,), (3, 4), (4,)],
        [(9, 2), (2, 9), (9, 2), (2, 9)],
        [(2, 3, 4), (4, 5)],
        [(3,), (3,)],
        [(2, 0), (0, 3), (3, 4)],
    ],
)
def test_multi_dot_equals_numpy(shapes: list[tuple[int, ...]]) -> None:
    arrays = [integers(*shape) for shape in shapes]
    got, want = el.linalg.multi_dot(arrays), np.linalg.multi_dot(arrays)
    assert type(got) is type(want)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


def test_multi_dot_writes_to_out() -> None:
    arrays = [integers(2, 3), integers(3, 4), integers(4, 5)]
    out = np.zeros((2, 5))
    assert el.linalg.multi_dot(arrays, out=out) is out
    np.testing.assert_array_equal(out, np.linalg.multi_dot(arrays))


def test_multi_dot_is_one_contraction_whose_order_follows_from_the_cost() -> None:
    expression = el.linalg.multi_dot([el.spec("M", 2), el.spec(2, "N"), el.spec("N")])
    assert expression.equation == "ij,jk,k->i"
    function = el.linalg.multi_dot([el.spec(900, 2), el.spec(2, 900), el.spec(900)]).compile()
    assert function.plan_for((900, 2), (2, 900), (900,)).flops == 2 * (2 * 900 + 900 * 2)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([(2, 3), (3,), (3, 4)], "1-dimensional array given. Array must be two-dimensional"),
        ([(2, 3), (3, 3, 3), (3, 4)], "3-dimensional array given"),
        ([(), (3, 3), (3, 4)], "0-dimensional array given"),
    ],
)
def test_multi_dot_of_wrong_ranks_is_numpys_error(shapes: list[Any], text: str) -> None:
    arrays = [np.ones(shape) for shape in shapes]
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.multi_dot(arrays)
    with pytest.raises(LinAlgError, match=text) as caught:
        el.linalg.multi_dot(arrays)
    assert isinstance(caught.value, np.linalg.LinAlgError)
    assert isinstance(caught.value, el.EinloomError)


def test_multi_dot_names_the_neighbours_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"3 \(dim 1\) != 4 \(dim 0\): operands 1 and 2"):
        el.linalg.multi_dot([np.ones((2, 3)), np.ones((3, 3)), np.ones((4, 5))])
    with pytest.raises(ShapeError, match="Expecting at least two arrays, but 1 given"):
        el.linalg.multi_dot([np.ones((2, 3))])


def test_outer_takes_vectors_only() -> None:
    x, y = integers(3), integers(4)
    np.testing.assert_array_equal(el.linalg.outer(x, y), np.linalg.outer(x, y))
    with pytest.raises(ShapeError, match=r"must be one-dimensional, but they are x1\.ndim=2"):
        el.linalg.outer(np.ones((2, 2)), y)


def test_other_names_are_numpys() -> None:
    x, y = integers(2, 3), integers(3, 4)
    np.testing.assert_array_equal(el.linalg.matmul(x, y), np.linalg.matmul(x, y))
    np.testing.assert_array_equal(
        el.linalg.tensordot(x, y, axes=1), np.linalg.tensordot(x, y, axes=1)
    )
    numpy_vecdot: Any = np.linalg.vecdot  # NumPy's stubs do not know axis=
    np.testing.assert_array_equal(el.linalg.vecdot(x, x, axis=0), numpy_vecdot(x, x, axis=0))
