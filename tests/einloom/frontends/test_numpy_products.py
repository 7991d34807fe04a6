from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.einloom.frontends.comparing import assert_same

import einloom as el
from einloom_compiler.errors import AxisError, DTypeError, ShapeError, SpecError


@pytest.mark.parametrize(
    ("x", "y", "equation"),
    [
        ((3, 4), (4, 5), "ij,jk->ik"),
        ((2, 3), (4, 3, 5), "ar,irk->aik"),
        ((2, 3, 4), (4, 5), "abr,rk->abk"),
        ((2, 3, 4), (7, 4, 5), "abr,irk->abik"),
        ((1, 2, 3, 4), (8, 7, 4, 5), "abcr,ijrk->abcijk"),
        ((4,), (3, 4, 5), "r,irk->ik"),
        ((4,), (4,), "r,r->"),
        ((4,), (4, 5), "r,rk->k"),
        ((2, 3, 4), (4,), "abr,r->ab"),
        ((), (2, 3), ",ab->ab"),
        ((2, 3), (), "ab,->ab"),
        ((), (), ",->"),
        ((0, 4), (4, 5), "ij,jk->ik"),
        ((2, 0), (0, 5), "ij,jk->ik"),
    ],
)
def test_dot_equals_numpy_and_has_the_documented_equation(
    operands: Any, x: tuple[int, ...], y: tuple[int, ...], equation: str
) -> None:
    a, b = operands(x), operands(y)
    assert_same(el.dot(a, b), np.dot(a, b))
    assert el.dot(el.spec(x), el.spec(y)).equation == equation


def test_dot_of_ranks_beyond_the_alphabet_is_still_written_and_computed(operands: Any) -> None:
    a, b = operands((1,) * 30 + (3,)), operands((1,) * 28 + (3, 2))
    assert_same(el.dot(a, b), np.dot(a, b))


def test_python_numbers_and_lists_count_as_arrays(operands: Any) -> None:
    a = operands((2, 3), "float32")
    assert_same(el.dot(3.0, a), np.dot(3.0, a))
    assert_same(el.dot(3, 4), np.dot(3, 4))
    assert_same(el.inner([1, 2], [3, 4]), np.inner([1, 2], [3, 4]))


@pytest.mark.thinned(2)
@pytest.mark.parametrize("layout", ["C", "F", "reversed", "strided", "broadcast"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "complex64"])
def test_dot_and_outer_take_any_layout_and_dtype(operands: Any, layout: str, dtype: str) -> None:
    a, b = operands((2, 3, 4), dtype, layout), operands((4, 5), dtype, layout)
    assert_same(el.dot(a, b), np.dot(a, b))
    assert_same(el.outer(a, b), np.outer(a, b))


@pytest.mark.parametrize(
    ("x", "y"),
    [((2, 3), (2, 3)), ((3,), (4, 3)), ((3,), (3,)), ((4, 3, 2), (2, 3)), ((4, 3, 2), (3, 2, 3))],
)
def test_dot_of_misfitting_extents_names_axes_extents_and_what_would_fit(
    x: tuple[int, ...], y: tuple[int, ...]
) -> None:
    a, b = np.ones(x), np.ones(y)
    try:
        np.dot(a, b)
    except ValueError as error:
        with pytest.raises(ShapeError, match=re.escape(str(error))) as caught:
            el.dot(a, b)
        proposed = re.search(r"tensordot\(a, b, axes=(.*?)\) would", str(caught.value))
        if proposed is not None:
            left, right = re.findall(r"\[(\d+)\]", proposed.group(1))
            assert np.tensordot(a, b, axes=([int(left)], [int(right)])).size
        else:
            assert x[-1] not in y
    else:
        assert_same(el.dot(a, b), np.dot(a, b))


def test_an_extent_of_1_is_not_stretched_to_contract_it() -> None:
    with pytest.raises(ShapeError, match=r"1 \(dim 1\) != 3 \(dim 0\)"):
        el.dot(np.ones((2, 1)), np.ones((3, 4)))
    with pytest.raises(ShapeError, match="shape-mismatch for sum"):
        el.tensordot(np.ones((2, 1)), np.ones((3, 4)), 1)


def test_dot_writes_to_out(operands: Any) -> None:
    a, b = operands((3, 4)), operands((4, 5))
    out = np.zeros((3, 5))
    assert el.dot(a, b, out) is out
    np.testing.assert_array_equal(out, np.dot(a, b))
    with pytest.raises(SpecError, match="out= needs arrays"):
        el.dot(el.spec(3, 4), el.spec(4, 5), out)


@pytest.mark.parametrize(
    ("x", "y", "equation"),
    [
        ((3,), (3,), "r,r->"),
        ((2, 5, 3), (4, 3), "abr,ir->abi"),
        ((2, 3), (4, 5, 3), "ar,ijr->aij"),
        ((), (2, 3), ",ab->ab"),
    ],
)
def test_inner_equals_numpy(
    operands: Any, x: tuple[int, ...], y: tuple[int, ...], equation: str
) -> None:
    a, b = operands(x), operands(y)
    assert_same(el.inner(a, b), np.inner(a, b))
    assert el.inner(el.spec(x), el.spec(y)).equation == equation


def test_inner_of_misfitting_last_axes_is_rejected() -> None:
    with pytest.raises(ShapeError, match=r"3 \(dim 1\) != 4 \(dim 2\)"):
        el.inner(np.ones((2, 3)), np.ones((3, 2, 4)))


@pytest.mark.parametrize(("x", "y"), [((3,), (4,)), ((2, 3), (4, 5)), ((), (4,)), ((), ())])
def test_outer_flattens_as_numpy(operands: Any, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    a, b = operands(x, layout="C"), operands(y, layout="C")
    assert_same(el.outer(a, b), np.outer(a, b))
    assert el.outer(el.spec(x), el.spec(y)).shape == np.outer(a, b).shape


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32", "complex128"])
def test_vdot_flattens_and_conjugates_its_first_operand(operands: Any, dtype: str) -> None:
    a, b = operands((2, 3), dtype), operands((3, 2), dtype, "F")
    assert_same(el.vdot(a, b), np.vdot(a, b))


def test_vdot_of_unequally_many_elements_is_rejected() -> None:
    with pytest.raises(ShapeError, match=r"a has 6 elements \(shape \(2, 3\)\) and b has 3"):
        el.vdot(np.ones((2, 3)), np.ones(3))


@pytest.mark.parametrize(
    ("x", "y", "axes"),
    [
        ((2, 3), (3, 4), 1),
        ((2, 3, 4), (3, 4, 5), 2),
        ((2,), (3,), 0),
        ((2,), (3,), -1),
        ((2, 3), (2, 3), 2),
        ((2, 3), (3, 4), (1, 0)),
        ((3, 4, 5), (4, 3, 2), ([1, 0], [0, 1])),
        ((3, 4, 5), (4, 3, 2), ((0, 1), (1, 0))),
        ((3, 4, 5), (2, 5), ([-1], [-1])),
        ((3, 4), (2, 4), (np.int64(1), 1)),
        ((2, 0), (0, 3), 1),
        ((2, 3), (4,), ([], [])),
        ((), (2, 3), 0),
    ],
)
def test_tensordot_equals_numpy(
    operands: Any, x: tuple[int, ...], y: tuple[int, ...], axes: Any
) -> None:
    a, b = operands(x), operands(y)
    assert_same(el.tensordot(a, b, axes), np.tensordot(a, b, axes))
    assert el.tensordot(el.spec(x), el.spec(y), axes).shape == np.tensordot(a, b, axes).shape


def test_tensordot_contracts_two_axes_by_default(operands: Any) -> None:
    a, b = operands((2, 3, 4)), operands((3, 4, 5))
    assert_same(el.tensordot(a, b), np.tensordot(a, b))


@settings(max_examples=20)
@given(data=st.data())
def test_tensordot_equals_numpy_on_any_shapes_and_axes(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
    n = data.draw(st.integers(0, len(shape)))
    left = data.draw(st.permutations(range(len(shape))))[:n]
    free = data.draw(st.lists(st.integers(0, 3), max_size=2))
    order = data.draw(st.permutations(range(n + len(free))))
    b_shape = [0] * len(order)
    for place, extent in zip(order, [*(shape[axis] for axis in left), *free], strict=True):
        b_shape[place] = extent
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-3, 4, s).astype(float) for s in (shape, tuple(b_shape)))
    axes = (list(left), list(order[:n]))
    assert_same(el.tensordot(a, b, axes), np.tensordot(a, b, axes))


@pytest.mark.parametrize(
    ("axes", "error", "text"),
    [
        (1, ShapeError, "shape-mismatch for sum: axis 1 of a (shape (2, 3)) has extent 3"),
        (3, AxisError, "axis -3 is out of bounds for array of dimension 2"),
        (([5], [0]), AxisError, "axis 5 is out of bounds"),
        (([0], [0, 1]), ShapeError, "shape-mismatch for sum: axes=([0], [0, 1]) names 1 axes"),
        (([0, 0], [0, 1]), ValueError, "duplicate axes are not allowed in tensordot"),
        (([0, -2], [0, 1]), ValueError, "duplicate axes are not allowed in tensordot"),
        ((1,), ShapeError, "a pair of (lists of) axes"),
        (1.5, DTypeError, "must be an integer or a pair"),
        ("ab", DTypeError, "an axis must be an integer, not 'a'"),
    ],
)
def test_tensordot_axes_that_numpy_rejects_are_rejected(
    axes: Any, error: type[Exception], text: str
) -> None:
    a = np.ones((2, 3))
    with pytest.raises((ValueError, IndexError, TypeError)):
        np.tensordot(a, a, axes)
    with pytest.raises(error, match=re.escape(text)):
        el.tensordot(a, a, axes)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ((2, 3), (4, 5)),
        ((3,), (4,)),
        ((3,), (2, 2, 2)),
        ((2, 2, 3), (4,)),
        ((2, 3, 2), (3, 1, 2)),
        ((), (2, 3)),
        ((2,), ()),
        ((), ()),
        ((0, 2), (3, 4)),
    ],
)
def test_kron_equals_numpy(operands: Any, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    a, b = operands(x), operands(y)
    assert_same(el.kron(a, b), np.kron(a, b))
    assert el.kron(el.spec(x), el.spec(y)).shape == np.kron(a, b).shape


def test_kron_of_symbolic_operands_multiplies_extents() -> None:
    expression = el.kron(el.spec("M", 3), el.spec(4, "N"))
    assert expression.equation == "ij,kl->ikjl"
    assert [str(extent) for extent in expression.shape] == ["4*M", "3*N"]


@pytest.mark.parametrize("axes", [None, (2, 0, 1), (-1, 0, -2)])
def test_transpose_is_a_view_as_in_numpy(operands: Any, axes: Any) -> None:
    a = operands((2, 3, 4))
    got = el.transpose(a, axes)
    assert_same(got, np.transpose(a, axes))
    assert np.shares_memory(got, a)


def test_transpose_of_a_symbolic_operand_compiles(operands: Any) -> None:
    function = el.transpose(el.spec("A", "B", "C"), (2, 0, 1)).compile()
    a = operands((2, 3, 4))
    np.testing.assert_array_equal(function(a), np.transpose(a, (2, 0, 1)))


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ((0,), "axes don't match array"),
        ((0, 0), "repeated axis in transpose"),
        ((0, 2), "axis 2 is out of bounds for array of dimension 2"),
    ],
)
def test_transpose_rejects_what_is_no_permutation(axes: Any, text: str) -> None:
    for operand in (np.ones((2, 3)), el.spec(2, 3)):
        with pytest.raises(ValueError, match=text):
            el.transpose(operand, axes)
    with pytest.raises(ValueError, match=text):
        np.transpose(np.ones((2, 3)), axes)
